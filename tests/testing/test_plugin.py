"""The pytest plugin, in pytest runs of its own."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TEST = """
def test_greets(start_proxy):
    assert start_proxy({project}).get("/").status == 200
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\naddopts = --import-mode=importlib -p no:hypothesispytest\n")
    return pytester


def test_a_test_runs_once_on_each_host_and_the_summary_counts_them(run: pytest.Pytester, module: Path) -> None:
    run.makepyfile(
        f"""
        import pytest
        @pytest.mark.hosts("wasm", "envoy")
        @pytest.mark.parametrize("path", ["/a", "/b"])
        def test_passes(start_proxy, path):
            assert start_proxy({str(module)!r}).get(path).status == 200

        @pytest.mark.hosts("envoy")
        def test_fails(start_proxy):
            assert start_proxy({str(module)!r}).get("/").status == 404

        def test_of_something_else():
            pass
        """
    )
    result = run.runpytest_subprocess("-v")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(
        ["*test_passes?wasm-/a? PASSED*", "*proxy-wasm: wasm 2 passed; envoy 2 passed, 1 failed*"]
    )


def test_the_command_line_selects_hosts(run: pytest.Pytester, greeter: Path) -> None:
    run.makepyfile(TEST.format(project=repr(str(greeter))))
    result = run.runpytest_subprocess("--proxy-hosts", "native")
    result.assert_outcomes(passed=1, deselected=2)
    result.stdout.fnmatch_lines(["*proxy-wasm: native 1 passed"])


def test_hosts_apply_to_fixtures_that_start_proxies_too(run: pytest.Pytester, greeter: Path) -> None:
    run.makepyfile(
        f"""
        import pytest
        @pytest.fixture
        def proxy(start_proxy):
            return start_proxy({str(greeter)!r})

        @pytest.mark.hosts("native")
        def test_greets(proxy, proxy_host):
            assert proxy.host == proxy_host == "native"
        """
    )
    run.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize("place", ["option", "marker"])
def test_an_unknown_host_is_refused(run: pytest.Pytester, place: str) -> None:
    marker = "import pytest\npytestmark = pytest.mark.hosts('nginx')\n" if place == "marker" else ""
    run.makepyfile(marker + TEST.format(project=""))
    result = run.runpytest_subprocess(*(["--proxy-hosts", "nginx"] if place == "option" else []))
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*unknown host 'nginx'; hosts are native, wasm, envoy*"]) if place == "marker" else (
        result.stderr.fnmatch_lines(["*unknown host 'nginx'; hosts are native, wasm, envoy*"])
    )


def test_without_envoy_its_tests_fail_and_say_what_is_missing(
    run: pytest.Pytester, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY_WASM_ENVOY", "/absent/envoy")
    run.makepyfile("import pytest\npytestmark = pytest.mark.hosts('envoy')" + TEST.format(project=repr(str(module))))
    result = run.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*PROXY_WASM_ENVOY: /absent/envoy: no such Envoy binary*"])


def test_the_extension_around_a_test_file_is_found(run: pytest.Pytester, greeter: Path) -> None:
    tests = greeter / "tests"
    tests.mkdir()
    (tests / "test_greeter.py").write_text(TEST.format(project=""))
    run.runpytest_subprocess(tests, "--proxy-hosts", "native").assert_outcomes(passed=1, deselected=2)


def test_a_test_outside_of_every_extension_is_told_to_name_one(run: pytest.Pytester) -> None:
    run.makepyfile(TEST.format(project=""))
    result = run.runpytest_subprocess("--proxy-hosts", "native")
    result.stdout.fnmatch_lines(["*no folder above is an extension*name one: start_proxy('path/to/extension')*"])


def test_no_envoy_is_left_when_a_run_ends(run: pytest.Pytester, module: Path) -> None:
    run.makepyfile(
        f"""
        import pytest
        from pathlib import Path
        @pytest.mark.hosts("envoy")
        @pytest.mark.parametrize("isolated", [True, False])
        def test_writes_its_process_id(start_proxy, isolated):
            proxy = start_proxy({str(module)!r}, isolated=isolated)
            Path(f"pid-{{isolated}}").write_text(str(proxy._plugin.pid))
        """
    )
    run.runpytest_subprocess().assert_outcomes(passed=2)
    pids = [int((run.path / f"pid-{isolated}").read_text()) for isolated in (True, False)]
    assert pids[0] != pids[1]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


CASES = """
plugin: {configuration: {greeting: "good day"}}
cases:
  - name: the upstream is greeted
    request: GET /
    upstream: {headers: {x-greeting: good day}}
  - name: the upstream is shouted at
    hosts: [native]
    request: GET /
    upstream: {headers: {x-greeting: GOOD DAY}}
"""


def test_cases_are_collected_beside_tests_and_run_on_each_host(run: pytest.Pytester, greeter: Path) -> None:
    (greeter / "greeter.proxy-wasm.yaml").write_text(CASES)
    (greeter / "test_greeter.py").write_text(TEST.format(project=""))
    (greeter / "other.yaml").write_text("no cases")
    result = run.runpytest_subprocess(greeter, "--proxy-hosts", "native", "-v")
    result.assert_outcomes(passed=2, failed=1, deselected=4)
    result.stdout.fnmatch_lines(
        [
            "*greeter.proxy-wasm.yaml::the upstream is greeted?native? PASSED*",
            "*greeter.proxy-wasm.yaml:7: the upstream is shouted at (on native)",
            "    upstream.headers.x-greeting  GOOD DAY  good day",
            "*proxy-wasm: native 2 passed, 1 failed*",
        ]
    )


def test_a_case_can_be_named_on_the_command_line(run: pytest.Pytester, greeter: Path) -> None:
    path = greeter / "greeter.proxy-wasm.yaml"
    path.write_text(CASES)
    run.runpytest_subprocess(f"{path}::the upstream is greeted[native]").assert_outcomes(passed=1)


def test_cases_of_a_module_run_on_the_hosts_of_modules(run: pytest.Pytester, module: Path) -> None:
    run.path.joinpath("a.proxy-wasm.yaml").write_text(
        f"filter: {module}\ncases: [{{name: a, request: GET /, response: {{status: 200}}}}]"
    )
    result = run.runpytest_subprocess()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*proxy-wasm: wasm 1 passed; envoy 1 passed*"])


def test_a_file_of_cases_that_is_wrong_fails_to_be_collected(run: pytest.Pytester, greeter: Path) -> None:
    (greeter / "greeter.proxy-wasm.yaml").write_text(CASES.replace("request:", "reqest:"))
    result = run.runpytest_subprocess(greeter)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*greeter.proxy-wasm.yaml:5: cases?0?.reqest: there is no such key; *"])


def test_a_failing_test_shows_the_traces_of_its_last_requests_where_asked(run: pytest.Pytester, greeter: Path) -> None:
    run.makepyfile(
        f"""
        def test_fails(start_proxy):
            assert start_proxy({str(greeter)!r}).get("/path").status == 404

        def test_passes(start_proxy):
            assert start_proxy({str(greeter)!r}).get("/other").status == 200
        """
    )
    result = run.runpytest_subprocess("--proxy-hosts", "native", "--proxy-trace")
    result.assert_outcomes(passed=1, failed=1, deselected=4)
    result.stdout.fnmatch_lines(["*- proxy-wasm trace -*", "GET /path on native", "*on_request_headers(*"])
    result.stdout.no_fnmatch_line("GET /other on native")
    run.runpytest_subprocess("--proxy-hosts", "native").stdout.no_fnmatch_line("*proxy-wasm trace*")


def test_nothing_of_a_test_is_kept_once_it_is_over(run: pytest.Pytester, module: Path) -> None:
    run.makepyfile(
        f"""
        import gc, weakref
        import pytest

        pytestmark = pytest.mark.hosts("wasm")
        kept = []

        def test_first(start_proxy):
            kept.append(weakref.ref(start_proxy({str(module)!r})))
            assert kept[0]() is not None

        def test_second(start_proxy):
            start_proxy({str(module)!r})
            gc.collect()
            assert kept[0]() is None
        """
    )
    run.runpytest_subprocess().assert_outcomes(passed=2)

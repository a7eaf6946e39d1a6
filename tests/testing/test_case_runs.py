"""Cases on the hosts, and what is told of those that fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_wasm.testing import Extension, HostName, open_host
from proxy_wasm.testing.cases.comparison import Difference
from proxy_wasm.testing.cases.files import hosts_of, load
from proxy_wasm.testing.cases.report import lines_of
from proxy_wasm.testing.cases.runner import Failure, Result, run_case
from proxy_wasm.testing.hosts import Host


@pytest.fixture(scope="session", params=["wasm", "envoy"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    name: HostName = request.param
    host = open_host(name)
    yield host
    host.close()


@pytest.fixture(scope="session")
def native() -> Iterator[Host]:
    host = open_host("native")
    yield host
    host.close()


def results(folder: Path, filter_path: Path, host: Host, text: str) -> list[Result]:
    path = folder / "a.proxy-wasm.yaml"
    path.write_text(text, "utf-8")
    extension = Extension(filter_path)
    return [run_case(case, host, extension) for case in load(path).cases]


def failure(folder: Path, filter_path: Path, host: Host, case: str) -> Failure:
    (result,) = results(folder, filter_path, host, f"cases: [{{name: a, {case}}}]")
    assert result.failure is not None
    return result.failure


PASSING = """
cases:
  - name: a request passes both ways
    request: {path: /a, headers: {x-log: hello, x-twice: [1, 2]}, body: {base64: /wD+}, trailers: {x-end: 1}}
    upstream_answer: {status: 418, headers: {x-a: [one, two]}, chunks: [te, a], trailers: {x-last: yes}}
    response:
      status: 418
      headers: {X-Answered: yes, x-a: {any_order: [two, {regex: ^o}]}, x-none: {absent: true}}
      body: tea
      trailers: {x-last: yes}
    upstream:
      method: POST
      path: {regex: ^/a$}
      authority: localhost
      headers: {x-seen: yes, x-twice: [1, 2], x-log: {contains: [he, lo], not: {contains: bye}}}
      body: {base64: /wD+}
      trailers: {x-end: 1}
    details: via_upstream
    logs: {in_order: [{level: warn, equals: hello}, on_done], any_order: [on_done, on_log], none_of: [bye]}
    metrics: {requests: {at_least: 1, at_most: 1}}
  - name: a local response never reaches the upstream
    request: {headers: {x-deny: 1}}
    response: {status: 403, headers: {x-reason: header}, body: "no\\n"}
    upstream: none
    details: denied_by_test
  - name: a request that is held is never answered
    request: {headers: {x-pause: 1}, timeout: 0.3}
    response: none
  - name: a client that leaves gets no response
    request: {headers: {x-pause: 1}, disconnect_after: 0.1}
    response: {reset: true}
    upstream: none
  - name: an upstream that closes in the middle resets the client
    request: GET /
    upstream_answer: {chunks: [a, b], breaks: close}
    response: {status: 200, reset: true}
  - name: an upstream that closes at once is told by the proxy
    request: GET /
    upstream_answer: closing
    response: {status: 503}
  - name: requests in order count together
    steps:
      - {request: {headers: {x-log: one}}, logs: {exactly: [{level: warn, equals: one}, on_log, on_done]}}
      - metrics: {requests: 1}
      - {request: {headers: {x-log: two}}, logs: {exactly: [two, on_log, on_done]}}
      - advance: 0.01
      - logs: [one, on_done, two]
    metrics: {requests: 2}
  - name: a trap fails the request
    request: {headers: {x-trap: 1}}
    response: {status: 503}
  - name: a configuration that is refused
    plugin: {configuration: "!realm: must be text"}
    refused: {level: critical, contains: must be text}
  - name: a configuration that is refused, for whatever reason
    plugin: {configuration: "!"}
    refused: true
  - name: a configuration that traps
    plugin: {configuration: "%"}
    refused: true
"""


def test_cases_pass_on_each_host(tmp_path: Path, module: Path, host: Host) -> None:
    assert [line for result in results(tmp_path, module, host, PASSING) for line in lines_of(result)] == []


@pytest.mark.parametrize(
    ("case", "place", "expected", "came"),
    [
        ("request: GET /, response: {status: 201}", "response.status", "201", "200"),
        ("request: GET /, response: {body: {contains: bye}}", "response.body", "contains bye", "hello from upstream\n"),
        ("request: GET /, response: {body: {json: {a: 1}}}", "response.body", 'JSON {"a": 1}', "hello from upstream\n"),
        ("request: GET /, response: {body: {not: {regex: ^hello}}}", "response.body", "not: matches ^hello", "hello from upstream\n"),
        ("request: GET /, response: {headers: {x-no: 1}}", "response.headers.x-no", "1", "(absent)"),
        (
            "request: GET /, response: {headers: {x-answered: {absent: true}}}",
            "response.headers.x-answered", "(absent)", "yes",
        ),
        ("request: GET /, response: {headers: {x-answered: [yes, no]}}", "response.headers.x-answered", "yes | no", "yes"),
        (
            "request: GET /, response: {headers: {x-answered: {any_order: [no]}}}",
            "response.headers.x-answered", "in any order: no", "yes",
        ),
        ("request: GET /, response: {trailers: {x: 1}}", "response.trailers.x", "1", "(absent)"),
        ("request: GET /, response: {reset: true}", "response.reset", "true", "false"),
        ("request: GET /, response: none", "response", "none", "200 (via_upstream)"),
        ("request: GET /, upstream: none", "upstream", "none", "GET /"),
        ("request: {headers: {x-deny: 1}}, upstream: {}", "upstream", "a request", "none; the client got 403 (denied_by_test)"),
        ("request: GET /, upstream: {method: POST}", "upstream.method", "POST", "GET"),
        ("request: 'GET /?a', upstream: {path: /}", "upstream.path", "/", "/?a"),
        ("request: GET /, upstream: {authority: a}", "upstream.authority", "a", "localhost"),
        ("request: GET /, upstream: {body: {base64: /wA=}}", "upstream.body", r"\xff\x00", ""),
        ("request: GET /, details: local", "details", "local", "via_upstream"),
        ("request: GET /, logs: [on_done, on_log]", "logs", "in the log, in this order: on_log", "not there"),
        ("request: GET /, logs: {any_order: [a]}", "logs.any_order", "a", "not there"),
        ("request: GET /, logs: {any_order: [on_log, on_log]}", "logs.any_order", "on_log", "not there"),
        ("request: GET /, logs: {none_of: [on_log]}", "logs.none_of", "not in the log: on_log", "on_log"),
        ("request: GET /, logs: {exactly: [on_log]}", "logs.exactly", "on_log", "debug: on_log\ndebug: on_done"),
        ("request: GET /, logs: none", "logs", "none", "debug: on_log\ndebug: on_done"),
        ("request: GET /, logs: [{level: error, equals: on_log}]", "logs", "in the log: error: on_log", "not there"),
        ("request: GET /, metrics: {requests: 2}", "metrics.requests", "2", "1"),
        ("request: GET /, metrics: {requets: {at_least: 1}}", "metrics.requets", "at least 1", "0: there is no such metric yet"),
        ("refused: true", "refused", "a refusal", "the plugin accepted its configuration"),
        ("refused: true, plugin: {configuration: a}", "refused", "a refusal", "the plugin accepted its configuration"),
    ],
)  # fmt: skip
def test_what_was_expected_is_told_beside_what_came(
    tmp_path: Path, module: Path, case: str, place: str, expected: str, came: str
) -> None:
    host = open_host("wasm")
    assert failure(tmp_path, module, host, case).differences == (Difference(place, expected, came),)


def test_another_refusal_than_the_expected_one_fails(tmp_path: Path, module: Path, host: Host) -> None:
    case = 'plugin: {configuration: "!realm: must be text"}, refused: "realm: must be short"'
    (difference,) = failure(tmp_path, module, host, case).differences
    assert (difference.place, difference.expected) == ("refused", "realm: must be short")
    assert "critical: !realm: must be text" in difference.came


def test_a_refusal_that_is_not_expected_fails_with_the_plugins_words(tmp_path: Path, module: Path, host: Host) -> None:
    case = "plugin: {configuration: '!no'}, request: GET /, response: {}"
    assert "critical: !no" in failure(tmp_path, module, host, case).problem


def test_a_module_that_the_proxy_does_not_load_fails(tmp_path: Path, host: Host) -> None:
    module = tmp_path / "a.wasm"
    module.write_bytes(b"\0asm\1\0\0\0")
    assert failure(tmp_path, module, host, "request: GET /, response: {}").problem


def test_a_request_without_a_response_fails(tmp_path: Path, module: Path, host: Host) -> None:
    case = "request: {headers: {x-pause: 1}, timeout: 0.3}, response: {status: 200}"
    failed = failure(tmp_path, module, host, case)
    assert failed.step == "GET /"
    assert failed.problem


def test_the_first_step_that_fails_is_named(tmp_path: Path, module: Path) -> None:
    case = "steps: [{request: GET /a, response: {}}, {request: GET /b, response: {status: 201}}, {request: GET /c, response: {status: 202}}]"
    assert failure(tmp_path, module, open_host("wasm"), case).step == "step 2: GET /b"


def test_a_request_for_which_a_cluster_has_no_answer_fails(tmp_path: Path, calls: Path, host: Host) -> None:
    case = "clusters: {users: {when: {path: /other}}}, request: {headers: {x-call: users}}, response: {}"
    problem = failure(tmp_path, calls, host, case).problem
    assert "cluster users has no answer (left) for GET /called; add one that fits" in problem


CALLS = """
cases:
  - name: answers are given in turn
    clusters: {users: [{times: 1, status: 201, body: first}, {body: {text: ab, times: 2}}]}
    steps:
      - {request: {headers: {x-call: users}}, response: {status: 201, body: first}}
      - {request: {headers: {x-call: users}}, response: {status: 200, body: abab}}
      - calls: {users: [{authority: callee}, {path: /called}]}
  - name: an answer may come late
    clusters: {users: {body: a, delay: 0.1}}
    request: {headers: {x-call: users}}
    response: {body: a}
  - name: nothing was called
    clusters: {users: {body: a}}
    request: GET /
    response: {status: 200}
    calls: {users: none}
  - name: a cluster that is ${trouble} answers ${status}
    table:
      - {trouble: silent, status: 504}
      - {trouble: closing, status: 503}
      - {trouble: absent, status: 503}
      - {trouble: no hosts, status: 410}
    clusters: {users: "${trouble}"}
    request: {headers: {x-call: users}}
    response: {status: "${status}"}
  - name: gRPC is answered with a message
    clusters: {users: {grpc: {/echo.Echo/Say: {message: {base64: aGk=}}}}}
    request: {headers: {x-grpc: users}}
    response: {status: 200, body: hi}
  - name: gRPC is answered with another status
    clusters: {users: {grpc: {/echo.Echo/Say: {status: 7, error: not you}}}}
    request: {headers: {x-grpc: users}}
    response: {status: 500, body: {contains: not you}}
"""


def test_clusters_do_what_the_file_says_on_each_host(tmp_path: Path, calls: Path, host: Host) -> None:
    assert [line for result in results(tmp_path, calls, host, CALLS) for line in lines_of(result)] == []


@pytest.mark.parametrize(
    ("calls_", "place", "expected", "came"),
    [
        ("none", "calls.users", "0 requests", "1 request: GET /called"),
        ("[{}, {}]", "calls.users", "2 requests", "1 request: GET /called"),
        ("{method: POST}", "calls.users[0].method", "POST", "GET"),
    ],
)
def test_other_calls_than_expected_fail(
    tmp_path: Path, calls: Path, calls_: str, place: str, expected: str, came: str
) -> None:
    case = f"clusters: {{users: {{}}}}, request: {{headers: {{x-call: users}}}}, calls: {{users: {calls_}}}"
    assert failure(tmp_path, calls, open_host("wasm"), case.replace("{}}", "{status: 200}}")).differences == (
        Difference(place, expected, came),
    )


CONNECTIONS = """
cases:
  - name: what passes is marked
    steps:
      - connect: echo
      - send: a
      - upstream_receives: <a
      - receive: "><a"
      - close: client
      - closed: true
      - logs: [connected, {contains: gone}, done]
  - name: two connections
    steps:
      - connect: {name: one, upstream: silent}
      - connect: {name: two, upstream: [first, second]}
      - {send: a, connection: one}
      - {upstream_receives: <a, connection: one}
      - send: b
      - receive: ">first"
      - upstream_receives: <b
      - send: c
      - receive: ">second"
      - upstream_receives: <c
      - {close: reset, connection: one}
      - {closed: true, connection: one}
      - {closed: false, connection: two}
      - {send: "", end: true}
      - receive_all: {regex: ^>?$}
  - name: the upstream closes
    steps:
      - connect: silent
      - send: a
      - upstream_receives: <a
      - close: upstream
      - receive_all: {not: {contains: a}}
  - name: the filter closes
    steps:
      - connect: echo
      - send: x
      - receive_all: ""
      - closed: true
"""


def test_connections_do_what_the_file_says_on_each_host(tmp_path: Path, connections: Path, host: Host) -> None:
    assert [line for result in results(tmp_path, connections, host, CONNECTIONS) for line in lines_of(result)] == []


@pytest.mark.parametrize(
    ("steps", "place", "expected", "came"),
    [
        ("[connect: echo, send: a, receive: '<<a']", "receive", "<<a", "><a"),
        ("[connect: echo, send: a, upstream_receives: '>a']", "upstream_receives", ">a", "<a"),
        ("[connect: echo, send: x, receive_all: a]", "receive_all", "a", ""),
        ("[connect: echo, closed: true]", "closed", "true", "false"),
    ],
)
def test_other_bytes_than_expected_fail(
    tmp_path: Path, connections: Path, steps: str, place: str, expected: str, came: str
) -> None:
    failed = failure(tmp_path, connections, open_host("wasm"), f"steps: {steps}")
    assert failed.differences == (Difference(place, expected, came),)


@pytest.mark.parametrize("receives", ["receive", "upstream_receives"])
def test_bytes_that_do_not_come_fail_with_those_that_did(tmp_path: Path, connections: Path, receives: str) -> None:
    steps = f"[connect: echo, send: ab, {receives}: abcdefg]"
    (difference,) = failure(tmp_path, connections, open_host("wasm"), f"steps: {steps}").differences
    assert difference.expected == "abcdefg"
    assert difference.came.endswith("so far: ><ab" if receives == "receive" else "so far: <ab")


def test_a_report_shows_the_difference_the_exchange_and_the_log(tmp_path: Path, greeter: Path, native: Host) -> None:
    (result,) = results(
        tmp_path,
        greeter,
        native,
        """
        plugin: {configuration: {greeting: "good day"}}
        cases:
          - name: the upstream is greeted
            request: {path: /x, body: "one\\ntwo"}
            upstream_answer: {status: 404, headers: {x-raw: {base64: /hs=}}, body: "a\\nb", trailers: {x-end: 1}}
            response: {status: 200, body: "a\\nc"}
            upstream: {headers: {x-greeting: hi}}
        """,
    )
    assert list(lines_of(result)) == [
        f"{tmp_path}/a.proxy-wasm.yaml:4: the upstream is greeted (on native)",
        "  POST /x:",
        "                                 expected  came",
        "    response.status              200       404",
        "    upstream.headers.x-greeting  hi        good day",
        "    response.body",
        "      expected  a",
        "                c",
        "      came      a",
        "                b",
        "  the client got 404 (via_upstream)",
        r"    x-raw: \xfe\x1b",
        "",
        "    a",
        "    b",
        "",
        "    x-end: 1",
        "  the upstream got POST /x",
        "    content-length: 7",
        "    x-greeting: good day",
        "",
        "    one",
        "    two",
        "  the log is empty",
    ]


def test_long_values_are_shortened_in_a_report(tmp_path: Path, module: Path) -> None:
    (result,) = results(
        tmp_path,
        module,
        open_host("wasm"),
        "cases: [{name: a, request: {body: {text: x, times: 100000}}, upstream: {body: {text: y, times: 100000}}}]".replace(
            "{body: {text: y, times: 100000}}", "{body: y}"
        ),
    )
    report = "\n".join(lines_of(result))
    assert " ... 100,000 characters ... " in report
    assert len(report) < 10_000


def test_each_case_has_a_plugin_of_its_own(tmp_path: Path, module: Path, host: Host) -> None:
    text = (
        "cases: [{name: a, request: GET /, metrics: {requests: 1}}, {name: b, request: GET /, metrics: {requests: 1}}]"
    )
    assert [result.failure for result in results(tmp_path, module, host, text)] == [None, None]


def test_an_overlapping_expectation_leaves_others_what_they_need(tmp_path: Path, module: Path) -> None:
    text = "cases: [{name: a, request: GET /, logs: {any_order: [{contains: on_}, on_done]}}, {name: b, request: GET /, logs: {any_order: [{contains: on_}, on_log]}}]"
    assert [result.failure for result in results(tmp_path, module, open_host("wasm"), text)] == [None, None]


SETTINGS = """
cases:
  - name: the vm goes on in another one
    plugin: {failure_policy: always open}
    request: {headers: {x-trap: 1}}
    response: {status: 200}
  - name: a hostcall that is not allowed fails
    plugin: {capabilities: [proxy_on_memory_allocate]}
    request: {headers: {x-log: hello}}
    response: {status: 200}
    logs: {none_of: [{level: warn, equals: hello}]}
  - name: what is shared is there from the start
    plugin: {shared_data: {key: {base64: /wD+}, other: text}}
    request: GET /
    shared_data: {key: {base64: /wD+}, other: {contains: ex}, third: none}
"""


def test_plugins_get_the_settings_that_the_file_gives_them(tmp_path: Path, module: Path, host: Host) -> None:
    assert [line for result in results(tmp_path, module, host, SETTINGS) for line in lines_of(result)] == []


def test_other_shared_data_than_expected_fails(tmp_path: Path, module: Path) -> None:
    case = "plugin: {shared_data: {a: one}}, request: GET /, shared_data: {a: two, b: two}"
    assert failure(tmp_path, module, open_host("wasm"), case).differences == (
        Difference("shared_data.a", "two", "one"),
        Difference("shared_data.b", "two", "none"),
    )


def test_strict_mode_fails_a_case_but_for_the_faults_that_are_allowed(tmp_path: Path, module: Path, host: Host) -> None:
    trapping = "request: {headers: {x-trap: 1}}, response: {status: 503}"
    assert "strict mode" in failure(tmp_path, module, host, f"plugin: {{strict: true}}, {trapping}").problem
    allowed = f"cases: [{{name: a, plugin: {{strict: true, allowed_faults: [.]}}, {trapping}}}]"
    assert [result.failure for result in results(tmp_path, module, host, allowed)] == [None]


def test_cases_with_properties_do_not_run_in_envoy(tmp_path: Path, module: Path) -> None:
    path = tmp_path / "a.proxy-wasm.yaml"
    path.write_text(
        "plugin: {properties: {source.address: '10.0.0.9:1'}}\ncases: [{name: a, request: GET /, response: {}}]"
    )
    (case,) = load(path).cases
    assert hosts_of(case, Extension(module)) == ("wasm",)
    assert run_case(case, open_host("wasm"), Extension(module)).failure is None

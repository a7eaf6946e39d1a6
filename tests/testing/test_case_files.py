"""Files of cases: what they say, and what is said of those that are wrong."""

from pathlib import Path

import pytest
import yaml

from proxy_wasm.testing.cases import source
from proxy_wasm.testing.cases.errors import CasesError
from proxy_wasm.testing.cases.files import filter_of, find, load
from proxy_wasm.testing.cases.format import schema
from proxy_wasm.testing.cases.model import Case, RequestStep


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Files are read alike by both parsers of PyYAML."""
    monkeypatch.setattr(source, "_LOADER", yaml.CSafeLoader if request.param == "libyaml" else yaml.SafeLoader)
    return request.param


def written(folder: Path, text: str) -> Path:
    path = folder / "a.proxy-wasm.yaml"
    path.write_text(text, "utf-8")
    return path


def only_case(folder: Path, text: str) -> Case:
    (case,) = load(written(folder, text)).cases
    return case


def request_step(folder: Path, text: str) -> RequestStep:
    (step,) = only_case(folder, f"cases: [{{name: a, request: {text}, response: {{status: 200}}}}]").steps
    assert isinstance(step, RequestStep)
    return step


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ": is empty; write 'cases:' with a list of cases"),
        ("cases: [", ": is no YAML: "),
        ("a: \x00", ": is no YAML: "),
        ("cases: []", ":1: cases: needs 'cases': a list with at least one case"),
        ("plugin: {}", ":1: needs 'cases'"),
        ("- a", ":1: must be a mapping with filter, hosts, plugin, clusters, cases; is a list"),
        ("cases: [a]", ":1: cases[0]: must be a mapping with name, "),
        ("cases:\n  - {name: a, reqest: GET /}", ":2: cases[0].reqest: there is no such key; there are name, table, "),
        ("cases:\n  - request: GET /\n    response: {}", ":2: cases[0]: needs 'name': what the case shows"),
        ("cases:\n  - name: a\n    name: b", ":3: cases[0]: 'name' stands here twice; keep one of them"),
        ("cases: []\ncases: []", ":2: 'cases' stands here twice"),
        ("cases: [{name: a, request: !get /}]", ":1: cases[0].request: tag !get: is unknown; leave it out"),
        ("cases: [{name: a, request: GET /}]", ":1: cases[0]: expects nothing; say what must come of it"),
        ("cases: [{name: a, steps: [advance: 1]}]", "cases[0]: expects nothing"),
        ("cases: [{name: a, response: {status: 200}}]", "cases[0]: has response, but no request"),
        ("cases: [{name: a, steps: [], request: GET /}]", "cases[0]: has both steps and request"),
        (
            "cases: [{name: a, request: GET, response: {}}]",
            "must be a method and a path, such as GET /users, or a mapping; is 'GET'",
        ),
        ("cases: [{name: a, request: [], response: {}}]", "cases[0].request: must be text or a mapping, is a list"),
        (
            "cases: [{name: a, request: {body: a, chunks: [b]}, response: {}}]",
            "cases[0].request: has both body and chunks",
        ),
        (
            "cases: [{name: a, request: {chunks: [a, b], disconnect_after: {chunks: 2}}, response: {}}]",
            "cases[0].request: disconnect_after: 2 chunks are not fewer than the request has",
        ),
        (
            "cases: [{name: a, request: {body: {base64: a}}, response: {}}]",
            "cases[0].request.body.base64: is no base64: ",
        ),
        (
            "cases: [{name: a, request: {body: {txt: a}}, response: {}}]",
            "cases[0].request.body: needs one of text, base64, json",
        ),
        (
            "cases: [{name: a, request: {path: }, response: {}}]",
            "cases[0].request.path: is empty; write '' for an empty text",
        ),
        ("cases: [{name: a, request: {timeout: -1}, response: {}}]", "timeout: must be a number of seconds, is '-1'"),
        (
            "cases: [{name: a, request: GET /, response: {status: 99}}]",
            "response.status: must be a status from 100 to 599, is '99'",
        ),
        (
            "cases: [{name: a, request: GET /, response: {status: OK}}]",
            "response.status: must be a status from 100 to 599, is 'OK'",
        ),
        (
            "cases: [{name: a, request: GET /, response: {body: {regex: '('}}}]",
            "body.regex: is no regular expression: ",
        ),
        ("cases: [{name: a, request: GET /, response: {body: {}}}]", "response.body: is empty; there are equals, "),
        (
            "cases: [{name: a, request: GET /, response: {body: {like: a}}}]",
            "body.like: there is no such key; there are equals, contains",
        ),
        (
            "cases: [{name: a, request: GET /, response: {headers: {x: {absent: true, equals: a}}}}]",
            "response.headers.x: must say one thing of the header",
        ),
        ("cases: [{name: a, request: GET /, response: {headers: {X: a, x: b}}}]", "headers: names a header twice"),
        ("cases: [{name: a, request: GET /, upstream: }]", "cases[0].upstream: must be none, is empty"),
        (
            "cases: [{name: a, request: GET /, response: none, upstream: none}]",
            "has response: none and upstream; of a request without",
        ),
        ("cases: [{name: a, refused: true, request: GET /}]", "cases[0]: has refused and more; a plugin that refuses"),
        ("cases: [{name: a, hosts: [nginx], refused: true}]", "hosts[0]: must be native, wasm or envoy, is 'nginx'"),
        ("cases: [{name: a, hosts: [], refused: true}]", "cases[0].hosts: needs at least one host"),
        (
            "clusters: {a: dead}\ncases: [{name: a, refused: true}]",
            "clusters.a: must be silent, closing, absent or no hosts, is 'dead'",
        ),
        ("clusters: {a: {statis: 200}}\ncases: [{name: a, refused: true}]", "clusters.a: needs one of grpc, status, "),
        (
            "clusters: {a: [{delay: 1}, {}]}\ncases: [{name: a, refused: true}]",
            "clusters.a: has answers with different delays",
        ),
        (
            "cases: [{name: a, calls: {b: none}}]",
            "cases[0]: calls: b is no cluster that answers over HTTP; define it under clusters",
        ),
        ("cases: [{name: a, metrics: {'a{b': 1}}]", 'metrics: a{b: a metric is written as name or name{label="value"}'),
        ("cases: [{name: a, metrics: {'a{le=\"1\"}': 1}}]", "cases[0].metrics: metric a, label 'le'"),
        ("cases: [{name: a, steps: [{sent: a}]}]", "cases[0].steps[0]: needs one of request, advance, connect, send, "),
        ("cases: [{name: a, steps: [{connect: echo, name: a}]}]", "steps[0].name: there is no such key"),
        (
            "cases: [{name: a, steps: [{send: a}, {closed: true}]}]",
            "cases[0]: steps[0]: there is no connection yet; open it with",
        ),
        (
            "cases: [{name: a, steps: [{connect: echo}, {closed: true, connection: b}]}]",
            "cases[0]: steps[1]: there is no connection 'b' yet",
        ),
        (
            "cases: [{name: a, steps: [connect: {name: b}, connect: {name: b}, closed: true]}]",
            "steps[1]: there is a connection 'b' already",
        ),
        (
            "cases: [{name: a, steps: [connect: echo, receive: '']}]",
            "steps[1].receive: is empty, and so nothing to wait for",
        ),
        (
            "cases: [{name: a, steps: [connect: echo, {request: GET /, response: {}}]}]",
            "cases[0]: has requests and connections; a plugin filters one of them",
        ),
        (
            "cases:\n  - {name: a, refused: true}\n  - {name: a, refused: true}",
            ":3: cases[1]: name: 'a' is the name of the case in line 2, too",
        ),
        ("cases: [{name: a, table: [], refused: true}]", "cases[0].table: needs at least one row"),
        ("cases: [{name: a, table: {}, refused: true}]", "cases[0].table: must be a list, is a mapping"),
        (
            "cases: [{name: '${b}', table: [{a: 1}], refused: true}]",
            "cases[0].name: ${b}: the table's row has no 'b'; it has a",
        ),
        (
            "cases: [{name: a, table:\n [{a: 1}], refused: true}]",
            ":2: cases[0].table[0].a: is not used; write ${a} where it belongs",
        ),
        (
            "cases: [{name: 'x ${a}', table: [{a: [1]}], refused: true}]",
            "${a} is a list; inside a text it must be text, or stand alone",
        ),
        (
            "cases: [{name: a, plugin: {configuration: &c {a: *c}}, refused: true}]",
            "configuration.a.a: contains itself",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_file_line_and_key(tmp_path: Path, text: str, error: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CasesError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:")
    assert error in str(caught.value)


def test_a_question_mark_may_need_quotes_and_then_it_is_said(tmp_path: Path, parser: str) -> None:
    text = "cases: [{name: a, request: {path: /x?y}, response: {}}]"
    if parser == "libyaml":
        assert str(only_case(tmp_path, text).steps[0]) == "GET /x?y"
    else:
        with pytest.raises(CasesError, match=r":1: is no YAML: .*a text with a \? stands in quotes"):
            load(written(tmp_path, text))


def test_a_file_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.proxy-wasm.yaml"
    path.write_bytes(b"cases: [\xff]")
    with pytest.raises(CasesError, match="is no UTF-8: invalid start byte at byte 8"):
        load(path)


def test_texts_are_taken_as_they_are_written(tmp_path: Path) -> None:
    step = request_step(
        tmp_path, "{headers: {x-yes: yes, x-one: 1.0, x-date: 2026-01-02, x-true: true, x-oct: 0o7}, body: 1e3}"
    )
    assert step.request.headers.multi_items() == [
        ("x-yes", "yes"),
        ("x-one", "1.0"),
        ("x-date", "2026-01-02"),
        ("x-true", "true"),
        ("x-oct", "0o7"),
    ]
    assert step.request.body == b"1e3"


@pytest.mark.parametrize(
    ("written_as", "configuration"),
    [
        ("{a: 1, b: yes, c: true, d: '1', e: null, f: 1.5, g: 0x10, h: 010, i: 1:30, j: 2026-01-02, k: .5}",
         b'{"a": 1, "b": "yes", "c": true, "d": "1", "e": null, "f": 1.5, "g": 16, "h": 10, "i": "1:30", "j": "2026-01-02", "k": 0.5}'),
        ("[a, 2]", b'["a", 2]'),
        ("plain text", b"plain text"),
        ("''", b""),
        ('"{\\"a\\": 1}"', b'{"a": 1}'),
    ],
)  # fmt: skip
def test_a_configuration_goes_as_json_by_the_rules_of_yaml_1_2(
    tmp_path: Path, written_as: str, configuration: bytes
) -> None:
    case = only_case(tmp_path, f"cases: [{{name: a, refused: true, plugin: {{configuration: {written_as}}}}}]")
    assert case.plugin.configuration == configuration


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ("text", b"text"),
        ("ä", "ä".encode()),
        ("{base64: /wD+}", b"\xff\x00\xfe"),
        ("{json: {a: [1, true]}}", b'{"a": [1, true]}'),
        ("{text: ab, times: 3}", b"ababab"),
    ],
)
def test_bodies_are_text_base64_json_or_repeated(tmp_path: Path, body: str, sent: bytes) -> None:
    assert request_step(tmp_path, f"{{body: {body}}}").request.body == sent


def test_the_method_of_a_request_with_a_body_is_post(tmp_path: Path) -> None:
    assert str(request_step(tmp_path, "{body: a}").request) == "POST /"
    assert str(request_step(tmp_path, "{chunks: [a, b], path: /a}").request) == "POST /a"
    assert str(request_step(tmp_path, "{body: a, method: PUT}").request) == "PUT /"
    assert str(request_step(tmp_path, "{}").request) == "GET /"


def test_a_cases_settings_go_before_the_files_one_by_one(tmp_path: Path) -> None:
    case = only_case(
        tmp_path,
        """
        plugin: {configuration: a, root_id: b}
        clusters: {one: {status: 200}, two: silent}
        hosts: [wasm]
        cases: [{name: a, refused: true, plugin: {configuration: c}, clusters: {two: absent}}]
        """,
    )
    assert (case.plugin.configuration, case.plugin.root_id) == (b"c", "b")
    assert case.clusters["two"] == "absent"
    assert sorted(case.clusters) == ["one", "two"]
    assert case.hosts == ("wasm",)


def test_a_case_runs_with_each_row_of_its_table(tmp_path: Path) -> None:
    file = load(
        written(
            tmp_path,
            """
            cases:
              - name: ${path} costs $$${price}
                table: [{path: /a, price: 1, upstream: none}, {path: /b, price: 2, upstream: {path: /c}}]
                request: {path: "${path}", headers: {"x-${price}": "${price}"}}
                upstream: ${upstream}
              - {name: unnamed, table: [{a: 1, b: 2}, {a: 3, b: [1]}], request: {headers: {a: "${a}", b: "${b}"}}, upstream: {}}
            """,
        )
    )
    assert [case.name for case in file.cases] == ["/a costs $1", "/b costs $2", "unnamed [1, 2]", "unnamed [3]"]
    steps = [step for case in file.cases[:2] for step in case.steps if isinstance(step, RequestStep)]
    assert [step.request.headers.multi_items() for step in steps] == [[("x-1", "1")], [("x-2", "2")]]
    assert steps[0].upstream == "none"
    assert steps[1].upstream not in (None, "none")


def test_an_error_in_a_row_names_the_rows_line(tmp_path: Path) -> None:
    text = "cases:\n  - name: a\n    table:\n      - {status: 200}\n      - {status: 2000}\n    request: GET /\n    response: {status: '${status}'}"
    with pytest.raises(
        CasesError, match=r":5: cases\[0\].response.status: must be a status from 100 to 599, is '2000'"
    ):
        load(written(tmp_path, text))


def test_placeholders_mean_nothing_without_a_table(tmp_path: Path) -> None:
    assert request_step(tmp_path, '{path: "/${a}$$"}').request.path == "/${a}$$"


def test_values_can_be_repeated_by_anchors(tmp_path: Path) -> None:
    file = load(
        written(
            tmp_path,
            "cases: [{name: a, request: &r {path: /x}, response: {}}, {name: b, request: *r, response: {}}]",
        )
    )
    assert [str(case.steps[0]) for case in file.cases] == ["GET /x", "GET /x"]


def test_files_are_found_by_their_names_but_not_in_hidden_folders(tmp_path: Path) -> None:
    names = ["b.proxy-wasm.yaml", "deep/a.proxy-wasm.yaml", ".venv/c.proxy-wasm.yaml", "other.yaml"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(find(tmp_path)) == [tmp_path / "b.proxy-wasm.yaml", tmp_path / "deep/a.proxy-wasm.yaml"]
    assert list(find(tmp_path, deep=False)) == [tmp_path / "b.proxy-wasm.yaml"]


def test_the_filter_is_the_one_named_or_the_extension_around_the_file(tmp_path: Path, greeter: Path) -> None:
    case = "cases: [{name: a, refused: true}]"
    folder = greeter / "cases"
    folder.mkdir()
    assert filter_of(load(written(folder, case))) == greeter
    assert filter_of(load(written(tmp_path, f"filter: greeter\n{case}"))) == greeter
    with pytest.raises(CasesError, match=r"filter: .*absent: no such folder or file"):
        filter_of(load(written(tmp_path, f"filter: absent\n{case}")))
    with pytest.raises(CasesError, match="no folder above is an extension"):
        filter_of(load(written(tmp_path, case)))


def test_without_pyyaml_the_way_to_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = __import__("sys").modules
    for name in [name for name in modules if name.startswith("proxy_wasm.testing.cases.")]:
        monkeypatch.delitem(modules, name)
    monkeypatch.setitem(modules, "yaml", None)
    from proxy_wasm.testing.cases.errors import CasesError as FreshCasesError  # noqa: PLC0415 - imported anew
    from proxy_wasm.testing.cases.files import load as fresh_load  # noqa: PLC0415 - imported anew

    with pytest.raises(FreshCasesError, match=r"to read it PyYAML is missing: pip install 'proxy-wasm\[test\]'"):
        fresh_load(written(tmp_path, ""))


def test_the_schema_knows_all_keys() -> None:
    described = schema()
    case = described["properties"]["cases"]["items"]
    assert {"request", "response", "upstream", "steps", "table", "refused"} < set(case["properties"])
    assert case["required"] == ["name"]

"""The format of files of cases; docs/yaml-tests.md is its manual.

It is a set of shapes (`octets`, `expected`, `given`, `steps`, and here): they read a file, name what is wrong in it, and make the JSON
schema that editors use.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy_wasm.testing.cases.errors import CasesError
from proxy_wasm.testing.cases.expected import CHECK_KEYS, LOG_LINE
from proxy_wasm.testing.cases.given import CLUSTERS, HOSTS, PLUGIN
from proxy_wasm.testing.cases.matching import Equals
from proxy_wasm.testing.cases.model import (
    AdvanceStep,
    Case,
    CaseFile,
    Check,
    ClosedStep,
    CloseStep,
    ConnectStep,
    LogLine,
    PluginPart,
    ReceiveStep,
    RequestStep,
    SendStep,
    Step,
)
from proxy_wasm.testing.cases.octets import TEXT, encoded
from proxy_wasm.testing.cases.shapes import Data, Json, Key, ListOf, MapOf, Record, Shape, Variants
from proxy_wasm.testing.cases.source import Row, Value, filled, parse
from proxy_wasm.testing.cases.steps import REQUEST_STEP_KEYS, STEP

_REFUSED: Shape[LogLine | bool] = Variants(
    text=TEXT.mapped(lambda text: True if text == "true" else LogLine(Equals(encoded(text)))),
    mapping=LOG_LINE.mapped(lambda line: line),
)
_COMMON_KEYS = {
    "hosts": Key(HOSTS, "where it may run: native, wasm, envoy; unless told, wherever its plugin can"),
    "plugin": Key(PLUGIN, "how the plugin is configured"),
    "clusters": Key(CLUSTERS, "what the plugin can call, by name; a name that is not given does not exist"),
}
_TABLE = ListOf(MapOf(Data()))
_CASE_KEYS = {
    "name": Key(TEXT, "what the case shows, as a sentence", required=True),
    "table": Key(_TABLE, "rows: the case runs with each, its values in place of ${name}"),
    **_COMMON_KEYS,
    **{name: replace(key, required=False) for name, key in REQUEST_STEP_KEYS.items()},
    "steps": Key(ListOf(STEP), "several steps in order, in place of one request"),
    "refused": Key(_REFUSED, "the plugin refuses its configuration: true, or a message that it logs then"),
    **CHECK_KEYS,
}


def _case(value: Value, general: Mapping[str, Any], suffix: str) -> Case:
    def make(name: str, **parts: Any) -> Case:  # noqa: ANN401 - what the keys hold
        case = Case(
            f"{name}{suffix}",
            value.file,
            value.node.start_mark.line + 1,
            parts.get("plugin", PluginPart()).over(general.get("plugin", PluginPart())),
            {**general.get("clusters", {}), **parts.get("clusters", {})},
            parts.get("hosts", general.get("hosts")),
            _steps(parts),
            parts.get("refused", False),
        )
        _check_sense(case)
        return case

    return Record(make, _CASE_KEYS).read(value)


def _steps(parts: Mapping[str, Any]) -> tuple[Step, ...]:
    request = {name: parts[name] for name in REQUEST_STEP_KEYS if name in parts}
    steps: tuple[Step, ...] = parts.get("steps", ())
    if request and "steps" in parts:
        raise ValueError(f"has both steps and {next(iter(request))}; write the request as one of the steps")
    if request:
        if "request" not in request:
            raise ValueError(f"has {next(iter(request))}, but no request")
        steps = (RequestStep(**request),)
    check = Check(**{name: parts[name] for name in CHECK_KEYS if name in parts})
    return (*steps, check) if check.expects_something else steps


def _check_sense(case: Case) -> None:
    """Refuse what can't be meant."""
    if case.refused:
        if case.steps:
            raise ValueError("has refused and more; a plugin that refuses its configuration does nothing else")
        return
    expectations = (
        step for step in case.steps if not isinstance(step, AdvanceStep | ConnectStep | SendStep | CloseStep)
    )
    if not any(not isinstance(step, RequestStep) or _expects(step) for step in expectations):
        raise ValueError("expects nothing; say what must come of it: response, upstream, logs, metrics, ...")
    if case.network and any(isinstance(step, RequestStep) for step in case.steps):
        raise ValueError("has requests and connections; a plugin filters one of them")
    _check_connections(case)
    for step in case.steps:
        if isinstance(step, RequestStep):
            _check_request(step)
        for name in step.calls if isinstance(step, Check) else ():
            if isinstance(case.clusters.get(name), str | Mapping) or name not in case.clusters:
                raise ValueError(f"calls: {name} is no cluster that answers over HTTP; define it under clusters")


def _check_request(step: RequestStep) -> None:
    seen = (("upstream", step.upstream), ("details", step.details), ("logs", step.logs))
    for name, expected in seen if step.response == "none" else ():
        if expected is not None:
            raise ValueError(f"has response: none and {name}; of a request without a response nothing else is seen")


def _expects(step: RequestStep) -> bool:
    return any(each is not None for each in (step.response, step.upstream, step.details, step.logs))


def _check_connections(case: Case) -> None:
    opened: set[str] = set()
    for number, step in enumerate(case.steps):
        if isinstance(step, ConnectStep):
            if step.name in opened and step.name:
                raise ValueError(f"steps[{number}]: there is a connection {step.name!r} already; give it another name")
            opened.add(step.name)
        elif isinstance(step, SendStep | ReceiveStep | CloseStep | ClosedStep) and (
            not opened or (step.connection is not None and step.connection not in opened)
        ):
            which = f" {step.connection!r}" if step.connection else ""
            raise ValueError(f"steps[{number}]: there is no connection{which} yet; open it with a step connect")


def _expanded(value: Value) -> Iterator[tuple[Value, str]]:
    """The case that `value` is, or one for each row of its table; and what their names get, so that they differ."""
    entries = dict(value.entries()) if value.is_mapping else {}
    table = entries.get("table")
    if table is None:
        yield value, ""
        return
    if not _TABLE.read(table):
        raise table.error("needs at least one row")
    is_named_by_row = "name" in entries and "${" in str(entries["name"].node.value)
    for row in table.elements():
        columns = Row.read(row)
        told = ", ".join(column.text for column in columns.columns.values() if column.is_scalar)
        yield filled(value.without("table"), columns), "" if is_named_by_row else f" [{told}]"


def _parts(**parts: Any) -> dict[str, Any]:  # noqa: ANN401 - what the keys hold
    return parts


def _file(value: Value) -> CaseFile:
    general: dict[str, Any] = {}
    named: dict[str, Case] = {}

    def add(element: Value) -> None:
        for expanded, suffix in _expanded(element):
            case = _case(expanded, general, suffix)
            if case.name in named:
                raise expanded.error(
                    f"name: {case.name!r} is the name of the case in line {named[case.name].line}, too"
                )
            named[case.name] = case

    entries = dict(value.entries()) if value.is_mapping else {}
    cases = entries.get("cases")
    read: dict[str, Any] = Record(_parts, _FILE_KEYS, columns=False).read(value)
    general.update({name: read[name] for name in _COMMON_KEYS if name in read})
    if cases is None or not cases.is_list or not cases.node.value:
        raise (cases or value).error("needs 'cases': a list with at least one case")
    for element in cases.elements():
        add(element)
    filter_path = read.get("filter")
    return CaseFile(value.file, None if filter_path is None else value.file.parent / filter_path, tuple(named.values()))


class _Cases(Shape[None]):
    """The cases of a file, which are read once all else of the file is known."""

    def read(self, value: Value) -> None:
        pass

    def schema(self, definitions: dict[str, Json]) -> Json:
        return {"type": "array", "minItems": 1, "items": Record(Case, _CASE_KEYS).schema(definitions)}


_FILE_KEYS = {
    "filter": Key(TEXT, "an extension's folder or a .wasm file, relative to this file"),
    **_COMMON_KEYS,
    "cases": Key(_Cases(), "the cases", required=True),
}


def load(path: Path) -> CaseFile:
    """The cases of a file; raises `CasesError` where something is wrong with them, `OSError` where there is no such file."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CasesError(f"{path}: is no UTF-8: {error.reason} at byte {error.start}") from error
    return _file(parse(text, path))


def schema() -> Json:
    """The JSON schema of the format, for editors."""
    definitions: dict[str, Json] = {}
    described = Record(CaseFile, _FILE_KEYS, columns=False).schema(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Cases for Proxy-Wasm filters",
        **described,
        "$defs": definitions,
    }

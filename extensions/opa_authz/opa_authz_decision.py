"""What OPA answers: a boolean or an object, read by the rules of the OPA-Envoy plugin (envoyauth/response.go), and what it does to a request."""

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

from opa_authz_encoding import EncodingError, percent_encoded, unescaped

LARGEST_ANSWER = 1 << 20
"""In bytes: a larger one is not read."""
STATUSES = frozenset(
    [
        *range(200, 209),
        226,
        *range(300, 306),
        307,
        308,
        *range(400, 418),
        *range(421, 425),
        426,
        428,
        429,
        431,
        *range(500, 509),
        510,
        511,
    ]
)
"""What both Go and Envoy know as the status of a response."""
_FRAMING = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
"""Headers of the connection, which are the proxy's to set."""
_NAME = re.compile(r":?[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UNSENDABLE = re.compile(r"[\0\r\n]")
T = TypeVar("T")

Pairs = list[tuple[str, str]]


class NoDecision(Exception):  # noqa: N818 - says what there is not
    """OPA gave no decision, or none that can be understood; `kind` is how the metric calls it."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Decision:
    """A valid decision; one object may serve many requests."""

    __slots__ = (
        "allowed",
        "body",
        "headers",
        "headers_to_remove",
        "parameters_to_remove",
        "parameters_to_set",
        "response_headers",
        "state",
        "status",
    )

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed
        self.headers: Pairs = []
        """For the upstream where the request is allowed, else for the client."""
        self.headers_to_remove: list[str] = []
        self.response_headers: Pairs = []
        self.parameters_to_set: Pairs = []
        self.parameters_to_remove: list[str] = []
        self.body = ""
        self.status = 403
        self.state: Pairs = []
        """What other filters and access logs are told, by name."""


def read_answer(status: int, content: bytes) -> Decision:
    """The decision in an answer of OPA's data API; raises `NoDecision`."""
    if status != 200:  # noqa: PLR2004 - OK
        raise NoDecision("status", f"it answered with status {status}")
    if len(content) > LARGEST_ANSWER:
        raise NoDecision("answer", f"its answer is larger than {LARGEST_ANSWER} bytes")
    try:
        answer = json.loads(content.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise NoDecision("answer", "its answer is no JSON") from None
    if not isinstance(answer, dict):
        raise NoDecision("answer", "its answer is no object")
    fields = cast("dict[str, Any]", answer)
    if "result" not in fields:
        raise NoDecision("undefined", "the decision is undefined")
    decision = _read(fields["result"])
    decision_id = fields.get("decision_id")
    if isinstance(decision_id, str):
        decision.state = [(name, value) for name, value in decision.state if name != "decision_id"]
        decision.state.append(("decision_id", decision_id))
    return decision


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _read(result: object) -> Decision:
    if isinstance(result, bool):
        return Decision(allowed=result)
    if not isinstance(result, dict):
        raise _wrong("result", "must be a boolean or an object")
    fields = cast("dict[str, object]", result)
    allowed = fields.get("allowed")
    if not isinstance(allowed, bool):
        raise _wrong("allowed", "must be a boolean")
    decision = Decision(allowed=allowed)
    decision.headers = _optional(fields, "headers", _headers, [])
    decision.state = _optional(fields, "dynamic_metadata", _state, [])
    if allowed:
        decision.headers_to_remove = _optional(fields, "request_headers_to_remove", _names, [])
        decision.response_headers = _optional(fields, "response_headers_to_add", _headers, [])
        decision.parameters_to_remove = _optional(fields, "query_parameters_to_remove", _texts, [])
        decision.parameters_to_set = _optional(fields, "query_parameters_to_set", _parameters, [])
    else:
        decision.body = _optional(fields, "body", _text, "")
        decision.status = _optional(fields, "http_status", _status, 403)
    return decision


def _optional(fields: dict[str, object], key: str, read: Callable[[str, object], T], default: T) -> T:
    return read(key, fields[key]) if key in fields else default


def _wrong(place: str, problem: str) -> NoDecision:
    return NoDecision("decision", f"{place} {problem}")


def _text(place: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(place, "must be a string")
    return value.encode("utf-8", "replace").decode()  # half of a surrogate pair is no text that could be sent


def _texts(place: str, value: object) -> list[str]:
    if not isinstance(value, list):
        raise _wrong(place, "must be an array of strings")
    return [_text(place, entry) for entry in cast("list[object]", value)]


def _object(place: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _wrong(place, "must be an object")
    return cast("dict[str, object]", value)


def _text_or_texts(place: str, value: object) -> list[str]:
    return [_text(place, value)] if isinstance(value, str) else _texts(place, value)


def _headers(place: str, value: object) -> Pairs:
    objects = cast("list[object]", value) if isinstance(value, list) else [value]
    pairs: Pairs = []
    for headers in objects:
        for name, values in _object(place, headers).items():
            _check_name(place, name)
            for text in _text_or_texts(place, values):
                if _UNSENDABLE.search(text):
                    raise _wrong(place, "has a value with a line break or a NUL")
                pairs.append((name.lower(), text))
    return [(name, text) for name, text in pairs if name not in _FRAMING]


def _names(place: str, value: object) -> list[str]:
    names = _texts(place, value)
    for name in names:
        _check_name(place, name)
    # As Envoy has it: what names the request stays.
    return [name.lower() for name in names if not name.startswith(":") and name.lower() != "host"]


def _check_name(place: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _wrong(place, "has what is no name of a header")


def _parameters(place: str, value: object) -> Pairs:
    given = _object(place, value).items()
    return [(_text(place, name), text) for name, values in given for text in _text_or_texts(place, values)]


def _status(place: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(place, "must be a number without a fraction")
    if value not in STATUSES:
        raise _wrong(place, "is no status that a response can have")
    return value


def _state(place: str, value: object) -> Pairs:
    return [
        (_text(place, name), _text(place, entry) if isinstance(entry, str) else json.dumps(entry))
        for name, entry in _object(place, value).items()
        if name and "\0" not in name
    ]


def with_parameters(path: str, decision: Decision) -> str:
    """A path with its query changed: set first, then removed, as Envoy does; other parameters stay as they are, byte by byte."""
    gone = {name for name, _ in decision.parameters_to_set}.union(decision.parameters_to_remove)
    before, _, query = path.partition("?")
    parameters = query.split("&")
    kept = [parameter for parameter in parameters if parameter and _key(parameter) not in gone]
    removed = set(decision.parameters_to_remove)
    added = [
        f"{percent_encoded(name)}={percent_encoded(value)}"
        for name, value in decision.parameters_to_set
        if name not in removed
    ]
    if not added and len(kept) == len([parameter for parameter in parameters if parameter]):
        return path
    changed = "&".join([*kept, *added])
    return f"{before}?{changed}" if changed else before


def _key(parameter: str) -> str:
    try:
        return unescaped(parameter.partition("=")[0], plus_is_space=True)
    except EncodingError:
        return ""

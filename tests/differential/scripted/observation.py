"""What came of a case, in a form that is the same for every host.

The filter logs a line for each callback: `@`, the callback's number, whose context it was for (S: the stream that runs the script, P: the plugin, X: any
other), and its further arguments; then for each hostcall `|`, its number, its status and its results, bytes in hexadecimal behind `'`.

Ids that hosts hand out count up over all cases, so they are told by the order in which a case meets them.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.header_map import Pair, decode_pairs
from scripted.script import CALLBACKS, HOSTCALLS

Json: TypeAlias = Any

_ID_HOSTCALLS = {
    "define_metric": "metric",
    "register_shared_queue": "queue",
    "resolve_shared_queue": "queue",
    "http_call": "call",
    "grpc_call": "call",
    "grpc_stream": "call",
}
"""What the number is of that a hostcall gives."""
_ID_CALLBACKS = {
    "on_http_call_response": "call",
    "on_grpc_receive_initial_metadata": "call",
    "on_grpc_receive": "call",
    "on_grpc_receive_trailing_metadata": "call",
    "on_grpc_close": "call",
    "on_queue_ready": "queue",
}
"""What the first argument of a callback is the id of."""
_TYPE_BITS = {"metric": 3, "call": 3, "queue": 0, "cas": 0}
"""The bits of an id that tell something."""
_UNPREDICTABLE = ("get_current_time_nanoseconds",)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it left the proxy."""

    start: tuple[str, ...]
    """Method, path and authority; or the status."""
    headers: tuple[Pair, ...]
    body: bytes = b""
    trailers: tuple[Pair, ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Observation:
    """What could be seen of a case."""

    log: tuple[tuple[int, bytes], ...]
    """What the filter logged, with the level."""
    client: Message | None = None
    """What the client got; `None` where nothing."""
    upstream: Message | None = None
    """What the upstream got; `None` where nothing."""
    failure: str = ""
    """How the VM, or the proxy, came to its end."""

    def to_json(self) -> Json:
        """For comparison and for people."""
        seen: dict[str, Any] = {
            "client": _message_to_json(self.client),
            "upstream": _message_to_json(self.upstream),
            "log": list(decoded(self.log)),
        }
        return {**seen, "failure": self.failure} if self.failure else seen


@dataclass(slots=True)
class _Ids:
    """Ids by the order in which they appear."""

    known: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])

    def name(self, kind: str, number: int) -> str:
        key = kind, number
        if key not in self.known:
            count = sum(1 for known, _ in self.known if known == kind)
            bits = f":{number & _TYPE_BITS[kind]}" if _TYPE_BITS[kind] else ""
            self.known[key] = f"{kind}#{count}{bits}"
        return self.known[key]


def decoded(log: Iterable[tuple[int, bytes]]) -> Iterable[Json]:
    """The filter's lines in words; what its script logged as it is."""
    ids = _Ids()
    for level, line in log:
        if line.startswith(b"@"):
            yield _decoded_line(line.decode(), ids)
        else:
            yield ["log", level, _text(line)]


def _decoded_line(line: str, ids: _Ids) -> Json:
    head, *steps = line.split("|")
    digits = 2 if head[2].isdigit() else 1
    callback, whose = CALLBACKS[int(head[1 : 1 + digits])], head[1 + digits]
    arguments: list[Any] = list(map(int, head[2 + digits :].split()))
    # Hostcalls first: some call back before they return, but their ids are known by then in no other way.
    calls = [_decoded_step(step.split(" "), ids) for step in steps]
    if callback in _ID_CALLBACKS:
        arguments[0] = ids.name(_ID_CALLBACKS[callback], arguments[0])
    return [callback, whose, *arguments, calls]


def _decoded_step(words: Sequence[str], ids: _Ids) -> Json:
    name, status = HOSTCALLS[int(words[0])], int(words[1])
    results: list[Any] = [_result(name, word) for word in words[2:]]
    if name in _UNPREDICTABLE:
        results = []
    if name in _ID_HOSTCALLS and results:
        results = [ids.name(_ID_HOSTCALLS[name], results[0])]
    if name == "get_shared_data" and results:
        results[1] = ids.name("cas", results[1])
    return [name, Status(status).name if status in _STATUSES else status, *results]


_STATUSES = frozenset(int(status) for status in Status)


def _result(hostcall: str, word: str) -> Json:
    if not word.startswith("'"):
        return int(word)
    data = bytes.fromhex(word[1:])
    if hostcall == "get_header_map_pairs":
        return _pairs(decode_pairs(data))
    if hostcall == "get_property" and data:
        with suppress(ValueError):  # most are no maps; those that are have no order
            return _pairs(sorted(decode_pairs(data)))
    return _text(data)


def _pairs(pairs: Iterable[Pair]) -> Json:
    """Without the header that Envoy adds at the end, and the value that tells a time."""
    return [
        [_text(name), "" if name == b"x-envoy-upstream-service-time" else _text(value)]
        for name, value in pairs
        if name != b"date"
    ]


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _message_to_json(message: Message | None) -> Json:
    if message is None:
        return None
    return {
        "start": list(message.start),
        "headers": sorted([_text(name), _text(value)] for name, value in message.headers),
        "body": _text(message.body),
        "trailers": sorted([_text(name), _text(value)] for name, value in message.trailers),
        "whole": message.whole,
    }

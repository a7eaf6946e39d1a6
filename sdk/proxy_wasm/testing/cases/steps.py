"""The steps that a case may consist of."""

from typing import Literal

from proxy_wasm.testing.cases.expected import CHECK_KEYS, EXPECTED_REQUEST, EXPECTED_RESPONSE, LOGS, MATCHER, or_none
from proxy_wasm.testing.cases.given import REQUEST, UPSTREAM_ANSWER
from proxy_wasm.testing.cases.matching import Matcher
from proxy_wasm.testing.cases.model import (
    AdvanceStep,
    Check,
    ClosedStep,
    CloseStep,
    ConnectStep,
    ReceiveStep,
    RequestStep,
    SendStep,
    Step,
    TcpUpstream,
)
from proxy_wasm.testing.cases.octets import BYTES, SECONDS, TEXT
from proxy_wasm.testing.cases.shapes import ByKey, Flag, Key, ListOf, OneOf, Record, Shape, Variants

REQUEST_STEP_KEYS = {
    "request": Key(REQUEST, "what a client sends", required=True),
    "upstream_answer": Key(UPSTREAM_ANSWER, "what the upstream answers"),
    "response": Key(or_none(EXPECTED_RESPONSE), "what the client must get; none: it is left without a response"),
    "upstream": Key(or_none(EXPECTED_REQUEST), "what must reach the upstream; none: nothing may"),
    "details": Key(MATCHER, "the response code details: via_upstream, or those of the filter's own response"),
}
_CONNECTION = {"connection": Key(TEXT, "which connection, where there are several; unless told, the last one")}


def _advance(advance: float) -> AdvanceStep:
    return AdvanceStep(advance)


def _connect(connect: TcpUpstream | tuple[str, TcpUpstream]) -> ConnectStep:
    return ConnectStep(*connect) if isinstance(connect, tuple) else ConnectStep("", connect)


def _named_connection(name: str = "", upstream: TcpUpstream | None = None) -> tuple[str, TcpUpstream]:
    return name, upstream or TcpUpstream()


_TCP_WORDS: Shape[TcpUpstream] = OneOf({"echo": TcpUpstream(), "silent": TcpUpstream(())})
_TCP_UPSTREAM: Shape[TcpUpstream] = Variants(text=_TCP_WORDS, items=ListOf(BYTES).mapped(TcpUpstream))
_CONNECT: Shape[TcpUpstream | tuple[str, TcpUpstream]] = Variants(
    text=_TCP_WORDS.mapped(lambda upstream: upstream),
    mapping=Record(
        _named_connection,
        {
            "name": Key(TEXT, "what other steps call it"),
            "upstream": Key(
                _TCP_UPSTREAM, "echo, silent, or a list: what is sent back for each piece that arrives, in turn"
            ),
        },
    ).mapped(lambda connection: connection),
)


def _send(send: bytes = b"", *, end: bool = False, connection: str | None = None) -> SendStep:
    return SendStep(send, end, connection)


def _received(data: bytes) -> bytes:
    if not data:
        raise ValueError("is empty, and so nothing to wait for")
    return data


_RECEIVED = BYTES.mapped(_received)


def _receive(receive: bytes, connection: str | None = None) -> ReceiveStep:
    return ReceiveStep("client", receive, connection)


def _receive_all(receive_all: Matcher, connection: str | None = None) -> ReceiveStep:
    return ReceiveStep("client", receive_all, connection)


def _upstream_receives(upstream_receives: bytes, connection: str | None = None) -> ReceiveStep:
    return ReceiveStep("upstream", upstream_receives, connection)


def _close(close: Literal["client", "upstream", "reset"], connection: str | None = None) -> CloseStep:
    return CloseStep(close, connection)


_CHECK: Shape[Step] = Record(Check, CHECK_KEYS)
_ENDS: Shape[Literal["client", "upstream", "reset"]] = OneOf(
    {"client": "client", "upstream": "upstream", "reset": "reset"}
)
STEP: Shape[Step] = ByKey[Step](
    {
        "request": Record(RequestStep, {**REQUEST_STEP_KEYS, "logs": Key(LOGS, "what is logged meanwhile")}),
        "advance": Record(
            _advance,
            {"advance": Key(SECONDS, "seconds that pass: of the emulator's clock, in Envoy really")},
        ),
        "connect": Record(
            _connect, {"connect": Key(_CONNECT, "a client connects; to what: echo or silent", required=True)}
        ),
        "send": Record(
            _send,
            {
                "send": Key(BYTES, "what the client sends", required=True),
                "end": Key(Flag(), "true: it is the last"),
                **_CONNECTION,
            },
        ),
        "receive": Record(
            _receive, {"receive": Key(_RECEIVED, "exactly what the client gets next", required=True), **_CONNECTION}
        ),
        "receive_all": Record(
            _receive_all,
            {
                "receive_all": Key(MATCHER, "what the client gets until the connection ends", required=True),
                **_CONNECTION,
            },
        ),
        "upstream_receives": Record(
            _upstream_receives,
            {"upstream_receives": Key(_RECEIVED, "exactly what the upstream gets next", required=True), **_CONNECTION},
        ),
        "close": Record(
            _close,
            {
                "close": Key(_ENDS, "who closes: client or upstream; reset: the client's breaks", required=True),
                **_CONNECTION,
            },
        ),
        "closed": Record(
            ClosedStep, {"closed": Key(Flag(), "whether the client's connection is over", required=True), **_CONNECTION}
        ),
        **dict.fromkeys(CHECK_KEYS, _CHECK),
    }
)

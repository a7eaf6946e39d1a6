"""What a case may give: a plugin's settings, what it can call, requests and answers."""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from proxy_wasm.emulator.exchange import Break, Disconnect
from proxy_wasm.emulator.failure_policy import FailurePolicy
from proxy_wasm.testing.cases.expected import EXPECTED_REQUEST
from proxy_wasm.testing.cases.model import Answer, ClusterPart, GrpcAnswer, PluginPart, Request
from proxy_wasm.testing.cases.octets import BYTES, HEADERS, SECONDS, STATUS, TEXT, UTF8
from proxy_wasm.testing.cases.shapes import (
    ByKey,
    Data,
    Flag,
    Integer,
    Key,
    ListOf,
    MapOf,
    Named,
    OneOf,
    Record,
    Shape,
    Single,
    Variants,
)
from proxy_wasm.testing.hosts import HOST_NAMES, HostName

_GRPC_STATUSES = 16


def _body(body: bytes | None, chunks: tuple[bytes, ...] | None) -> bytes | tuple[bytes, ...]:
    if body is not None and chunks is not None:
        raise ValueError("has both body and chunks; the body is all chunks together, keep one of them")
    return body or b"" if chunks is None else chunks


def _request(
    *,
    body: bytes | None = None,
    chunks: tuple[bytes, ...] | None = None,
    method: str | None = None,
    disconnect_after: Disconnect | None = None,
    **others: Any,  # noqa: ANN401 - fields of Request
) -> Request:
    sent = _body(body, chunks)
    before = None if disconnect_after is None else disconnect_after.after_sending
    if before is not None and before >= len(chunks or ()):
        raise ValueError(f"disconnect_after: {before} chunks are not fewer than the request has; give it more chunks")
    return Request(method or ("POST" if sent else "GET"), body=sent, disconnect_after=disconnect_after, **others)


def _short_request(text: str) -> Request:
    method, _, path = text.partition(" ")
    if not path or " " in path:
        raise ValueError(f"must be a method and a path, such as GET /users, or a mapping; is {text!r}")
    return Request(method, path)


_METHOD_AND_PATH = {
    "method": Key(TEXT, "GET unless told; POST where there is a body"),
    "path": Key(TEXT, "with the query, if any; / unless told"),
}
_BODY_KEYS = {
    "headers": Key(HEADERS, "headers by name; a list of values repeats the header"),
    "body": Key(BYTES, "the body"),
    "chunks": Key(ListOf(BYTES), "the body in pieces, which arrive one by one"),
    "trailers": Key(HEADERS, "trailers by name"),
}
_COUNT = Integer("a whole number", 0, 1 << 32)
_DISCONNECT: Shape[Disconnect] = Variants(
    text=SECONDS.mapped(Disconnect),
    mapping=ByKey(
        {
            "chunks": Single("chunks", _COUNT, "once the headers and so many chunks are sent").mapped(
                lambda count: Disconnect(after_sending=count)
            ),
            "bytes": Single("bytes", _COUNT, "once the headers and so many bytes of the body are received").mapped(
                lambda count: Disconnect(after_receiving=count)
            ),
        }
    ),
)
REQUEST: Shape[Request] = Variants(
    text=TEXT.mapped(_short_request),
    mapping=Record(
        _request,
        {
            **_METHOD_AND_PATH,
            "authority": Key(TEXT, "the Host; localhost unless told"),
            **_BODY_KEYS,
            "timeout": Key(SECONDS, "seconds until the response must be there"),
            "disconnect_after": Key(
                _DISCONNECT,
                "when the client leaves: after so many seconds, {chunks: n} of its body, or {bytes: n} of the response's",
            ),
        },
    ),
)


def _answer(
    *,
    body: bytes | None = None,
    chunks: tuple[bytes, ...] | None = None,
    **others: Any,  # noqa: ANN401 - fields of Answer
) -> Answer:
    return Answer(body=_body(body, chunks), **others)


_ANSWER_KEYS = {"status": Key(STATUS, "200 unless told"), **_BODY_KEYS}
UPSTREAM_ANSWER: Shape[Answer | Literal["silent", "closing"]] = Variants(
    text=OneOf[Literal["silent", "closing"]]({"silent": "silent", "closing": "closing"}),
    mapping=Record(
        _answer,
        {
            **_ANSWER_KEYS,
            "breaks": Key(
                OneOf[Break]({"close": "close", "reset": "reset"}),
                "the connection ends after the last chunk, before the response is whole",
            ),
        },
    ),
)
_CLUSTER_ANSWER: Shape[Answer] = Record(
    _answer,
    {
        **_ANSWER_KEYS,
        "delay": Key(SECONDS, "seconds until it is given"),
        "when": Key(EXPECTED_REQUEST, "which requests it is for; unless told, all"),
        "times": Key(
            Integer("a number of times", 1, 1 << 20), "how often it is given, before the next one that fits is"
        ),
    },
)
_GRPC_ANSWER: Shape[GrpcAnswer] = Record(
    GrpcAnswer,
    {
        "message": Key(BYTES, "the message that is sent back"),
        "status": Key(Integer("a gRPC status from 0 to 16", 0, _GRPC_STATUSES), "another status than 0, OK"),
        "error": Key(TEXT, "that status's message"),
    },
)
_TROUBLE: Shape[ClusterPart] = OneOf(
    {"silent": "silent", "closing": "closing", "absent": "absent", "no hosts": "no hosts"}
)


def _answers(answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
    if not answers:
        raise ValueError("needs at least one answer")
    if any(answer.delay != answers[0].delay for answer in answers):
        raise ValueError("has answers with different delays; a cluster has one: give it to each of them")
    return answers


_CLUSTER: Shape[ClusterPart] = Variants(
    text=_TROUBLE,
    items=ListOf(_CLUSTER_ANSWER).mapped(_answers),
    mapping=Variants(
        mapping=ByKey(
            {
                "grpc": Single("grpc", MapOf(_GRPC_ANSWER), "by /package.Service/Method, what is answered"),
                **dict.fromkeys(
                    (*_ANSWER_KEYS, "delay", "when", "times"), _CLUSTER_ANSWER.mapped(lambda answer: (answer,))
                ),
            }
        )
    ),
)


def _configuration(data: object) -> bytes:
    return json.dumps(data).encode()


_CONFIGURATION: Shape[bytes] = Named(
    "configuration",
    lambda: Variants(
        text=UTF8, items=ListOf(Data()).mapped(_configuration), mapping=MapOf(Data()).mapped(_configuration)
    ),
)
_FAILURE_POLICY: Shape[FailurePolicy] = OneOf(
    {
        "closed": FailurePolicy.CLOSED,
        "open": FailurePolicy.OPEN,
        "reload": FailurePolicy.RELOAD,
        "always open": FailurePolicy.ALWAYS_OPEN,
    }
)


def _expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return pattern


PLUGIN: Shape[PluginPart] = Named(
    "plugin",
    lambda: Record(
        PluginPart,
        {
            "configuration": Key(_CONFIGURATION, "the plugin's; a mapping or list goes as JSON, text as it is"),
            "vm_configuration": Key(_CONFIGURATION, "the VM's"),
            "root_id": Key(TEXT, "which plugin, where the module holds several"),
            "vm_id": Key(TEXT, "the VM's id"),
            "environment": Key(MapOf(TEXT), "the VM's environment variables"),
            "allow_on_headers_stop_iteration": Key(Flag(), "Envoy's option of the name"),
            "failure_policy": Key(_FAILURE_POLICY, "what becomes of streams once the VM has failed"),
            "capabilities": Key(ListOf(TEXT), "the hostcalls and callbacks that alone the plugin gets"),
            "properties": Key(MapOf(Data()), "what the proxy knows, by path: source.address; not in Envoy"),
            "shared_data": Key(MapOf(BYTES), "what is there already, by key"),
            "strict": Key(Flag(), "true: whatever the plugin does that no plugin should fails the case"),
            "allowed_faults": Key(ListOf(TEXT.mapped(_expression)), "regular expressions of faults that do not"),
        },
    ),
)
CLUSTERS: Shape[Mapping[str, ClusterPart]] = Named("clusters", lambda: MapOf(_CLUSTER))


def _some(hosts: tuple[HostName, ...]) -> tuple[HostName, ...]:
    if not hosts:
        raise ValueError("needs at least one host")
    return hosts


HOSTS: Shape[tuple[HostName, ...]] = Named(
    "hosts", lambda: ListOf(OneOf[HostName]({name: name for name in HOST_NAMES})).mapped(_some)
)

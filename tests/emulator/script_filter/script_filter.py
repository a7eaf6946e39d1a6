"""A filter that makes the hostcalls its configuration lists, and logs what the host answers.

The configuration is JSON: scripts by name, each of steps by callback. A request's path begins with the name of its script.
A step is a hostcall and its arguments (text is Latin-1 for bytes, a list is pairs), or `["return", action]`, or
`["return_unless_end", action]`.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from proxy_wasm import Body, Headers, HttpContext, PluginContext
from proxy_wasm.abi.header_map import decode_pairs, encode_pairs
from proxy_wasm.abi.hostcalls import HostError

REQUEST_HEADERS = 0
INFO = 2


Argument: TypeAlias = str | int | list[list[str]]
Step: TypeAlias = list[Any]


def to_wire(value: Argument) -> bytes | int:
    if isinstance(value, str):
        return value.encode("latin-1")
    if isinstance(value, list):
        return encode_pairs([(name.encode("latin-1"), text.encode("latin-1")) for name, text in value])
    return value


def from_wire(value: object) -> object:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def pairs(serialized: bytes) -> list[list[str]]:
    """Without the one header that Envoy adds."""
    decoded = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in decode_pairs(serialized)]
    return [pair for pair in decoded if pair[0] != "x-forwarded-proto"]


class ScriptFilter(PluginContext):
    def on_configure(self) -> None:
        self.scripts = self.configuration.json()

    def http_context(self) -> HttpContext[Any]:
        return ScriptedStream(self)


class ScriptedStream(HttpContext[ScriptFilter]):
    script: Mapping[str, list[Step]] = MappingProxyType({})

    def run(self, callback: str, end_of_stream: bool = False) -> int:
        answers: list[Any] = [callback, end_of_stream]
        action = 0
        for name, *arguments in self.script.get(callback, []):
            if name == "return":
                action = arguments[0]
            elif name == "return_unless_end":
                action = 0 if end_of_stream else arguments[0]
            else:
                answers.append(self.call(name, arguments))
        self.plugin.hostcalls.log(INFO, b"script " + json.dumps(answers).encode())
        return action

    def call(self, name: str, arguments: list[Argument]) -> object:
        try:
            answer = getattr(self.plugin.hostcalls, name)(*map(to_wire, arguments))
        except HostError as error:
            return str(error)
        return pairs(answer) if name == "get_header_map_pairs" else from_wire(answer)

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> int:
        path = self.plugin.hostcalls.get_header_map_value(REQUEST_HEADERS, b":path") or b""
        self.script = self.plugin.scripts[path.decode()[1:].partition("?")[0]]
        return self.run("on_request_headers", end_of_stream)

    def on_request_body(self, body: Body, end_of_stream: bool) -> int:
        return self.run("on_request_body", end_of_stream)

    def on_request_trailers(self, trailers: Headers) -> int:
        return self.run("on_request_trailers")

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> int:
        return self.run("on_response_headers", end_of_stream)

    def on_response_body(self, body: Body, end_of_stream: bool) -> int:
        return self.run("on_response_body", end_of_stream)

    def on_response_trailers(self, trailers: Headers) -> int:
        return self.run("on_response_trailers")

    def on_log(self) -> None:
        self.run("on_log")

    def on_done(self) -> None:
        self.run("on_done")

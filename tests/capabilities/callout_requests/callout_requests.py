"""A filter that makes the callout that the path names, twice, and answers with what came of each."""

import json
from collections.abc import Iterator, Mapping
from struct import pack
from typing import Any

from proxy_wasm import (
    Action,
    CalloutArgumentError,
    Headers,
    HttpContext,
    HttpResponse,
    PluginContext,
    callouts,
    gather,
    sleep,
)
from proxy_wasm.abi.header_map import decode_pairs, encode_pairs

MANY = 1020
"""Headers that fit in, beside a callout's own four."""


class Word(str):
    """Text of a class of its own."""

    __slots__ = ()


CALLS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "one": {"headers": {"x-token": "Basic YWxpY2U="}},
    "several": {"headers": {"x-a": "1", "x-b": "", "x-c": "two words"}, "path": "/v1/me?x=%20&y=*"},
    "no headers": {"headers": {}},
    "upper case": {"headers": {"X-Upper": "Value"}},
    "not ASCII": {"headers": {"x-latin": "caf\xe9", "x-plain": "1"}},
    "tab": {"headers": {"x-tab": "a\tb"}},
    "bytes": {"headers": {"x-bytes": b"\xe2\x82\xac", "x-plain": b"1"}},
    "names of bytes": {"headers": [(b"x-bytes", "1")]},
    "pairs": {"headers": [("x-a", "1"), ("x-b", "2"), ("x-a", "3")]},
    "words": {"headers": {Word("x-word"): Word("said")}, "path": Word("/word"), "method": Word("PUT")},
    "many": {"headers": {f"x-{number}": str(number) for number in range(MANY)}},
    "long": {"headers": {"x-long": "v" * 20_000, "x-" + "n" * 300: "1"}, "path": "/" + "p" * 3_000},
    "another host": {"authority": "users.example.com:8080", "method": "DELETE", "path": "/v1/me"},
    "a long host": {"authority": "u" * 400},
    "body": {"method": "POST", "body": "caf\xe9", "timeout": None},
    "too many": {"headers": {f"x-{number}": "1" for number in range(MANY + 1)}},
    "line feed": {"headers": {"x-a": "1", "x-b": "1\n2"}},
    "empty name": {"headers": {"": "1"}},
    "no name": {"headers": {1: "1"}},
    "a list for a name": {"headers": [(["x-a"], "1")]},
    "a number": {"headers": {"x-a": 1}},
    "host": {"headers": {"Host": "x"}},
    "length": {"headers": {"content-length": "3"}},
    "space in name": {"headers": {"x a": "3"}},
    "space in path": {"path": "/a b"},
    "no path": {"path": ""},
    "relative path": {"path": "a"},
    "bytes for a path": {"path": b"/"},
    "no cluster": {"cluster": ""},
    "a list for a cluster": {"cluster": ["echo"]},
    "method": {"method": "G ET"},
    "timeout": {"timeout": 0},
    "text for a timeout": {"timeout": "5"},
    "a list for a timeout": {"timeout": [5]},
}


class CalloutRequests(PluginContext):
    """Streams do it all."""

    def http_context(self) -> HttpContext[Any]:
        return CalloutStream(self)


class CalloutStream(HttpContext[CalloutRequests]):
    """Calls the cluster `echo`."""

    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        name = headers[":path"].removeprefix("/").replace("-", " ")
        if name == "without the interpreter":
            told: list[object] = list(without_the_interpreter())
        elif name == "answers":
            told = [await self.answer_of(path) for path in ("/200", "/204", "/404", "/599")]
        else:
            told = [await self.outcome(CALLS[name]) for _ in range(2)]
        return self.send_local_response(200, body=json.dumps(told))

    async def outcome(self, arguments: Mapping[str, Any]) -> object:
        """What arrived, or why it was not sent."""
        try:
            call = self.http_call(
                arguments.get("cluster", "echo"), **{k: v for k, v in arguments.items() if k != "cluster"}
            )
        except CalloutArgumentError as error:
            return str(error)
        return (await call).json()

    async def answer_of(self, path: str) -> object:
        """All of an answer, which is read when others have come, and time has passed."""
        first, _ = await gather(self.http_call("echo", path=path), self.http_call("echo"))
        await sleep(0.01)
        return [first.status, first.text, first.headers.get("X-Answer"), ":status" in first.headers, *others(first)]


def without_the_interpreter() -> Iterator[object]:
    """What the functions do that a compiled filter has for the usual case; each of them has a way out for any other."""
    head = pack("<7I", 7, 3, 7, 4, 10, 1, 5) + b":method\0GET\0:scheme\0http\0:authority\0u\0:path\0"
    names = {"x-a": b"x-a"}
    for path, headers in (
        ("/", {"x-a": "1"}),
        ("/", None),
        ("/", {}),
        ("/", {"x-b": "1"}),
        ("/ ", None),
        ("", None),
        ("/\xe9", {}),
    ):
        made = callouts.request_map(head, path, headers, names, str)
        yield None if made is None else [[each.decode() for each in pair] for pair in decode_pairs(made)]
    for serialized in (
        encode_pairs([(b":status", b"204"), (b"x-a", b"1")]),
        encode_pairs([(b":status", b"204")]),
        encode_pairs([(b"x-a", b"1"), (b":status", b"204")]),
        encode_pairs([(b":status", b"2x4")]),
        encode_pairs([(b":status", b"204")])[:-1],
        encode_pairs([(b":status", b"204")]) + b"\0",
        b"\xff" * 64,
        b"",
    ):
        yield callouts.status_of(serialized)


def others(answer: HttpResponse) -> list[Any]:
    """What else there is to an answer."""
    return [answer.headers.getall("x-twice"), list(answer.trailers.items()), answer.headers is answer.headers]

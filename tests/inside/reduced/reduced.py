"""A filter that asks for what its build leaves out: it does what the request's header `act` names and answers with what came of it."""

import ast
import collections
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from proxy_wasm import Action, Headers, HttpContext, PluginContext


class Reduced(PluginContext):
    def http_context(self) -> HttpContext["Reduced"]:
        return ReducedStream(self)


class ReducedStream(HttpContext[Reduced]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        act = headers.get("act")
        if act == "raise":
            _fail("größer")
        if act:
            return self.send_local_response(200, body=json.dumps(_attempt(ACTS[act])))
        return None


def _attempt(function: Callable[[], Any]) -> str:
    try:
        result = function()
    except Exception as error:  # noqa: BLE001 - whatever it is, the test compares it
        return f"{type(error).__name__}: {error}"
    return f"it worked: {result!r}"


def _fail(size: str) -> int:
    return len(size) + {"größe": 1}["größer" + size]


ACTS: dict[str, Callable[[], Any]] = {
    "import": lambda: import_module("_sqlite3"),
    "import of a compiled module": lambda: import_module("cmath"),
    "import of a part": lambda: import_module("decimal"),
    "import of what is there": lambda: import_module("json").dumps([1]),
    "compile": lambda: compile("1", "file", "eval"),
    "compile a tree": lambda: compile(ast.Expression(ast.Constant(1)), "file", "eval"),
    "eval": lambda: eval("1 + 1"),  # noqa: S307 - the point of it
    "exec": lambda: exec("value = 1"),  # noqa: S102 - as above
    "parse": lambda: ast.parse("1"),
    "literal": lambda: ast.literal_eval("[1]"),
    "tree": lambda: type(ast.Constant(1)).__name__,
    "named tuple": lambda: collections.namedtuple("Pair", "a b"),  # noqa: PYI024 # pyright: ignore[reportUntypedNamedTuple]
    "code": lambda: eval(COMPILED),  # noqa: S307 - as above
    "docstring": lambda: (len.__doc__, getattr(len, "__text_signature__", None)),
    "name of a character": lambda: "ß".encode("ascii", "namereplace"),
    "format": lambda: f"{1 + 1:>3}{'x'!r}",
}
COMPILED = compile("6 * 7", "file", "eval")

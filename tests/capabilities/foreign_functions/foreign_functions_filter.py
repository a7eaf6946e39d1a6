"""A filter that calls the foreign function that a request's header `call` names, with the arguments of its header `arguments`, and answers with the result.

Arguments and result are JSON; bytes travel as `{"hex": ...}`. With a header `goes-on` the request goes on, the result in a header (which has the proxy choose its route anew) unless it is `silently`. The configuration
is JSON: properties to declare, and CEL expressions, by name, and a prefix of the headers' names, where several of these filters are in a row.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from proxy_wasm import Action, Expression, Headers, HttpContext, LifeSpan, PluginContext, PropertyType, sleep

Json: TypeAlias = "bool | int | float | str | Mapping[str, Json] | None"


def from_json(value: Json) -> object:
    return bytes.fromhex(cast("str", value["hex"])) if isinstance(value, Mapping) else value


def to_json(value: object) -> object:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


class ForeignFunctionsFilter(PluginContext):
    def on_configure(self) -> None:
        settings: dict[str, Any] = self.configuration.json() if self.configuration else {}
        self.prefix: str = settings.get("prefix", "")
        for _ in range(2):  # a proxy may configure the same object again
            for name, (kind, span, readonly) in settings.get("properties", {}).items():
                self.foreign_functions.declare_property(
                    name, type=PropertyType[kind], span=LifeSpan[span], readonly=readonly
                )
        self.expressions: dict[str, Expression] = {
            name: self.foreign_functions.expression(text) for name, text in settings.get("expressions", {}).items()
        }

    def http_context(self) -> "CallingStream":
        return CallingStream(self)


class CallingStream(HttpContext[ForeignFunctionsFilter]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        prefix = self.plugin.prefix
        call = headers.get(f"{prefix}call")
        if call is None:
            return None
        arguments = [from_json(value) for value in json.loads(headers.get(f"{prefix}arguments", "[]"))]
        if f"{prefix}later" in headers:
            self.create_task(self.answer_later(call, arguments))
            return Action.PAUSE
        result = self.outcome(call, arguments)
        goes_on = headers.get(f"{prefix}goes-on")
        if goes_on == "silently":
            return None
        if goes_on:
            headers[f"{prefix}result"] = json.dumps(to_json(result))
            return None
        return self.send_local_response(200, body=json.dumps(to_json(result)))

    async def answer_later(self, call: str, arguments: list[object]) -> None:
        await sleep(0.01)
        self.send_local_response(200, body=json.dumps(to_json(self.outcome(call, arguments))))

    def outcome(self, call: str, arguments: list[object]) -> object:
        try:
            return self.called(call, arguments)
        except Exception as error:  # noqa: BLE001 - the test sees which one
            return {"raised": type(error).__name__, "message": str(error)}

    def called(self, call: str, arguments: list[object]) -> object:
        own = getattr(self, f"call_{call}", None)
        return own(*arguments) if own is not None else getattr(self.foreign_functions, call)(*arguments)

    def call_set_property(self, name: str, *values: str) -> None:
        for value in values:
            self.set_property(name, value=value)

    def call_route_by_property(self, name: str, value: str) -> None:
        self.set_property(name, value=value)
        self.foreign_functions.clear_route_cache()

    def call_get_property(self, *path: str) -> bytes | None:
        return self.get_property(*path)

    def call_declare_property(self, name: str) -> None:
        self.plugin.foreign_functions.declare_property(name)

    def call_evaluate(self, name: str, kind: str = "") -> object:
        """The value of an expression of the configuration; `kind` is the end of the method's name."""
        return getattr(self.plugin.expressions[name], f"evaluate{kind}")()

    def call_expression(self, text: str) -> bytes:
        with self.foreign_functions.expression(text) as expression:
            return expression.evaluate()

    def call_deleted_expression(self) -> bytes:
        with self.foreign_functions.expression("1") as expression:
            pass
        return expression.evaluate()

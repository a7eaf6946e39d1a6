"""Lets requests pass for which the configured CEL expression is true, such as `request.path.startsWith("/public")`."""

from proxy_wasm import Action, ExpressionError, Headers, HttpContext, PluginContext


class CelExpression(PluginContext):
    def on_configure(self) -> None:
        self.condition = self.foreign_functions.expression(self.configuration.text)

    def http_context(self) -> "CheckedStream":
        return CheckedStream(self)


class CheckedStream(HttpContext[CelExpression]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        try:
            passes = self.plugin.condition.evaluate_bool()
        except ExpressionError:  # as for a header that is not there
            passes = False
        return None if passes else self.send_local_response(403)

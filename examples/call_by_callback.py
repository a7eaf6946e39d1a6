"""A callout without `await`: the request pauses, and a plain function continues it."""

from proxy_wasm import Action, Future, Headers, HttpContext, HttpResponse, PluginContext


class CallByCallback(PluginContext):
    def http_context(self) -> "CallbackStream":
        return CallbackStream(self)


class CallbackStream(HttpContext[CallByCallback]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        self.http_call("users", path="/me").add_done_callback(self.on_user)
        return Action.PAUSE

    def on_user(self, call: Future[HttpResponse]) -> None:
        self.request_headers["x-user"] = call.result().text  # raises what has gone wrong, which answers with 500
        self.continue_request()

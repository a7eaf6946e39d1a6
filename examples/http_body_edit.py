"""Appends to, prepends to or replaces the body of a request or a response, as the request's headers say."""

from proxy_wasm import Action, Body, Headers, HttpContext, PluginContext

EDITS = {"append": Body.append, "prepend": Body.prepend, "replace": Body.replace}


class HttpBodyEdit(PluginContext):
    def http_context(self) -> "EditedStream":
        return EditedStream(self)


class EditedStream(HttpContext[HttpBodyEdit]):
    replaces_request_body = True
    replaces_response_body = True

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        self.where = headers.get("buffer-replace-at", "request")
        self.edit = EDITS.get(headers.get("buffer-operation", "replace"), Body.replace)
        return self.send_local_response(400, body="a body must be provided\n") if end_of_stream else None

    def on_request_body(self, body: Body, end_of_stream: bool) -> Action | None:
        return self.edited(body, end_of_stream) if self.where == "request" else None

    def on_response_body(self, body: Body, end_of_stream: bool) -> Action | None:
        return self.edited(body, end_of_stream) if self.where == "response" else None

    def edited(self, body: Body, end_of_stream: bool) -> Action:
        if not end_of_stream:
            return Action.PAUSE  # the next call has this chunk in front
        self.edit(body, "[edited]")
        return Action.CONTINUE

"""Lets signed requests pass: `x-signature` is the body's signature, in base64, by the owner of the configured public key."""

from base64 import b64decode

from proxy_wasm import Action, Body, Headers, HttpContext, PluginContext


class VerifySignature(PluginContext):
    def on_configure(self) -> None:
        self.public_key = self.configuration.text

    def http_context(self) -> "SignedStream":
        return SignedStream(self)


class SignedStream(HttpContext[VerifySignature]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        try:
            self.signature = b64decode(headers.get("x-signature", ""), validate=True)
        except ValueError:
            self.signature = b""
        return self.send_local_response(401) if end_of_stream or not self.signature else None

    async def on_request_body(self, body: Body, end_of_stream: bool) -> Action | None:
        text = await self.read_request_body()
        verify = self.foreign_functions.verify_signature
        return None if verify("sha256", self.plugin.public_key, self.signature, text) else self.send_local_response(401)

"""A filter that verifies what it is sent: a request's body is a JSON array of tokens or signatures, the answer an array of what came of each.

A signature comes as `{"jwk", "algorithm", "text", "signature"}`, the last two in hexadecimal, and gives true or false; a token as `{"jwk", "algorithms", "token"}`, and gives its payload as
text. Where there was an exception, its name and message come instead. With `{"native": true}` as the configuration the proxy's own verification comes first; the header `x-native` of the
answer says how often it was asked. The header `x-times` of a request has everything done so many times.
"""

import json
from typing import Any

from jws_algorithms import jws
from jws_keys import Key, parse_key

from proxy_wasm import Action, Body, Headers, HttpContext, PluginContext, UnknownForeignFunctionError


class Verifier(PluginContext):
    def on_configure(self) -> None:
        self.asked = 0
        has_native = bool(self.configuration) and self.configuration.json()["native"]
        self.jws = jws(self.ask_proxy if has_native else None)
        self.keys: dict[str, Key] = {}

    def http_context(self) -> HttpContext["Verifier"]:
        return VerifyingStream(self)

    def ask_proxy(self, hash_name: str, key: bytes, signature: bytes, text: bytes) -> bool | None:
        self.asked += 1
        try:
            return self.foreign_functions.verify_signature(hash_name, key, signature, text)
        except (UnknownForeignFunctionError, ValueError):
            return None

    def outcome(self, check: dict[str, Any]) -> object:
        try:
            return self.verified(check)
        except Exception as error:  # noqa: BLE001 - the test sees which one
            return f"{type(error).__name__}: {error}"

    def verified(self, check: dict[str, Any]) -> object:
        key = self.key(check["jwk"])
        if "token" in check:
            return self.jws.decode(check["token"], key, algorithms=check["algorithms"]).decode()  # type: ignore[arg-type]
        algorithm = self.jws.get_algorithm_by_name(check["algorithm"])
        text, signature = bytes.fromhex(check["text"]), bytes.fromhex(check["signature"])
        return algorithm.verify(text, algorithm.prepare_key(key), signature)

    def key(self, jwk: dict[str, Any]) -> Key:
        """The same object for the same key, with the tables that it has by then."""
        text = json.dumps(jwk)
        if text not in self.keys:
            self.keys[text] = parse_key(jwk)
        return self.keys[text]


class VerifyingStream(HttpContext[Verifier]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.times = int(headers.get("x-times", "1"))

    def on_request_body(self, body: Body, end_of_stream: bool) -> Action | None:
        if not end_of_stream:
            return Action.PAUSE
        checks = json.loads(bytes(body))
        before = self.plugin.asked
        outcomes: list[object] = []
        for _ in range(self.times):
            outcomes = [self.plugin.outcome(check) for check in checks]
        asked = str(self.plugin.asked - before)
        return self.send_local_response(200, headers=[("x-native", asked)], body=json.dumps(outcomes))

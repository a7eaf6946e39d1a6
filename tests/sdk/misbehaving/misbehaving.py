"""A filter that does, where the request's header `do` says so, what filters should not."""

import logging
import random
import sys
import uuid
import warnings

from proxy_wasm import Action, Body, Headers, HttpContext, PluginContext

logger = logging.getLogger(__name__)


class Misbehaving(PluginContext):
    def on_configure(self) -> None:
        self.fail_open = self.configuration.raw == b"fail open"

    def http_context(self) -> HttpContext["Misbehaving"]:
        return MisbehavingStream(self)


class MisbehavingStream(HttpContext[Misbehaving]):
    def __init__(self, plugin: Misbehaving) -> None:
        super().__init__(plugin)
        self.do = ""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        self.do = headers.get("do", "")
        if self.do == "answer":
            return self.send_local_response(403, body="no\n", details="told to")
        if self.do == "answer twice":
            self.send_local_response(403)
            return self.send_local_response(404)
        if self.do == "answer and fail":
            self.send_local_response(403)
        self.misbehave("request headers")
        act = ACTS.get(self.do)
        if act:
            headers["did"] = str(act())
        return None

    def on_request_body(self, body: Body, end_of_stream: bool) -> None:
        self.misbehave("request body")

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-seen"] = headers[":status"]
        self.misbehave("response headers")

    def on_response_body(self, body: Body, end_of_stream: bool) -> None:
        self.misbehave("response body")

    def on_log(self) -> None:
        if self.do == "log":
            logger.info("over: %s %s", self.request_headers[":path"], self.response_headers[":status"])
        self.misbehave("the end")

    def misbehave(self, where: str) -> None:
        if self.do.removeprefix("answer and ") in (f"fail in {where}", "fail"):
            raise LookupError(where)


def allocate() -> None:
    held: list[bytes] = []
    while True:
        held.append(bytes(50_000_000))


def recurse() -> None:
    recurse()


def late_import() -> str:
    import wave  # noqa: PLC0415 - what it is about

    return wave.__name__


def say() -> str:
    logger.debug("debug")
    logger.warning("warning: \udcff")
    warnings.warn("careful", stacklevel=1)
    print("printed")
    return "said"


ACTS = {
    "allocate": allocate,
    "recurse": recurse,
    "exit": sys.exit,
    "late import": late_import,
    "open": lambda: open("/etc/passwd"),  # noqa: PTH123, SIM115 - what it is about
    "say": say,
    "random": random.random,
    "uuid": uuid.uuid4,
}

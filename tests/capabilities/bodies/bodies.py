"""A filter that does with each part of a message what the request's header `x-script` says, and logs what it sees.

The script is JSON: for each callback (`request headers`, `response body`, ...) a list of acts; the first call takes the first, and the
last one serves all further calls. An act may

    wait        seconds to sleep, which makes the callback `async`
    call        a cluster to call and wait for, likewise
    whole       a limit: wait for the whole body, likewise
    catch       go on where that body is larger
    beside      a status: answer the request from here, a little later and beside the callback
    answer      a status: answer the request from here
    edit        `append`, `prepend` or `replace`: change the body, or the whole body that was read
    text        with what; `{}` stands for what was there
    later       seconds until a timer lets the paused message go on
    pause       return `Action.PAUSE`; `until end`: as long as the message goes on
    trailer     set this trailer
"""

# ruff: noqa: ANN401 - callbacks that are coroutines or not

import json
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from proxy_wasm import Action, Body, BodyTooLargeError, Headers, HttpContext, PhaseError, PluginContext, sleep

logger = logging.getLogger(__name__)
_WAITING = ("wait", "call", "whole")

Act = Mapping[str, Any]


class Bodies(PluginContext):
    """Lets streams follow their scripts."""

    def http_context(self) -> HttpContext[Any]:
        return ScriptedStream(self)


class Replacing(PluginContext):
    """As `Bodies`, but the length of bodies may change."""

    def http_context(self) -> HttpContext[Any]:
        return ReplacingStream(self)


class ScriptedStream(HttpContext[PluginContext]):
    """Follows its script."""

    script: Mapping[str, list[Act]] = MappingProxyType({})

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Any:
        self.script = json.loads(headers.get("x-script", "{}"))
        headers.discard("x-script")
        return self.step("request headers", None, end_of_stream)

    def on_request_body(self, body: Body, end_of_stream: bool) -> Any:
        return self.step("request body", body, end_of_stream)

    def on_request_trailers(self, trailers: Headers) -> Any:
        return self.step("request trailers", None, end_of_stream=True)

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> Any:
        return self.step("response headers", None, end_of_stream)

    def on_response_body(self, body: Body, end_of_stream: bool) -> Any:
        return self.step("response body", body, end_of_stream)

    def on_response_trailers(self, trailers: Headers) -> Any:
        return self.step("response trailers", None, end_of_stream=True)

    def on_done(self) -> None:
        logger.info("done")

    def step(self, callback: str, body: Body | None, end_of_stream: bool) -> Any:
        """Take the act for a callback, and begin with it."""
        acts = self.script.get(callback)
        if not acts:
            return None
        act = acts.pop(0) if len(acts) > 1 else acts[0]
        seen = "" if body is None else f" {body.read(0, 100).decode()}"
        logger.info("%s%s%s", callback, seen, " end" if end_of_stream else "")
        if "later" in act:
            self.plugin.call_later(act["later"], lambda: self.go_on(callback))
        if "beside" in act:
            self.create_task(self.answer_beside(act["beside"]))
        if act.get("pause") == "until end" and end_of_stream:
            act = {name: value for name, value in act.items() if name != "pause"}
        if any(name in act for name in _WAITING):
            return self.wait(callback, act, body)
        return self.finish(callback, act, body)

    async def wait(self, callback: str, act: Act, body: Body | None) -> Action | None:
        """Wait for whatever the act says."""
        if "wait" in act:
            await sleep(act["wait"])
        if "call" in act:
            response = await self.http_call(act["call"])
            logger.info("called %s", response.text)
        if "whole" in act:
            body = self.response_body if callback.startswith("response") else self.request_body
            try:
                whole = await self.read(callback, act["whole"])
            except BodyTooLargeError as error:
                logger.info("%s", error)
                if "catch" not in act:
                    raise
            else:
                logger.info("whole %s", whole[:100].decode())
        return self.finish(callback, act, body)

    async def answer_beside(self, status: int) -> None:
        """Answer while the callback waits for something else."""
        await sleep(0.05)
        self.send_local_response(status, body="from the filter")

    async def read(self, callback: str, limit: int) -> bytes:
        """The whole body of a direction."""
        if callback.startswith("response"):
            return await self.read_response_body(limit)
        return await self.read_request_body(limit)

    def finish(self, callback: str, act: Act, body: Body | None) -> Action | None:
        """Do what is left when nothing is waited for any more."""
        if "answer" in act:
            return self.send_local_response(act["answer"], body="from the filter")
        if body is not None and "edit" in act and act.get("pause") != "until end":
            getattr(body, act["edit"])(act["text"].format(bytes(body).decode()))
        if "trailer" in act:
            trailers = self.response_trailers if callback.startswith("response") else self.request_trailers
            trailers["x-seen"] = act["trailer"]
        return Action.PAUSE if "pause" in act else None

    def go_on(self, callback: str) -> None:
        """Let a direction go on, if it is paused."""
        try:
            if callback.startswith("response"):
                self.continue_response()
            else:
                self.continue_request()
        except PhaseError as error:
            logger.info("%s", error)


class ReplacingStream(ScriptedStream):
    """Follows its script, and may change lengths."""

    replaces_request_body = True
    replaces_response_body = True

"""A filter that waits, in whatever way the header `do` says."""

# ruff: noqa: ANN401 - some are coroutines

import logging
from collections.abc import Callable
from typing import Any

from proxy_wasm import (
    Action,
    Body,
    BodyTooLargeError,
    CalloutError,
    Cancelled,
    Future,
    Headers,
    HttpContext,
    HttpResponse,
    PluginContext,
    gather,
    sleep,
    timeout,
)

logger = logging.getLogger(__name__)


class Waiting(PluginContext):
    """Knows what its streams are doing."""

    def on_configure(self) -> None:
        """Take the options, and start what works in the background."""
        options = self.configuration.text.split()
        self.fail_open = "fail open" in self.configuration.text
        self.unfinished = self.gauge("waiting.unfinished")
        self.keys = ""
        self.shared: Future[str] | None = None
        self.ticks = 0
        if "keys" in options:
            self.create_task(self.fetch_keys())
        if "every" in options:
            self.every(1, self.tick)

    async def fetch_keys(self) -> None:
        """Get something that all streams need."""
        response = await self.http_call("answers", path="/keys")
        self.keys = response.text

    def tick(self) -> None:
        """Count seconds."""
        self.ticks += 1
        self.counter("waiting.ticks").increment()

    def http_context(self) -> HttpContext[Any]:
        return WaitingStream(self)


class WaitingStream(HttpContext[Waiting]):
    """Does what `do` says, in the phase that it names."""

    replaces_request_body = True
    replaces_response_body = True
    do = ""
    seen = b""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Any:
        self.do = headers.get("do", "")
        return self.steps("request headers")

    def on_request_body(self, body: Body, end_of_stream: bool) -> Any:
        if self.do == "mark chunks":
            return self.mark(body, end_of_stream)
        if self.do == "whole request body":
            return self.reverse(body)
        return self.steps("request body")

    def on_request_trailers(self, trailers: Headers) -> Any:
        return self.steps("request trailers")

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> Any:
        return self.steps("response headers")

    def on_response_body(self, body: Body, end_of_stream: bool) -> Any:
        if self.do == "mark response chunks":
            return self.mark(body, end_of_stream)
        return self.steps("response body")

    def on_response_trailers(self, trailers: Headers) -> Any:
        return self.steps("response trailers")

    def on_done(self) -> None:
        if self.do == "use the stream later":
            self.plugin.call_later(0.01, self.use)

    def use(self) -> None:
        """Touch a stream that is over."""
        for name, attempt in (
            ("http_call", lambda: self.http_call("answers")),
            ("get_property", lambda: self.get_property("request", "path")),
            ("request_headers", lambda: self.request_headers),
            ("set_property", lambda: self.set_property("x", value="y")),
        ):
            try:
                attempt()
            except RuntimeError as error:
                logger.info("%s: %s: %s", name, type(error).__name__, error)

    def steps(self, phase: str) -> Any:
        """The coroutine for a phase, if `do` names that phase, or every one of its kind."""
        what, _, where = self.do.rpartition(" in ")
        direction, _, part = phase.partition(" ")
        named = (phase, f"all of {direction}", *([] if part == "trailers" else [f"headers and body of {direction}"]))
        return self.act(what) if where in named else None

    async def act(self, what: str) -> Action | None:
        """Do one thing."""
        self.plugin.unfinished.increment(1)
        try:
            return await ACTS[what](self)
        except Cancelled:
            logger.info("cancelled %s", what)
            raise
        finally:
            self.plugin.unfinished.increment(-1)

    async def mark(self, body: Body, end_of_stream: bool) -> None:
        """Put each chunk in brackets, after a while."""
        before = body.read()
        await sleep(0.02)
        self.seen += body.read()
        if body.read() != before:
            raise AssertionError((before, body.read()))
        if before:
            body.replace(b"[" + before + b"]")
        if end_of_stream:
            body.append(b"!%d" % len(self.seen))

    async def reverse(self, body: Body) -> None:
        """Turn a body round."""
        try:
            text = await self.read_request_body(100)
        except BodyTooLargeError as error:
            logger.info("%s", error)
            raise
        body.replace(text[::-1])

    # What can be done

    async def say(self, text: str) -> None:
        """Tell the client, by whatever can be changed at this point."""
        logger.info("said %s", text)

    async def call(self) -> None:
        response = await self.http_call("answers", "POST", "/v1/me?x=1", headers={"x-a": "b"}, body="who?", timeout=1)
        await self.say(f"{response.status} {response.headers['x-from']} {response.text}")

    async def call_and_edit(self) -> None:
        response = await self.http_call("answers")
        self.request_headers["x-answer"] = response.text

    async def call_and_deny(self) -> Action:
        response = await self.http_call("answers")
        return self.send_local_response(403, body=f"denied: {response.text}")

    async def call_twice_at_once(self) -> None:
        one, other = await gather(self.http_call("answers", path="/1"), self.http_call("answers", path="/2"))
        await self.say(f"{one.text} {other.text}")

    async def coroutines_at_once(self) -> None:
        async def slept(seconds: float, text: str) -> str:
            await sleep(seconds)
            return text

        await self.say("".join(await gather(slept(0.02, "a"), slept(0.01, "b"), slept(0, "c"))))

    async def fail_at_once(self) -> None:
        async def fail() -> None:
            await sleep(0.01)
            raise LookupError("one of them")

        try:
            await gather(self.http_call("silent"), fail())
        except LookupError as error:
            await self.say(f"caught {error}")
        results = await gather(fail(), sleep(0.01), return_exceptions=True)
        await self.say(f"results {results}")

    async def call_cluster(self, cluster: str, **options: Any) -> None:
        try:
            response = await self.http_call(cluster, **options)
        except CalloutError as error:
            await self.say(f"{type(error).__name__} {error.cluster}: {error}")
        else:
            await self.say(f"answer {response.status}")

    async def call_silent(self) -> None:
        await self.call_cluster("silent", timeout=0.1)

    async def call_closing(self) -> None:
        await self.call_cluster("closing")

    async def call_absent(self) -> None:
        await self.call_cluster("absent")

    async def call_unknown(self) -> None:
        await self.call_cluster("unknown")

    async def call_wrongly(self) -> None:
        wrong: dict[str, dict[str, Any]] = {
            "method": {"method": "G T"},
            "path": {"path": "me"},
            "path space": {"path": "/a b"},
            "authority": {"authority": ""},
            "headers": {"headers": {":path": "/"}},
            "host": {"headers": {"Host": "x"}},
            "length": {"headers": {"content-length": "1"}},
            "name": {"headers": {"a b": "1"}},
            "value": {"headers": {"a": "1\n"}},
            "body": {"body": 7},
            "timeout": {"timeout": 0},
            "timeout kind": {"timeout": "1"},
        }
        for name, options in wrong.items():
            try:
                self.http_call("answers", **options)
            except CalloutError as error:
                logger.info("%s: %s", name, error)
        try:
            self.http_call("")
        except CalloutError as error:
            logger.info("cluster: %s", error)

    async def give_up(self) -> None:
        try:
            async with timeout(0.05):
                await self.http_call("silent")
        except TimeoutError as error:
            await self.say(f"gave up: {error}")
        async with timeout(5):
            await sleep(0.01)
        await self.say("in time")

    async def wait_for_ever(self) -> None:
        await self.http_call("silent", timeout=None)

    async def sleep_long(self) -> None:
        try:
            await sleep(60)
        finally:
            logger.info("finally")

    async def fail_later(self) -> None:
        await sleep(0.01)
        raise LookupError("later")

    async def fail_now(self) -> None:
        raise LookupError("now")

    async def answer_and_go_on(self) -> None:
        self.send_local_response(418, body="short and stout")
        await sleep(0.01)
        await self.say("after the answer")

    async def await_something_else(self) -> None:
        class Odd:
            def __await__(self) -> Any:
                yield "odd"

        await Odd()

    async def in_the_background(self) -> None:
        async def work() -> str:
            await sleep(0.01)
            return "worked"

        task = self.create_task(work())
        await self.say(await task)

    async def background_beyond(self) -> None:
        async def work() -> None:
            await sleep(0.005)
            await self.say("beside")

        self.create_task(work())

    async def one_for_all(self) -> None:
        if self.plugin.shared is None:
            self.plugin.shared = self.plugin.create_task(self.fetch())
        await self.say(await self.plugin.shared)

    async def one_for_all_but_impatiently(self) -> None:
        """Stop waiting for the plugin's task in two ways, then wait for it after all."""

        async def fail() -> None:
            await sleep(0.02)
            raise LookupError

        if self.plugin.shared is None:
            self.plugin.shared = self.plugin.create_task(self.take_time())
        try:
            async with timeout(0.02):
                await self.plugin.shared
        except TimeoutError:
            await self.say("gave up")
        try:
            await gather(self.plugin.shared, fail())
        except LookupError:
            await self.say("failed")
        await sleep(0.01)
        await self.say(await self.plugin.shared)

    async def take_time(self) -> str:
        await sleep(0.3)
        return "shared"

    async def fetch(self) -> str:
        response = await self.plugin.http_call("answers", path="/shared")
        return response.text

    async def tell_keys(self) -> None:
        await self.say(self.plugin.keys)

    async def read_whole(self) -> None:
        whole = await self.read_request_body(100)
        self.request_headers["x-length"] = str(len(whole))
        if whole:
            self.request_body.replace(whole[::-1] + b"!")

    async def read_whole_response(self) -> None:
        whole = await self.read_response_body(100)
        self.response_headers["x-length"] = str(len(whole))
        self.response_body.replace(whole[::-1] + b"!")

    async def sleep_briefly(self) -> None:
        await sleep(0.03)
        await self.say("slept")

    async def by_callback(self) -> Action:
        call = self.http_call("answers")
        call.add_done_callback(self.called_back)
        return Action.PAUSE

    def called_back(self, call: Future[HttpResponse]) -> None:
        self.request_headers["x-answer"] = call.result().text
        self.continue_request()

    async def fail_by_callback(self) -> Action:
        self.http_call("answers").add_done_callback(self.fail_in_callback)
        return Action.PAUSE

    def fail_in_callback(self, _: Future[HttpResponse]) -> None:
        raise LookupError("in a callback")


ACTS: dict[str, Callable[..., Any]] = {
    name.replace("_", " "): function
    for name, function in vars(WaitingStream).items()
    if not name.startswith(("_", "on_")) and callable(function)
}

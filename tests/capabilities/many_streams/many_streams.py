"""Streams that make three callouts each, or wait for one that never comes, and a plugin that tells what it holds."""

import gc
import json

from proxy_wasm import Action, CalloutTimeoutError, Headers, HttpContext, PluginContext, gather


class Plugin(PluginContext):
    """Counts how streams end."""

    def on_configure(self) -> None:
        """Define the counters."""
        self.begun = self.counter("many.begun")
        self.cancelled = self.counter("many.cancelled")
        self.applied = self.counter("many.applied")

    def http_context(self) -> HttpContext["Plugin"]:
        return Stream(self)


class Stream(HttpContext[Plugin]):
    """Does what its path says."""

    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        path = headers[":path"]
        if path == "/held":
            return self.send_local_response(200, body=json.dumps(self.held()))
        if path == "/silent":
            return await self.wait()
        number = headers["x-number"]
        first = await self.http_call("answers", path=f"/first/{number}", timeout=20)
        second, third = await gather(
            self.http_call("answers", path=f"/second/{number}", timeout=20),
            self.http_call("answers", path=f"/third/{number}", timeout=20),
        )
        text = f"{number}: {first.text} {second.text} {third.text}"
        return self.send_local_response(200, body=text)

    async def wait(self) -> Action:
        self.plugin.begun.increment()
        try:
            await self.http_call("silent", timeout=3)
        except CalloutTimeoutError:
            self.plugin.applied.increment()
            return self.send_local_response(504)
        except BaseException:
            self.plugin.cancelled.increment()
            raise
        return self.send_local_response(200)

    def held(self) -> dict[str, int]:
        """What is in memory, apart from the stream that asks."""
        gc.collect()
        objects = gc.get_objects()
        return {
            "streams": sum(issubclass(type(each), HttpContext) for each in objects),
            "calls": len(getattr(self.plugin, "_http_calls")),  # noqa: B009 - nobody else wants to know
            "objects": len(objects),
        }

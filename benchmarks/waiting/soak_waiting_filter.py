"""What `benchmarks/soak_waiting.py` runs: every request waits for something, by its path."""

from proxy_wasm import Action, Headers, HttpContext, PluginContext, gather, sleep, timeout


class Plugin(PluginContext):
    """Works in the background too."""

    def on_configure(self) -> None:
        """Count, tick and ask for ever."""
        self.finished = self.counter("soak.finished")
        self.cancelled = self.counter("soak.cancelled")
        self.living = self.gauge("soak.living")
        self.ticks = self.counter("soak.ticks")
        self.every(0.01, self.ticks.increment)
        self.every(0.05, self.refresh)

    async def refresh(self) -> None:
        """Ask in the background."""
        await self.http_call("answers", path="/keys")

    def http_context(self) -> HttpContext["Plugin"]:
        self.living.increment()
        return Stream(self)


class Stream(HttpContext[Plugin]):
    """Waits."""

    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        kind = headers[":path"]
        try:
            if kind == "/call":
                response = await self.http_call("answers", path="/user", headers={"x-a": "b"})
                headers["x-user"] = response.text
            elif kind == "/both":
                await gather(self.http_call("answers", path="/1"), self.http_call("answers", path="/2"))
            elif kind == "/deny":
                response = await self.http_call("answers", path="/no")
                return self.send_local_response(403, body=response.text)
            elif kind == "/sleep":
                await sleep(0.002)
            elif kind == "/late":
                try:
                    async with timeout(0.003):
                        await sleep(60)
                except TimeoutError:
                    return self.send_local_response(504)
            elif kind == "/silent":
                await self.http_call("silent", timeout=None)
            self.shared_data.update("requests", _plus_one)
        except BaseException:
            self.plugin.cancelled.increment()
            raise
        self.plugin.finished.increment()
        return None

    def on_done(self) -> None:
        self.plugin.living.increment(-1)


def _plus_one(value: bytes | None) -> bytes:
    return b"%d" % (int(value or b"0") + 1)

"""A plugin with the timers that its configuration lists; a request is answered with the moments at which they fired.

The configuration is JSON: `timers`, a list of objects with a `name`, the seconds `every` or `later`, and perhaps `waits` (seconds that the
function sleeps), `fails` (it raises in the end) or `cancels` (the name of a timer that it ends); and `tick_period`.
"""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from proxy_wasm import Action, Headers, HttpContext, PluginContext, Timer, sleep

logger = logging.getLogger(__name__)
_NANOSECONDS = 1e9

Settings = Mapping[str, Any]


class Timed(PluginContext):
    """Notes when its timers fire, in seconds of the proxy's clock since it was configured."""

    def on_configure(self) -> None:
        settings = self.configuration.json()
        self.began = self.hostcalls.get_current_time_nanoseconds()
        self.fired: dict[str, list[float]] = {}
        self.timers: dict[str, Timer] = {}
        for timer in settings.get("timers", []):
            name, function = timer["name"], self.function(timer)
            make = self.every if "every" in timer else self.call_later
            self.timers[name] = make(timer.get("every", timer.get("later")), function)
        self.tick_period = settings.get("tick_period", 0)

    def function(self, timer: Settings) -> Callable[[], object]:
        """What a timer calls."""

        def plain() -> None:
            self.note(timer["name"])
            self.finish(timer)

        async def waiting() -> None:
            self.note(timer["name"])
            await sleep(timer["waits"])
            self.note(f"{timer['name']} ended")
            self.finish(timer)

        return waiting if "waits" in timer else plain

    def finish(self, timer: Settings) -> None:
        """Do what a timer is for."""
        if "cancels" in timer:
            self.timers[timer["cancels"]].cancel()
        if timer.get("fails"):
            raise LookupError(timer["name"])

    def note(self, name: str) -> None:
        """Keep the moment."""
        passed = (self.hostcalls.get_current_time_nanoseconds() - self.began) / _NANOSECONDS
        self.fired.setdefault(name, []).append(passed)

    def on_tick(self) -> None:
        self.note("tick")

    def on_done(self) -> None:
        logger.info("done %s", self.root_id)

    def http_context(self) -> HttpContext[Any]:
        return Asked(self)


class Asked(HttpContext[Timed]):
    """Answers with the moments so far, or changes the period of the tick."""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        period = headers.get("x-tick-period")
        if period is not None:
            self.plugin.tick_period = float(period)
        return self.send_local_response(200, body=json.dumps(self.plugin.fired))

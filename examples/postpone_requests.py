"""Holds requests back until the next tick, then lets all of them go: a stream paused in one callback, continued in another."""

import logging

from proxy_wasm import Action, Headers, HttpContext, PluginContext

logger = logging.getLogger(__name__)


class PostponeRequests(PluginContext):
    def on_configure(self) -> None:
        self.postponed: list[PostponedStream] = []
        self.tick_period = 1

    def on_tick(self) -> None:
        due, self.postponed = self.postponed, []
        for stream in due:
            if not stream.gone:  # its client has waited
                logger.info("resume #%d", stream.context_id)
                stream.continue_request()

    def http_context(self) -> "PostponedStream":
        return PostponedStream(self)


class PostponedStream(HttpContext[PostponeRequests]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        logger.info("postpone #%d", self.context_id)
        self.plugin.postponed.append(self)
        return Action.PAUSE

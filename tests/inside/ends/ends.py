"""Streams of several classes, by what the path says, some of which have something to do at their end."""

import logging
from typing import Any

from proxy_wasm import Headers, HttpContext, PluginContext

logger = logging.getLogger(__name__)


class Ends(PluginContext):
    """Makes streams of each class in turn."""

    def __init__(self) -> None:
        self.made = 0

    def http_context(self) -> HttpContext[Any]:
        self.made += 1
        return KINDS[self.made % len(KINDS)](self)


class Plain(HttpContext[Ends]):
    """Has nothing to do at its end."""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-kind"] = type(self).__name__


class Telling(Plain):
    """Tells its end."""

    def on_done(self) -> None:
        logger.warning("done: %s", type(self).__name__)


class Replacing(Telling):
    """The same, of a class that may change lengths."""

    replaces_request_body = True


class Finalized(Plain):
    """Tells when it is let go."""

    def __del__(self) -> None:
        logger.warning("let go: %s", type(self).__name__)


NUMBERED = [type(f"Numbered{number}", (Telling,), {}) for number in range(20)]
KINDS: list[type[HttpContext[Ends]]] = [Plain, Replacing, Plain, Finalized, Plain, *NUMBERED]

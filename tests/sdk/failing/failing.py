"""A filter that fails in the places that the request's header `fail` names."""

import logging
import pdb  # noqa: T100 - what it is about

from words.deep import choose

from proxy_wasm import Headers, HttpContext, PluginContext, sleep

logger = logging.getLogger(__name__)


class Failing(PluginContext):
    def http_context(self) -> HttpContext["Failing"]:
        return FailingStream(self)


class FailingStream(HttpContext[Failing]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        match headers.get("fail"):
            case "at once":
                choose({}, "absent")
            case "after a wait":
                await sleep(0.01)
                choose({}, "absent")
            case "with a cause":
                try:
                    choose({}, "absent")
                except LookupError as error:
                    raise ValueError("no such word") from error
            case "in a log record":
                try:
                    choose({}, "absent")
                except LookupError:
                    logger.exception("caught")
            case "in a debugger":
                breakpoint()  # noqa: T100 - what it is about
            case "in a debugger by name":
                pdb.set_trace()  # noqa: T100 - what it is about
            case _:
                pass

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> object:  # pyright: ignore[reportIncompatibleMethodOverride] - the mistake
        return "nonsense" if "fail" in headers else None

"""A filter that does what the request's header `act` names and answers with its result, or runs a recursion that `group` and `case` name."""

import json
import logging
from collections.abc import Callable
from typing import Any

from acts import ACTS
from header_methods import differences
from own_functions import countings, fingerprints_that_differ, wrong_arguments
from recursion import GROUPS

from proxy_wasm import Action, Headers, HttpContext, PluginContext

logger = logging.getLogger(__name__)


COMPARISONS: dict[str, Callable[[HttpContext[Any], Headers], object]] = {
    "compare the methods of headers": lambda _, headers: differences(headers),
    "fingerprints of headers that differ": lambda _, headers: fingerprints_that_differ(headers),
    "wrong arguments for a fingerprint of headers": lambda _, headers: wrong_arguments(headers),
    "countings": lambda stream, _: countings(stream.plugin),
}


class Probe(PluginContext):
    def http_context(self) -> HttpContext["Probe"]:
        return ProbeStream(self)


class ProbeStream(HttpContext[Probe]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        if compare := COMPARISONS.get(headers.get("act", "")):
            return self.send_local_response(200, body=json.dumps(compare(self, headers)))
        if act := headers.get("act"):
            return self.send_local_response(200, body=json.dumps(ACTS[act](), default=str))
        if group := headers.get("list"):
            endings = {name: _name(case.ending) for name, case in GROUPS[group].items()}
            return self.send_local_response(200, body=json.dumps(endings))
        if group := headers.get("group"):
            _run(group, headers["case"])
        return None


def _run(group: str, name: str) -> None:
    """Log how the case ends; what it raises goes on to the dispatcher."""
    try:
        GROUPS[group][name].program()
    except BaseException as error:
        logger.info("ended: %s", _name(type(error)))
        raise
    logger.info("ended: %s", _name(None))


def _name(ending: type[BaseException] | None) -> str:
    return "returned" if ending is None else ending.__name__

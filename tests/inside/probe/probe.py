"""A filter that does what the request's header `act` names and answers with its result, or runs a recursion that `group` and `case` name."""

import json
import logging

from acts import ACTS
from header_methods import differences
from recursion import GROUPS

from proxy_wasm import Action, Headers, HttpContext, PluginContext

logger = logging.getLogger(__name__)


class Probe(PluginContext):
    def http_context(self) -> HttpContext["Probe"]:
        return ProbeStream(self)


class ProbeStream(HttpContext[Probe]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        if headers.get("act") == "compare the methods of headers":
            return self.send_local_response(200, body=json.dumps(differences(headers)))
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

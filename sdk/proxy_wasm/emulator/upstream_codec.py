"""What Envoy refuses to send to an upstream (source/common/http/header_utility.cc, `checkRequiredRequestHeaders` and those around it).

The bytes were found by sending each through Envoy 1.40. Responses are not looked at: what a filter writes there goes to the client as it is.
"""

from proxy_wasm.emulator.header_map import HeaderMap, to_bytes, to_text
from proxy_wasm.emulator.local_response import LocalResponse

DETAILS = "filter_removed_required_request_headers"
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_CONTROLS = frozenset((*range(0x20), 0x7F)) - {0x09}


def refusal(headers: HeaderMap) -> LocalResponse | None:
    """What the client is answered where the request cannot be sent."""
    problem = _problem(headers)
    if not problem:
        return None
    return LocalResponse(503, body=to_bytes(problem), details=f"{DETAILS}{{{problem.replace(' ', '_')}}}")


def _problem(headers: HeaderMap) -> str:
    method = headers.get(":method")
    if method is None:
        return "missing required header: :method"
    if method == "CONNECT" and ":protocol" not in headers:
        return "missing required header: :protocol"
    for name, value in headers.raw:
        if not _TOKEN.issuperset(name.removeprefix(b":")):
            return f"invalid header name: {to_text(name)}"
        if name != b":scheme" and not _CONTROLS.isdisjoint(value):
            return f"invalid header value for: {to_text(name)}"
    return ""

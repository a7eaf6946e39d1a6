"""What becomes of streams once a plugin's VM has failed."""

from enum import Enum


class FailurePolicy(Enum):
    """The value of each member but the last is that of Envoy's option `failure_policy`.

    Streams are HTTP streams and connections. What the failed VM had in hand (even the one that it failed for) is
    lost with each policy but the last: a response of 503 `wasm_fail_stream` takes its place, a connection is closed.
    """

    CLOSED = "FAIL_CLOSED"
    """New streams end likewise."""
    OPEN = "FAIL_OPEN"
    """New streams pass unfiltered."""
    RELOAD = "FAIL_RELOAD"
    """New streams get another VM, but not too often; until then they end likewise."""
    ALWAYS_OPEN = "fail_open"
    """All streams pass unfiltered: Envoy's older option of this name."""

"""What becomes of streams once a plugin's VM has failed."""

from enum import Enum


class FailurePolicy(Enum):
    """The value is Envoy's name of it."""

    CLOSED = "FAIL_CLOSED"
    """Streams are answered with 503, connections closed."""
    OPEN = "FAIL_OPEN"
    """Streams and connections pass unfiltered."""
    RELOAD = "FAIL_RELOAD"
    """Those that the failed VM had are ended as with `CLOSED`; new ones get another VM, but not too often."""

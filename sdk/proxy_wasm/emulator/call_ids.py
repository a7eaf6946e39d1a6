"""The ids of callouts: their two lowest bits tell what they are (proxy-wasm-cpp-host, `wasm.h`, `CalloutType`)."""

HTTP_CALL, GRPC_CALL, GRPC_STREAM = 0, 1, 2
CALL_KIND_BITS = 0x3
_STEP = 4


class CallIds:
    """The ids that a VM gives out."""

    def __init__(self) -> None:
        self._last = {kind: kind for kind in (HTTP_CALL, GRPC_CALL, GRPC_STREAM)}

    def next(self, kind: int) -> int:
        """A new id of that kind."""
        self._last[kind] += _STEP
        return self._last[kind]

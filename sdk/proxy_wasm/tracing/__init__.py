"""What went on between a proxy and a filter, recorded: callbacks, the hostcalls in them, log lines, and how long each took.

A `Recorder` hears of it in the emulator; `proxy_wasm.tracing.envoy` reads it from a real Envoy's log. A `Trace` is shown as text, as JSON and
as one HTML page.
"""

from proxy_wasm.tracing.events import Event, Trace, TracedCallback, TracedHostcall, TracedLog
from proxy_wasm.tracing.recorder import Recorder
from proxy_wasm.tracing.values import Octets, Pairs, Symbol, Value

__all__ = [
    "Event",
    "Octets",
    "Pairs",
    "Recorder",
    "Symbol",
    "Trace",
    "TracedCallback",
    "TracedHostcall",
    "TracedLog",
    "Value",
]

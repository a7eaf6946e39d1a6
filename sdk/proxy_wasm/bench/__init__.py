"""Benchmarks of filters without code of their own: time and memory in the emulator, added CPU in a real Envoy.

`emulated.measure` and `envoy.measure` make a `Report` of figures, each with one value for each round; `comparison` sets it beside an earlier one,
`text` and `html` show it. docs/benchmarking.md tells what the figures mean.
"""

from proxy_wasm.bench.comparison import Change, Comparison, compare
from proxy_wasm.bench.errors import BenchError, ReportError
from proxy_wasm.bench.report import Figure, Report
from proxy_wasm.bench.traffic import Traffic, default_traffic, traffic_of

__all__ = [
    "BenchError",
    "Change",
    "Comparison",
    "Figure",
    "Report",
    "ReportError",
    "Traffic",
    "compare",
    "default_traffic",
    "traffic_of",
]

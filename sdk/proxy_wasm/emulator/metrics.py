"""Metrics with the statuses that Envoy gives (source/extensions/common/wasm/context.cc, `defineMetric` and following).

A metric belongs to the proxy: VMs that define the same name share it. Its id belongs to the VM; each definition gives a new
one, whose two lowest bits tell the type.
"""

from dataclasses import dataclass, field

from proxy_wasm.abi.enums import MetricType, Status
from proxy_wasm.abi.hostcalls import HostError

_TYPE_BITS = 0x3
_ID_STEP = 4
_U64 = (1 << 64) - 1


@dataclass(slots=True)
class Metric:
    """A counter's or gauge's value, or a histogram's samples."""

    type: MetricType
    value: int = 0
    samples: list[int] = field(default_factory=list[int])


class MetricStore:
    """The metrics of a proxy, by type and name."""

    def __init__(self) -> None:
        self._metrics: dict[tuple[MetricType, str], Metric] = {}

    def metric(self, metric_type: MetricType, name: str) -> Metric:
        """The metric, made on first use."""
        return self._metrics.setdefault((metric_type, name), Metric(metric_type))

    def values(self) -> dict[str, int]:
        """Counters and gauges by name."""
        return {name: metric.value for (kind, name), metric in self._metrics.items() if kind != MetricType.HISTOGRAM}

    def counters(self) -> dict[str, int]:
        """Counters by name."""
        return {name: metric.value for (kind, name), metric in self._metrics.items() if kind == MetricType.COUNTER}

    def histograms(self) -> dict[str, list[int]]:
        """Histograms by name: their samples, oldest first."""
        return {name: metric.samples for (kind, name), metric in self._metrics.items() if kind == MetricType.HISTOGRAM}


class MetricIds:
    """The metrics that one VM has defined, by id."""

    def __init__(self, store: MetricStore) -> None:
        self._store = store
        self._metrics: dict[int, Metric] = {}
        self._last = {kind: int(kind) for kind in MetricType}

    def define(self, metric_type: int, name: str) -> int:
        if metric_type > MetricType.HISTOGRAM:
            raise HostError("define_metric", Status.BAD_ARGUMENT)
        kind = MetricType(metric_type)
        self._last[kind] += _ID_STEP
        self._metrics[self._last[kind]] = self._store.metric(kind, name)
        return self._last[kind]

    def increment(self, metric_id: int, offset: int) -> None:
        """Counters take positive offsets only; gauges take any."""
        metric = self._find("increment_metric", metric_id, histograms=False)
        if metric.type == MetricType.COUNTER and offset <= 0:
            raise HostError("increment_metric", Status.BAD_ARGUMENT)
        metric.value = (metric.value + offset) & _U64

    def record(self, metric_id: int, value: int) -> None:
        """Sets a gauge, samples a histogram, and adds to a counter."""
        metric = self._find("record_metric", metric_id, histograms=True)
        if metric.type == MetricType.HISTOGRAM:
            metric.samples.append(value)
        elif metric.type == MetricType.GAUGE:
            metric.value = value
        else:
            metric.value = (metric.value + value) & _U64

    def get(self, metric_id: int) -> int:
        return self._find("get_metric", metric_id, histograms=False).value

    def _find(self, hostcall: str, metric_id: int, *, histograms: bool) -> Metric:
        if not histograms and metric_id & _TYPE_BITS > MetricType.GAUGE:
            raise HostError(hostcall, Status.BAD_ARGUMENT)
        metric = self._metrics.get(metric_id)
        if metric is None:
            raise HostError(hostcall, Status.NOT_FOUND)
        return metric

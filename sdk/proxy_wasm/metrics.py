"""Metrics, which live in the proxy and outlive the VM.

Made by `PluginContext.counter`, `gauge` and `histogram`. Make them once, in `on_configure`, and keep them: a look-up by name per
request costs more than counting.
"""

from typing import ClassVar

from proxy_wasm.abi.enums import MetricType
from proxy_wasm.abi.hostcalls import Hostcalls


def full_name(name: str, labels: dict[str, str]) -> str:
    """`name`, then `.label.value` for each label in the order given; `ValueError` where a part is empty.

    Envoy's stat names have no labels; its `stats_tags` can turn such parts into tags of Prometheus.
    """
    parts = [name, *(part for label in labels.items() for part in label)]
    if not all(parts):
        msg = f"metric {name!r} with labels {labels!r}: a name, label or value is empty"
        raise ValueError(msg)
    return ".".join(parts)


class Metric:
    """A metric of the proxy, by name."""

    __slots__ = ("_hostcalls", "_id", "name")

    metric_type: ClassVar[MetricType]

    def __init__(self, hostcalls: Hostcalls, name: str) -> None:
        self.name = name
        self._hostcalls = hostcalls
        self._id = hostcalls.define_metric(int(self.metric_type), name.encode())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _checked(self, value: int, least: int = 0) -> int:
        if not least <= value < 1 << 63:
            msg = f"metric {self.name}: {value} is out of range"
            raise ValueError(msg)
        return value


class Counter(Metric):
    """A number that only grows."""

    __slots__ = ()
    metric_type = MetricType.COUNTER

    def increment(self, n: int = 1) -> None:
        """Add `n`, at least 0."""
        if self._checked(n):
            self._hostcalls.increment_metric(self._id, n)

    @property
    def value(self) -> int:
        """The sum of all VMs' and workers' increments."""
        return self._hostcalls.get_metric(self._id)


class Gauge(Metric):
    """A number that is set, or grows and shrinks."""

    __slots__ = ()
    metric_type = MetricType.GAUGE

    def record(self, value: int) -> None:
        """Set it."""
        self._hostcalls.record_metric(self._id, self._checked(value))

    def increment(self, n: int = 1) -> None:
        """Add `n`, which may be negative."""
        self._hostcalls.increment_metric(self._id, self._checked(n, -(1 << 63)))

    @property
    def value(self) -> int:
        """What it stands at."""
        return self._hostcalls.get_metric(self._id)


class Histogram(Metric):
    """A distribution of numbers; the proxy does not tell what it has recorded."""

    __slots__ = ()
    metric_type = MetricType.HISTOGRAM

    def record(self, value: int) -> None:
        """Record one number."""
        self._hostcalls.record_metric(self._id, self._checked(value))

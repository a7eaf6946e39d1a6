"""Metrics, which live in the proxy and outlive the VM.

Made by `PluginContext.counter`, `gauge` and `histogram`. Make them once, in `on_configure`, and keep them: a look-up by name per
request costs more than counting.

The ABI knows names only, and a proxy with labels extracts them from the name by regular expressions of its configuration. Labels are written as Istio
and the C++ SDK write them, which Istio's own expressions expect: `label=.=value;.;` for each, then the name.
"""

from typing import ClassVar

from proxy_wasm.abi.enums import MetricType
from proxy_wasm.abi.hostcalls import Hostcalls

_RESERVED_LABEL = "le"
"""What Prometheus calls a histogram's bounds."""


def full_name(name: str, labels: dict[str, str]) -> str:
    """The name under which the proxy keeps the metric `name` with `labels`, of which it extracts the labels.

    The order of `labels` makes no difference. A label's value may be any text; control characters in it, a dot beside `;` or `=`, which
    would look like a separator, and a dot at its end, which Envoy drops, become `_`. Raises `ValueError` for a name or label that Prometheus would not take.
    """
    if not _is_name(name.replace(".", "_").replace("-", "_")) or "" in name.split("."):
        msg = f"metric {name!r}: a name has letters, digits, '_', '-' and single dots, and begins with a letter or '_'"
        raise ValueError(msg)
    for label in labels:
        if not _is_name(label) or label.startswith("__") or label == _RESERVED_LABEL:
            msg = (
                f"metric {name}, label {label!r}: a label has letters, digits and '_', begins with a letter or a single '_', "
                f"and is not {_RESERVED_LABEL!r}"
            )
            raise ValueError(msg)
    # Short ones first: an expression for "service" that is not anchored, as Istio's are, also fits the end of "destination_service=.=".
    encoded = [
        f"{label}=.={_label_value(labels[label])};.;" for label in sorted(labels, key=lambda key: (len(key), key))
    ]
    return "".join([*encoded, name])


def _is_name(text: str) -> bool:
    return text.isascii() and text.isidentifier()


def _label_value(value: str) -> str:
    if not value.isprintable():
        value = "".join([character if character.isprintable() else "_" for character in value])
    if ";" in value or "=" in value:
        for separator, replacement in _LIKE_SEPARATORS:
            value = value.replace(separator, replacement)
    return f"{value[:-1]}_" if value.endswith(".") else value


_LIKE_SEPARATORS = ((".;", "_;"), (";.", ";_"), (".=", "_="), ("=.", "=_"))


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
        if n == 1 or self._checked(n):
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

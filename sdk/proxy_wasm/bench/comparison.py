"""A run beside an earlier one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy_wasm.bench.errors import ReportError
from proxy_wasm.bench.report import Figure, Report

TOLERANCE = 0.25
"""By how much a figure may be worse, unless told: a quarter."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure then and now."""

    old: Figure
    new: Figure

    @property
    def ratio(self) -> float:
        """How many times the old median the new one is; 1 where both are 0, infinite where the old one alone is."""
        if not self.old.median:
            return 1.0 if not self.new.median else float("inf")
        return self.new.median / self.old.median

    def is_worse(self, tolerance: float) -> bool:
        """Whether it is worse by more than `tolerance` (0.25: by a quarter), and no round of now is as good as any of then."""
        if not self.new.judged:
            return False
        if self.new.more_is_better:
            return self.ratio < 1 / (1 + tolerance) and self.new.most < self.old.least
        return self.ratio > 1 + tolerance and self.new.least > self.old.most


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures that both runs have, and the names of others."""

    file: Path
    tolerance: float
    changes: tuple[Change, ...]
    only_old: tuple[Figure, ...]
    only_new: tuple[Figure, ...]

    @property
    def worse(self) -> tuple[Change, ...]:
        """What is worse by more than the tolerance."""
        return tuple(change for change in self.changes if change.is_worse(self.tolerance))

    def of(self, figure: Figure) -> Change | None:
        """The change of a figure of the new run; `None` where the old one has none of its name."""
        return next((change for change in self.changes if change.new is figure), None)


def compare(old: Report, new: Report, file: Path, tolerance: float = TOLERANCE) -> Comparison:
    """The new run beside the old one, which came from `file`.

    Raises `ReportError` where they were not made alike: on the same host, with the same traffic.
    """
    for what, then, now in (("--host", old.host, new.host), ("traffic", old.traffic, new.traffic)):
        if then != now:
            raise ReportError(
                f"{file}: was measured with {what} {then!r}, and this is {now!r}: they cannot be compared"
            )
    before = {(figure.case, figure.name): figure for figure in old.figures}
    after = {(figure.case, figure.name): figure for figure in new.figures}
    return Comparison(
        file,
        tolerance,
        tuple(_changes(before, after)),
        tuple(figure for key, figure in before.items() if key not in after),
        tuple(figure for key, figure in after.items() if key not in before),
    )


def _changes(before: dict[tuple[str, str], Figure], after: dict[tuple[str, str], Figure]) -> Iterator[Change]:
    for key, figure in after.items():
        if key not in before:
            continue
        if before[key].unit != figure.unit:
            raise ReportError(
                f"{figure.name}: was in {before[key].unit!r}, and is in {figure.unit!r} now; measure again"
            )
        yield Change(before[key], figure)

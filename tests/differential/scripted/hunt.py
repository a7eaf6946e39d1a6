"""Looks for differences: batches of generated cases, the smallest that differs from each."""

import itertools
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from scripted.case import Case, Host
from scripted.comparison import difference, to_text
from scripted.generator import cases as generated

_BATCH = 40


class _DifferenceError(AssertionError):
    """The hosts do not agree."""


class Hunt:
    """Compares `others` with `reference`, case by case, and keeps what it finds."""

    def __init__(self, reference: Host, *others: Host) -> None:
        self.agreed: set[str] = set()
        """The cases on which the hosts agree."""
        self.differences: list[str] = []
        self.statuses: Counter[tuple[str, str]] = Counter()
        """How often a hostcall gave a status."""
        self._reference, self._others = reference, others
        self._latest = ""
        self._numbers = itertools.count()

    def run(self, cases: int, seed_number: int) -> None:
        """Try that many cases; the same for the same seed."""
        for start in range(0, cases, _BATCH):
            try:
                self._batch(min(_BATCH, cases - start), seed_number * 1_000_003 + start)
            except _DifferenceError as found:
                self.differences.append(str(found))
            except Flaky:
                self.differences.append(f"differs only now and then:\n{self._latest}")

    def _batch(self, cases: int, seed_number: int) -> None:
        @seed(seed_number)
        @settings(
            max_examples=cases,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
            print_blob=False,
        )
        @given(generated())
        def agree(case: Case) -> None:
            self.check(case)

        agree()

    def check(self, case: Case) -> None:
        """Raise `AssertionError` where the hosts do not agree on `case`."""
        name = b"%d" % next(self._numbers)
        expected = self._reference.run(case, name).to_json()
        seen = [other.run(case, name).to_json() for other in self._others]
        if any("failure" in one for one in (expected, *seen)):
            # All of them, so that they have the same past.
            for host in (self._reference, *self._others):
                host.restart()
        for found in (difference(expected, one) for one in seen):
            if found:
                self._latest = f"{to_text(case)}\n{found}"
                raise _DifferenceError(self._latest)
        self.agreed.add(to_text(case))
        for entry in expected["log"]:
            if isinstance(entry[-1], list):
                self.statuses.update((call[0], str(call[1])) for call in entry[-1])

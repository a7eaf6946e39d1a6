"""Strict mode: what a plugin did that no plugin should fails the test, whatever came of the exchange.

What counts is told in `proxy_wasm.testing.watch`; it is the same on every host.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from proxy_wasm.testing.watch import Fault


class PluginFault(AssertionError):  # noqa: N818 - says what happened
    """Raised in strict mode, by whatever a test asked a proxy to do when it went wrong, or at the test's end."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        listed = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"strict mode: the plugin did what no plugin should\n{listed}")


class Judge:
    """Raises for each fault of a plugin once, unless one of the regular expressions `allowed` is found in its text."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = [re.compile(expression) for expression in allowed]
        self._judged: Counter[Fault] = Counter()

    def judge(self, faults: Iterable[Fault]) -> None:
        """Raise `PluginFault` for those of a plugin's faults that are new."""
        new = list((Counter(faults) - self._judged).elements())
        self._judged.update(new)
        blamed = [fault for fault in new if not any(allowed.search(str(fault)) for allowed in self._allowed)]
        if blamed:
            raise PluginFault(blamed)

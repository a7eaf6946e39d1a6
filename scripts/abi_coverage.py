"""Write docs/abi-coverage.md anew from the last recorded test run (`scripts/abi_recording.py`); `--check` only says whether it still holds.

For each hostcall and callback of the ABI and each host the page names a test. It keeps a test as long as that passed on that host and used
the function there; otherwise another one takes its place: of those that fill most of the function's empty cells the one with the smallest
id. To have the page name a better one, write it there: it is checked like the others.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from proxy_wasm.abi.signatures import ABI_VERSION_EXPORT, CALLBACKS, HOSTCALLS, MEMORY_ALLOCATE_EXPORT

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "abi-coverage.md"
RECORD = ROOT / ".abi-calls.json"

HOSTS = {"native": "native", "wasm": "wasm", "envoy": "Envoy"}
PREFERRED = "tests/capabilities/"
"""Where the tests are that are about what filters can do."""

Cell = tuple[str, str]
"""A function, by the name of the module's import or export, and a host."""

TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Hostcalls": ("hostcall", tuple(hostcall.import_name for hostcall in HOSTCALLS.values())),
    "Callbacks": ("callback", tuple(callback.export_name for callback in CALLBACKS.values())),
    "The module": ("export", (ABI_VERSION_EXPORT, MEMORY_ALLOCATE_EXPORT)),
}

_NO_MODULE = "The native host calls Python's objects: there is no module, and no memory but Python's."
REASONS: dict[Cell, str] = {
    ("proxy_validate_configuration", "envoy"): (
        "Envoy never calls it. The host library looks for the export (proxy-wasm-cpp-host, `include/proxy-wasm/wasm.h`, "
        "`FOR_ALL_MODULE_FUNCTIONS`), and nothing there calls what it has found; Envoy's own `Context::validateConfiguration` is marked deprecated "
        "(`source/extensions/common/wasm/context.h`) and has no caller. It was meant for control planes, and left out of the specification of ABI 0.2 "
        "([proxy-wasm/spec#103](https://github.com/proxy-wasm/spec/issues/103)). `test_envoy_asks_no_plugin_whether_it_could_use_a_configuration` "
        "watches over it."
    ),
    ("proxy_on_foreign_function", "envoy"): (
        "Envoy never calls it. `ContextBase::onForeignFunction` (proxy-wasm-cpp-host, `src/context.cc`) is there for host extensions compiled "
        "into a proxy; none of Envoy's own foreign functions (`source/extensions/common/wasm/foreign.cc`) uses it, only its unit tests do."
    ),
    (ABI_VERSION_EXPORT, "native"): _NO_MODULE,
    (MEMORY_ALLOCATE_EXPORT, "native"): _NO_MODULE,
}
"""Why a host cannot show a function."""

_CALLBACKS = frozenset(TABLES["Callbacks"][1])
_HEAD = """\
# Coverage of the ABI

Each hostcall and callback of Proxy-Wasm ABI 0.2.1 on each host, and the test that proves it: a filter in Python has made the hostcall, and the
host has answered it with OK; the host has called the callback, and the filter has returned from it. The emulator tells so to an observer,
Envoy to its log. See [testing](testing.md) for what the hosts are.

`make test` records it, and fails where this page is not as the tests are. `.venv/bin/python scripts/abi_coverage.py` then writes it anew.
"""
_PROOF = re.compile(r"(?:(?P<hosts>[A-Za-z, ]+): )?\[`[^`]*?(?P<name>test_\w+)`\]\(\.\./(?P<file>[^)]+)\)")
_ROW = re.compile(r"\| `(?P<function>proxy_\w+)` \|.*\| (?P<proofs>[^|]*) \|")


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of the tests has shown."""

    complete: bool
    """Whether all tests ran, on all hosts, and none failed."""
    uses: Mapping[tuple[str, str], frozenset[str]]
    """The functions that a test used on a host."""

    @classmethod
    def load(cls, path: Path) -> "Run":
        """Read a record.

        A native guest has every callback. Of those only the ones count that the filter's module has too, as the same test on wasm shows.
        """
        content = cast("dict[str, Any]", json.loads(path.read_text("utf-8")))
        complete = cast("bool", content["complete"])
        uses: dict[tuple[str, str], frozenset[str]] = {}
        for test, hosts in cast("dict[str, dict[str, list[str]]]", content["tests"]).items():
            uses.update({(test, host): frozenset(used) for host, used in hosts.items()})
            if "native" in hosts and "wasm" in hosts:
                uses[test, "native"] -= _CALLBACKS - uses[test, "wasm"]
            elif "native" in hosts and complete:
                uses[test, "native"] -= _CALLBACKS
            elif "native" in hosts:
                del uses[test, "native"]  # the run was one without wasm
        return cls(complete, uses)

    def proves(self, cell: Cell, test: str) -> bool:
        function, host = cell
        return function in self.uses.get((test, host), frozenset())

    def may_prove(self, cell: Cell, test: str) -> bool:
        """As `proves`; of tests that did not run in a run of some it is not known."""
        return self.proves(cell, test) or (not self.complete and (test, cell[1]) not in self.uses)


@dataclass(slots=True)
class Coverage:
    """The test that the page names for each cell."""

    tests: dict[Cell, str] = field(default_factory=dict[Cell, str])

    @classmethod
    def of_page(cls, page: str) -> "Coverage":
        """What a page says."""
        found = cls()
        names = {shown: host for host, shown in HOSTS.items()}
        for row in _ROW.finditer(page):
            for proof in _PROOF.finditer(row["proofs"]):
                hosts = proof["hosts"].split(", ") if proof["hosts"] else list(names)
                for shown in hosts:
                    cell = row["function"], names.get(shown, shown)
                    if proof["hosts"] or cell not in REASONS:
                        found.tests[cell] = f"{proof['file']}::{proof['name']}"
        return found

    def after(self, run: Run) -> "Coverage":
        """What the page says after a run: the same where that still holds."""
        kept = {cell: test for cell, test in self.tests.items() if cell in set(cells()) and run.may_prove(cell, test)}
        for function in dict.fromkeys(function for function, _ in cells()):
            empty = [(function, host) for host in HOSTS if (function, host) not in kept]
            while candidates := _candidates(run, empty):
                test = min(candidates, key=lambda test: (-len(candidates[test]), not test.startswith(PREFERRED), test))
                kept.update(dict.fromkeys(candidates[test], test))
                empty = [cell for cell in empty if cell not in kept]
        return Coverage(kept)

    def complaints(self) -> Iterator[str]:
        """What is missing, or more than there can be."""
        for cell in cells():
            function, host = cell
            if cell not in self.tests and cell not in REASONS:
                yield f"{function} on {HOSTS[host]}: no test that passed has used it; write one, or a reason in {Path(__file__).name}"
            if cell in self.tests and cell in REASONS:
                yield f"{function} on {HOSTS[host]}: {self.tests[cell]} has used it; take the reason out of {Path(__file__).name}"

    def page(self) -> str:
        """The page that says it."""
        parts = [_HEAD]
        for heading, (kind, functions) in TABLES.items():
            lines = [f"| {kind} | {' | '.join(HOSTS.values())} | proved by |", f"|---|{'---|' * len(HOSTS)}---|"]
            lines += [self._row(function) for function in functions]
            parts.append(f"## {heading}\n\n" + "\n".join(lines) + "\n")
        parts.append("## What a host cannot show\n\n" + "\n".join(_reasons()) + "\n")
        return "\n".join(parts)

    def _row(self, function: str) -> str:
        tests: dict[str, list[str]] = {}
        for host, shown in HOSTS.items():
            if (function, host) in self.tests:
                tests.setdefault(self.tests[function, host], []).append(shown)
        possible = [shown for host, shown in HOSTS.items() if (function, host) not in REASONS]
        proofs = [
            _link(test) if hosts == possible else f"{', '.join(hosts)}: {_link(test)}" for test, hosts in tests.items()
        ]
        marks = [self._mark((function, host)) for host in HOSTS]
        return f"| `{function}` | {' | '.join(marks)} | {'<br>'.join(proofs)} |"

    def _mark(self, cell: Cell) -> str:
        if cell in self.tests:
            return "yes"
        return "[no](#what-a-host-cannot-show)" if cell in REASONS else "?"


def cells() -> list[Cell]:
    """All functions on all hosts."""
    return [(function, host) for _, functions in TABLES.values() for function in functions for host in HOSTS]


def _candidates(run: Run, empty: list[Cell]) -> dict[str, list[Cell]]:
    """The tests that fill some of the cells, with those that they fill."""
    found: dict[str, list[Cell]] = {}
    for cell in empty:
        for test, host in run.uses:
            if host == cell[1] and run.proves(cell, test):
                found.setdefault(test, []).append(cell)
    return found


def _link(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[`{Path(file).name}::{name}`](../{file})"


def _reasons() -> Iterator[str]:
    """One paragraph for each reason."""
    told: dict[tuple[str, str], list[str]] = {}
    for (function, host), reason in REASONS.items():
        told.setdefault((host, reason), []).append(f"`{function}`")
    for (host, reason), functions in told.items():
        yield f"- {' and '.join(functions)} on {HOSTS[host]}: {reason}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail where the page is not as the run was; write nothing")
    parser.add_argument("--partial", action="store_true", help="accept a run of some of the tests")
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    run = Run.load(options.record)
    if not run.complete and not options.partial:
        print(f"{options.record.name}: not all tests ran and passed; run `make test`, or accept that with --partial")
        return 1
    current = options.page.read_text("utf-8") if options.page.exists() else ""
    coverage = Coverage.of_page(current).after(run)
    complaints = list(coverage.complaints())
    if not options.check:
        options.page.write_text(coverage.page(), "utf-8")
    elif current != coverage.page():
        complaints.append(f"{options.page.name} is not as the tests are: run `python scripts/{Path(__file__).name}`")
    print("\n".join(complaints) or f"{options.page.name}: {len(coverage.tests)} of {len(cells())} cells have a test")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

"""`proxy-wasm bench DIR|FILE.wasm`."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proxy_wasm.bench import BenchError, Comparison, Report, ReportError, Traffic, compare, default_traffic, traffic_of
from proxy_wasm.bench.html import page
from proxy_wasm.bench.text import lines
from proxy_wasm.build import BuildError, SettingsError
from proxy_wasm.cli.errors import told
from proxy_wasm.cli.extensions import check_host, prepare
from proxy_wasm.cli.progress import terminal_progress
from proxy_wasm.cli.text import printable
from proxy_wasm.emulator import EmulatorError
from proxy_wasm.envoy import EnvoyError
from proxy_wasm.errors import PluginReferenceError
from proxy_wasm.testing import Extension, HostName
from proxy_wasm.testing.cases.errors import CasesError
from proxy_wasm.testing.cases.files import load
from proxy_wasm.testing.cases.model import PluginPart


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What the command was given."""

    source: Path
    configuration: Path | None
    root_id: str
    cases: Path | None
    host: HostName
    rounds: int
    streams: int
    seconds: int
    save: Path | None
    compare: Path | None
    tolerance: float
    html: Path | None
    json: Path | None


def run(options: BenchOptions) -> int:
    """Measure, print, and write what was asked for; 1 where something is worse than in an earlier run."""
    with told(
        BuildError,
        PluginReferenceError,
        EmulatorError,
        EnvoyError,
        BenchError,
        bad_input=(SettingsError, CasesError, ReportError),
    ):
        before = None if options.compare is None else Report.load(options.compare)
        report = _measure(options)
        comparison = None
        if before is not None and options.compare is not None:
            comparison = compare(before, report, options.compare, options.tolerance)
    print("\n".join(printable(line) for line in lines(report, comparison)))
    if options.save is not None:
        report.save(options.save)
    if options.json is not None:
        options.json.write_text(json.dumps(_as_json(report, comparison), indent=2) + "\n", "utf-8")
    if options.html is not None:
        options.html.write_text(page(report, comparison), "utf-8")
    return int(comparison is not None and bool(comparison.worse))


def _measure(options: BenchOptions) -> Report:
    progress = terminal_progress()
    traffic = _traffic(options)
    extension = Extension(options.source, progress)
    check_host(extension, options.host)
    prepare(extension, options.host)
    if options.host == "envoy":
        from proxy_wasm.bench import in_envoy  # noqa: PLC0415 - each host needs what the others do without

        return in_envoy.measure(extension, traffic, rounds=options.rounds, seconds=options.seconds, progress=progress)
    from proxy_wasm.bench import emulated  # noqa: PLC0415

    return emulated.measure(
        extension, options.host, traffic, rounds=options.rounds, streams=options.streams, progress=progress
    )


def _traffic(options: BenchOptions) -> Traffic:
    configuration = None if options.configuration is None else options.configuration.read_bytes()
    plugin = PluginPart(configuration, root_id=options.root_id or None)
    return default_traffic(plugin) if options.cases is None else traffic_of(load(options.cases), plugin)


def _as_json(report: Report, comparison: Comparison | None) -> dict[str, Any]:
    """The report as `--save` writes it, with medians and, where there is one, the comparison."""
    document = report.to_json()
    document["figures"] = [
        {**asdict(figure), "median": figure.median, "least": figure.least, "most": figure.most}
        for figure in report.figures
    ]
    if comparison is not None:
        document["comparison"] = {
            "with": str(comparison.file),
            "tolerance": comparison.tolerance,
            "figures": list(_changes(comparison)),
            "worse": len(comparison.worse),
        }
    return document


def _changes(comparison: Comparison) -> Iterator[dict[str, Any]]:
    for change in comparison.changes:
        yield {
            "case": change.new.case,
            "name": change.new.name,
            "before": change.old.median,
            "now": change.new.median,
            "ratio": change.ratio if change.old.median else None,
            "worse": change.is_worse(comparison.tolerance),
        }

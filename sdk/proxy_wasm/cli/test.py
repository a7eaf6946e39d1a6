"""`proxy-wasm test DIR|FILE.wasm [CASES ...]`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from proxy_wasm.build import BuildError, Project, SettingsError
from proxy_wasm.cli.errors import InputError, told
from proxy_wasm.cli.extensions import check_host, default_host, prepare
from proxy_wasm.cli.progress import terminal_progress
from proxy_wasm.cli.text import printable
from proxy_wasm.emulator import EmulatorError
from proxy_wasm.envoy import EnvoyError
from proxy_wasm.errors import PluginReferenceError
from proxy_wasm.testing import Extension, HostName, open_host
from proxy_wasm.testing.cases.errors import CasesError
from proxy_wasm.testing.cases.files import SUFFIX, filter_of, find, hosts_of, load
from proxy_wasm.testing.cases.model import Case, CaseFile
from proxy_wasm.testing.cases.report import lines_of
from proxy_wasm.testing.cases.runner import Result, run_case


@dataclass(frozen=True, slots=True)
class TestOptions:
    """What the command was given."""

    source: Path
    cases: list[Path]
    hosts: list[HostName]
    select: str
    json: bool
    junit: Path | None


@dataclass(frozen=True, slots=True)
class _Planned:
    """A case on a host."""

    case: Case
    extension: Extension


def run(options: TestOptions) -> int:
    """Run the cases, and print what came of each; 1 where one failed."""
    with told(BuildError, PluginReferenceError, EmulatorError, EnvoyError, bad_input=(SettingsError, CasesError)):
        results = _results(options)
    if options.junit is not None:
        options.junit.write_bytes(ET.tostring(_junit(results), "utf-8", xml_declaration=True))
    failed = [result for result in results if result.failure is not None]
    if options.json:
        print(json.dumps([_as_json(result) for result in results], indent=2))
    else:
        for result in failed:
            print("\n" + "\n".join(lines_of(result)))
        print(("\n" if failed else "") + _summary(results))
    return 1 if failed else 0


def _results(options: TestOptions) -> list[Result]:
    progress = terminal_progress()
    extensions: dict[Path, Extension] = {}
    planned: list[_Planned] = []
    for file in _files(options):
        path = _tested(options.source, file)
        extension = extensions.setdefault(path, Extension(path, progress))
        planned += [_Planned(case, extension) for case in file.cases if options.select in case.name]
    hosts = options.hosts or list(dict.fromkeys(default_host(extension) for extension in extensions.values()))
    for extension in extensions.values():
        for host in options.hosts:
            check_host(extension, host)
    results = [result for host in hosts for result in _results_on(host, planned, quiet=options.json)]
    if not results:
        which = f" with {options.select!r} in its name" if options.select else ""
        raise InputError(f"there is no case{which} for {', '.join(hosts)}; choose others with --host")
    return results


def _files(options: TestOptions) -> list[CaseFile]:
    paths = [path for given in options.cases for path in (find(given) if given.is_dir() else [given])]
    if not options.cases:
        paths = list(find(options.source) if options.source.is_dir() else find(options.source.parent, deep=False))
    if not paths:
        places = ", ".join(str(path) for path in options.cases) or str(options.source)
        raise InputError(f"{places}: no files of cases (*{SUFFIX}) there; name them after the extension or module")
    return [load(path) for path in dict.fromkeys(paths)]


def _tested(source: Path, file: CaseFile) -> Path:
    """What a file's cases are run with: what the command names, unless that is a folder of several extensions."""
    return source if source.is_file() or Project.is_project(source) else filter_of(file)


def _results_on(name: HostName, planned: Sequence[_Planned], *, quiet: bool) -> Iterator[Result]:
    host = open_host(name)
    file: Path | None = None
    try:
        for each in planned:
            if name not in hosts_of(each.case, each.extension):
                continue
            prepare(each.extension, name)
            result = run_case(each.case, host, each.extension)
            if not quiet:
                if file != each.case.file:
                    file = each.case.file
                    print(f"{file} on {name}")
                print(f"  {'ok  ' if result.failure is None else 'FAIL'}  {printable(each.case.name)}", flush=True)
            yield result
    finally:
        host.close()


def _summary(results: Sequence[Result]) -> str:
    told: list[str] = []
    for host in dict.fromkeys(result.host for result in results):
        outcomes = [result.failure is None for result in results if result.host == host]
        counts = ((outcomes.count(True), "passed"), (outcomes.count(False), "failed"))
        told.append(f"{host} " + ", ".join(f"{count} {word}" for count, word in counts if count))
    return "; ".join(told)


def _as_json(result: Result) -> dict[str, Any]:
    failure = result.failure
    return {
        "name": result.case.name,
        "file": str(result.case.file),
        "line": result.case.line,
        "host": result.host,
        "passed": failure is None,
        "seconds": round(result.seconds, 6),
        "failure": None
        if failure is None
        else {
            "step": failure.step,
            "problem": failure.problem,
            "differences": [
                {"place": each.place, "expected": each.expected, "came": each.came} for each in failure.differences
            ],
        },
        "log": [{"level": record.level.name.lower(), "message": record.message} for record in result.logs],
    }


def _junit(results: Sequence[Result]) -> ET.Element:
    """The results as CI systems read them: a suite for each file and host."""
    root = ET.Element("testsuites")
    suites: dict[tuple[Path, HostName], list[Result]] = {}
    for result in results:
        suites.setdefault((result.case.file, result.host), []).append(result)
    for (file, host), members in suites.items():
        suite = ET.SubElement(
            root,
            "testsuite",
            name=f"{file} on {host}",
            tests=str(len(members)),
            failures=str(sum(member.failure is not None for member in members)),
            time=f"{sum(member.seconds for member in members):.6f}",
        )
        for member in members:
            test = ET.SubElement(
                suite,
                "testcase",
                name=printable(member.case.name),
                classname=f"{file}[{host}]",
                time=f"{member.seconds:.6f}",
            )
            if member.failure is not None:
                failure = ET.SubElement(test, "failure", message=printable(member.failure.step))
                failure.text = "\n".join(lines_of(member))
    return root

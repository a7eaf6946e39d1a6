"""Modules that this project did not build: what of them can be built here, and what a proxy finds in them.

What they do is told by the cases next to their sources.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime

from proxy_wasm.emulator import Emulator, Request, wasm_guest
from proxy_wasm.testing.cases.files import SUFFIX, load

Built = Callable[[str], Path]

FOLDER = Path(__file__).parent
FILTERS = sorted(
    f"{path.parent.parent.name}/{path.parent.name}" for path in FOLDER.glob("*/*/*") if path.suffix in (".c", ".go")
)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_has_cases_that_run_on_every_host_that_modules_run_on(built: Built, name: str) -> None:
    module = built(name)
    file = load(FOLDER / name / f"{Path(name).name}{SUFFIX}")
    assert file.filter is not None
    assert file.filter.resolve() == module
    assert file.cases
    assert all(case.hosts is None for case in file.cases)


def exports(module: Path) -> list[str]:
    return [entry.name for entry in wasmtime.Module(wasmtime.Engine(), module.read_bytes()).exports]


def imports(module: Path) -> set[str]:
    return {f"{entry.module}.{entry.name}" for entry in wasmtime.Module(wasmtime.Engine(), module.read_bytes()).imports}


@pytest.mark.parametrize(
    ("name", "version"),
    [("c/legacy", "0_1_0"), ("c/body", "0_2_0"), ("c/headers", "0_2_1"), ("go/headers", "0_2_0")],
)
def test_there_are_filters_of_each_abi_version(built: Built, name: str, version: str) -> None:
    versions = [export for export in exports(built(name)) if export.startswith("proxy_abi_version_")]
    assert versions == [f"proxy_abi_version_{version}"]


def test_filters_in_go_need_wasi_that_modules_of_python_do_not(built: Built) -> None:
    wanted = imports(built("go/metrics"))
    assert {"wasi_snapshot_preview1.poll_oneoff", "wasi_snapshot_preview1.fd_fdstat_get"} <= wanted


@pytest.mark.parametrize("name", ["c/shared", "go/shared"])
def test_the_vms_of_several_workers_count_together(built: Built, name: str) -> None:
    plugin = Emulator(wasm_guest(built(name).read_bytes()), workers=3).start_plugin()
    counts: list[str] = []
    for worker in (*plugin.workers, plugin.workers[0]):
        upstream = worker.exchange(Request()).upstream
        assert upstream is not None
        counts.append(upstream.headers["x-count"])
    assert counts == ["1", "2", "3", "4"]

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy_wasm.build import BuildError, LinkError, Project, build
from proxy_wasm.build import componentize as compilation
from proxy_wasm.build.cache import CACHE_VARIABLE, Cache
from proxy_wasm.build.checker import check
from proxy_wasm.build.dependencies import install
from proxy_wasm.build.inputs import Inputs, collect
from proxy_wasm.build.inspection import inspect
from proxy_wasm.guest import manifest

MakeProject = Callable[..., Path]

PROGRAM = """
import json, sys
from pathlib import Path
from proxy_wasm.build import build
told = []
result = build(Path(sys.argv[1]), progress=told.append)
print(json.dumps({"path": str(result.path), "reused": result.reused, "hash": result.input_hash, "told": told}))
"""


@dataclass(frozen=True)
class Shared:
    """One extension, built for all tests of this file by two processes at the same time, from two folders."""

    cache: Path
    folders: tuple[Path, Path]
    results: tuple[dict[str, Any], dict[str, Any]]

    @property
    def module(self) -> bytes:
        return Path(self.results[0]["path"]).read_bytes()


def run_build(folder: Path, cache: Path) -> dict[str, Any]:
    environment = {**os.environ, CACHE_VARIABLE: str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, greeter_source: str) -> Shared:
    root = tmp_path_factory.mktemp("shared")
    folders = (root / "one", root / "two")
    results: dict[Path, dict[str, Any]] = {}
    for folder in folders:
        folder.mkdir()
        (folder / "greeter.py").write_text(greeter_source)
        (folder / "pyproject.toml").write_text(
            '[project]\nname = "greeter"\n[tool.proxy-wasm]\nplugin = "greeter:Greeter"\n'
        )

    def run(folder: Path) -> None:
        results[folder] = run_build(folder, root / "cache")

    threads = [threading.Thread(target=run, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Shared(root / "cache", folders, (results[folders[0]], results[folders[1]]))


def test_of_two_builds_at_the_same_time_one_compiles_and_both_get_its_module(shared: Shared) -> None:
    first, second = shared.results

    assert sorted([first["reused"], second["reused"]]) == [False, True]
    assert Path(first["path"]).read_bytes() == Path(second["path"]).read_bytes()
    assert Path(second["path"]) == shared.folders[1] / "dist" / "greeter.wasm"


def test_the_module_is_what_hosts_load(shared: Shared) -> None:
    check(shared.module)
    found = inspect(shared.module)

    assert found.abi_version == "0.2.1"
    assert {item.name.partition(".")[0] for item in found.imports} <= {"env", "wasi_snapshot_preview1"}
    assert "proxy_on_request_headers" in {item.name for item in found.exports}
    assert "proxy_on_request_body" not in {item.name for item in found.exports}
    assert "custom name" in {part.name for part in found.sections}


def test_the_module_records_what_it_was_made_from(shared: Shared) -> None:
    found = inspect(shared.module)

    assert found.input_hash == shared.results[0]["hash"]
    assert found.plugins == {"": "greeter:Greeter"}
    assert {"greeter", "proxy_wasm", "proxy_wasm.contexts"} <= set(found.python_modules)
    assert {"compile", "sqlite3", "decimal"} <= set(found.left_out)
    assert not {"json", "struct"} & set(found.left_out)
    assert not {"proxy_wasm.build", "typing_extensions", "pytest", "asyncio"} & set(found.python_modules)


def test_progress_tells_each_step_that_takes_time(shared: Shared) -> None:
    told = {result["reused"]: result["told"] for result in shared.results}

    assert told == {
        False: ["compiling greeter (Python modules into a snapshot)", "linking", "checking"],
        True: [],
    }


def test_an_unchanged_extension_is_built_again_in_less_than_a_second(shared: Shared) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run_build(shared.folders[0], shared.cache)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert result["reused"]
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 1.0


@pytest.fixture(scope="module")
def component(shared: Shared) -> bytes:
    """What componentize-py makes of the extension; compiling takes seconds, so tests of later steps share it."""
    project = Project.load(shared.folders[0])
    return compilation.componentize(collect(project, install(project, Cache(shared.cache))), project)


@pytest.fixture
def compiled(component: bytes, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the extensions that were compiled during the test."""
    names: list[str] = []

    def componentize(_: Inputs, project: Project) -> bytes:
        names.append(project.name)
        return component

    monkeypatch.setattr(compilation, "componentize", componentize)
    return names


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("greeter.py", "hello", "hullo"), ("pyproject.toml", 'name = "greeter"', 'name = "greeter"\nversion = "2"')],
)
def test_a_changed_source_or_setting_is_built_anew(
    shared: Shared, tmp_path: Path, compiled: list[str], file: str, old: str, new: str
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(shared.folders[0], folder)
    (folder / file).write_text((folder / file).read_text().replace(old, new))

    result = build(folder, cache=Cache(shared.cache), output=tmp_path / "here" / "filter.wasm")

    assert not result.reused
    assert compiled == ["greeter"]
    assert result.path == tmp_path / "here" / "filter.wasm"
    assert result.path.read_bytes() == result.module != shared.module
    assert {"settings", "dependencies", "inputs", "componentize", "link", "check", "output"} == set(result.seconds)


def test_names_are_left_out_where_the_settings_say_so(shared: Shared, tmp_path: Path, compiled: list[str]) -> None:
    folder = tmp_path / "stripped"
    shutil.copytree(shared.folders[0], folder)
    with (folder / "pyproject.toml").open("a") as file:
        file.write("strip = true\n")

    result = build(folder, cache=Cache(shared.cache))

    assert compiled == ["greeter"]
    assert "custom name" not in {part.name for part in inspect(result.module).sections}


def test_a_module_that_someone_overwrote_is_written_again(shared: Shared) -> None:
    path = Path(shared.results[0]["path"])
    module = path.read_bytes()
    path.write_bytes(b"something else")

    result = build(shared.folders[0], cache=Cache(shared.cache))

    assert result.reused
    assert path.read_bytes() == module
    assert [file.name for file in path.parent.iterdir()] == ["greeter.wasm"]


def test_a_place_that_cannot_be_written_is_named(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BuildError, match=r"file/filter\.wasm: cannot be written: "):
        build(shared.folders[0], cache=Cache(shared.cache), output=tmp_path / "file" / "filter.wasm")


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (b"\0asm\x0d\0\x01\0", "the snapshot holds no manifest"),
        (None, r"componentize-py made a component that cannot be read: .*offset 0x"),
    ],
)
def test_a_component_that_cannot_be_linked_is_refused(
    make_project: MakeProject, cache: Cache, monkeypatch: pytest.MonkeyPatch, component: bytes | None, message: str
) -> None:
    made = component or b"\0asm\x0d\0\x01\0\x01" + manifest.encode({"callbacks": ["on_log"], "modules": []})

    def componentize(*_: object) -> bytes:
        return made

    monkeypatch.setattr(compilation, "componentize", componentize)

    with pytest.raises(LinkError, match=message):
        build(make_project(), cache=cache)

import dataclasses
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy_wasm.build import guest_pip
from proxy_wasm.build.cache import Cache
from proxy_wasm.build.dependencies import install, locked
from proxy_wasm.build.errors import DependencyError
from proxy_wasm.build.settings import Project

Installed = Callable[..., Path]


@pytest.fixture
def installed(make_project: Callable[..., Path], cache: Cache) -> Installed:
    project = Project.load(make_project())

    def run(*requirements: str, progress: Callable[[str], None] | None = None) -> Path:
        return install(dataclasses.replace(project, dependencies=requirements), cache, progress)

    return run


@pytest.fixture
def make_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a wheel that pip finds without an index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def make(name: str, *, version: str = "1.0", tag: str = "py3-none-any", requires: str = "", **files: str) -> Path:
        path = folder / f"{name}-{version}-{tag}.whl"
        info = f"{name}-{version}.dist-info"
        contents = {f"{name}/__init__.py": "", **{file.replace("__", "/"): text for file, text in files.items()}}
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        contents[f"{info}/METADATA"] = metadata + (f"Requires-Dist: {requires}\n" if requires else "")
        contents[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"
        record = "".join(f"{file},,\n" for file in [*contents, f"{info}/RECORD"])
        with zipfile.ZipFile(path, "w") as wheel:
            for file, text in contents.items():
                wheel.writestr(file, text)
            wheel.writestr(f"{info}/RECORD", record)
        return path

    return make


MakeWheel = Callable[..., Path]


def test_a_pure_package_of_the_index_is_installed_with_what_it_requires(installed: Installed) -> None:
    folder = installed("requests<3")

    assert (folder / "requests" / "__init__.py").is_file()
    assert (folder / "urllib3" / "__init__.py").is_file()
    assert locked(folder).keys() >= {"requests", "urllib3", "idna", "certifi"}
    assert not [path for path in folder.rglob("*") if path.suffix in {".pyc", ".so"}]


@pytest.mark.parametrize(
    ("requirement", "beginning"),
    [
        ("msgspec", "msgspec is a compiled package and cannot run inside Wasm; use a pure-Python package"),
        ("pyjwt[crypto]>=2.10", "cryptography (required by pyjwt[crypto] 2."),
        # Releases of many years ago do without: nobody wants them instead.
        ("pyjwt[crypto]", "cryptography (required by pyjwt[crypto] 2."),
    ],
)
def test_a_compiled_package_of_the_index_is_refused_by_name(
    installed: Installed, requirement: str, beginning: str
) -> None:
    with pytest.raises(DependencyError) as raised:
        installed(requirement)

    assert str(raised.value).startswith(beginning)
    assert "is a compiled package and cannot run inside Wasm; use a pure-Python package" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_package_published_as_source_alone_is_built_where_it_is_pure(installed: Installed) -> None:
    folder = installed("docopt==0.6.2")

    assert (folder / "docopt.py").is_file()
    assert locked(folder) == {"docopt": "0.6.2"}


def test_a_package_that_nobody_has_is_named(installed: Installed, make_wheel: MakeWheel) -> None:
    make_wheel("colours", version="1.5")

    with pytest.raises(DependencyError, match="colors: the package index holds no such package"):
        installed("colors")
    with pytest.raises(DependencyError, match=r"colours>2: there is no such version; the newest is 1\.5"):
        installed("colours>2")


def test_conflicting_requirements_are_explained_by_pip(installed: Installed, make_wheel: MakeWheel) -> None:
    make_wheel("a", requires="c<2")
    make_wheel("c", version="1")
    make_wheel("c", version="3")

    with pytest.raises(DependencyError, match=r"dependencies cannot be installed: Cannot install .*c>2.*conflicting"):
        installed("a", "c>2")


def test_a_wheel_that_calls_itself_pure_and_carries_a_library_is_refused(
    installed: Installed, make_wheel: MakeWheel
) -> None:
    make_wheel("sneaky", **{"sneaky/fast.so": ""})

    with pytest.raises(DependencyError, match="sneaky is a compiled package"):
        installed("sneaky")


def test_a_package_that_only_has_a_compiled_wheel_is_refused(installed: Installed, make_wheel: MakeWheel) -> None:
    make_wheel("outer", requires="inner")
    make_wheel("inner", tag="cp314-cp314-manylinux_2_17_x86_64")

    with pytest.raises(DependencyError, match=r"inner \(required by outer\) is a compiled package"):
        installed("outer")


def test_an_older_release_without_the_compiled_package_can_be_asked_for(
    installed: Installed, make_wheel: MakeWheel
) -> None:
    make_wheel("outer", version="2.0", requires="inner")
    make_wheel("outer", version="1.0")
    make_wheel("inner", tag="cp314-cp314-manylinux_2_17_x86_64")

    with pytest.raises(DependencyError, match=r"inner \(required by outer.*bound the version where an older release"):
        installed("outer")
    assert locked(installed("outer<2")) == {"outer": "1.0"}


def test_markers_are_those_of_the_python_inside_wasm(installed: Installed, make_wheel: MakeWheel) -> None:
    for name in ("old", "windows", "wasi", "new"):
        make_wheel(name)

    folder = installed(
        'old; python_version < "3.14"',
        'windows; sys_platform == "win32" or sys_platform == "linux" or sys_platform == "darwin"',
        'wasi; sys_platform == "wasi"',
        'new; python_version >= "3.14"',
    )

    assert locked(folder) == {"wasi": "1.0", "new": "1.0"}


def test_markers_of_the_guest_name_everything_that_pip_asks_for() -> None:
    from packaging.markers import default_environment  # noqa: PLC0415

    assert guest_pip.MARKERS.keys() == default_environment().keys()


def test_what_is_installed_names_neither_machine_nor_time(installed: Installed, make_wheel: MakeWheel) -> None:
    make_wheel("plain", **{"plain-1.0.data/scripts/tool": "#!python\n"})

    folder = installed("plain")

    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "plain-1.0.dist-info/METADATA",
        "plain-1.0.dist-info/WHEEL",
        "plain/__init__.py",
    ]


def test_an_unchanged_list_is_not_resolved_again(
    installed: Installed, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel("plain")
    told: list[str] = []
    first = installed("plain", progress=told.append)
    wheel.unlink()

    def no_process(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(subprocess, "run", no_process)

    assert installed("plain", progress=told.append) == first
    assert told == ["installing dependencies"]


def test_a_changed_file_behind_a_url_is_installed_anew(installed: Installed, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("plain", plain__words="one")
    requirement = f"plain @ {wheel.as_uri()}"
    assert (installed(requirement) / "plain" / "words").read_text() == "one"

    make_wheel("plain", plain__words="two")

    assert (installed(requirement) / "plain" / "words").read_text() == "two"


def test_no_dependencies_give_an_empty_folder(installed: Installed) -> None:
    told: list[str] = []

    folder = installed(progress=told.append)

    assert list(folder.iterdir()) == []
    assert locked(folder) == {}
    assert told == []


def test_an_index_out_of_reach_is_said_to_be(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")

    with pytest.raises(DependencyError, match=r"the package index cannot be reached \(http://127\.0\.0\.1:9/"):
        installed("never-installed-before")


def test_a_failed_build_of_a_source_package_says_what_pip_says(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tarfile  # noqa: PLC0415

    folder = tmp_path / "sdists"
    source = folder / "broken-1.0"
    source.mkdir(parents=True)
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (source / "pyproject.toml").write_text('[build-system]\nrequires = []\nbuild-backend = "nothing"\n')
    with tarfile.open(folder / "broken-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "broken-1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    with pytest.raises(DependencyError, match="broken is published as source, and building it failed: "):
        installed("broken")


def test_an_interpreter_without_pip_is_said_to_lack_it(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))

    with pytest.raises(DependencyError, match=r"pip is not installed for .*; install it with: .* -m ensurepip"):
        installed("plain")


def test_the_lock_is_readable_json(installed: Installed, make_wheel: MakeWheel) -> None:
    make_wheel("plain", version="2.1")

    folder = installed("plain")

    assert json.loads((folder.parent / "lock.json").read_text()) == {"plain": "2.1"}

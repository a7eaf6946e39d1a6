import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy_wasm.build import inputs as inputs_module
from proxy_wasm.build.inputs import Inputs, collect
from proxy_wasm.build.provenance import Package, Provenance
from proxy_wasm.build.settings import Project

MakeProject = Callable[..., Path]


@pytest.fixture
def dependencies(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "jwt").mkdir(parents=True)
    (folder / "jwt" / "__init__.py").write_text("")
    return folder


@pytest.fixture
def collected(make_project: MakeProject, dependencies: Path) -> Inputs:
    return collect(Project.load(make_project()), dependencies)


def test_inputs_are_the_sdk_the_extension_and_its_dependencies(collected: Inputs) -> None:
    names = set(collected.files)

    assert {"extension/greeter.py", "dependencies/jwt/__init__.py", "sdk/proxy_wasm_settings.py"} <= names
    assert {"sdk/proxy_wasm/__init__.py", "sdk/proxy_wasm/abi/enums.py", "sdk/proxy_wasm/guest/app.py"} <= names


def test_what_never_runs_in_wasm_is_left_out(collected: Inputs) -> None:
    outside = ("build/", "emulator/", "envoy/", "testing/", "cli", "abi/signatures", "abi/wit", "__main__")

    assert not [
        name for name in collected.files if name.startswith(tuple(f"sdk/proxy_wasm/{part}" for part in outside))
    ]


def test_the_guest_is_told_its_plugins_and_versions(make_project: MakeProject, dependencies: Path) -> None:
    directory = make_project('plugins = {a = "greeter:Greeter"}', project='name = "x"\nversion = "7.1"')
    inputs = collect(Project.load(directory), dependencies)
    namespace: dict[str, object] = {}

    exec(inputs.files["sdk/proxy_wasm_settings.py"], namespace)  # noqa: S102 - the generated module itself

    assert namespace["PLUGINS"] == {"a": "greeter:Greeter"}
    assert namespace["VERSION"] == "7.1"
    assert namespace["SDK_VERSION"] == inputs.tools["proxy-wasm"]


def test_the_hash_is_the_same_in_another_folder(
    make_project: MakeProject, dependencies: Path, collected: Inputs
) -> None:
    elsewhere = collect(
        Project.load(make_project(folder="elsewhere")),
        Path(shutil.copytree(dependencies, dependencies.with_name("s2"))),
    )

    assert elsewhere.hash == collected.hash


def test_the_hash_changes_with_each_byte_and_name_of_a_source(
    make_project: MakeProject, dependencies: Path, collected: Inputs
) -> None:
    source = make_project() / "greeter.py"
    text = source.read_text()

    source.write_text(text + " ")
    changed = collect(Project.load(source.parent), dependencies).hash
    source.write_text(text)
    (source.parent / "more.py").write_text("")
    added = collect(Project.load(source.parent), dependencies).hash

    assert len({collected.hash, changed, added}) == 3


def test_the_hash_changes_with_a_dependency(make_project: MakeProject, dependencies: Path, collected: Inputs) -> None:
    (dependencies / "jwt" / "__init__.py").write_text("#")

    assert collect(Project.load(make_project()), dependencies).hash != collected.hash


@pytest.mark.parametrize(
    "settings",
    [
        'plugin = "greeter:Greeting"',
        'plugin = "greeter:Greeter"\nstrip = true',
        'plugins = {a = "greeter:Greeter"}',
    ],
)
def test_the_hash_changes_with_a_setting(
    make_project: MakeProject, dependencies: Path, collected: Inputs, settings: str
) -> None:
    assert collect(Project.load(make_project(settings)), dependencies).hash != collected.hash


def test_the_hash_changes_with_a_tools_version(
    make_project: MakeProject, dependencies: Path, collected: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        return f"{name} 99"

    monkeypatch.setattr(inputs_module, "version", version)

    assert collect(Project.load(make_project()), dependencies).hash != collected.hash


def test_where_the_module_is_written_does_not_matter(
    make_project: MakeProject, dependencies: Path, collected: Inputs
) -> None:
    project = dataclasses.replace(Project.load(make_project()), output=Path("/elsewhere.wasm"))

    assert collect(project, dependencies).hash == collected.hash


def test_what_a_module_records_of_its_making_is_read_back(make_project: MakeProject, dependencies: Path) -> None:
    metadata = dependencies / "jwt-2.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.4\nName: jwt\nVersion: 2.1\nLicense-Expression: MIT\n")
    project = """
name = "greeter"
version = "1.2"
description = "Greets"
license = "Apache-2.0"
urls = { Homepage = "https://greeter.example", "Source Code" = "https://code.example/greeter" }
"""
    inputs = collect(Project.load(make_project(project=project)), dependencies)

    found = Provenance.read(inputs.provenance.section())

    assert found is not None
    assert found == inputs.provenance
    assert found.extension == Package("greeter", "1.2", "Apache-2.0", "Greets", "https://code.example/greeter")
    assert found.packages == (Package("jwt", "2.1", "MIT"),)


def test_the_hash_changes_with_what_a_module_records_of_its_extension(
    make_project: MakeProject, dependencies: Path, collected: Inputs
) -> None:
    described = make_project(project='name = "greeter"\nlicense = "MIT"')

    assert collect(Project.load(described), dependencies).hash != collected.hash


@pytest.mark.parametrize(
    ("license_", "recorded"),
    [('"MIT"', "MIT"), ('{ text = "BSD 3-Clause" }', "BSD 3-Clause"), ('{ file = "LICENSE" }', None)],
)
def test_a_licence_is_recorded_where_it_has_a_name(
    make_project: MakeProject, dependencies: Path, license_: str, recorded: str | None
) -> None:
    directory = make_project(project=f'name = "greeter"\nlicense = {license_}')
    found = collect(Project.load(directory), dependencies).provenance.extension
    assert found is not None
    assert found.license == recorded

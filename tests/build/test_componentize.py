import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy_wasm.build.componentize import componentize
from proxy_wasm.build.errors import ComponentizeError, SourceError
from proxy_wasm.build.inputs import collect
from proxy_wasm.build.settings import Project

MakeProject = Callable[..., Path]


@pytest.fixture
def compile_project(tmp_path: Path) -> Callable[[Path], bytes]:
    dependencies = tmp_path / "no-dependencies"
    dependencies.mkdir()

    def run(directory: Path) -> bytes:
        project = Project.load(directory)
        return componentize(collect(project, dependencies), project)

    return run


Compile = Callable[[Path], bytes]


def test_packages_of_the_environment_that_builds_are_not_seen(
    make_project: MakeProject, compile_project: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    directory = make_project(files={"greeter.py": "import json\nimport pytest\n"})

    with pytest.raises(SourceError) as raised:
        compile_project(directory)

    assert str(raised.value).splitlines() == [
        (
            f"{directory / 'greeter.py'}:2: ModuleNotFoundError: No module named 'pytest' "
            "(a package that the extension needs must be listed in project.dependencies in pyproject.toml)"
        ),
        f"    {directory / 'greeter.py'}:2  import pytest",
    ]


def test_a_class_that_is_not_there_is_an_error_in_the_settings(
    make_project: MakeProject, compile_project: Compile
) -> None:
    directory = make_project('plugin = "greeter:Greter"')

    with pytest.raises(SourceError) as raised:
        compile_project(directory)

    message = str(raised.value)
    assert message.startswith(f"{directory / 'pyproject.toml'}: ")
    assert "'greeter:Greter'" in message
    assert "Greeter" in message
    assert "\n" not in message


def test_an_exit_while_importing_is_an_error(make_project: MakeProject, compile_project: Compile) -> None:
    directory = make_project(files={"greeter.py": "import sys\nsys.exit(3)\n"})

    with pytest.raises(ComponentizeError, match=r"componentize-py failed: .*3") as raised:
        compile_project(directory)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -9 $$", "componentize-py was ended by SIGKILL; it needs about 1 GB of memory"),
        ("echo \"ModuleNotFoundError: No module named 'componentize_py'\" >&2; exit 1", "is not installed for"),
        ("printf 'one\\n\\nCaused by:\\n  two\\n  three\\n\\nStack backtrace:\\n 0: x' >&2; exit 1", "failed: three"),
        ("echo 'failed to read world.wit' >&2; exit 1", "componentize-py failed: failed to read world.wit"),
        ("exit 7", "componentize-py failed: it ended with status 7 and said nothing"),
    ],
)
def test_any_other_failure_is_condensed_to_its_cause(
    make_project: MakeProject,
    compile_project: Compile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    message: str,
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\n{script}\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))

    with pytest.raises(ComponentizeError) as raised:
        compile_project(make_project())

    assert message in str(raised.value)
    assert "\n" not in str(raised.value)

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy_wasm.build.settings import Project
from proxy_wasm.build.tracebacks import explain

START = """Traceback (most recent call last):
  File "/0/proxy_wasm/guest/app.py", line 6, in <module>
    PLUGINS = plugins.load(SETTINGS)
              ~~~~~~~~~~~~^^^^^^^^^^
  File "/python/importlib/__init__.py", line 88, in import_module
    return _bootstrap._gcd_import(name[level:], package, level)
           ~~~~~~~~~~~~~~~~~~~~~~^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
"""


@pytest.fixture
def project(make_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Project:
    directory = make_project()
    monkeypatch.chdir(directory.parent)
    return Project.load(directory)


def explained(text: str, project: Project) -> str:
    error = explain(text, project)
    assert error is not None
    return str(error)


def test_the_authors_line_is_named(project: Project) -> None:
    text = (
        START
        + '  File "greeter.py", line 3, in <module>\n    x = 1 / 0\n        ~~^~~\nZeroDivisionError: division by zero\n'
    )

    assert explained("printed while importing\n" + text, project) == (
        "greeter/greeter.py:3: ZeroDivisionError: division by zero\n    greeter/greeter.py:3  x = 1 / 0"
    )


def test_a_dependency_that_fails_is_shown_below_the_line_that_imports_it(project: Project) -> None:
    text = (
        START
        + '  File "greeter.py", line 1, in <module>\n    import jwt\n'
        + '  File "jwt/client.py", line 13, in <module>\n    from ssl import Thing\n'
        + "ImportError: cannot import name 'Thing' from 'ssl' (unknown location)\n"
    )

    assert explained(text, project).splitlines() == [
        "greeter/greeter.py:1: ImportError: cannot import name 'Thing' from 'ssl' (unknown location)",
        "    greeter/greeter.py:1  import jwt",
        "    jwt/client.py:13  from ssl import Thing",
    ]


def test_a_syntax_error_is_found_at_its_line(project: Project) -> None:
    text = START + '  File "greeter.py", line 7\n    def f(:\n          ^\nSyntaxError: invalid syntax\n'

    assert explained(text, project).splitlines()[0] == "greeter/greeter.py:7: SyntaxError: invalid syntax"


@pytest.mark.parametrize(
    ("module", "way_out"),
    [
        ("jwt", "a package that the extension needs must be listed in project.dependencies in pyproject.toml"),
        ("tkinter.ttk", "this module of the standard library does not exist inside Wasm"),
    ],
)
def test_a_missing_module_comes_with_the_way_out(project: Project, module: str, way_out: str) -> None:
    text = START + f"  File \"greeter.py\", line 1, in <module>\nModuleNotFoundError: No module named '{module}'\n"

    assert f"No module named '{module}' ({way_out})" in explained(text, project)


def test_what_the_sdk_says_about_the_settings_is_said_about_the_settings(project: Project) -> None:
    text = START + "proxy_wasm.errors.PluginError: plugin 'greeter:Gret': greeter has no class Gret\n"

    assert explained(text, project) == (
        f"{project.directory}/pyproject.toml: plugin 'greeter:Gret': greeter has no class Gret"
    )


def test_only_the_last_exception_of_a_chain_is_told(project: Project) -> None:
    text = (
        START
        + '  File "greeter.py", line 2, in <module>\nKeyError: 1\n\n'
        + "During handling of the above exception, another exception occurred:\n\n"
        + "Traceback (most recent call last):\n"
        + '  File "greeter.py", line 4, in <module>\nValueError: first line\nsecond line\n'
    )

    assert explained(text, project).startswith("greeter/greeter.py:4: ValueError: first line\nsecond line")


def test_a_file_outside_the_current_folder_is_shown_in_full(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    text = START + '  File "greeter.py", line 3, in <module>\nKeyError: 1\n'

    assert str(tmp_path / "greeter" / "greeter.py").lstrip("/") in explained(text, project)


def test_a_failure_of_the_sdk_itself_is_not_blamed_on_the_extension(project: Project) -> None:
    assert explain(START + "KeyError: 'PLUGINS'\n", project) is None


def test_what_is_no_traceback_is_not_explained(project: Project) -> None:
    assert explain("failed to parse world.wit", project) is None

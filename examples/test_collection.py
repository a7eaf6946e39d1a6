"""What holds for all examples: small, told about, tested."""

import ast
from pathlib import Path

import pytest

from proxy_wasm.build import Project

FOLDER = Path(__file__).parent
EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if not path.name.startswith(("test_", "conftest")))
README = (FOLDER / "README.md").read_text()
TESTS = "".join(path.read_text() for path in FOLDER.glob("test_*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_small_and_says_what_it_is(example: Path) -> None:
    source = example.read_text()
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring is not None
    assert "\n" not in docstring
    assert 10 <= len(source.splitlines()) <= 40


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_in_the_table_and_the_tests(example: Path) -> None:
    assert README.count(f"[{example.stem}]({example.name})") == 1
    assert f'"{example.stem}"' in TESTS


def test_each_example_can_be_chosen_by_its_name() -> None:
    plugins = Project.load(FOLDER).plugins
    assert sorted(plugins) == [path.stem for path in EXAMPLES]
    assert all(reference.startswith(f"{root_id}:") for root_id, reference in plugins.items())

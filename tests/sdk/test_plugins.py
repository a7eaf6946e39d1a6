import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy_wasm import PluginContext, PluginReferenceError
from proxy_wasm.plugins import load

SOURCE = """
from proxy_wasm import PluginContext
number = 7
class Greeter(PluginContext): ...
"""

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules, by name, where they can be imported; they are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)

    def write_modules(**sources: str) -> None:
        for name, source in sources.items():
            path = tmp_path.joinpath(*name.split("__"))
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(".py").write_text(source)

    yield write_modules
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_references_become_classes(write: Write) -> None:
    write(greeter_a=SOURCE, package__greeter_b=SOURCE)
    plugins = load({"": "greeter_a:Greeter", "other": "package.greeter_b:Greeter"})
    assert [issubclass(plugin, PluginContext) for plugin in plugins.values()] == [True, True]
    assert [plugin.__module__ for plugin in plugins.values()] == ["greeter_a", "package.greeter_b"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("greeter_c", r"plugin 'greeter_c': a reference is \"module:Class\", for example"),
        (":Greeter", 'a reference is "module:Class"'),
        ("greeter_c:", 'a reference is "module:Class"'),
        ("absent:Greeter", "plugin 'absent:Greeter': there is no module 'absent'"),
        ("package.absent:Greeter", r"there is no module 'package\.absent'"),
        ("greeter_c:Greter", "module greeter_c has no Greter; it has Greeter"),
        ("greeter_c:number", "number is no class derived from PluginContext"),
        ("empty:Greeter", "module empty has no Greeter; it has no plugin class at all"),
    ],
)
def test_a_reference_that_leads_nowhere_says_why(write: Write, reference: str, message: str) -> None:
    write(greeter_c=SOURCE, empty="", package__greeter_d=SOURCE)
    with pytest.raises(PluginReferenceError, match=message):
        load({"": reference})


def test_what_a_module_raises_when_it_is_imported_is_raised_as_it_is(write: Write) -> None:
    write(broken="import absent_dependency", failing="1 / 0")
    with pytest.raises(ModuleNotFoundError, match="absent_dependency"):
        load({"": "broken:Plugin"})
    with pytest.raises(ZeroDivisionError):
        load({"": "failing:Plugin"})

"""Functions that use up what V8 allows others: their sizes, and that they do nothing."""

from typing import TYPE_CHECKING

import wasmtime
from wasmtime import wat2wasm

from proxy_wasm.build.linker.inlining import functions_text
from proxy_wasm.build.wasm.module import read_module

if TYPE_CHECKING:
    from conftest import Run

# In front of them others, as many as make a function's number take two bytes, as in a module with CPython.
MODULE = bytes(wat2wasm(f'(module (memory (export "memory") 1) {"(func)" * 200} {" ".join(functions_text())})'))


def test_functions_are_as_large_as_their_names_say() -> None:
    module = read_module(MODULE)
    named = {name: end - start for name, (start, end) in zip(_names(), module.code[200:], strict=True)}
    sizes = {name: size for name, size in named.items() if "bytes" in name and "all" not in name}
    assert len(sizes) > 5
    assert sizes == {name: int(name.split("_")[2]) for name in sizes}


def test_functions_return(run: "Run") -> None:
    vm = run(MODULE)
    assert [vm.call(name) for name in _names()] == [None] * len(_names())
    wasmtime.Module.validate(wasmtime.Engine(), MODULE)


def _names() -> list[str]:
    return [export.name for export in read_module(MODULE).exports if export.name != "memory"]

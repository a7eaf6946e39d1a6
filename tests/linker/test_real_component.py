"""A component of componentize-py, compiled once for this file: what holds of small components holds of CPython."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import wasmtime

from proxy_wasm.abi.signatures import HOSTCALLS, WASI_IMPORTS
from proxy_wasm.build.cache import Cache
from proxy_wasm.build.componentize import componentize
from proxy_wasm.build.dependencies import install
from proxy_wasm.build.inputs import collect
from proxy_wasm.build.linker import LinkOptions, link
from proxy_wasm.build.linker.inlining import PREFACE
from proxy_wasm.build.linker.instructions import CALL, skip_locals, tokenize
from proxy_wasm.build.linker.placement import NAMES
from proxy_wasm.build.parts import PARTS, left_out
from proxy_wasm.build.settings import Project
from proxy_wasm.build.wasm.binary import Reader
from proxy_wasm.build.wasm.component import read_component
from proxy_wasm.build.wasm.module import Kind, Module, read_module

OPTIONS = LinkOptions(callbacks=("on_context_create", "on_vm_start", "on_configure", "on_request_headers", "on_delete"))
PROGRAM = """
import sys
from pathlib import Path
from proxy_wasm.build.linker import LinkOptions, link
Path(sys.argv[2]).write_bytes(link(Path(sys.argv[1]).read_bytes(), LinkOptions(callbacks=tuple(sys.argv[3:]))))
"""


_RANKS = {name: rank for rank, name in enumerate(NAMES)}


class Frames:
    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.entries.get(key)

    def put(self, key: str, value: bytes) -> None:
        self.entries[key] = value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def real(folder: Path) -> bytes:
    """The component of an extension that does nothing."""
    project = folder / "nothing"
    project.mkdir()
    (project / "nothing.py").write_text(
        "from proxy_wasm import PluginContext\n\n\nclass Nothing(PluginContext):\n    pass\n"
    )
    (project / "pyproject.toml").write_text(
        '[project]\nname = "nothing"\n[tool.proxy-wasm]\nplugin = "nothing:Nothing"\n'
    )
    loaded = Project.load(project)
    return componentize(collect(loaded, install(loaded, Cache(folder / "cache"))), loaded)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return Frames()


@pytest.fixture(scope="module")
def linked(real: bytes, frames: Frames) -> bytes:
    return link(real, OPTIONS, frames)


def test_the_module_is_valid_and_imports_what_proxies_provide(linked: bytes) -> None:
    wasmtime.Module.validate(wasmtime.Engine(), linked)
    parsed = read_module(linked)
    provided = {f"env.{hostcall.import_name}" for hostcall in HOSTCALLS.values()}
    provided |= {f"wasi_snapshot_preview1.{name}" for name in WASI_IMPORTS}
    assert {f"{item.module}.{item.name}" for item in parsed.imports} <= provided
    assert {item.name for item in parsed.exports} == {
        "memory",
        "_initialize",
        "proxy_abi_version_0_2_1",
        "proxy_on_memory_allocate",
        *(f"proxy_{name}" for name in OPTIONS.callbacks or ()),
    }


def test_less_code_than_the_component_has_is_left(real: bytes, linked: bytes) -> None:
    component = read_component(real)
    before = sum(read_module(real, *bounds).section_sizes.get("code", 0) for bounds in component.modules)
    parsed = read_module(linked)
    assert parsed.section_sizes["code"] < before
    assert "__wasm_apply_data_relocs" not in parsed.function_names().values()
    assert len(parsed.types) == len(set(parsed.types))


def test_a_warm_link_equals_a_cold_one(real: bytes, linked: bytes, frames: Frames) -> None:
    assert len(frames.entries) == 1
    assert link(real, OPTIONS, frames) == linked


def test_another_process_links_the_same_bytes(real: bytes, linked: bytes, folder: Path) -> None:
    (folder / "component.wasm").write_bytes(real)
    subprocess.run(
        [sys.executable, "-c", PROGRAM, folder / "component.wasm", folder / "module.wasm", *(OPTIONS.callbacks or ())],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert (folder / "module.wasm").read_bytes() == linked


def test_functions_that_requests_run_through_stand_together(real: bytes) -> None:
    options = replace(OPTIONS, callbacks=(*(OPTIONS.callbacks or ()), "on_done"), left_out=left_out((), ()))
    parsed = read_module(link(real, options))
    named = parsed.function_names()
    imported = len(parsed.imported(Kind.FUNCTION))
    exported = {item.index for item in parsed.exports if item.kind is Kind.FUNCTION}
    assert exported == set(range(imported, imported + len(exported)))
    first = imported + len(exported)
    ranks = [_RANKS.get(named.get(number, "")) for number in range(first, imported + len(parsed.functions))]
    together = [rank for rank in ranks if rank is not None]
    assert ranks[: len(together)] == sorted(together)
    assert set(_RANKS) == {NAMES[rank] for rank in together}, "names of functions that are there no more"


def test_every_part_is_found_and_most_of_the_code_goes_with_them(real: bytes, linked: bytes) -> None:
    """Parts whose modules were imported are among them: these stay, as they were initialized."""
    reduced = link(real, replace(OPTIONS, left_out=left_out((), ())))
    wasmtime.Module.validate(wasmtime.Engine(), reduced)
    whole, parsed = read_module(linked), read_module(reduced)
    assert parsed.section_sizes["code"] < 0.6 * whole.section_sizes["code"]
    kept = set(parsed.function_names().values())
    assert {"encoder_call", "PyEval_EvalCode"} <= kept
    assert (
        not {"sqlite3_step", "compiler_codegen", "_PyPegen_run_parser", "expression_rule", "tok_get_normal_mode"} & kept
    )
    assert not {name for name in kept if "wit_dylib" in name or "::" in name}, "componentize-py's runtime is gone"


def test_tables_of_parts_are_read_by_their_own_functions_alone(real: bytes) -> None:
    """Addresses in code are constants of five bytes, as they were relocated; those in data are in the code that relocated them."""
    libpython = _libpython(real)
    names = dict(sorted(libpython.function_names().items()))
    numbers = {name: number for number, name in names.items()}
    imported = len(libpython.imported(Kind.FUNCTION))
    held: dict[int, set[int]] = {}
    for number, (start, end) in enumerate(libpython.code, imported):
        for found in _CONSTANT.findall(libpython.data, start, end):
            held.setdefault(Reader(found, "code").s32(), set()).add(number)
    start, end = libpython.code[numbers["__wasm_apply_data_relocs"] - imported]
    pointers = [
        (Reader(place, "code").s32(), Reader(address, "code").s32())
        for place, address in _POINTER.findall(libpython.data, start, end)
    ]
    parts = [part for part in PARTS if part.tables]
    assert parts
    for part in parts:
        own = {number for first, last in part.code for number in range(numbers[first], numbers[last] + 1)}
        for table in part.tables:
            readers = {number for address in range(table.start, table.end) for number in held.get(address, ())}
            places = [place for place, address in pointers if table.start <= address < table.end]
            readers |= {number for place in range(min(places), max(places) + 1) for number in held.get(place, ())}
            assert readers <= own, (part.module, {names[number] for number in readers - own})


@pytest.mark.parametrize("factor", [2, 3, 3.7, 5])
def test_v8_inlines_no_function_that_is_worth_a_word(linked: bytes, factor: float) -> None:
    """By V8's own rules without Liftoff; it would be more than half of the code without the prefaces."""
    module = read_module(linked)
    sizes = [end - start for start, end in module.code]
    imported = len(module.imported(Kind.FUNCTION))
    own = {number - imported for number, name in module.function_names().items() if name.startswith("uses_up_")}
    assert own
    inlined, unhindered = (
        sum(
            sizes[callee] for function in range(len(sizes)) for callee in _inlined(sizes, calls, function, factor) - own
        )
        for calls in (_calls(module, skip_preface=False), _calls(module, skip_preface=True))
    )
    assert inlined < sum(sizes) / 50
    assert unhindered > sum(sizes) / 2


def _calls(module: Module, *, skip_preface: bool) -> list[list[int]]:
    """What each function calls that the module defines, counted from the first of these, in the order of the calls."""
    imported = len(module.imported(Kind.FUNCTION))
    calls: list[list[int]] = []
    for start, end in module.code:
        reader = Reader(module.data, "code section", start, end)
        skip_locals(reader)
        preface = PREFACE.match(module.data, reader.position, end) if skip_preface else None
        tokens = tokenize(module.data, preface.end() if preface else reader.position, end, "code section")
        numbers = [Reader(token, "call", 1).u32() for _, token in tokens if token[:1] == bytes([CALL])]
        calls.append([number - imported for number in numbers if number >= imported])
    return calls


def _inlined(sizes: list[int], calls: list[list[int]], function: int, factor: float) -> set[int]:
    """The functions that V8 inlines into one: `should_inline` in src/wasm/turboshaft-graph-interface.cc."""
    allowed, positions, inlined = max(50, int(factor * sizes[function])), 0, set[int]()
    pending = [iter(calls[function])]
    while pending:
        callee = next(pending[-1], None)
        if callee is None:
            pending.pop()
        elif sizes[callee] < allowed and positions < 60:
            allowed, positions = allowed - sizes[callee], positions + 1
            inlined.add(callee)
            pending.append(iter(calls[callee]))
    return inlined


def _libpython(component: bytes) -> Module:
    modules = [read_module(component, *bounds) for bounds in read_component(component).modules]
    return next(module for module in modules if "_PyEval_EvalFrameDefault" in module.function_names().values())


_CONSTANT = re.compile(rb"(?=\x41([\x80-\xff]{4}[\x00-\x7f]))")
_POINTER = re.compile(
    rb"\x41([\x80-\xff]*[\x00-\x7f])\x23\x01\x6a\x23\x01\x41([\x80-\xff]*[\x00-\x7f])\x6a\x36\x02\x00"
)
"""`*(base + place) = base + address`, of libpython's first imported global but one."""

"""Components and modules from WebAssembly text, and a place to run them."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
import wasmtime
from wasmtime import wat2wasm

from proxy_wasm.build.wasm.binary import Reader, name, section, u32, vector
from proxy_wasm.build.wasm.module import Kind, Section, read_module

COMPONENTS = Path(__file__).parent / "components"

Handler = Callable[..., int | None] | int
"""A host function: from the `Vm` that calls it and the call's integers to its result; or the result that it always has."""
Assemble = Callable[[str], bytes]


Expose = Callable[[bytes], bytes]


class Run(Protocol):
    def __call__(self, module: bytes, /, **handlers: Handler) -> "Vm": ...


class Vm:
    """A core module at work in wasmtime. Host functions that it is not given return 0 or, where they return nothing, nothing."""

    def __init__(self, module: bytes, handlers: Mapping[str, Handler]) -> None:
        config = wasmtime.Config()
        config.max_wasm_stack = 2 << 20
        engine = wasmtime.Engine(config)
        compiled = wasmtime.Module(engine, module)
        self.store = wasmtime.Store(engine)
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        """Calls of host functions, in their order."""
        linker = wasmtime.Linker(engine)
        for item in compiled.imports:
            assert isinstance(item.type, wasmtime.FuncType)
            function = item.name or ""
            handler = handlers.get(function, 0 if item.type.results else None)
            linker.define_func(item.module, function, item.type, self._host(function, handler))
        self.imports = {f"{item.module}.{item.name}" for item in compiled.imports}
        self.exports = [item.name for item in compiled.exports]
        self._exports = linker.instantiate(self.store, compiled).exports(self.store)

    def _host(self, name: str, handler: Handler | None) -> Callable[..., int | None]:
        def call(*arguments: int) -> int | None:
            self.calls.append((name, arguments))
            return handler(self, *arguments) if callable(handler) else handler

        return call

    def call(self, name: str, *arguments: float) -> Any:  # noqa: ANN401 - its type decides
        """The result of an exported function."""
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        return function(self.store, *arguments)

    @property
    def _memory(self) -> wasmtime.Memory:
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        return memory

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._memory.read(self.store, address, address + size))

    def write(self, address: int, data: bytes) -> None:
        self._memory.write(self.store, bytearray(data), address)

    def word(self, address: int) -> int:
        """The little-endian u32 at `address`."""
        return int.from_bytes(self.read(address, 4), "little")

    def write_word(self, address: int, value: int) -> None:
        self.write(address, value.to_bytes(4, "little"))

    def allocate(self, data: bytes) -> int:
        """Where the module keeps `data` for the host."""
        address: int = self.call("proxy_on_memory_allocate", len(data))
        self.write(address, data)
        return address

    def logged(self) -> list[tuple[int, int, int]]:
        """Level, address and size of each message."""
        return [(call[0], call[1], call[2]) for name, call in self.calls if name == "proxy_log"]

    def global_value(self, name: str) -> Any:  # noqa: ANN401 - its type decides
        variable = self._exports[name]
        assert isinstance(variable, wasmtime.Global)
        return variable.value(self.store)


@cache
def _assembled(text: str) -> bytes:
    return bytes(wat2wasm(text))


@pytest.fixture(scope="session")
def assemble() -> Assemble:
    """WebAssembly text, of a module or a component, as bytes."""
    return _assembled


@pytest.fixture(scope="session")
def component() -> Assemble:
    """The component in `components/NAME.wat`."""
    return lambda name: _assembled((COMPONENTS / f"{name}.wat").read_text("utf-8"))


@pytest.fixture(scope="session")
def run() -> Run:
    """`run(module, name=function, ...)`: a `Vm` of a core module, with these host functions."""

    def start(module: bytes, **handlers: Handler) -> Vm:
        return Vm(module, handlers)

    return start


@pytest.fixture(scope="session")
def expose() -> Expose:
    """A core module that exports its globals too, as `global N`."""

    def exposed(module: bytes) -> bytes:
        parsed = read_module(module)
        exports = [name(item.name) + bytes([item.kind]) + u32(item.index) for item in parsed.exports]
        exports += [name(f"global {index}") + b"\x03" + u32(index) for index in range(parsed.count(Kind.GLOBAL))]
        reader = Reader(module, "sections", 8)
        parts = [module[:8]]
        while not reader.at_end:
            start, identifier = reader.position, reader.u8()
            reader.span(reader.u32())
            replaced = section(Section.EXPORT, vector(exports)) if identifier == Section.EXPORT else None
            parts.append(replaced or module[start : reader.position])
        return b"".join(parts)

    return exposed


class Small(Protocol):
    def __call__(
        self, fields: str = ..., more: str = ..., *, memory: str = ..., callback: str = ..., hostcall: str = ...
    ) -> bytes: ...


@pytest.fixture(scope="session")
def small() -> Small:
    """A component of one module with these `fields`, whose `on_tick` is the callback; `more` are fields of the component.

    `hostcall` is the kebab-case name of one from u32 to u32 that the module can call as `$host`.
    """

    def made(
        fields: str = "",
        more: str = "",
        *,
        memory: str = '(memory (export "memory") 1)',
        callback: str = '(func (export "on_tick") (param i32))',
        hostcall: str = "",
    ) -> bytes:
        lowered = imported = argument = ""
        if hostcall:
            lowered = f"""(import "{hostcall}" (func $host (param "value" u32) (result u32)))
              (core func $host (canon lower (func $host)))"""
            imported = f'(import "$root" "{hostcall}" (func $host (param i32) (result i32)))'
            argument = f'(with "$root" (instance (export "{hostcall}" (func $host))))'
        return _assembled(f"""(component
          {lowered}
          (core module $main
            {imported}
            {memory}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            {callback} {fields})
          (core instance $main (instantiate $main {argument}))
          {more}
          (func (export "proxy-on-tick") (param "context-id" u32) (canon lift (core func $main "on_tick"))))""")

    return made

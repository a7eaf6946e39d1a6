"""`link`: the steps of the linker in their order, and what is reused of an earlier link."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS, CoreSignature, CoreType
from proxy_wasm.abi.wit import kebab
from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker import adapters, allocation, bridge, inlining, reduction, snapshot, stack, wasi
from proxy_wasm.build.linker.inlining import Inlining
from proxy_wasm.build.linker.program import AdapterLinks, Program, ProgramBuilder
from proxy_wasm.build.linker.reachability import MEMORY_BASE
from proxy_wasm.build.linker.reduction import Reduction
from proxy_wasm.build.linker.renumbering import Frame, Renumbering, encode_limits
from proxy_wasm.build.linker.resolution import (
    Callback,
    Definition,
    HostFunction,
    Resolution,
    Target,
    WasiFunction,
)
from proxy_wasm.build.parts import Part
from proxy_wasm.build.wasm import binary
from proxy_wasm.build.wasm.binary import MalformedError, u32
from proxy_wasm.build.wasm.component import read_component
from proxy_wasm.build.wasm.module import (
    HEADER,
    I32_CONST,
    VALUE_TYPES,
    FunctionType,
    Kind,
    Module,
    Section,
    read_module,
)

_LIBPYTHON = "libpython3.14.so"
_FROZEN_TABLES = ("_PyImport_FrozenBootstrap", "_PyImport_FrozenStdlib")


class FrameCache(Protocol):
    """Where finished frames are kept from one link to the next; it may forget any of them at any time."""

    def get(self, key: str) -> bytes | None:
        """What `put` stored under `key`."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Store `value` under `key`."""
        ...


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What the module is to hold besides the component."""

    callbacks: tuple[str, ...] | None = None
    """Callbacks to export, names without prefix; `None` for all that the component exports."""
    loaded_modules: tuple[str, ...] = ()
    """Python modules that were imported before the snapshot was taken."""
    strip: bool = False
    """Leave out the `name` section, by which proxies print function names in a trap's backtrace."""
    custom_sections: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    left_out: tuple[Part, ...] = ()
    """Parts of CPython that the module does without."""


def link(component: bytes, options: LinkOptions | None = None, cache: FrameCache | None = None) -> bytes:
    """The core module that a component amounts to; the same arguments give the same bytes, whatever is in `cache`.

    Raises `LinkError` for a component that cannot become a module, and `MalformedError`, with section and offset, for bytes that are no
    component.
    """
    return _Linker(component, options or LinkOptions(), cache).link()


class _Linker:
    def __init__(self, component: bytes, options: LinkOptions, cache: FrameCache | None) -> None:
        self.options = options
        self.cache = cache
        self.component = read_component(component)
        self.resolution = Resolution(self.component)
        self.holds_python = self.resolution.symbol(stack.THREAD_STATE, Kind.FUNCTION) is not None

    def link(self) -> bytes:
        unknown = [name for name in self.options.callbacks or () if name not in CALLBACKS]
        if unknown:
            raise LinkError(f"there is no callback {unknown[0]!r} in Proxy-Wasm")
        callbacks = {} if self.holds_python else self._callbacks()
        memory = self._memory(callbacks)
        instances = self._needed_instances(callbacks, memory)
        text = self._adapter_text(callbacks, instances)
        module = assemble(text)
        program = ProgramBuilder(self.resolution, module, AdapterLinks(callbacks, memory), instances).build()
        if self.holds_python:
            allocation.redirect(program, self.options.left_out)
        planned = reduction.plan(program, self.options.left_out, stack.LIMITS_FUNCTION)
        return self._write(program, self._frame(program, planned), self._layout(program, planned))

    def _wanted_callbacks(self) -> tuple[str, ...]:
        """The callbacks to export from a component with CPython, which has an object for each."""
        return tuple(CALLBACKS) if self.options.callbacks is None else self.options.callbacks

    def _callbacks(self) -> dict[str, Callback]:
        """The lifted functions behind the callbacks."""
        exported = {name: kebab(callback.export_name) for name, callback in CALLBACKS.items()}
        wanted = self.options.callbacks
        if wanted is None:
            wanted = tuple(name for name, export in exported.items() if export in self.component.exports)
        return {name: self.resolution.callback(exported[name]) for name in wanted}

    def _memory(self, callbacks: Mapping[str, Callback]) -> Definition:
        """The one memory: whatever the instance behind a callback, or the allocator, uses."""
        definitions = [callback.function for callback in callbacks.values()]
        definitions.append(self._symbol("cabi_realloc"))
        for definition in definitions:
            memory = self._memory_of(definition.instance)
            if memory is not None:
                return memory
        raise LinkError("the component has no memory that its callbacks share")

    def _symbol(self, name: str) -> Definition:
        target = self.resolution.symbol(name, Kind.FUNCTION)
        if target is None:
            raise LinkError(f"the component exports no {name}: was it made by componentize-py?")
        return target

    def _memory_of(self, instance: int) -> Definition | None:
        module = self.resolution.module(instance)
        if not module.memories and not self.resolution.imported(instance, Kind.MEMORY):
            return None
        target = self.resolution.resolve(instance, Kind.MEMORY, 0)
        return target if isinstance(target, Definition) else None

    def _needed_instances(self, callbacks: Mapping[str, Callback], memory: Definition) -> list[int]:
        """Instances that the callbacks reach, and those that fill the table or the memory."""
        needed: set[int] = set()
        pending: list[Target | None] = [memory, self._symbol("cabi_realloc")]
        pending += [self.resolution.symbol("__stack_pointer", Kind.GLOBAL)]
        pending += [self.resolution.symbol(name, Kind.FUNCTION) for name in (stack.THREAD_STATE, *bridge.SYMBOLS)]
        for callback in callbacks.values():
            pending += (callback.function, callback.post_return)
        for instance in self.resolution.instances:
            module = self.resolution.module(instance)
            if any(segment.items for segment in module.elements) or module.segments:
                pending.append(Definition(instance, Kind.FUNCTION, 0))
        while pending:
            target = pending.pop()
            if not isinstance(target, Definition) or target.instance in needed:
                continue
            needed.add(target.instance)
            pending += [
                self.resolution.resolve_import(target.instance, item)
                for item in self.resolution.module(target.instance).imports
                if item.kind is not Kind.MEMORY
            ]
        return sorted(needed)

    def _adapter_text(self, callbacks: Mapping[str, Callback], instances: list[int]) -> str:
        hostcalls: set[str] = set()
        replaced: dict[tuple[str, str], CoreSignature] = {}
        for instance in instances:
            module = self.resolution.module(instance)
            for item in module.imported(Kind.FUNCTION):
                target = self.resolution.resolve_import(instance, item)
                if isinstance(target, HostFunction):
                    hostcalls.add(target.name)
                elif isinstance(target, WasiFunction):
                    assert isinstance(item.type, int)  # noqa: S101 - the reader's invariant
                    replaced[target.interface, target.name] = core_signature(module.types[item.type])
        if self.holds_python:
            if hostcalls:
                raise LinkError(
                    f"the component imports {min(hostcalls)!r}: in one with CPython the linker provides the hostcalls"
                )
            edge = self._bridge(instances)
        else:
            imports, functions = adapters.edge_text(
                _known_hostcalls(hostcalls),
                {name: callback.post_return is not None for name, callback in callbacks.items()},
            )
            edge = [*imports, adapters.REALLOC_IMPORT], functions
        has_stack = self.resolution.symbol("__stack_pointer", Kind.GLOBAL) is not None
        return _module_text(edge, replaced, has_stack=has_stack, left_out=self.options.left_out)

    def _bridge(self, instances: list[int]) -> tuple[list[str], list[str]]:
        """The edges of a component with CPython."""
        missing = [name for name in bridge.SYMBOLS if self.resolution.symbol(name, Kind.FUNCTION) is None]
        if missing:
            raise LinkError(f"the component holds CPython, but exports no {missing[0]}")
        first_slot = max(
            table.limits.minimum for instance in instances for table in self.resolution.module(instance).tables
        )
        imports, functions = bridge.bridge_text(self._wanted_callbacks(), first_slot, self._limit_offsets(instances))
        return imports, [*functions, *inlining.functions_text()]

    def _limit_offsets(self, instances: list[int]) -> tuple[int, int, int]:
        """Where CPython keeps the limits of the stack."""
        for instance in instances:
            module = self.resolution.module(instance)
            imported = len(self.resolution.imported(instance, Kind.FUNCTION))
            for index, name in module.function_names().items():
                if name == stack.LIMITS_FUNCTION and 0 <= index - imported < len(module.code):
                    start, end = module.code[index - imported]
                    return stack.limit_offsets(module.data[start:end])
        raise LinkError(f"the component holds CPython, but no function is named {stack.LIMITS_FUNCTION}")

    def _frame(self, program: Program, planned: Reduction) -> Frame:
        key = None if self.cache is None else _frame_key(program, planned)
        if self.cache is not None and key is not None:
            stored = self.cache.get(key)
            if stored is not None:
                try:
                    return Frame.decode(stored)
                except MalformedError:
                    pass  # a damaged entry is made anew
        bodies = reduction.reduce(program, planned)
        stack_pointer = self._stack_pointer(program)
        charges = stack.charges(program, bodies, stack_pointer)
        ends = Inlining(program) if self.holds_python else None
        frame = Renumbering(program, bodies, charges, stack_pointer, ends).frame()
        if self.cache is not None and key is not None:
            self.cache.put(key, frame.encode())
        return frame

    def _stack_pointer(self, program: Program) -> int | None:
        for unit in program.units:
            for index, item in enumerate(unit.module.imported(Kind.GLOBAL)):
                if item.name == "__stack_pointer":
                    return unit.globals[index]
        return None

    def _layout(self, program: Program, planned: Reduction) -> snapshot.Layout:
        """Where the stack and the heap lie, as wit-component's linking of dynamic libraries laid them out.

        The linker's own constants lie at the stack's far end.
        """
        low, pointer = self._address("__stack_low"), self._address("__stack_pointer")
        own = [
            address + segment.end - segment.start
            for unit, segment, address in program.segments
            if unit is program.units[-1]
        ]
        stack_area = None if low is None or pointer is None else (max([low, *own]), pointer)
        tables = [self._address(f"{_LIBPYTHON}:{name}") for name in _FROZEN_TABLES]
        return snapshot.Layout(
            stack_area,
            self._address("__heap_base"),
            tuple(table for table in tables if table is not None),
            frozenset(self.options.loaded_modules),
            tuple(planned.tables),
            self._constants(program),
        )

    def _constants(self, program: Program) -> tuple[int, int] | None:
        """Where CPython's own data lie: libraries' data follow each other, and the heap follows the last."""
        python = self.resolution.symbol(stack.THREAD_STATE, Kind.FUNCTION)
        heap = self._address("__heap_base")
        if not isinstance(python, Definition) or heap is None:
            return None
        code = self.resolution.module(python.instance)
        bases: dict[int, Module] = {}
        for unit in program.units:
            for index, item in enumerate(unit.module.imported(Kind.GLOBAL)):
                if item.name == MEMORY_BASE:
                    bases[program.globals[unit.globals[index]].value] = unit.module
        start = next((base for base, module in bases.items() if module is code), None)
        return None if start is None else (start, min([base for base in bases if base > start] + [heap]))

    def _address(self, name: str) -> int | None:
        """The constant that a global of that name is initialized with; `None` where there is none."""
        target = self.resolution.symbol(name, Kind.GLOBAL)
        if target is None:
            return None
        imported = len(self.resolution.imported(target.instance, Kind.GLOBAL))
        initializer = self.resolution.module(target.instance).globals[target.index - imported].initializer
        match initializer.instructions:
            case ((opcode, value),) if opcode == I32_CONST:
                return value & 0xFFFFFFFF
            case _:
                return None

    def _write(self, program: Program, frame: Frame, layout: snapshot.Layout) -> bytes:
        live = snapshot.live_segments(
            ((address, unit.module.data[segment.start : segment.end]) for unit, segment, address in program.segments),
            program.memory.minimum * snapshot.PAGE,
            layout,
        )
        segments = [
            b"\0\x41" + binary.signed(_signed32(address)) + b"\x0b" + u32(len(contents)) + contents
            for address, contents in live
        ]
        parts = [
            HEADER,
            frame.before_memory,
            binary.section(Section.MEMORY, b"\x01", encode_limits(program.memory)),
            frame.after_memory,
            binary.section(Section.DATA, u32(len(segments)), *segments),
        ]
        if not self.options.strip:
            parts.append(binary.custom_section("name", frame.names))
        parts += [
            binary.custom_section(name, contents) for name, contents in sorted(self.options.custom_sections.items())
        ]
        return b"".join(parts)


def core_signature(function_type: FunctionType) -> CoreSignature:
    """A function type as the signature tables write it; WASI uses integers only."""
    names: dict[int, CoreType] = {0x7F: "i32", 0x7E: "i64"}
    try:
        return CoreSignature(
            tuple(names[byte] for byte in function_type.parameters),
            tuple(names[byte] for byte in function_type.results),
        )
    except KeyError as error:
        raise LinkError(f"a WASI function takes or returns a {VALUE_TYPES[error.args[0]]}") from None


def _known_hostcalls(imported: set[str]) -> list[str]:
    known = {kebab(hostcall.import_name): name for name, hostcall in HOSTCALLS.items()}
    unknown = sorted(imported - known.keys())
    if unknown:
        raise LinkError(f"the component imports {unknown[0]!r}, which is no hostcall of Proxy-Wasm")
    return [name for kebab_name, name in known.items() if kebab_name in imported]


def _module_text(
    edge: tuple[list[str], list[str]],
    replaced: Mapping[tuple[str, str], CoreSignature],
    *,
    has_stack: bool,
    left_out: tuple[Part, ...],
) -> str:
    """The text of the adapters' module: its imports and functions towards host and component, in place of WASI's, and of missing parts."""
    imports, functions = [*edge[0]], [*edge[1], *reduction.adapter_text(left_out)]
    needed = [
        adapters.hostcall_import(name)
        for name in (*(wasi.HOSTCALLS if replaced else ()), *(reduction.HOSTCALLS if left_out else ()))
    ]
    if replaced:
        if not has_stack:
            raise LinkError("the component imports WASI, but exports no __stack_pointer")
        needed += [adapters.wasi_import(name) for name in wasi.WASI_FUNCTIONS]
    imports += [text for text in dict.fromkeys(needed) if text not in imports]
    if replaced:
        functions.append(wasi.SUPPORT)
        functions += [wasi.function_text(*name, signature) for name, signature in sorted(replaced.items())]
    imports.append(adapters.MEMORY_IMPORT)
    if has_stack:
        imports.append(adapters.STACK_POINTER_IMPORT)
    return "\n".join(["(module", *imports, *functions, ")"])


@cache
def assemble(text: str) -> Module:
    """WebAssembly text as a module."""
    from wasmtime import WasmtimeError, wat2wasm  # noqa: PLC0415 - a heavy import, needed here alone

    try:
        return read_module(bytes(wat2wasm(text)), label="adapters, ")
    except WasmtimeError as error:
        raise LinkError(f"the adapters for the component's imports cannot be assembled: {error}") from error


@cache
def _linker_fingerprint() -> bytes:
    """Changes with the linker's own code, so that no cache outlives it."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parent, Path(binary.__file__).parent):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.digest()


def _frame_key(program: Program, planned: Reduction) -> str:
    """A hash of all that a frame is made from."""
    digest = hashlib.sha256(_linker_fingerprint())
    for unit in program.units:
        module = unit.module
        if module.code:
            digest.update(module.data[module.code[0][0] : module.code[-1][1]])
        digest.update(
            repr((module.types, module.functions, unit.functions, unit.globals, module.function_names())).encode()
        )
    described = [(item.type, item.imported) for item in program.functions if item.body is None]
    digest.update(repr((described, program.globals, program.table, program.exports)).encode())
    digest.update(repr(sorted(program.slots.items())).encode())
    digest.update(planned.described().encode())
    return digest.hexdigest()


def _signed32(address: int) -> int:
    return address - (1 << 32) if address >> 31 else address

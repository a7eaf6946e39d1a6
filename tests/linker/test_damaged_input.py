"""Whatever happens to a file, what is read of it is refused as malformed: no other exception, always with section and offset."""

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st
from wasmtime.component import Component

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker import LinkOptions, link
from proxy_wasm.build.wasm.binary import MalformedError, Reader
from proxy_wasm.build.wasm.component import read_component
from proxy_wasm.build.wasm.module import read_module

if TYPE_CHECKING:
    from conftest import Assemble

steady = settings(derandomize=True, deadline=None, max_examples=400)

Damage = list[tuple[float, int, int]]
"""Where (a fraction of the file), how many bytes are replaced, and by what; 256 stands for no byte."""
damages = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 2), st.integers(0, 256)), min_size=1, max_size=4
)


def damaged(data: bytes, damage: Damage) -> bytes:
    changed = bytearray(data)
    for place, size, value in damage:
        at = int(place * len(changed))
        changed[at : at + size] = b"" if value > 0xFF else bytes([value])
    return bytes(changed)


def boundaries(data: bytes) -> set[int]:
    """Where one section ends and the next begins."""
    reader = Reader(data, "sections", 8)
    found = {8}
    while not reader.at_end:
        reader.u8()
        reader.span(reader.u32())
        found.add(reader.position)
    return found


@pytest.fixture(scope="module")
def module(component: "Assemble") -> bytes:
    return component("every_section")


@pytest.fixture(scope="module")
def libraries(component: "Assemble") -> bytes:
    return component("two_libraries")


def test_a_module_cut_off_anywhere_is_refused_where_it_ends_or_begins(module: bytes) -> None:
    whole = boundaries(module)
    for size in range(len(module)):
        if size in whole:
            with suppress(MalformedError):
                read_module(module[:size])
            continue
        with pytest.raises(MalformedError) as caught:
            read_module(module[:size])
        assert caught.value.section.endswith(("section", "header"))
        assert 0 <= caught.value.offset <= size


def test_a_component_cut_off_anywhere_is_refused(libraries: bytes) -> None:
    whole = boundaries(libraries)
    for size in range(len(libraries)):
        if size in whole:
            read_component(libraries[:size])
            continue
        with pytest.raises(MalformedError) as caught:
            read_component(libraries[:size])
        assert caught.value.section.startswith("component ")
        assert 0 <= caught.value.offset <= size


def test_a_component_that_ends_between_two_sections_is_not_linked(libraries: bytes) -> None:
    callbacks = LinkOptions(("on_request_headers", "on_vm_start", "on_done", "on_tick", "on_log"))
    last = max(boundaries(libraries) - {len(libraries)})  # the section of names stands behind it
    for size in boundaries(libraries) - {len(libraries), last}:
        with pytest.raises(LinkError):
            link(libraries[:size], callbacks)


def test_a_core_module_cut_off_inside_a_component_is_refused_by_its_number(libraries: bytes) -> None:
    start, end = read_component(libraries).modules[0]
    for size in range(start, end):
        with suppress(MalformedError):
            read_module(libraries, start, size, label="core module 0, ")
            assert size - start in boundaries(libraries[start:end])


@given(damages)
@steady
def test_a_damaged_module_is_read_or_refused_as_malformed(module: bytes, damage: Damage) -> None:
    with suppress(MalformedError):
        read_module(damaged(module, damage)).function_names()


@given(damages)
@steady
def test_a_damaged_component_is_linked_or_refused(libraries: bytes, damage: Damage) -> None:
    with suppress(MalformedError, LinkError):
        link(damaged(libraries, damage))


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 0xFF))
@steady
def test_what_is_linked_from_a_valid_component_is_a_valid_module(libraries: bytes, place: float, value: int) -> None:
    changed = damaged(libraries, [(place, 1, value)])
    engine = wasmtime.Engine()
    with suppress(MalformedError, LinkError, wasmtime.WasmtimeError):
        module = link(changed)
        Component(engine, changed)
        assert wasmtime.Module(engine, module)


@given(st.binary(max_size=64))
@steady
def test_any_bytes_behind_a_header_are_read_or_refused_as_malformed(data: bytes) -> None:
    with suppress(MalformedError):
        read_module(b"\0asm\x01\0\0\0" + data)
    with suppress(MalformedError):
        read_component(b"\0asm\x0d\0\x01\0" + data)

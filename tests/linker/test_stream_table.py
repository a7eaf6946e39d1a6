"""The table of streams is a dictionary, whatever comes and goes in whatever order."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from wasmtime import Engine, Instance, Module, Store, wat2wasm

from proxy_wasm.build.linker.stream_table import FEWEST_PLACES, TABLE

_HOST = """
(memory 16)
(global $break (mut i32) (i32.const 1024))
(func $malloc (param $size i32) (result i32)
  (global.set $break (i32.add (global.get $break) (local.get $size)))
  (i32.sub (global.get $break) (local.get $size)))
(func $free (param i32))
(func $fatal (unreachable))
(func (export "grow") (call $grow))
(func (export "insert") (param i32 i32) (call $insert (local.get 0) (local.get 1)))
(func (export "remove") (param i32) (call $remove (call $place (local.get 0))))
(func (export "get") (param i32) (result i32)
  (local $place i32)
  (if (i32.eqz (local.tee $place (call $place (local.get 0)))) (then (return (i32.const 0))))
  (i32.load offset=4 (local.get $place)))
(func (export "count") (result i32) (global.get $streams))
"""

Table = Callable[..., Any]


@pytest.fixture
def table() -> Table:
    store = Store(Engine())
    exports = Instance(store, Module(store.engine, bytes(wat2wasm(f"(module {_HOST} {TABLE})"))), []).exports(store)

    def call(name: str, *arguments: int) -> Any:  # noqa: ANN401 - of a function of WebAssembly
        return exports[name](store, *arguments)  # pyright: ignore[reportCallIssue, reportUnknownVariableType]

    call("grow")
    return call


def numbers(kind: str, generator: random.Random) -> Callable[[], int]:
    """What a host may number its streams by."""
    given = 0

    def following() -> int:
        nonlocal given
        given += 1
        return given

    kinds: dict[str, Callable[[], int]] = {
        "one after the other": following,
        "any": lambda: generator.randrange(1 << 31),
        "all at the same place": lambda: generator.randrange(1 << 20) << 10,
        "around the end": lambda: generator.randrange(-3, 3) % FEWEST_PLACES + FEWEST_PLACES * generator.randrange(100),
    }
    return kinds[kind]


@pytest.mark.parametrize("kind", ["one after the other", "any", "all at the same place", "around the end"])
@pytest.mark.parametrize("open_streams", [1, 40, 600])
def test_the_table_holds_what_was_put_in_and_not_taken_out(table: Table, kind: str, open_streams: int) -> None:
    generator = random.Random(open_streams)
    number = numbers(kind, generator)
    held: dict[int, int] = {}
    for step in range(4000):
        if len(held) < generator.randrange(2 * open_streams):
            key = number()
            if key not in held:
                held[key] = step + 1
                table("insert", key, step + 1)
        elif held:
            key = generator.choice(list(held)[-20:])
            del held[key]
            table("remove", key)
        assert table("count") == len(held)
        for key in (*list(held)[-5:], number()):
            assert table("get", key) == held.get(key, 0)
    assert {key: table("get", key) for key in held} == held

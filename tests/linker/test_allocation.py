"""Blocks from the lists by size are as good as those of `malloc`: none is given twice, and none loses what is in it."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from wasmtime import Engine, Instance, Memory, Module, Store, wat2wasm

from proxy_wasm.build.linker.allocation import LARGEST, LONGEST, functions_text

_LISTS = 64
_HOST = """
(memory (export "memory") 64)
(global $break (mut i32) (i32.const 1024))
(global $given (mut i32) (i32.const 0))
(func $malloc (param $size i32) (result i32)
  ;; each block has its size before it, in multiples of 16, with the flags of one that is in use
  (local $block i32)
  (global.set $given (i32.add (global.get $given) (i32.const 1)))
  (local.set $block (i32.add (global.get $break) (i32.const 16)))
  (local.set $size (i32.and (i32.add (local.get $size) (i32.const 19)) (i32.const -16)))
  (global.set $break (i32.add (global.get $break) (local.get $size)))
  (i32.store (i32.sub (local.get $block) (i32.const 4)) (i32.or (local.get $size) (i32.const 3)))
  (local.get $block))
(func $calloc (param i32 i32) (result i32) (local $block i32)
  (local.set $block (call $malloc (i32.mul (local.get 0) (local.get 1))))
  (memory.fill (local.get $block) (i32.const 0) (i32.mul (local.get 0) (local.get 1)))
  (local.get $block))
(func $realloc (param $block i32) (param $size i32) (result i32) (local $new i32)
  (local.set $new (call $malloc (local.get $size)))
  (memory.copy (local.get $new) (local.get $block) (local.get $size))
  (local.get $new))
(func $free (param i32) (global.set $given (i32.sub (global.get $given) (i32.const 1))))
(func (export "given") (result i32) (global.get $given))
"""

Call = Callable[..., Any]


@pytest.fixture
def call() -> Call:
    store = Store(Engine())
    text = f"(module {_HOST} {functions_text(_LISTS)})"
    exports = Instance(store, Module(store.engine, bytes(wat2wasm(text))), []).exports(store)
    memory = exports["memory"]
    assert isinstance(memory, Memory)

    def call(name: str, *arguments: Any) -> Any:  # noqa: ANN401 - of a function of WebAssembly
        if name == "write":
            return memory.write(store, arguments[1], arguments[0])
        if name == "read":
            return bytes(memory.read(store, arguments[0], arguments[0] + arguments[1]))
        return exports[name](store, *arguments)  # pyright: ignore[reportCallIssue, reportUnknownVariableType]

    return call


def test_blocks_keep_their_contents_whatever_is_asked_for_and_given_back(call: Call) -> None:
    generator = random.Random(7)
    held: dict[int, bytes] = {}

    def fill(block: int, size: int) -> None:
        assert block % 16 == 0
        contents = generator.randbytes(size)
        call("write", block, contents)
        held[block] = contents

    for step in range(20_000):
        size = generator.choice([0, 1, 11, 12, 13, 40, LARGEST - 4, LARGEST, 1000, generator.randrange(300)])
        act = generator.choice(["allocate", "allocate_zeros", "reallocate", "release_block", "release_block"])
        if len(held) > 500:
            act = "release_block"
        if act == "allocate":
            block = call("allocate", size)
            assert block not in held
            fill(block, size)
        elif act == "allocate_zeros":
            count = generator.choice([1, 2, 7])
            block = call("allocate_zeros", count, size)
            assert block not in held
            assert call("read", block, count * size) == bytes(count * size)
            fill(block, count * size)
        elif held:
            block = generator.choice(list(held))
            contents = held.pop(block)
            assert call("read", block, len(contents)) == contents
            if act == "reallocate":
                block = call("reallocate", block, size)
                assert block not in held
                assert call("read", block, min(size, len(contents))) == contents[:size]
                fill(block, size)
            else:
                call("release_block", block)
        if step % 1000 == 0:
            for block, contents in held.items():
                assert call("read", block, len(contents)) == contents


def test_a_block_that_was_given_back_is_given_again(call: Call) -> None:
    block = call("allocate", 100)
    call("release_block", block)
    assert call("allocate", 108) == block
    assert call("reallocate", 0, 100) != block


def test_nothing_given_back_is_nothing(call: Call) -> None:
    call("release_block", 0)
    assert call("given") == 0


def test_a_list_keeps_a_bounded_number_of_blocks(call: Call) -> None:
    blocks = [call("allocate", 100) for _ in range(LONGEST + 10)]
    for block in blocks:
        call("release_block", block)
    assert call("given") == LONGEST

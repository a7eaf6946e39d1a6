"""Shadow stack frames, found in code and enlarged."""

from typing import TYPE_CHECKING

import pytest

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker.frames import Frame, StackPointerTokens, enlarge, find_frame, restores_pointer
from proxy_wasm.build.linker.instructions import Token, skip_locals, tokenize
from proxy_wasm.build.linker.program import Unit
from proxy_wasm.build.wasm.binary import Reader
from proxy_wasm.build.wasm.module import read_module

if TYPE_CHECKING:
    from conftest import Assemble

PROLOGUE = "global.get $sp i32.const 32 i32.sub local.tee 1 global.set $sp"
EPILOGUE = "local.get 1 i32.const 32 i32.add global.set $sp"


class Code:
    """The instructions of one function in a module whose global 1 is the stack pointer."""

    def __init__(self, assemble: "Assemble", instructions: str) -> None:
        module = read_module(
            assemble(f"""(module (global (mut i32) (i32.const 0)) (global $sp (mut i32) (i32.const 0))
              (func (param i32) (local i32 i32 i32) {"(local i32) " * 130} {instructions}))""")
        )
        start, end = module.code[0]
        reader = Reader(module.data, "code", start, end)
        skip_locals(reader)
        self.tokens: list[Token] = tokenize(module.data, reader.position, end, "code")
        self.pointers = StackPointerTokens(Unit(module, [], [10, 11]), 11)

    @property
    def frame(self) -> Frame | None:
        return find_frame(self.tokens, self.pointers)

    @property
    def restores(self) -> bool:
        return restores_pointer(self.tokens, self.pointers)


@pytest.mark.parametrize(
    ("instructions", "frame"),
    [
        (f"{PROLOGUE} {EPILOGUE}", Frame(32, b"\x01")),
        (f"{PROLOGUE} nop nop", Frame(32, b"\x01")),
        (f"{PROLOGUE} local.get 1 global.set $sp {EPILOGUE}", Frame(32, b"\x01")),
        (f"{PROLOGUE} i32.const 1 local.set 2 {EPILOGUE}", Frame(32, b"\x01")),
        (f"{PROLOGUE} i32.const 1 global.set 0 {EPILOGUE}", Frame(32, b"\x01")),
        (f"{PROLOGUE} i64.const 0x21 drop f32.const 0x1.0043p0 drop {EPILOGUE}", Frame(32, b"\x01")),
        (
            f"{PROLOGUE} {EPILOGUE}".replace("32 i32", "100000 i32").replace(" 1 ", " 130 "),
            Frame(100000, b"\x82\x01"),
        ),
        (
            "global.get $sp i32.const 32 i32.sub local.tee 2 local.set 1 local.get 2 global.set $sp " + EPILOGUE,
            Frame(32, b"\x01"),
        ),
        ("global.get $sp i32.const 32 i32.sub local.set 1 local.get 1 global.set $sp " + EPILOGUE, Frame(32, b"\x01")),
        ("nop", None),
        (f"nop {PROLOGUE} {EPILOGUE}", None),
        ("global.get $sp drop", None),
        ("global.get 0 i32.const 32 i32.sub local.tee 1 global.set $sp", None),
        ("global.get $sp i32.const 32 i32.sub local.tee 1 global.set 0", None),
        ("global.get $sp i32.const 32 i32.sub local.tee 1 call 0", None),
        ("global.get $sp i32.const 32 i32.sub global.set $sp", None),
        (f"{PROLOGUE} local.get 1 i32.const 33 i32.add global.set $sp", None),
        (f"{PROLOGUE} local.get 2 i32.const 32 i32.add global.set $sp", None),
        (f"{PROLOGUE} i32.const 1 local.set 1 {EPILOGUE}", None),
        (f"{PROLOGUE} i32.const 1 local.tee 1 drop {EPILOGUE}", None),
        (f"{PROLOGUE} i32.const 0x80021 drop i32.const 0x21 local.set 1 {EPILOGUE}", None),
    ],
)
def test_a_frame_is_one_prologue_and_its_epilogues(
    assemble: "Assemble", instructions: str, frame: Frame | None
) -> None:
    assert Code(assemble, instructions).frame == frame


def test_bytes_of_constants_are_no_write_of_the_pointer(assemble: "Assemble") -> None:
    # 41 a1 01: the last two bytes are not 21 01, but those of f64.const below are
    number = "f64.const 0x1.1210121012101p+1 drop"
    code = Code(assemble, f"{PROLOGUE} {number} {EPILOGUE}")
    assert any(b"\x21\x01" in run for run, _ in code.tokens)
    assert code.frame == Frame(32, b"\x01")


@pytest.mark.parametrize(
    ("instructions", "restores"),
    [
        ("nop", True),
        (f"{PROLOGUE} {EPILOGUE}", True),
        (f"{PROLOGUE}", False),
        ("global.get $sp i32.const 32 i32.sub local.set 1 local.get 1 global.set $sp", False),
        ("global.get $sp i32.const 32 i32.sub local.tee 2 local.set 1 local.get 2 global.set $sp", False),
        ("global.get $sp i32.const 32 i32.sub global.set $sp", False),
        ("global.get $sp i32.const 32 i32.add global.set $sp", False),
        ("global.get $sp i32.const 32 i32.add local.tee 1 drop local.get 1 i32.const 8 i32.add global.set $sp", False),
        ("global.get 0 i32.const 32 i32.sub global.set 0", True),
        ("global.get 0 global.set $sp", True),
    ],
)
def test_what_only_lowers_or_only_raises_the_pointer_does_not_restore_it(
    assemble: "Assemble", instructions: str, restores: bool
) -> None:
    assert Code(assemble, instructions).restores is restores


def test_enlarging_changes_prologue_and_epilogues_alone(assemble: "Assemble") -> None:
    other = "i32.const 32 i32.const 32 i32.add drop local.get 0 i32.const 32 i32.add global.set 0"
    body = "{0} {1} local.get 1 global.set $sp {2} return {2}"
    found = Code(assemble, body.format(PROLOGUE, other, EPILOGUE))
    expected = Code(assemble, body.format(PROLOGUE.replace(" 32", " 1056"), other, EPILOGUE.replace(" 32", " 1056")))
    assert enlarge(found.tokens, 1024, found.pointers) == expected.tokens


def test_only_what_has_a_frame_can_be_enlarged(assemble: "Assemble") -> None:
    code = Code(assemble, "global.get $sp drop global.get $sp drop")
    with pytest.raises(LinkError, match=r"only a function with a frame of its own can have it enlarged"):
        enlarge(code.tokens, 16, code.pointers)

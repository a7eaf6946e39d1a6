"""What code loses that is compiled for a VM, and what it keeps."""

import ast
import json
import logging
import traceback
import typing
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from proxy_wasm.guest import compiling


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def compiled(module: ModuleType) -> CodeType:
    path = str(module.__file__)
    return compile(Path(path).read_bytes(), path, "exec")


@pytest.mark.parametrize(
    "module", [ast, json, logging, traceback, typing, compiling], ids=lambda module: module.__name__
)
def test_slim_code_knows_the_line_of_each_instruction(module: ModuleType) -> None:
    code = compiled(module)
    for before, after in zip(codes(code), codes(compiling.slim(code)), strict=True):
        assert [position[0] for position in before.co_positions()] == [position[0] for position in after.co_positions()]
        assert after.co_code == before.co_code
        assert after.co_exceptiontable == before.co_exceptiontable


def test_slim_code_tells_no_columns_and_takes_less_than_half_for_places() -> None:
    code = compiled(typing)
    slim = compiling.slim(code)
    assert all(position[2] is None for part in codes(slim) for position in part.co_positions())
    sizes = [sum(len(part.co_linetable) for part in codes(whole)) for whole in (code, slim)]
    assert sizes[1] < sizes[0] / 2


def test_far_jumps_between_lines_in_both_directions_are_kept() -> None:
    source = "x = (" + "\n" * 3000 + "len(" + "\n" * 40 + "'a'),\n" + "1 / 0)"
    code = compile(source, "far.py", "exec")
    with pytest.raises(ZeroDivisionError) as raised:
        exec(compiling.slim(code))  # noqa: S102 - the code above
    assert traceback.extract_tb(raised.value.__traceback__)[-1].lineno == 3042


def test_slim_code_does_what_it_did() -> None:
    names: dict[str, object] = {"__name__": "slim_decoder"}
    source = "class Pair:\n    'doc'\n    left: int = 1\n    def total(self, right: int = 2) -> int:\n        'doc'\n        return self.left + right\n"
    exec(compiling.slim(compile(source + "result = Pair().total()", "pair.py", "exec")), names)  # noqa: S102 - the code above
    assert names["result"] == 3
    assert vars(names["Pair"])["__doc__"] == "doc"  # until the build ends: `dataclasses` would write one

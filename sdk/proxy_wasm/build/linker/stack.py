"""The stack."""

from collections.abc import Mapping
from proxy_wasm.build.linker.program import Program
from proxy_wasm.build.linker.reachability import Body

THREAD_STATE = "PyGILState_GetThisThreadState"
THREAD_STATE_IMPORT = f'(import "symbol" "{THREAD_STATE}" (func $thread_state (result i32)))'
INITIALIZE = '(func (export "_initialize") (drop (call $thread_state)))'


def weights(program: Program, bodies: Mapping[int, Body | None]) -> dict[int, int]:
    return {}

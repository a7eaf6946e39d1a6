"""Scripts: the hostcalls that a filter makes in each callback, as values and in the form in which `filter.c` reads them.

A script is blocks. A block belongs to a callback, from its `nth` call (counted from 0, for each script) on until another block takes over; it
has steps, which are hostcalls, and two actions: what the callback returns, and what it returns where nothing follows (`end_of_stream`, or
trailers).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack
from typing import TypeAlias

from proxy_wasm.abi.signatures import HOSTCALLS as SIGNATURES
from proxy_wasm.abi.signatures import Hostcall, Wire

HOSTCALLS: tuple[str, ...] = tuple(SIGNATURES)
"""The order is the one in filter.c."""
CALLBACKS = (
    "on_context_create",
    "on_tick",
    "on_new_connection",
    "on_downstream_data",
    "on_upstream_data",
    "on_downstream_connection_close",
    "on_upstream_connection_close",
    "on_request_headers",
    "on_request_body",
    "on_request_trailers",
    "on_response_headers",
    "on_response_body",
    "on_response_trailers",
    "on_http_call_response",
    "on_grpc_receive_initial_metadata",
    "on_grpc_receive",
    "on_grpc_receive_trailing_metadata",
    "on_grpc_close",
    "on_queue_ready",
    "on_done",
    "on_log",
    "on_delete",
)
"""The order is the one in filter.c."""
NAME = b"<case>"
"""Stands in bytes for what is different in each case, so that no two share metrics, data or queues."""
LOAD, TICK = b"00", b"01"
"""How the header `x-control` begins: with a script behind it, or alone."""

_OUTSIDE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class ResultOf:
    """The latest number that a hostcall of this name gave in the running script; 0 before the first."""

    hostcall: str


@dataclass(frozen=True, slots=True)
class ContextId:
    """The id of the stream that runs the script, or of the plugin's context."""

    of_plugin: bool = False


@dataclass(frozen=True, slots=True)
class Outside:
    """Bytes at a place where the guest may have no memory."""

    pointer: int
    size: int


Number: TypeAlias = int | ResultOf | ContextId
Argument: TypeAlias = Number | bytes | Outside


@dataclass(frozen=True, slots=True)
class Step:
    """A hostcall."""

    hostcall: str
    arguments: tuple[Argument, ...] = ()

    @property
    def signature(self) -> Hostcall:
        return SIGNATURES[self.hostcall]


@dataclass(frozen=True, slots=True)
class Block:
    """What a callback does, from its `nth` call on."""

    callback: str
    steps: tuple[Step, ...] = ()
    action: int = 0
    action_at_end: int = 0
    nth: int = 0


Script: TypeAlias = tuple[Block, ...]


def named(script: Script, name: bytes) -> Script:
    """The script of one case: `name` in the place of `NAME`."""

    def of_case(argument: Argument) -> Argument:
        return argument.replace(NAME, name) if isinstance(argument, bytes) else argument

    return tuple(
        Block(
            block.callback,
            tuple(Step(step.hostcall, tuple(map(of_case, step.arguments))) for step in block.steps),
            block.action,
            block.action_at_end,
            block.nth,
        )
        for block in script
    )


def encode(script: Script) -> bytes:
    """The script as `filter.c` reads it."""
    return b"".join(map(_encode_block, sorted(script, key=lambda block: block.nth)))


def _encode_block(block: Block) -> bytes:
    steps = b"".join(map(_encode_step, block.steps))
    content = pack("<II", block.action, block.action_at_end) + steps
    return pack("<BBI", CALLBACKS.index(block.callback), block.nth, len(content)) + content


def _encode_step(step: Step) -> bytes:
    parameters = step.signature.parameters
    encoded = (_encode_argument(wire, value) for (_, wire), value in zip(parameters, step.arguments, strict=True))
    return bytes([HOSTCALLS.index(step.hostcall)]) + b"".join(encoded)


def _encode_argument(wire: Wire, value: Argument) -> bytes:
    match value:
        case bytes() if wire is Wire.BYTES:
            return pack("<I", len(value)) + value
        case Outside() if wire is Wire.BYTES:
            return pack("<III", _OUTSIDE, value.pointer, value.size)
        case int() if wire is not Wire.BYTES:
            return pack("<BQ", 0, value & (1 << 64) - 1)
        case ResultOf() if wire is not Wire.BYTES:
            return pack("<BQ", 1, HOSTCALLS.index(value.hostcall))
        case ContextId() if wire is not Wire.BYTES:
            return pack("<BQ", 3 if value.of_plugin else 2, 0)
        case _:
            msg = f"{value!r} cannot be passed as {wire}"
            raise TypeError(msg)


def steps_of(script: Script) -> Sequence[Step]:
    """All hostcalls of a script."""
    return [step for block in script for step in block.steps]

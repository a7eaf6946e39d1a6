"""What Envoy's log tells of the boundary between host and guest, told on to observers.

With the logger `wasm` at `trace`, Envoy logs four kinds of lines (cpp-host, src/v8/v8.cc): `[host->vm] proxy_on_tick(1)`,
`[host<-vm] proxy_on_tick return: void`, `[vm->host] env.proxy_log(2, 1024, 5)` and `[vm<-host] env.proxy_log return: 0`. Arguments are those on
the wire, so that of bytes only the size is known, and of results nothing. The lines do not say which VM they are about.
"""

import re
from collections.abc import Callable

from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS, Wire
from proxy_wasm.emulator.observer import Arguments, Observer, Unseen
from proxy_wasm.envoy.log import LogLine

_PREFIX = "proxy_"
_CROSSING = re.compile(
    r"\[(host->vm|host<-vm|vm->host|vm<-host)\] (?:env\.)?(proxy_\w+)(?:\(([\d, ]*)\)| return: (\w+))"
)
_SIGN_BIT, _ALL_BITS = 1 << 31, 1 << 32


def tell(line: LogLine, observer: Observer) -> None:
    """Tell `observer` of what `line` says, if it is about a hostcall or a callback of Proxy-Wasm."""
    found = _CROSSING.fullmatch(line.message) if line.logger == "wasm" and line.message.startswith("[") else None
    if found is None:
        return
    direction, name, arguments, returned = found.groups()
    name = name.removeprefix(_PREFIX)
    passed = tuple(int(number) for number in arguments.split(", ")) if arguments else ()
    result = int(returned) if returned is not None and returned.isdecimal() else 0
    crossings: dict[str, Callable[[], None]] = {
        "vm->host": lambda: observer.called(name, _arguments(name, passed)),
        "vm<-host": lambda: observer.answered(name, result, None),
    }
    if name in CALLBACKS:
        crossings["host->vm"] = lambda: observer.entered(name, passed)
        crossings["host<-vm"] = lambda: observer.left(name, result)
    if direction in crossings:
        crossings[direction]()


def _arguments(hostcall: str, passed: tuple[int, ...]) -> Arguments:
    """What a hostcall was called with, from what crossed the wire; nothing, where it is none of ABI 0.2.1."""
    signature = HOSTCALLS.get(hostcall)
    if signature is None:
        return ()
    values: list[int | bytes | Unseen] = []
    position = 0
    for _, wire in signature.parameters:
        value = passed[position]
        if wire is Wire.BYTES:
            values.append(Unseen(passed[position + 1]))
        elif wire is Wire.S32 and value & _SIGN_BIT:
            values.append(value - _ALL_BITS)
        else:
            values.append(value)
        position += len(wire.core)
    return tuple(values)

"""The hostcalls of a compiled guest: this module is its `proxy_wasm.abi.hostcalls.Hostcalls`.

Before the first callback the linker's part of the module adds a built-in function for each hostcall here (`proxy_wasm.build.linker.bridge`). They
are not there while the snapshot is taken. `refused` and `miscounted` are what those functions raise by.
"""

from typing import NoReturn

from proxy_wasm.abi.hostcalls import HostError


def refused(hostcall: str, status: int) -> NoReturn:
    """The host has answered with a status other than OK."""
    raise HostError(hostcall, status)


def miscounted(hostcall: str, count: int) -> NoReturn:
    """A hostcall was given the wrong number of arguments."""
    msg = f"{hostcall}: called with {count} arguments; proxy_wasm.abi.hostcalls.Hostcalls tells what it takes"
    raise TypeError(msg)

"""What a VM runs: the face that a native and a compiled guest share."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.emulator.clock import Clock
from proxy_wasm.emulator.observer import Observer

MAX_MEMORY = 1 << 30
"""Bytes of memory that a compiled guest may have, as in Envoy."""


class GuestFailed(Exception):  # noqa: N818 - says what happened
    """The guest trapped, or what is the same for a native one: an exception left it. The VM is lost."""

    def __init__(self, how: str, function: str = "") -> None:
        super().__init__(how)
        self.function = function
        """The export that trapped, where it is another than the callback that was called."""


class Guest(Protocol):
    """Code that answers callbacks; it reaches the host through the hostcalls it was made with."""

    def start(self) -> None:
        """Run the guest's initializers; `GuestFailed` where they trap."""
        ...

    def has(self, callback: str) -> bool:
        """Whether the guest has the callback; a host skips those that it has not."""
        ...

    def call(self, callback: str, *arguments: int) -> int:
        """What the callback returns, 0 where it returns nothing; `GuestFailed` where it traps."""
        ...

    def memory_size(self) -> int:
        """Bytes of the guest's memory; 0 where it has none of its own."""
        ...


@dataclass(frozen=True, slots=True)
class GuestHost:
    """What a VM offers to its guest."""

    hostcalls: Hostcalls
    clock: Clock
    environment: Mapping[str, str]
    write: Callable[[int, bytes], None]
    """Logs a message at a level, as the guest's own: what it writes to its standard streams."""
    report: Callable[[LogLevel, str], None]
    """Logs what the host itself has to say."""
    fail: Callable[[str, str], None]
    """Fails the VM while it runs: a function that the host called from within a hostcall has trapped."""
    as_vm: Callable[[Callable[[], int]], int]
    """Calls a function of the guest that belongs to the VM rather than to the context at work."""
    observers: Sequence[Observer] = ()
    """Those that hear of each hostcall."""
    capabilities: Container[str] | None = None
    """The hostcalls and callbacks, as `proxy_log`, and functions of WASI that alone the guest gets; `None` is all of them."""

    def allows(self, capability: str) -> bool:
        """Whether the guest gets a hostcall, a callback or a function of WASI."""
        return self.capabilities is None or capability in self.capabilities


def restricted(capability: str) -> str:
    """What a proxy says where a guest calls what it was not allowed."""
    kind = "proxy-wasm" if capability.startswith("proxy_") else "WASI"
    return f"Attempted call to restricted {kind} capability: {capability}"


GuestFactory: TypeAlias = Callable[[GuestHost], Guest]
"""Makes a VM's guest; raises `ModuleRefused` where a proxy would not load it."""

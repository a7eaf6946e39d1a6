"""What a VM runs: the face that a native and a compiled guest share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.emulator.clock import Clock
from proxy_wasm.emulator.observer import Observer


class GuestFailed(Exception):  # noqa: N818 - says what happened
    """The guest trapped, or what is the same for a native one: an exception left it. The VM is lost."""


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
    observers: Sequence[Observer] = ()
    """Those that hear of each hostcall."""


GuestFactory: TypeAlias = Callable[[GuestHost], Guest]
"""Makes a VM's guest; raises `ModuleRefused` where a proxy would not load it."""

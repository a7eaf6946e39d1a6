"""A guest of plain Python objects: the author's classes, called in this process."""

import traceback
from collections.abc import Callable
from typing import cast

from proxy_wasm.abi import hostcalls
from proxy_wasm.abi.enums import LogLevel, Status
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS, Hostcall
from proxy_wasm.emulator.guest import Guest, GuestFactory, GuestFailed, GuestHost, restricted
from proxy_wasm.emulator.observer import ObservedHostcalls
from proxy_wasm.failures import is_for_the_test


def callbacks_guest(make: Callable[[Hostcalls], object]) -> GuestFactory:
    """Runs an object with methods of `Callbacks`; a host skips those that it has not."""
    return lambda host: NativeGuest(host, make)


def _hostcalls(host: GuestHost) -> Hostcalls:
    hostcalls = host.hostcalls if host.capabilities is None else cast("Hostcalls", RestrictedHostcalls(host))
    return cast("Hostcalls", ObservedHostcalls(hostcalls, host.observers)) if host.observers else hostcalls


class RestrictedHostcalls:
    """The hostcalls that the guest is allowed; all others are refused."""

    def __init__(self, host: GuestHost) -> None:
        for hostcall in HOSTCALLS.values():
            allowed = host.allows(hostcall.import_name)
            setattr(
                self, hostcall.name, getattr(host.hostcalls, hostcall.name) if allowed else _refused(host, hostcall)
            )


def _refused(host: GuestHost, hostcall: Hostcall) -> Callable[..., object]:
    def refuse(*_: object) -> object:
        host.report(LogLevel.ERROR, restricted(hostcall.import_name))
        raise HostError(hostcall.name, Status.INTERNAL_FAILURE)

    return refuse


class NativeGuest(Guest):
    """Calls a `Callbacks` object, with the VM's hostcalls bound meanwhile."""

    def __init__(self, host: GuestHost, make: Callable[[Hostcalls], object]) -> None:
        self._host = host
        self._hostcalls = _hostcalls(host)
        self._make = make
        self._callbacks: object = None
        self._depth = 0

    def start(self) -> None:
        self._bound(lambda: self._set(self._make(self._hostcalls)))

    def _set(self, callbacks: object) -> int:
        self._callbacks = callbacks
        return 0

    def has(self, callback: str) -> bool:
        return hasattr(self._callbacks, callback) and self._host.allows(f"proxy_{callback}")

    def call(self, callback: str, *arguments: int) -> int:
        method: Callable[..., int | None] = getattr(self._callbacks, callback)
        returned = self._bound(lambda: method(*arguments) or 0)
        return returned if CALLBACKS[callback].returns else 0

    def memory_size(self) -> int:
        return 0

    def _bound(self, run: Callable[[], int]) -> int:
        hostcalls.bind(self._hostcalls)
        self._depth += 1
        try:
            return run()
        except Exception as error:
            if is_for_the_test(error):
                raise
            raise GuestFailed("".join(traceback.format_exception(error)).rstrip()) from error
        finally:
            self._depth -= 1
            if not self._depth:  # a hostcall may call back, which must not end what it interrupts
                hostcalls.bind(None)

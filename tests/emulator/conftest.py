from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pytest

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.emulator import Emulator, Plugin
from proxy_wasm.emulator.native_guest import callbacks_guest


class Handler(Protocol):
    def __call__(self, host: Hostcalls, /, *arguments: int) -> int | None: ...


class Scripted:
    """A guest at the level of the ABI that has the callbacks it is given, and no others."""

    def __init__(self, host: Hostcalls, handlers: Mapping[str, Handler]) -> None:
        for name, handler in handlers.items():
            setattr(self, name, self._bind(host, handler))

    @staticmethod
    def _bind(host: Hostcalls, handler: Handler) -> Callable[..., int | None]:
        return lambda *arguments: handler(host, *arguments)


class StatusOf(Protocol):
    def __call__(self, call: Callable[[], object]) -> Status | int: ...


class Start(Protocol):
    def __call__(
        self, *, plugin: Mapping[str, Any] = ..., emulator: Mapping[str, Any] = ..., **handlers: Handler
    ) -> Plugin: ...


@pytest.fixture
def start() -> Start:
    """Starts a plugin whose callbacks are the keyword arguments, in an emulator of its own."""

    def start_plugin(
        *, plugin: Mapping[str, Any] | None = None, emulator: Mapping[str, Any] | None = None, **handlers: Handler
    ) -> Plugin:
        guest = callbacks_guest(lambda host: Scripted(host, handlers))
        return Emulator(guest, **(emulator or {})).start_plugin(**(plugin or {}))

    return start_plugin


@pytest.fixture
def status_of() -> StatusOf:
    """The status that a hostcall gives: OK, or that of the error it raises."""

    def status(call: Callable[[], object]) -> Status | int:
        try:
            call()
        except HostError as error:
            return error.status
        return Status.OK

    return status

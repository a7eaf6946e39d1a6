"""The hosts in this process: the emulator with the plugin's own Python objects, or with the built module."""

from typing import Literal

from proxy_wasm.emulator import Emulator, Exchange, LogRecord, Plugin, Request, native_guest, wasm_guest
from proxy_wasm.emulator.guest import GuestFactory
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import PluginSettings, Upstream


class EmulatedPlugin:
    """A plugin in an emulator of its own."""

    def __init__(self, emulator: Emulator, plugin: Plugin) -> None:
        self._emulator = emulator
        self._plugin = plugin

    def exchange(self, request: Request, upstream: Upstream, timeout: float) -> Exchange:  # noqa: ARG002 - no time passes here
        return self._plugin.exchange(request, upstream)

    def logs(self) -> list[LogRecord]:
        return list(self._emulator.log)

    def metrics(self) -> dict[str, int]:
        return dict(self._emulator.metrics)

    def stop(self) -> None:
        """Nothing is left running."""


class EmulatedHost:
    """The emulator; a module is compiled once for all plugins that are started from it."""

    def __init__(self, name: Literal["native", "wasm"]) -> None:
        self._name: Literal["native", "wasm"] = name
        self._guests: dict[Extension, GuestFactory] = {}

    @property
    def name(self) -> Literal["native", "wasm"]:
        return self._name

    def start(self, extension: Extension, settings: PluginSettings) -> EmulatedPlugin:
        emulator = Emulator(
            self._guest(extension),
            vm_configuration=settings.vm_configuration or b"",
            environment=dict(settings.environment),
        )
        plugin = emulator.start_plugin(settings.configuration or b"", root_id=settings.root_id)
        return EmulatedPlugin(emulator, plugin)

    def _guest(self, extension: Extension) -> GuestFactory:
        if extension not in self._guests:
            self._guests[extension] = (
                native_guest(extension.plugins())
                if self._name == "native"
                else wasm_guest(extension.module().read_bytes())
            )
        return self._guests[extension]

    def close(self) -> None:
        self._guests.clear()

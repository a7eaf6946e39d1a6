"""The two kinds of guest. wasmtime is imported only where one of Wasm is made."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from proxy_wasm.contexts import PluginContext
from proxy_wasm.dispatcher import Dispatcher
from proxy_wasm.emulator.guest import Guest, GuestFactory, GuestHost
from proxy_wasm.emulator.native_guest import NativeGuest

if TYPE_CHECKING:
    from proxy_wasm.emulator.wasm_module import CompiledModule


def native_guest(plugins: Mapping[str, type[PluginContext]]) -> GuestFactory:
    """Plugin classes by root id, run in this process: milliseconds, and a debugger works.

    It is ordinary Python: `time`, `os.environ` and `print` are the process's own. What the SDK itself times, such as timers and
    callouts, goes by the emulator's clock.
    """

    def make(host: GuestHost) -> Guest:
        clock = host.clock
        return NativeGuest(
            host, lambda hostcalls: Dispatcher(plugins, hostcalls, monotonic=lambda: clock.monotonic_nanoseconds)
        )

    return make


def wasm_guest(module: bytes, *, max_wasm_stack: int | None = None, older_wasi: bool = False) -> GuestFactory:
    """A built module, run by wasmtime with at most `max_wasm_stack` bytes of native stack.

    With `older_wasi` it is refused where it imports functions of WASI that Envoy has not had before 1.39.

    The first use of a module compiles it, which takes seconds for a large one; later ones, in other processes too, take the
    machine code from the user's cache folder.
    """

    @cache
    def machine_code() -> "CompiledModule":
        from proxy_wasm.emulator.wasm_module import (  # noqa: PLC0415 - wasmtime is large
            MAX_WASM_STACK,
            check_older_wasi,
            compiled,
        )

        made = compiled(module, max_wasm_stack=MAX_WASM_STACK if max_wasm_stack is None else max_wasm_stack)
        if older_wasi:
            check_older_wasi(made)
        return made

    def make(host: GuestHost) -> Guest:
        from proxy_wasm.emulator.compiled_guest import WasmGuest  # noqa: PLC0415 - wasmtime is large

        return WasmGuest(machine_code(), host)

    return make

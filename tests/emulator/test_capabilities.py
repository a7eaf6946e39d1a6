"""What a guest gets of the ABI where the proxy does not allow it all; compiled guests: test_modules_like_envoy.py."""

import pytest

from proxy_wasm import PluginContext
from proxy_wasm.abi.enums import LogLevel, Status
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS
from proxy_wasm.emulator import ConfigurationRejected, Emulator, native_guest
from proxy_wasm.emulator.native_guest import callbacks_guest


class Guest:
    def __init__(self, host: Hostcalls) -> None:
        self.host = host

    def on_request_headers(self, *_: int) -> int:
        self.host.log(LogLevel.INFO, b"headers")
        try:
            self.host.add_header_map_value(0, b"x-seen", b"yes")
        except HostError as error:
            self.host.log(LogLevel.INFO, str(error).encode())
        return 0

    def on_log(self, *_: int) -> None:
        self.host.log(LogLevel.INFO, b"log")


def test_a_native_guest_is_refused_what_it_is_not_allowed_and_not_called_where_it_is_not() -> None:
    emulator = Emulator(callbacks_guest(Guest), allowed_capabilities=["proxy_log", "proxy_on_request_headers"])
    exchange = emulator.start_plugin().exchange()
    assert exchange.upstream is not None
    assert "x-seen" not in exchange.upstream.headers
    assert [(record.level, record.message, record.from_host) for record in emulator.log] == [
        (LogLevel.INFO, "headers", False),
        (LogLevel.ERROR, "Attempted call to restricted proxy-wasm capability: proxy_add_header_map_value", True),
        (LogLevel.INFO, f"proxy_add_header_map_value: {Status.INTERNAL_FAILURE.name}", False),
    ]


def test_where_nothing_is_named_everything_is_allowed() -> None:
    emulator = Emulator(callbacks_guest(Guest))
    exchange = emulator.start_plugin().exchange()
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-seen"] == "yes"
    assert [record.message for record in emulator.log] == ["headers", "log"]


def test_authors_classes_meet_the_restriction_as_an_error_of_the_host() -> None:
    class Marking(PluginContext):
        def on_configure(self) -> None:
            self.counter("requests").increment()

    everything = {call.import_name for call in HOSTCALLS.values()} | {call.export_name for call in CALLBACKS.values()}
    emulator = Emulator(native_guest({"": Marking}), allowed_capabilities=everything - {"proxy_define_metric"})
    with pytest.raises(ConfigurationRejected, match="proxy_define_metric: INTERNAL_FAILURE"):
        emulator.start_plugin()

"""The versions of the ABI that modules are written for: what Envoy provides and calls in each (proxy-wasm-cpp-host, `wasm.cc`).

A module tells its version by an export. The tables of `proxy_wasm.abi.signatures` are those of 0.2.1; the older versions differ in a few
hostcalls and callbacks, and Envoy gives to all of them whatever they have in common.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS, Callback, Hostcall, Wire


@dataclass(frozen=True, slots=True)
class AbiVersion:
    """One version of Proxy-Wasm's ABI."""

    number: str
    hostcalls: Mapping[str, Hostcall]
    """Those that a module may import, by name without prefix."""
    callbacks: Mapping[str, Callback]
    """Those that a module may export, by name without prefix."""

    @property
    def export(self) -> str:
        """The function export by which modules tell that they are written for it."""
        return f"proxy_abi_version_{self.number.replace('.', '_')}"


_SINCE_0_2_0 = ("continue_stream", "close_stream")
_SINCE_0_2_1 = ("get_log_level",)
_ONLY_IN_0_1_0 = (
    Hostcall("get_configuration", (), (("configuration", Wire.BYTES),)),
    Hostcall("continue_request"),
    Hostcall("continue_response"),
    Hostcall("clear_route_cache"),
)
_HEADERS_WITHOUT_END = ("context_id", "num_headers")


def _but(names: Iterable[str]) -> dict[str, Hostcall]:
    return {name: hostcall for name, hostcall in HOSTCALLS.items() if name not in names}


V0_1_0 = AbiVersion(
    "0.1.0",
    {**_but((*_SINCE_0_2_0, *_SINCE_0_2_1)), **{hostcall.name: hostcall for hostcall in _ONLY_IN_0_1_0}},
    {
        **{name: callback for name, callback in CALLBACKS.items() if name != "on_foreign_function"},
        "on_request_headers": Callback("on_request_headers", _HEADERS_WITHOUT_END, returns=True),
        "on_response_headers": Callback("on_response_headers", _HEADERS_WITHOUT_END, returns=True),
    },
)
V0_2_0 = AbiVersion("0.2.0", _but(_SINCE_0_2_1), CALLBACKS)
V0_2_1 = AbiVersion("0.2.1", HOSTCALLS, CALLBACKS)

BY_EXPORT: Mapping[str, AbiVersion] = {version.export: version for version in (V0_1_0, V0_2_0, V0_2_1)}
"""Every version, by the export that tells it."""

"""The WIT world of a Proxy-Wasm guest, written from the table of signatures.

componentize-py takes it as the shape of the component. Every hostcall is an import that returns its status first and its
results after it, so that a status such as "not found" costs no exception; every callback is an export.
"""

from collections.abc import Iterable

from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS, Callback, Hostcall, Wire

WORLD = "guest"
PACKAGE = "proxy-wasm:python"


def kebab(name: str) -> str:
    """The WIT spelling of a hostcall's, callback's or parameter's name."""
    return name.replace("_", "-")


def _import(hostcall: Hostcall) -> str:
    parameters = ", ".join(f"{kebab(name)}: {wire.value}" for name, wire in hostcall.parameters)
    results = [Wire.U32.value, *(wire.value for _, wire in hostcall.results)]
    result = results[0] if len(results) == 1 else f"tuple<{', '.join(results)}>"
    return f"  import {kebab(hostcall.import_name)}: func({parameters}) -> {result};"


def _export(callback: Callback) -> str:
    parameters = ", ".join(f"{kebab(name)}: u32" for name in callback.parameters)
    result = " -> u32" if callback.returns else ""
    return f"  export {kebab(callback.export_name)}: func({parameters}){result};"


def world(callbacks: Iterable[str] = CALLBACKS) -> str:
    """The text of the world, with the exports for `callbacks` (names without prefix; all of them unless told).

    Raises `KeyError` for a name that is no callback.
    """
    lines = [f"package {PACKAGE};", "", f"world {WORLD} {{"]
    lines += [_import(hostcall) for hostcall in HOSTCALLS.values()]
    lines += [_export(CALLBACKS[name]) for name in callbacks]
    return "\n".join([*lines, "}", ""])

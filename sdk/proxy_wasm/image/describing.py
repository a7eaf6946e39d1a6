"""What an image says about its module, all of it read from the module itself.

So it does not matter whether an extension's folder is pushed or the file that was built from it. Keys: the OCI image specification's
predefined annotations, and `proxy-wasm/...` for what those have no word for.
"""

import hashlib
from collections.abc import Mapping

from proxy_wasm.build.inspection import Inspection, inspect
from proxy_wasm.build.wasm.binary import MalformedError
from proxy_wasm.image.errors import FormatError
from proxy_wasm.image.packing import Description

_PREDEFINED = "org.opencontainers.image."
ABI_VERSION = "proxy-wasm/abi-version"
SDK_VERSION = "proxy-wasm/sdk-version"
INPUTS = "proxy-wasm/inputs-sha256"
MODULE = "proxy-wasm/module-sha256"
REVISION = f"{_PREDEFINED}revision"


def inspected(module: bytes) -> Inspection:
    """What `module` consists of. Raises `FormatError` where it is no Proxy-Wasm module."""
    try:
        found = inspect(module)
    except MalformedError as error:
        raise FormatError(f"no core WebAssembly module: {error}") from error
    if found.abi_version is None:
        raise FormatError("no Proxy-Wasm module: it exports no proxy_abi_version_...")
    return found


def describe(module: bytes, found: Inspection, further: Mapping[str, str]) -> Description:
    """The description of `module`, of which `found` was read; `further` annotations come on top."""
    extension = found.extension
    facts = {
        ABI_VERSION: found.abi_version,
        SDK_VERSION: found.sdk_version,
        INPUTS: found.input_hash,
        MODULE: hashlib.sha256(module).hexdigest(),
    }
    if extension is not None:
        facts |= {
            f"{_PREDEFINED}title": extension.name,
            f"{_PREDEFINED}version": extension.version,
            f"{_PREDEFINED}description": extension.description,
            f"{_PREDEFINED}licenses": extension.license,
            f"{_PREDEFINED}source": extension.source,
        }
    annotations = {key: value for key, value in facts.items() if value}
    return Description({**annotations, **further}, found.abi_version or "", tuple(sorted(found.plugins)))

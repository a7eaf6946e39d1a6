"""`proxy-wasm inspect FILE.wasm`."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from proxy_wasm.build.inspection import Inspection, Item, Part, inspect
from proxy_wasm.build.wasm.binary import MalformedError
from proxy_wasm.cli.errors import InputError
from proxy_wasm.cli.text import columns, size

_MODULES_WIDTH = 100


def run(file: Path, *, as_json: bool) -> int:
    """Print what the module consists of."""
    try:
        found = inspect(file.read_bytes())
    except MalformedError as error:
        msg = f"{file}: no core WebAssembly module: {error}"
        raise InputError(msg) from error
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        print("\n".join(_lines(file, found)))
    return 0


def _lines(file: Path, found: Inspection) -> Iterator[str]:
    yield f"{file}: {size(found.size)}"
    yield from columns(_facts(found))
    yield from _items("imports", found.imports)
    yield from _items("exports", found.exports)
    yield from _parts("sections", found.sections)
    yield from _parts(f"largest of {found.functions} functions", found.largest_functions)
    if found.left_out:
        yield f"\nleft out of CPython ({len(found.left_out)}); [tool.proxy-wasm] stdlib brings parts back"
        yield from _wrapped(found.left_out)
    if found.python_modules:
        yield f"\nPython modules in the snapshot ({len(found.python_modules)})"
        yield from _wrapped(found.python_modules)


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "ABI version", found.abi_version or "none: no Proxy-Wasm module"
    for root_id, plugin in found.plugins.items():
        yield f"plugin {root_id}".rstrip(), plugin
    if found.extension is not None:
        yield "extension", f"{found.extension.name} {found.extension.version}"
    for package in found.packages:
        yield "package", f"{package.name} {package.version}"
    if found.sdk_version is not None:
        yield "made by", f"proxy-wasm {found.sdk_version}"
    if found.input_hash is not None:
        yield "input hash", found.input_hash
    yield "memory", f"{size(found.initial_memory)} at start, of which {size(found.snapshot)} are set"


def _items(title: str, items: Iterable[Item]) -> Iterator[str]:
    rows = [(item.name, item.type) for item in items]
    yield f"\n{title} ({len(rows)})"
    yield from columns(rows)


def _parts(title: str, parts: Iterable[Part]) -> Iterator[str]:
    yield f"\n{title}"
    yield from columns((part.name, size(part.size)) for part in parts)


def _wrapped(names: Iterable[str]) -> Iterator[str]:
    line = " "
    for name in names:
        if len(line) + len(name) >= _MODULES_WIDTH:
            yield line
            line = " "
        line += f" {name}"
    yield line

"""`proxy-wasm push`, `pull`, and `image`: modules in OCI registries."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy_wasm.build import build
from proxy_wasm.build.output import write_whole
from proxy_wasm.cli.progress import terminal_progress
from proxy_wasm.cli.registries import RegistryOptions, fetch, image_errors
from proxy_wasm.cli.text import columns, printable, size
from proxy_wasm.image import Form, Reference


@dataclass(frozen=True, slots=True)
class PushCommand:
    """What `push` was given."""

    source: Path
    reference: Reference
    form: str
    annotations: Mapping[str, str]
    replace_tag: bool
    registry: RegistryOptions


def run_push(command: PushCommand) -> int:
    """Build, where it is an extension's folder; push, and print the image's name with its digest."""
    with image_errors():
        from proxy_wasm.image import Retries  # noqa: PLC0415 - it needs the extra
        from proxy_wasm.image.pushing import PushOptions, push  # noqa: PLC0415 - so does it

        progress = terminal_progress()
        source = command.source
        module = source.read_bytes() if source.is_file() else build(source, progress=progress).module
        progress(f"pushing {command.reference}")
        options = PushOptions(
            form=Form(command.form),
            annotations=command.annotations,
            replace_tag=command.replace_tag,
            plain_http=command.registry.plain_http,
            retries=Retries(command.registry.retries),
        )
        pushed = push(module, command.reference, options)
    print(f"{pushed.reference}{' (unchanged)' if pushed.unchanged else ''}")
    if pushed.bom_digest is None:
        print("without a bill of materials: the module does not tell what is in it", file=sys.stderr)
    return 0


def run_pull(reference: Reference, output: Path | None, registry: RegistryOptions) -> int:
    """Write the image's module into a file, and print its path with the image's digest."""
    path = output or Path(f"{reference.repository.rpartition('/')[2]}.wasm")
    with image_errors():
        pulled = fetch(reference, registry)
    write_whole(path, pulled.module)
    print(f"{path} ({size(len(pulled.module))}, {pulled.digest})")
    return 0


def run_inspect(reference: Reference, registry: RegistryOptions, *, as_json: bool) -> int:
    """Print what the image is, without fetching the module."""
    with image_errors():
        from proxy_wasm.image.surveying import Survey, survey  # noqa: PLC0415 - it needs the extra

        found = survey(reference, plain_http=registry.plain_http, retries=registry.retries)

    def lines(found: Survey) -> Iterator[str]:
        yield f"{reference.name}@{found.digest}"
        yield from columns(
            [
                ("form", found.form),
                ("manifest", found.media_type),
                ("module's layer", f"{found.layer.digest} ({size(found.layer.size)}, {found.layer.media_type})"),
                ("bill of materials", found.bom_digest or "none"),
            ]
        )
        if found.annotations:
            yield "\nannotations"
            yield from columns((printable(key), printable(value)) for key, value in sorted(found.annotations.items()))

    print(json.dumps(found.json(), indent=2) if as_json else "\n".join(lines(found)))
    return 0


def run_bom(reference: Reference, output: Path | None, registry: RegistryOptions) -> int:
    """Print the image's bill of materials, or write it into a file."""
    with image_errors():
        from proxy_wasm.image.surveying import fetch_bom  # noqa: PLC0415 - it needs the extra

        bom = fetch_bom(reference, plain_http=registry.plain_http, retries=registry.retries)
    if output is None:
        sys.stdout.write(printable(bom.decode("utf-8", "replace")))
    else:
        write_whole(output, bom)
    return 0

"""What several commands are given: files, folders, addresses. Each function raises `InputError` for what is none."""

from collections.abc import Callable
from pathlib import Path

from proxy_wasm.cli.errors import InputError
from proxy_wasm.image.errors import BadReferenceError
from proxy_wasm.image.reference import Reference, is_reference

_MAX_PORT = 65535


def existing_folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise InputError(f"{text}: {'is no folder' if path.exists() else 'no such folder'}")
    return path


def existing_file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise InputError(f"{text}: {'is no file' if path.exists() else 'no such file'}")
    return path


def folder_or_module(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise InputError(f"{text}: no such folder or file")
    return path


def image_reference(text: str) -> Reference:
    try:
        return Reference.parse(text)
    except BadReferenceError as error:
        raise InputError(str(error)) from error


def folder_module_or_image(text: str) -> Path | Reference:
    return image_reference(text) if is_reference(text) else folder_or_module(text)


def port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= _MAX_PORT):
        raise InputError(f"{text!r} is no port: 0 to {_MAX_PORT}")
    return int(text)


def host_and_port(option: str) -> Callable[[str], tuple[str, int]]:
    """Reads where a server listens; an IPv6 address stands in brackets."""

    def parse(text: str) -> tuple[str, int]:
        host, colon, number = text.rpartition(":")
        if not colon or not host:
            raise InputError(f"{option} {text!r}: must be HOST:PORT")
        return host.removeprefix("[").removesuffix("]"), port(number)

    return parse

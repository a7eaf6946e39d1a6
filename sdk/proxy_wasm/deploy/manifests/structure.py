"""Configurations on their way through Kubernetes: JSON that is a part of a manifest, and what of it arrives at the plugin."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn, cast

from proxy_wasm.deploy.errors import OptionError

LARGEST_EXACT = 1 << 53
"""Numbers up to it are exact in `google.protobuf.Struct`, which holds each as a double."""
LARGEST_INTEGER = (1 << 63) - 1
"""The largest integer that Kubernetes keeps."""


def as_object(configuration: bytes | None, platform: str, largest: int = LARGEST_EXACT) -> dict[str, Any] | None:
    """The configuration as the JSON object that a manifest holds; `None` where there is none.

    Raises `OptionError` where it is no JSON object, or would arrive as another one: with integers beyond `largest`, or with names given twice.
    """
    if configuration is None:
        return None
    try:
        document: object = json.loads(configuration, object_pairs_hook=_without_doubles, parse_constant=_no_json)
    except ValueError as error:
        raise OptionError(f"--config: {platform} takes a JSON object, and this is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise OptionError(f"--config: {platform} takes a JSON object, and nothing else")
    for path, value in _integers(cast("dict[str, Any]", document), ""):
        if abs(value) > largest:
            raise OptionError(f"--config: {path}: {platform} keeps no more digits than {largest} has; make it a string")
    return cast("dict[str, Any]", document)


def arriving(document: dict[str, Any] | None, *, empty_is_none: bool) -> bytes | None:
    """What of a manifest's object arrives at the plugin: JSON with its names in order.

    Istio and Higress take an empty object for none (`empty_is_none`).
    """
    if document is None or (empty_is_none and not document):
        return None
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        msg = f"{next(name for name in names if names.count(name) > 1)!r} is there twice"
        raise ValueError(msg)
    return found


def _no_json(constant: str) -> NoReturn:
    msg = f"{constant} is no number"
    raise ValueError(msg)


def _integers(value: object, path: str) -> Iterator[tuple[str, int]]:
    match value:
        case bool():
            return
        case int():
            yield path, value
        case dict():
            for name, inner in cast("dict[str, object]", value).items():
                yield from _integers(inner, f"{path}.{name}" if path else name)
        case list():
            for position, inner in enumerate(cast("list[object]", value)):
                yield from _integers(inner, f"{path}[{position}]")
        case _:
            return

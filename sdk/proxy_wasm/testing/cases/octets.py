"""Bytes that a file of cases gives: text, base64, JSON, headers."""

import base64
import binascii
import json
from collections.abc import Mapping

from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.testing.cases.shapes import (
    ByKey,
    Data,
    Integer,
    Key,
    ListOf,
    MapOf,
    Named,
    Number,
    Record,
    Shape,
    Single,
    Text,
    Variants,
)

TEXT = Text()
SECONDS = Number("a number of seconds")
STATUS = Integer("a status from 100 to 599", 100, 599)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"is no base64: {error}") from error


BASE64 = TEXT.mapped(_decoded)


def _json(data: object) -> bytes:
    return json.dumps(data).encode()


def _repeated(text: bytes, times: int = 1) -> bytes:
    return text * times


UTF8 = TEXT.mapped(encoded)
BYTES: Shape[bytes] = Named(
    "bytes",
    lambda: Variants(
        text=UTF8,
        mapping=ByKey(
            {
                "text": Record(
                    _repeated,
                    {
                        "text": Key(UTF8, "text, which goes as UTF-8", required=True),
                        "times": Key(Integer("a number of times", 1, 1 << 26), "how often it is repeated"),
                    },
                ),
                "base64": Single("base64", BASE64, "any bytes, in base64"),
                "json": Single("json", Data().mapped(_json), "data that goes as JSON"),
            }
        ),
    ),
)


def _header_map(headers: Mapping[str, tuple[bytes, ...]]) -> HeaderMap:
    return HeaderMap((name, value) for name, values in headers.items() for value in values)


HEADERS: Shape[HeaderMap] = Named(
    "headers",
    lambda: MapOf(
        Variants(
            text=BYTES.mapped(lambda value: (value,)),
            items=ListOf(BYTES),
            mapping=BYTES.mapped(lambda value: (value,)),
        )
    ).mapped(_header_map),
)

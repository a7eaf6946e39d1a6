"""`parsed_body` and `truncated_body`, by the rules of the OPA-Envoy plugin (envoyauth/request.go, `getParsedBody`).

A parsed body is JSON text, which is put into the question as it is: so numbers reach OPA digit by digit, as they do in the plugin.
"""

import binascii
import json
import re
from collections.abc import Iterator
from typing import NoReturn

from opa_authz_encoding import EncodingError, parsed_parameters, unescaped

Parsed = tuple[str, bool]
"""A body as JSON text, and whether it is known to be truncated."""
_NOTHING: Parsed = ("null", False)
_TRUNCATED: Parsed = ("null", True)


def parsed_body(headers: dict[str, str], body: str) -> Parsed:
    """The body by its content type; raises `EncodingError` for what is malformed.

    `headers` are those of the request, with `x-envoy-auth-partial-body` where the body was cut off.
    """
    if headers.get("x-envoy-auth-partial-body") == "true":
        return _TRUNCATED
    content_type = headers.get("content-type")
    if content_type is None:
        return _NOTHING
    for part, parse in _PARSERS:
        if part in content_type:
            if not body or parse is None:
                return _NOTHING
            return _TRUNCATED if _is_cut(headers, body) else (parse(body, content_type), False)
    return _NOTHING


def _is_cut(headers: dict[str, str], body: str) -> bool:
    length = headers.get("content-length")
    if length is None:
        return False
    if not _INTEGER.fullmatch(length):
        raise EncodingError("content-length is no number")
    return int(length) > len(body.encode())


def _json(body: str, _content_type: str = "") -> str:
    try:
        # What numbers are does not matter here, only that they are some.
        json.loads(body, parse_float=str, parse_int=str, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise EncodingError("the body is no JSON") from None
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _form(body: str, _content_type: str) -> str:
    try:
        return json.dumps(parsed_parameters(body))
    except EncodingError as error:
        raise EncodingError(f"the form is malformed: {error}") from None


def _multipart(body: str, content_type: str) -> str:
    parameters = media_type(content_type)[1]
    if "boundary" not in parameters:
        return "null"
    values: dict[str, list[str]] = {}
    for headers, content in _parts(body, parameters["boundary"]):
        name = _form_name(headers.get("content-disposition", ""))
        if name:
            is_json = "application/json" in headers.get("content-type", "")
            values.setdefault(name, []).append(_json(content) if is_json else json.dumps(content))
    return "{" + ",".join([f"{json.dumps(name)}:[{','.join(texts)}]" for name, texts in values.items()]) + "}"


_PARSERS = (
    ("application/json", _json),
    ("application/grpc", None),
    ("application/x-www-form-urlencoded", _form),
    ("multipart/form-data", _multipart),
)
"""By what the content type contains, in this order. The plugin parses gRPC only where it was given descriptors."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


# Multipart bodies, as Go's mime/multipart reads them: lines may end in LF alone.


def _parts(body: str, boundary: str) -> Iterator[tuple[dict[str, str], str]]:
    """The headers and the content of each part."""
    opening = re.compile(rf"(?:\A|(?<=\n))--{re.escape(boundary)}(?:[ \t]*(\r?\n)|(--[ \t]*)(?:\r\n|\Z))")
    first = opening.search(body)
    if first is None:
        raise _malformed("has no boundary")
    if first[2] is not None:
        return
    newline = first[1]
    start = first.end()
    separator = re.compile(rf"(?:\A|{newline})--{re.escape(boundary)}(?=[ \t\r\n]|--)")
    after = re.compile(rf"[ \t]*{newline}|(--)[ \t]*(?:{newline}|\Z)")
    while start < len(body):
        head = _part_headers(body, start)
        if head is None:
            return
        headers, start = head
        rest = body[start:]
        end = separator.search(rest)
        if end is None:
            raise _malformed("has a part without an end")
        yield headers, _decoded(headers, rest[: end.start()])
        start += end.end()
        following = after.match(body, start)
        if following is None:
            raise _malformed("goes on where a part has ended")
        if following[1]:
            return
        start = following.end()


def _part_headers(body: str, start: int) -> tuple[dict[str, str], int] | None:
    """The headers that begin at `start`, and where the content does; `None` where the body ends with a header."""
    headers: dict[str, str] = {}
    name = ""
    while True:
        end = body.find("\n", start)
        line = body[start : end if end >= 0 else len(body)].removesuffix("\r")
        if end >= 0 and not line:
            return headers, end + 1
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
        elif line:
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not _FIELD_NAME.fullmatch(name):
                raise _malformed("has a part with a malformed header")
            headers.setdefault(name, value.strip(" \t"))
        if end < 0:
            return None
        start = end + 1


def _decoded(headers: dict[str, str], content: str) -> str:
    if headers.get("content-transfer-encoding", "").lower() != "quoted-printable":
        return content
    return binascii.a2b_qp(content.encode()).decode("utf-8", "replace")


def _form_name(disposition: str) -> str:
    """The name of a form's field; empty where the part is none, or its header is malformed."""
    try:
        kind, parameters = media_type(disposition)
    except EncodingError:
        return ""
    return parameters.get("name", "") if kind == "form-data" else ""


def media_type(header: str) -> tuple[str, dict[str, str]]:
    """The type and the parameters of a content type or disposition (RFC 2045, 5.1); `EncodingError` for a malformed one."""
    kind, _, _ = header.partition(";")
    rest = header[len(kind) :]
    kind = kind.strip().lower()
    if not _KIND.fullmatch(kind):
        raise EncodingError("a content type or disposition is malformed")
    parameters: dict[str, str] = {}
    while rest.strip(" \t;"):
        match = _PARAMETER.match(rest)
        if match is None:
            raise EncodingError("a parameter of a content type or disposition is malformed")
        name, value = match[1].lower(), match[2] if match[2] is not None else _ESCAPED.sub(r"\1", match[3])
        if name.endswith("*"):
            name, value = name[:-1], _extended(value)
        if parameters.setdefault(name, value) != value:
            raise EncodingError("a parameter of a content type or disposition has two values")
        rest = rest[match.end() :]
    return kind, parameters


def _extended(value: str) -> str:
    """A value with its character set (RFC 2231, 4)."""
    charset, _, encoded = value.partition("'")
    encoded = encoded.partition("'")[2]
    if charset.lower() not in ("utf-8", "us-ascii"):
        raise EncodingError("a parameter of a content type or disposition has an unknown character set")
    return unescaped(encoded)


def _malformed(problem: str) -> EncodingError:
    return EncodingError(f"the multipart body {problem}")


_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z][ !#$%&'*+\-.^_`|~0-9A-Za-z]*")
"""Go lets spaces pass in the names of a part's headers."""
_KIND = re.compile(rf"{_TOKEN.pattern}(?:/{_TOKEN.pattern})?")
_PARAMETER = re.compile(
    rf'[ \t]*;[ \t]*({_TOKEN.pattern})[ \t]*=[ \t]*(?:({_TOKEN.pattern})|"((?:[^"\\\r\n]|\\.)*)")[ \t]*'
)
_ESCAPED = re.compile(r'\\([()<>@,;:\\"/\[\]?=])')

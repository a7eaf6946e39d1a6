"""Fingerprints know a text or headers again, and tell nothing of them."""

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_wasm import Headers, PhaseError, make_fingerprint, make_headers_fingerprint
from proxy_wasm.abi import MapType
from proxy_wasm.fingerprints import KEY_SIZE, LONGEST_NAME, fingerprint_with, specification, with_specification

if TYPE_CHECKING:
    from conftest import MemoryHost

KEY = bytes(range(16))

REFERENCE = {
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
    15: "5493e99933b0a8117e08ec0f97cfc3d9",
}
"""From the reference implementation's `vectors.h`: the fingerprints of 00, 01, 02, ..., so many bytes."""


@pytest.mark.parametrize("size", REFERENCE)
def test_a_fingerprint_is_siphash_2_4_of_128_bits(size: int) -> None:
    assert fingerprint_with(KEY, bytes(range(size))) == REFERENCE[size]


@pytest.mark.parametrize("size", [7, 8, 9, 63, 64, 255, 256, 1000])
def test_a_fingerprint_is_what_openssl_makes(size: int) -> None:
    octets = bytes(number & 255 for number in range(size))
    command = ["openssl", "mac", "-macopt", f"hexkey:{KEY.hex()}", "-macopt", "size:16", "-in", "/dev/stdin", "SIPHASH"]
    try:
        made = subprocess.run(command, input=octets, capture_output=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs OpenSSL 3 with SipHash")
    assert fingerprint_with(KEY, octets) == made.decode().strip().lower()


@given(st.binary().map(lambda octets: octets.decode("utf-8", "surrogateescape")))
def test_text_counts_as_its_utf_8(text: str) -> None:
    fingerprint = make_fingerprint()
    assert fingerprint(text) == fingerprint(text.encode("utf-8", "surrogateescape"))


def test_every_function_has_a_key_of_its_own() -> None:
    fingerprints = {make_fingerprint()("secret") for _ in range(50)}
    assert len(fingerprints) == 50
    assert {len(fingerprint) for fingerprint in fingerprints} == {2 * KEY_SIZE}


@pytest.mark.parametrize("wrong", [None, 7, bytearray(b"secret")])
def test_what_is_neither_text_nor_bytes_has_none(wrong: object) -> None:
    with pytest.raises(TypeError, match=f"a fingerprint is of str or bytes, not of {type(wrong).__name__}"):
        fingerprint_with(KEY, wrong)


@pytest.fixture
def headers(host: "MemoryHost") -> Headers:
    return Headers(host.hostcalls, MapType.HTTP_REQUEST_HEADERS)


PAIRS: list[tuple[str, str]] = [
    (":method", "GET"),
    (":path", "/a?b"),
    ("x-one", "1"),
    ("x-many", "ab"),
    ("x-many", "c"),
]


def of(headers: Headers, pairs: list[tuple[str, str]], *names: str, query: bool = True) -> str:
    """The fingerprint of `pairs`, under a key that is always the same."""
    headers.replace(pairs)
    return with_specification(specification(KEY, names, query=query))(headers)


def test_headers_are_known_by_the_values_of_some(headers: Headers) -> None:
    first = of(headers, PAIRS, "X-One", ":method")
    assert of(headers, [*PAIRS, ("x-other", "new")], "x-one", ":METHOD", "x-one") == first
    assert of(headers, PAIRS[::-1], "x-one", ":method") == first
    assert of(headers, [("x-one", "2"), *PAIRS[:2]], "x-one", ":method") != first


@pytest.mark.parametrize(
    "values", [[], [""], ["abc"], ["a", "bc"], ["c", "ab"], ["ab"], ["ab", "c", ""], ["ab", "c", "ab", "c"]]
)
def test_how_many_values_there_are_and_where_they_end_makes_a_difference(headers: Headers, values: list[str]) -> None:
    other = [*PAIRS[:3], *(("x-many", value) for value in values)]
    assert of(headers, PAIRS, "x-many", "x-one") != of(headers, other, "x-many", "x-one")


def test_a_value_of_one_header_is_none_of_another(headers: Headers) -> None:
    assert of(headers, [("a", "1")], "a", "b") != of(headers, [("b", "1")], "a", "b")
    assert of(headers, [("a", "1"), ("b", "2")], "a", "b") != of(headers, [("a", "2"), ("b", "1")], "a", "b")


def test_a_query_is_part_of_the_path_unless_it_is_left_out(headers: Headers) -> None:
    paths = [[(":path", path), ("x-path", path)] for path in ("/a?b", "/a?c", "/a", "/a?")]
    assert len({of(headers, pairs, ":path") for pairs in paths}) == 4
    assert len({of(headers, pairs, ":path", query=False) for pairs in paths}) == 1
    assert len({of(headers, pairs, "x-path", query=False) for pairs in paths}) == 4


def test_what_the_proxy_knows_but_does_not_list_counts(headers: Headers, host: "MemoryHost") -> None:
    def known(map_type: int, key: bytes) -> bytes | None:
        return b"known" if key == b"host" else read(map_type, key)

    read = host.get_header_map_value
    unknown = of(headers, PAIRS, "host")
    host.get_header_map_value = known
    served = Headers(host.hostcalls, MapType.HTTP_REQUEST_HEADERS)
    assert of(served, PAIRS, "host") != unknown


def test_every_function_of_headers_has_a_key_of_its_own(headers: Headers) -> None:
    assert len({make_headers_fingerprint("x-one")(headers) for _ in range(50)}) == 50


@pytest.mark.parametrize("name", ["", "x\n", "x" * (LONGEST_NAME + 1), 7])
def test_names_that_no_header_can_have_are_refused(name: Any) -> None:  # noqa: ANN401 - whatever an author passes
    with pytest.raises((TypeError, ValueError), match="name of a header"):
        make_headers_fingerprint("x-one", name)


def test_a_name_may_be_as_long_as_it_is_said(headers: Headers) -> None:
    longest = "x" * LONGEST_NAME
    assert of(headers, [(longest, "1")], longest) != of(headers, [(longest, "2")], longest)


def test_a_fingerprint_of_no_headers_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the names of some"):
        make_headers_fingerprint()


def test_what_are_no_headers_have_no_fingerprint() -> None:
    fingerprint: Any = make_headers_fingerprint("x-one")
    with pytest.raises(TypeError, match="a fingerprint is of Headers, not of dict"):
        fingerprint({"x-one": "1"})


def test_headers_that_the_proxy_does_not_hold_have_no_fingerprint(host: "MemoryHost") -> None:
    with pytest.raises(PhaseError):
        make_headers_fingerprint("x-one")(Headers(host.hostcalls, MapType.HTTP_RESPONSE_TRAILERS))

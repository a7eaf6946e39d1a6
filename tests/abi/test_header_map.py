from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_wasm.abi.header_map import Pair, decode_pairs, encode_pairs

ANY_BYTES = st.binary(max_size=40)
HTTP_BYTES = ANY_BYTES.filter(lambda octets: b"\0" not in octets)


@given(st.lists(st.tuples(HTTP_BYTES, HTTP_BYTES), max_size=20))
def test_pairs_without_nul_come_back_as_they_were(pairs: list[Pair]) -> None:
    assert decode_pairs(encode_pairs(pairs)) == pairs


@given(st.lists(st.tuples(ANY_BYTES, ANY_BYTES), max_size=20))
def test_pairs_of_any_bytes_come_back_as_they_were(pairs: list[Pair]) -> None:
    assert decode_pairs(encode_pairs(pairs)) == pairs


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused_with_a_value_error(serialized: bytes) -> None:
    try:
        pairs = decode_pairs(serialized)
    except ValueError as error:
        assert str(error).startswith("header map: ")  # noqa: PT017 - either outcome is right
    else:
        assert all(isinstance(part, bytes) for pair in pairs for part in pair)


def test_the_form_is_the_specifications() -> None:
    assert encode_pairs([(b"key", b"value")]) == pack("<III", 1, 3, 5) + b"key\0value\0"


@pytest.mark.parametrize("serialized", [b"", pack("<I", 0)])
def test_no_bytes_and_no_pairs_are_both_an_empty_map(serialized: bytes) -> None:
    assert decode_pairs(serialized) == []


def test_an_empty_sequence_is_a_count_of_zero() -> None:
    assert encode_pairs([]) == pack("<I", 0)


def test_a_thousand_pairs_and_long_values_survive() -> None:
    pairs = [(b"name-%d" % n, b"v" * (60_000 if n == 500 else n % 7)) for n in range(1000)]
    assert decode_pairs(encode_pairs(pairs)) == pairs


@pytest.mark.parametrize(
    ("serialized", "reason"),
    [
        (b"\1", "too few"),
        (pack("<I", 2) + b"\0" * 8, "2 pairs need 20 bytes of sizes"),
        (pack("<III", 1, 3, 5) + b"key\0value", "add up to 22 bytes, 21 are there"),
        (pack("<III", 1, 3, 5) + b"key\0value\0more", "add up to 22 bytes, 26 are there"),
        (pack("<III", 1, 0xFFFFFFFF, 0) + b"\0\0\0", "add up to"),
        (pack("<I", 0xFFFFFFFF), "4294967295 pairs need"),
    ],
)
def test_a_malformed_map_is_refused_with_the_reason(serialized: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_pairs(serialized)

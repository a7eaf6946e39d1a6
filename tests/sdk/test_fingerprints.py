"""Fingerprints know a text again, and tell nothing of it."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_wasm import make_fingerprint
from proxy_wasm.fingerprints import KEY_SIZE, fingerprint_with

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

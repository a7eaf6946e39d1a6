"""Signatures that others have published: the examples of the RFCs, and the vectors of Project Wycheproof, which attack what verification gets wrong.

In this process all of them are verified; in the built module, and in Envoy with its own verification, a selection: one for each kind of attack in each file.
"""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jws_algorithms import ALGORITHMS, jws, suits
from jws_der import ecdsa_signature
from jws_ecdsa import CURVES
from jws_ecdsa import Point as EcPoint
from jws_ecdsa import verify as verify_ecdsa
from jws_keys import EcKey, JwkError, parse_key, parse_key_set
from jwt import InvalidKeyError, PyJWTError

from proxy_wasm.testing import Proxy, StartProxy

HERE = Path(__file__).parent
EXAMPLES: dict[str, Any] = json.loads((HERE / "tests" / "jws_examples.json").read_text())

JWS = jws()


class Vector(NamedTuple):
    """A signature, and whether it is genuine as a JSON Web Signature."""

    name: str
    kind: str
    jwk: Mapping[str, str]
    algorithm: str
    text: bytes
    signature: bytes
    is_genuine: bool


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decoded(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


EXAMPLE_VECTORS = [
    Vector(
        name=each["source"],
        kind="",
        jwk=each["jwk"],
        algorithm=each["algorithm"],
        text=each["text"].encode(),
        signature=decoded(each["signature"]),
        is_genuine=True,
    )
    for each in EXAMPLES["signatures"]
]


def is_verified(vector: Vector) -> bool:
    """What comes of it in this process; a key that is refused verifies nothing."""
    algorithm = JWS.get_algorithm_by_name(vector.algorithm)
    try:
        key = algorithm.prepare_key(parse_key(vector.jwk))
    except (JwkError, InvalidKeyError):
        return False
    return algorithm.verify(vector.text, key, vector.signature)


# In proxies


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extension that verifies what it is sent, with the modules of this one."""
    project = tmp_path_factory.mktemp("jws") / "verifier"
    shutil.copytree(HERE / "tests" / "jws_verifier", project, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    for module in HERE.glob("jws_*.py"):
        shutil.copy(module, project)
    return project


@pytest.fixture(params=[False, True], ids=["python", "proxy"])
def proxy(request: pytest.FixtureRequest, start_proxy: StartProxy, verifier: Path) -> Proxy:
    """The verifier, which does everything itself, or asks the proxy first."""
    return start_proxy(verifier, {"native": request.param})


def outcomes(proxy: Proxy, vectors: Iterable[Vector]) -> Iterator[tuple[Vector, object]]:
    """Each with what came of it."""
    rest = list(vectors)
    while rest:
        part, rest = rest[:50], rest[50:]
        checks = [
            {"jwk": each.jwk, "algorithm": each.algorithm, "text": each.text.hex(), "signature": each.signature.hex()}
            for each in part
        ]
        yield from zip(part, proxy.post("/", body=json.dumps(checks)).json(), strict=True)


def test_the_examples_of_the_rfcs_are_verified(proxy: Proxy) -> None:
    assert len(EXAMPLE_VECTORS) == 14
    assert {each.algorithm for each in EXAMPLE_VECTORS} >= {"HS256", "RS256", "PS384", "ES256", "ES512", "EdDSA"}
    for vector, outcome in outcomes(proxy, EXAMPLE_VECTORS):
        assert outcome is True, vector.name


def test_the_examples_are_refused_once_a_bit_is_another(proxy: Proxy) -> None:
    changed = [
        each._replace(**{part: bytes([*getattr(each, part)[:-1], getattr(each, part)[-1] ^ 1])})
        for each in EXAMPLE_VECTORS
        for part in ("text", "signature")
    ]
    for vector, outcome in outcomes(proxy, changed):
        assert outcome is False, vector.name


def test_the_unsecured_example_is_refused(proxy: Proxy) -> None:
    check = {"jwk": EXAMPLE_VECTORS[0].jwk, "algorithms": ["HS256"], "token": EXAMPLES["unsecured"]["token"]}
    body = json.dumps([check, {**check, "algorithms": ["none", "HS256"]}])
    assert proxy.post("/", body=body).json() == [
        "InvalidAlgorithmError: The specified alg value is not allowed",
        "InvalidAlgorithmError: Algorithm not supported",
    ]


@pytest.mark.parametrize("native", [False, True], ids=["python", "proxy"])
def test_the_proxy_is_asked_for_what_it_can_verify(start_proxy: StartProxy, verifier: Path, native: bool) -> None:
    proxy = start_proxy(verifier, {"native": native})
    for vector in EXAMPLE_VECTORS:
        check = {"jwk": vector.jwk, "algorithm": vector.algorithm, "text": vector.text.hex(), "signature": ""}
        exchange = proxy.post("/", body=json.dumps([{**check, "signature": vector.signature.hex()}]))
        assert exchange.json() == [True]
        is_asked = native and vector.algorithm.startswith(("RS", "ES"))
        assert exchange.headers["x-native"] == str(int(is_asked)), vector.algorithm


# Project Wycheproof


def installed_vectors() -> Path | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proxy-wasm-ci"
    return max(cache.glob("wycheproof-*"), default=None)


WYCHEPROOF = installed_vectors()
needs_wycheproof = pytest.mark.skipif(
    WYCHEPROOF is None, reason="the vectors are not installed: run python scripts/install_wycheproof.py"
)

HASHES = {"SHA-256": 256, "SHA-384": 384, "SHA-512": 512}
CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
OF_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}

Test = dict[str, Any]
Group = Mapping[str, Any]


def groups(name: str) -> list[Group]:
    assert WYCHEPROOF is not None
    return json.loads((WYCHEPROOF / f"{name}_test.json").read_text())["testGroups"]


def number(digits: str) -> str:
    return encoded(bytes.fromhex(digits).lstrip(b"\0"))


def pkcs1_vector(group: Group, test: Test) -> Vector | None:
    bits = HASHES.get(group["sha"])
    if bits is None or (test["result"] == "acceptable" and "SmallPublicKey" in test["flags"]):
        return None  # a small exponent is up to whoever made the key
    is_genuine = test["result"] == "valid" and int(group["keySize"]) >= 2048
    return vector(test, rsa_key(group), f"RS{bits}", test["sig"], is_genuine)


def pss_vector(group: Group, test: Test) -> Vector | None:
    """With a salt of another size than JSON Web Signatures have, or other masks, even a valid one is not genuine here; one that is not valid might be, for it may have our size."""
    bits = HASHES.get(group["sha"])
    is_ours = bits is not None and group["sLen"] * 8 == bits and group["mgfSha"] == group["sha"]
    if bits is None or not (is_ours or test["result"] == "valid"):
        return None
    return vector(test, rsa_key(group), f"PS{bits}", test["sig"], is_ours and test["result"] == "valid")


def ecdsa_vector(group: Group, test: Test) -> Vector | None:
    key = ec_key(group)
    signature = test["sig"]
    if group["type"] == "EcdsaVerify":
        signature = raw_signature(bytes.fromhex(signature), CURVES[key["crv"]].size)
        if signature is None:
            return None
    return vector(test, key, OF_CURVES[key["crv"]], signature, test["result"] == "valid")


def eddsa_vector(group: Group, test: Test) -> Vector | None:
    key = {"kty": "OKP", "crv": "Ed25519", "x": encoded(bytes.fromhex(group["publicKey"]["pk"]))}
    return vector(test, key, "EdDSA", test["sig"], test["result"] == "valid")


def hmac_vector(bits: int, group: Group, test: Test) -> Vector | None:
    """A tag that was cut, or a key that is too short, is not genuine here."""
    key = {"kty": "oct", "k": encoded(bytes.fromhex(test["key"]))}
    is_whole = group["tagSize"] == bits and group["keySize"] >= bits
    return vector(test, key, f"HS{bits}", test["tag"], is_whole and test["result"] == "valid")


def vector(test: Test, jwk: Mapping[str, str], algorithm: str, signature: str, is_genuine: bool) -> Vector:
    kind = f"{test['result']} {' '.join(sorted(test['flags']))} {algorithm}"
    text = bytes.fromhex(test["msg"])
    return Vector(
        f"{test['tcId']}: {test['comment']}", kind, jwk, algorithm, text, bytes.fromhex(signature), is_genuine
    )


def rsa_key(group: Group) -> dict[str, str]:
    key = group.get("publicKey") or group["privateKey"]
    return {"kty": "RSA", "n": number(key["modulus"]), "e": number(key["publicExponent"])}


def ec_key(group: Group) -> dict[str, str]:
    key = group["publicKey"]
    name = CURVE_NAMES[key["curve"]]
    x_and_y, size = bytes.fromhex(key["uncompressed"])[1:], CURVES[name].size
    return {"kty": "EC", "crv": name, "x": encoded(x_and_y[:size]), "y": encoded(x_and_y[size:])}


def raw_signature(der: bytes, size: int) -> str | None:
    """r and s of a signature in DER, one after the other, in hexadecimal; `None` where there is no such thing."""
    try:
        r, s = decode_dss_signature(der)
        return (r.to_bytes(size, "big") + s.to_bytes(size, "big")).hex()
    except (ValueError, OverflowError):
        return None


FILES: dict[str, Callable[[Group, Test], Vector | None]] = {
    **{
        f"rsa_signature_{name}": pkcs1_vector
        for name in (
            *("2048_sha256", "2048_sha384", "2048_sha512", "3072_sha256", "3072_sha384", "3072_sha512"),
            *("4096_sha256", "4096_sha384", "4096_sha512", "8192_sha256", "8192_sha384", "8192_sha512"),
        )
    },
    **{f"rsa_pkcs1_{bits}_sig_gen": pkcs1_vector for bits in (1024, 1536, 2048, 3072, 4096)},
    **{
        f"rsa_pss_{name}": pss_vector
        for name in (
            *("2048_sha256_mgf1_0", "2048_sha256_mgf1_32", "2048_sha256_mgf1sha1_20", "2048_sha384_mgf1_48"),
            *("2048_sha512_mgf1sha256_32_params", "3072_sha256_mgf1_32", "4096_sha256_mgf1_32", "4096_sha384_mgf1_48"),
            *("4096_sha512_mgf1_32", "4096_sha512_mgf1_64", "misc"),
        )
    },
    **{
        f"ecdsa_{name}": ecdsa_vector
        for name in (
            *("secp256r1_sha256_p1363", "secp384r1_sha384_p1363", "secp521r1_sha512_p1363"),
            *("secp256r1_sha256", "secp384r1_sha384", "secp521r1_sha512"),
        )
    },
    "ed25519": eddsa_vector,
    **{f"hmac_sha{bits}": partial(hmac_vector, bits) for bits in (256, 384, 512)},
}
"""The files by name, and what makes a JSON Web Signature of a test; `None` where that cannot be."""


def vectors(name: str) -> list[Vector]:
    found = [FILES[name](group, test) for group in groups(name) for test in group["tests"]]
    return [each for each in found if each is not None]


@needs_wycheproof
@pytest.mark.parametrize("name", FILES)
def test_exactly_the_genuine_signatures_are_verified(name: str) -> None:
    found = vectors(name)
    assert len(found) > 15
    wrong = [each.name for each in found if is_verified(each) != each.is_genuine]
    assert wrong == []


@needs_wycheproof
@pytest.mark.parametrize(
    ("name", "hash_name"),
    [
        ("ecdsa_secp256r1_sha512_p1363", "sha512"),
        ("ecdsa_secp384r1_sha512_p1363", "sha512"),
        ("ecdsa_secp384r1_sha256", "sha256"),
    ],
)
def test_digests_of_other_sizes_than_the_curve_are_cut_or_taken_whole(name: str, hash_name: str) -> None:
    found = [ecdsa_vector(group, test) for group in groups(name) for test in group["tests"]]
    wrong = [
        each.name
        for each in found
        if each is not None
        and verify_ecdsa(point(each.jwk), hashlib.new(hash_name, each.text).digest(), each.signature) != each.is_genuine
    ]
    assert wrong == []


def point(jwk: Mapping[str, str]) -> EcPoint:
    key = parse_key(jwk)
    assert isinstance(key, EcKey)
    return key.point


@needs_wycheproof
@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("ecdsa_") and not name.endswith("_p1363")])
def test_the_proxy_gets_the_der_that_was_signed(name: str) -> None:
    valid = [(group, test) for group in groups(name) for test in group["tests"] if test["result"] == "valid"]
    for group, test in valid:
        found = ecdsa_vector(group, test)
        assert found is not None
        assert ecdsa_signature(found.signature).hex() == test["sig"]
    assert len(valid) > 100


@needs_wycheproof
@pytest.mark.hosts("wasm", "envoy")
def test_one_of_each_kind_of_attack_fails_in_the_module(start_proxy: StartProxy, verifier: Path) -> None:
    proxy = start_proxy(verifier, {"native": False})
    assert_selection_is_judged(proxy)


@needs_wycheproof
def test_one_of_each_kind_of_attack_fails_in_what_the_proxy_verifies(start_proxy: StartProxy, verifier: Path) -> None:
    proxy = start_proxy(verifier, {"native": True})
    assert_selection_is_judged(proxy)


def assert_selection_is_judged(proxy: Proxy) -> None:
    selected = [each for name in FILES for each in {each.kind: each for each in vectors(name)}.values()]
    assert len(selected) > 200
    wrong = [each for each, outcome in outcomes(proxy, selected) if (outcome is True) != each.is_genuine]
    assert wrong == []


# Tokens of Project Wycheproof

TOKEN_FILES: dict[str, dict[int, str]] = {
    "json_web_signature": {
        346: "the key's own alg is another one",
        347: "the key's own alg is another one",
        350: "the key's own alg is another one",
        351: "the key's own alg is another one",
        367: "padding is accepted by PyJWT; jwt_headers refuses it before",
        370: "padding is accepted by PyJWT; jwt_headers refuses it before",
        372: "a character that is not of base64url, which some decoders skip",
        373: "a character that is not of base64url, which some decoders skip",
    },
    "json_web_key": {
        1: "a secret in one set with other keys is used for what it is meant for",
        4: "of the two keys with the same kid, one is left out: its base64 has something in the bits left over",
        7: "weak primes (ROCA) are not looked for",
    },
    "json_web_crypto": {
        46: "weak primes (ROCA) are not looked for",
        47: "a secret in one set with other keys is used for what it is meant for",
    },
}
"""The files, and of each the tests that end otherwise here than there, with the reason."""


def is_accepted(keys: Mapping[str, object], token: str) -> bool:
    """Whether the one key that may have signed the token has."""
    document = keys if "keys" in keys else {"keys": [keys]}
    try:
        header = JWS.get_unverified_header(token)
        candidates = [key for key in parse_key_set(document).keys if suits(key, header.get("alg", ""))]
        if "kid" in header:
            candidates = [key for key in candidates if key.kid == header["kid"]]
        if len(candidates) != 1:
            return False
        JWS.decode(token, candidates[0], algorithms=list(ALGORITHMS))  # type: ignore[arg-type]
    except PyJWTError:
        return False
    return True


@needs_wycheproof
@pytest.mark.parametrize("name", TOKEN_FILES)
def test_tokens_are_accepted_where_they_should_be(name: str) -> None:
    tests = [(group, test) for group in groups(name) for test in group["tests"] if "jws" in test]
    wrong = {
        test["tcId"]
        for group, test in tests
        if is_accepted(group.get("public") or group["private"], test["jws"]) != (test["result"] == "valid")
    }
    assert wrong == set(TOKEN_FILES[name])

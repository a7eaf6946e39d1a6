"""Which keys suit which algorithms, and who verifies: the proxy, or Python."""

import base64
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from jws_algorithms import ALGORITHMS, Verify, jws, suits
from jws_keys import Key, parse_key
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

RSA = rsa.generate_private_key(65537, 2048)
CURVES = {256: ec.SECP256R1(), 384: ec.SECP384R1(), 521: ec.SECP521R1()}
EC = {bits: ec.generate_private_key(curve) for bits, curve in CURVES.items()}
ED = ed25519.Ed25519PrivateKey.generate()
HASHES = {"sha256": SHA256(), "sha384": SHA384(), "sha512": SHA512()}

Jwk = dict[str, Any]


def secret(size: int) -> Jwk:
    return {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * size).rstrip(b"=").decode()}


JWKS: dict[str, Jwk] = {
    "RSA": RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True),
    **{f"P-{bits}": ECAlgorithm.to_jwk(key.public_key(), as_dict=True) for bits, key in EC.items()},
    "Ed25519": OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True),
    **{f"{size} bytes": secret(size) for size in (31, 32, 48, 64)},
}
for jwk in JWKS.values():
    jwk.pop("key_ops", None)

SUITS = {
    "RSA": "RS256 RS384 RS512 PS256 PS384 PS512",
    "P-256": "ES256",
    "P-384": "ES384",
    "P-521": "ES512",
    "Ed25519": "EdDSA",
    "31 bytes": "",
    "32 bytes": "HS256",
    "48 bytes": "HS256 HS384",
    "64 bytes": "HS256 HS384 HS512",
}


@pytest.mark.parametrize("name", JWKS)
def test_a_key_suits_the_algorithms_of_its_kind_alone(name: str) -> None:
    key = parse_key(JWKS[name])
    assert [algorithm for algorithm in ALGORITHMS if suits(key, algorithm)] == [
        algorithm for algorithm in ALGORITHMS if algorithm in SUITS[name].split()
    ]
    for unknown in ("none", "NONE", "", "ES256K", "rs256", "RS1"):
        assert not suits(key, unknown)


@pytest.mark.parametrize(
    ("members", "is_suitable"),
    [
        ({"alg": "RS256"}, True),
        ({"alg": "RS512"}, False),
        ({"alg": "PS256"}, False),
        ({"alg": "RSA-OAEP"}, False),
        ({"alg": ""}, False),
        ({"use": "sig"}, True),
        ({"use": "enc"}, False),
        ({"use": "SIG"}, False),
        ({"key_ops": ["verify"]}, True),
        ({"key_ops": ["sign", "verify"]}, True),
        ({"key_ops": ["sign"]}, False),
        ({"key_ops": []}, False),
        ({"use": "sig", "key_ops": ["encrypt"]}, False),
        ({"use": "enc", "key_ops": ["verify"]}, False),
    ],
)
def test_what_a_key_says_of_itself_must_agree(members: Jwk, is_suitable: bool) -> None:
    key = parse_key({**JWKS["RSA"], **members})
    assert suits(key, "RS256") is is_suitable
    token = jwt.encode({"sub": "a"}, RSA, "RS256")
    if is_suitable:
        assert jws().decode(token, key, algorithms=["RS256"]) == b'{"sub":"a"}'  # type: ignore[arg-type]
    else:
        with pytest.raises(jwt.InvalidKeyError):
            jws().decode(token, key, algorithms=["RS256"])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", JWKS)
def test_a_key_of_another_kind_is_refused_whatever_the_signature(name: str) -> None:
    key = parse_key(JWKS[name])
    for algorithm in ALGORITHMS:
        if not suits(key, algorithm):
            header = base64.urlsafe_b64encode(b'{"alg":"%s"}' % algorithm.encode()).rstrip(b"=").decode()
            with pytest.raises(jwt.InvalidKeyError):
                jws().decode(f"{header}.e30.AAAA", key, algorithms=list(ALGORITHMS))  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_public_key_is_no_secret(encoding: Encoding) -> None:
    public = RSA.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    signing_input = b"eyJhbGciOiJIUzI1NiJ9.e30"
    tag = HMACAlgorithm(HMACAlgorithm.SHA256).sign(signing_input, public)
    token = signing_input + b"." + base64.urlsafe_b64encode(tag).rstrip(b"=")
    with pytest.raises(jwt.InvalidKeyError, match="the key is of another kind than HS256 takes"):
        jws().decode(token, parse_key(JWKS["RSA"]), algorithms=["RS256", "HS256"])  # type: ignore[arg-type]


def test_there_are_these_algorithms_and_no_others() -> None:
    expected = {f"{kind}{bits}" for kind in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)} | {"EdDSA"}
    assert set(ALGORITHMS) == set(jws().get_algorithms()) == expected
    with pytest.raises(jwt.InvalidAlgorithmError):
        jws().decode("eyJhbGciOiJub25lIn0.e30.", "", algorithms=["none"])


def test_what_jws_keys_has_not_read_is_no_key() -> None:
    token = jwt.encode({}, "s" * 32, "HS256")
    for key in ("s" * 32, b"s" * 32, None, JWKS["32 bytes"], RSA.public_key()):
        with pytest.raises(jwt.InvalidKeyError, match="it is no key that jws_keys has read"):
            jws().decode(token, key, algorithms=["HS256"])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_nothing_is_signed(name: str) -> None:
    with pytest.raises(NotImplementedError, match=f"{name}: signatures are only verified here"):
        jws().get_algorithm_by_name(name).sign(b"", parse_key(JWKS["64 bytes"]))


# The proxy


class Proxy:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, *, verdict: bool | None) -> None:
        self.verdict = verdict
        self.asked: list[tuple[str, bytes, bytes, bytes]] = []

    def __call__(self, hash_name: str, key: bytes, signature: bytes, text: bytes) -> bool | None:
        self.asked.append((hash_name, key, signature, text))
        return self.verdict


ASKED = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
PRIVATE: dict[str, Any] = {
    **{f"{kind}{bits}": RSA for kind in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": EC[256],
    "ES384": EC[384],
    "ES512": EC[521],
    "EdDSA": ED,
    **{f"HS{bits}": b"s" * 64 for bits in (256, 384, 512)},
}
KEYS = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}


def public_key(name: str) -> Key:
    return parse_key(JWKS[KEYS.get(name, "64 bytes" if name.startswith("HS") else "RSA")])


def verified(name: str, native: Verify | None, text: bytes = b"a.b", signature: bytes | None = None) -> bool:
    algorithm = jws(native).get_algorithm_by_name(name)
    if signature is None:
        signature = jwt.get_algorithm_by_name(name).sign(b"a.b", PRIVATE[name])
    return algorithm.verify(text, algorithm.prepare_key(public_key(name)), signature)


@pytest.mark.parametrize("name", PRIVATE)
def test_the_proxy_has_the_last_word_where_it_has_one(name: str) -> None:
    for verdict in (True, False):
        proxy = Proxy(verdict=verdict)
        is_genuine = verified(name, proxy, b"a.c" if verdict else b"a.b")
        assert len(proxy.asked) == (name in ASKED)
        assert is_genuine is (verdict if name in ASKED else not verdict)


@pytest.mark.parametrize("name", PRIVATE)
def test_python_verifies_what_the_proxy_cannot(name: str) -> None:
    proxy = Proxy(verdict=None)
    assert verified(name, proxy) is True
    assert verified(name, proxy, b"a.c") is False
    assert len(proxy.asked) == 2 * (name in ASKED)


@pytest.mark.parametrize("name", ASKED)
def test_the_proxy_gets_a_key_and_a_signature_that_others_can_read(name: str) -> None:
    proxy = Proxy(verdict=True)
    verified(name, proxy)
    [(hash_name, der, signature, text)] = proxy.asked
    key = load_der_public_key(der)
    assert key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == der
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, text, padding.PKCS1v15(), HASHES[hash_name])
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, text, ec.ECDSA(HASHES[hash_name]))


@pytest.mark.parametrize("name", ["ES256", "ES384", "ES512"])
def test_the_proxy_is_not_asked_of_signatures_of_another_size(name: str) -> None:
    proxy = Proxy(verdict=True)
    for size in (0, 1, 63, 65, 95, 97, 131, 133, 100_000):
        assert verified(name, proxy, signature=b"\1" * size) is False
    assert proxy.asked == []

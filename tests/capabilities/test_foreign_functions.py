import json
import zlib
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from proxy_wasm.envoy import find_envoy
from proxy_wasm.protobuf import encode
from proxy_wasm.testing import ConfigurationRejected, Proxy, StartProxy

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
RSA = rsa.generate_private_key(65537, 2048)
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
TEXT = b"\0what was said\xff"
HASHES = {"sha224": hashes.SHA224(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}

SERVER_NAME = "envoy.network.upstream_server_name"
EXPRESSIONS = {
    "path": "request.path",
    "sum": "1 + 2",
    "below": "1 - 2",
    "header": "request.headers['x-user']",
    "api": "request.path.startsWith('/api')",
    "half": "0.5",
    "map": "{'a': 'b'}",
    "time": "request.time",
    "colour": "colour",
}


def public(key: PrivateKey, encoding: Encoding = Encoding.DER) -> bytes:
    return key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def private(key: PrivateKey, encoding: Encoding = Encoding.DER) -> bytes:
    return key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption())


def signature(key: PrivateKey, algorithm: hashes.HashAlgorithm) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(TEXT, padding.PKCS1v15(), algorithm)
    return (
        key.sign(TEXT, ec.ECDSA(algorithm, deterministic_signing=True))
        if isinstance(key, ec.EllipticCurvePrivateKey)
        else key.sign(TEXT)
    )


def to_json(value: object) -> object:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def from_json(value: Any) -> Any:  # noqa: ANN401 - JSON is what it is
    if isinstance(value, dict) and "hex" in value:
        return bytes.fromhex(cast("dict[str, str]", value)["hex"])
    return cast("Any", value)


def call(proxy: Proxy, name: str, *arguments: object, path: str = "/", **headers: str) -> Any:  # noqa: ANN401
    """What the filter's call gave; an exception as `{"raised": its name, "message": its text}`."""
    sent = {"call": name, "arguments": json.dumps([to_json(argument) for argument in arguments]), **headers}
    return from_json(proxy.get(path, headers=sent).json())


@pytest.fixture
def proxy(start_proxy: StartProxy) -> Proxy:
    return start_proxy("foreign_functions")


@pytest.fixture
def has_sign(proxy: Proxy) -> bool:
    """Whether this proxy should have `sign`: Envoy 1.36 has not."""
    return proxy.host != "envoy" or b"common.wasm.SignArguments" in find_envoy().read_bytes()


# Signatures


@pytest.mark.parametrize("key", [RSA, ELLIPTIC], ids=["rsa", "elliptic"])
@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM], ids=["der", "pem"])
def test_a_genuine_signature_is_told_from_others(proxy: Proxy, key: PrivateKey, encoding: Encoding) -> None:
    public_key = public(key, encoding)
    for name, algorithm in HASHES.items():
        signed = signature(key, algorithm)
        assert call(proxy, "verify_signature", name, public_key, signed, TEXT) is True
        assert call(proxy, "verify_signature", name, public_key, signed, TEXT + b"!") is False
    signed = signature(key, HASHES["sha256"])
    assert call(proxy, "verify_signature", "sha512", public_key, signed, TEXT) is False
    assert call(proxy, "verify_signature", "sha256", public_key, signed[:-1], TEXT) is False
    assert call(proxy, "verify_signature", "sha256", public_key, b"", TEXT) is False


@pytest.mark.parametrize("key", [public(ED25519), b"no key", b""], ids=["ed25519", "garbage", "empty"])
def test_a_key_that_cannot_be_used_is_an_error(proxy: Proxy, key: bytes) -> None:
    outcome = call(proxy, "verify_signature", "sha256", key, b"signature", TEXT)
    assert outcome["raised"] == "ValueError"
    assert "public_key" in outcome["message"]


def test_damaged_pem_is_an_error(proxy: Proxy) -> None:
    damaged = "-----BEGIN PUBLIC KEY-----\nAAAA!\n-----END PUBLIC KEY-----\n"
    outcome = call(proxy, "verify_signature", "sha256", damaged, b"signature", TEXT)
    assert outcome["message"].startswith("public_key: no PEM of one key without password")


def test_an_unknown_hash_function_is_an_error(proxy: Proxy) -> None:
    assert call(proxy, "verify_signature", "md5", public(RSA), b"", TEXT) == {
        "raised": "ValueError",
        "message": "hash_function 'md5': the proxy knows sha1, sha224, sha256, sha384, sha512",
    }


@pytest.mark.parametrize("key", [RSA, ELLIPTIC], ids=["rsa", "elliptic"])
@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM], ids=["der", "pem"])
@pytest.mark.differs_between_hosts("signatures of elliptic curves are drawn anew")
def test_what_is_signed_can_be_verified(proxy: Proxy, has_sign: bool, key: PrivateKey, encoding: Encoding) -> None:
    signed = call(proxy, "sign", "sha256", private(key, encoding), TEXT)
    if not has_sign:
        assert signed == {
            "raised": "UnknownForeignFunctionError",
            "message": "the proxy has no foreign function 'sign': Envoy has it from 1.37 on",
        }
        return
    assert call(proxy, "verify_signature", "sha256", public(key), signed, TEXT) is True


def test_a_private_key_that_cannot_be_used_is_an_error(proxy: Proxy, has_sign: bool) -> None:
    if has_sign:
        for key in (private(ED25519), b"no key"):
            assert call(proxy, "sign", "sha256", key, TEXT)["raised"] == "ValueError"


# Compression


def test_data_is_compressed_as_zlib_does(proxy: Proxy) -> None:
    data = b"again and " * 1000
    compressed = call(proxy, "compress", data)
    assert len(compressed) < 100
    assert zlib.decompress(compressed) == data
    assert zlib.decompress(call(proxy, "compress", b"")) == b""


def test_data_is_uncompressed(proxy: Proxy) -> None:
    for data in (b"again and " * 1000, b"", bytes(100_000)):
        assert call(proxy, "uncompress", zlib.compress(data)) == data


@pytest.mark.parametrize("data", [b"", b"nonsense", zlib.compress(b"a" * 1000)[:-3]], ids=["empty", "garbage", "cut"])
def test_what_is_not_whole_zlib_data_is_an_error(proxy: Proxy, data: bytes) -> None:
    assert call(proxy, "uncompress", data) == {
        "raised": "ValueError",
        "message": f"uncompress: {len(data)} bytes that are not zlib's, or not all of them",
    }


# Streams


def test_filter_state_of_envoys_own_can_be_set_and_read(proxy: Proxy) -> None:
    sent = {"call": "set_envoy_filter_state", "arguments": json.dumps([SERVER_NAME, "example.com"]), "goes-on": "yes"}
    exchange = proxy.get("/", headers=sent)
    assert exchange.upstream is not None
    assert exchange.upstream.headers["result"] == "null"


def test_filter_state_can_be_set_after_an_await(proxy: Proxy) -> None:
    assert call(proxy, "set_envoy_filter_state", SERVER_NAME, "example.com", later="yes") is None


def test_filter_state_that_the_proxy_does_not_know_is_an_error(proxy: Proxy) -> None:
    assert call(proxy, "set_envoy_filter_state", "no.such.key", "x") == {
        "raised": "LookupError",
        "message": "set_envoy_filter_state: the proxy has no filter state object 'no.such.key'",
    }


def test_a_value_that_a_filter_state_key_does_not_take_is_an_error(proxy: Proxy) -> None:
    assert call(proxy, "set_envoy_filter_state", "envoy.ratelimit.hits_addend", "many") == {
        "raised": "ValueError",
        "message": "set_envoy_filter_state: envoy.ratelimit.hits_addend does not take 'many'",
    }


def test_the_route_can_be_chosen_anew(proxy: Proxy) -> None:
    assert call(proxy, "clear_route_cache") is None


def test_a_property_can_be_declared_again_as_it_was(start_proxy: StartProxy) -> None:
    proxy = start_proxy("foreign_functions", {"properties": {"user": ["STRING", "DOWNSTREAM_REQUEST", False]}})
    assert call(proxy, "set_property", "user", "alice", "bob") is None


def test_a_read_only_property_can_be_set_once(start_proxy: StartProxy) -> None:
    proxy = start_proxy("foreign_functions", {"properties": {"user": ["STRING", "DOWNSTREAM_REQUEST", True]}})
    assert call(proxy, "set_property", "user", "alice") is None
    assert call(proxy, "set_property", "user", "alice", "bob")["message"] == "proxy_set_property: BAD_ARGUMENT"


def test_properties_are_declared_by_the_plugin(proxy: Proxy) -> None:
    assert call(proxy, "declare_property", "late") == {
        "raised": "PhaseError",
        "message": "declare_property('late'): properties are declared for all streams of a plugin; do it in on_configure",
    }


# Any


def test_a_function_that_the_proxy_lacks_is_an_error(proxy: Proxy) -> None:
    assert call(proxy, "call", "no_such_function", b"arguments") == {
        "raised": "UnknownForeignFunctionError",
        "message": "the proxy has no foreign function 'no_such_function'",
    }


def test_any_function_can_be_called_by_name(proxy: Proxy) -> None:
    assert zlib.decompress(call(proxy, "call", "compress", b"data")) == b"data"


def test_arguments_that_are_no_message_are_refused_by_the_proxy(proxy: Proxy) -> None:
    for name in ("verify_signature", "set_envoy_filter_state", "declare_property"):
        assert call(proxy, "call", name, b"\xff\xff")["message"] == "proxy_call_foreign_function: BAD_ARGUMENT", name


def test_text_that_is_not_utf_8_is_refused_by_the_proxy(proxy: Proxy) -> None:
    arguments = encode((1, SERVER_NAME), (2, b"\xff"))
    outcome = call(proxy, "call", "set_envoy_filter_state", arguments)
    assert outcome["message"] == "proxy_call_foreign_function: BAD_ARGUMENT"


# CEL expressions: Envoy's alone


@pytest.fixture
def evaluating(start_proxy: StartProxy) -> Proxy:
    settings = {"expressions": EXPRESSIONS, "properties": {"colour": ["STRING", "FILTER_CHAIN", False]}}
    return start_proxy("foreign_functions", settings)


@pytest.mark.hosts("envoy")
@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("path", "_text", "/api/users"),
        ("path", "", b"/api/users"),
        ("sum", "_int", 3),
        ("below", "_int", -1),
        ("half", "_double", 0.5),
        ("api", "_bool", True),
        ("header", "_text", "alice"),
        ("map", "", bytes.fromhex("01000000 01000000 01000000 6100 6200")),
    ],
)
def test_an_expression_is_evaluated_for_the_stream(evaluating: Proxy, name: str, kind: str, value: object) -> None:
    assert call(evaluating, "evaluate", name, kind, path="/api/users", **{"x-user": "alice"}) == value


@pytest.mark.hosts("envoy")
def test_an_expression_without_a_value_is_an_error(evaluating: Proxy) -> None:
    outcome = call(evaluating, "evaluate", "header", "_text")
    assert outcome["raised"] == "ExpressionError"
    assert outcome["message"].startswith("CEL expression \"request.headers['x-user']\": it has no value here")


@pytest.mark.hosts("envoy")
def test_an_expression_sees_no_stream_after_an_await(evaluating: Proxy) -> None:
    outcome = call(evaluating, "evaluate", "path", "_text", later="yes")
    assert outcome["raised"] == "ExpressionError"
    assert "after an `await` it sees no stream" in outcome["message"]


@pytest.mark.hosts("envoy")
def test_a_result_of_another_type_is_an_error(evaluating: Proxy) -> None:
    outcome = call(evaluating, "evaluate", "sum", "_bool")
    assert outcome["message"] == "CEL expression '1 + 2': its result has 8 bytes, it is no bool"


@pytest.mark.hosts("envoy")
def test_an_expression_that_cannot_be_compiled_is_refused(evaluating: Proxy) -> None:
    outcome = call(evaluating, "expression", "1 +")
    assert outcome["raised"] == "ExpressionError"
    assert outcome["message"].startswith("CEL expression '1 +': the proxy cannot compile it")


@pytest.mark.hosts("envoy")
def test_an_expression_can_be_made_used_and_deleted_in_one_callback(evaluating: Proxy) -> None:
    assert call(evaluating, "expression", "'now'") == b"now"
    assert call(evaluating, "deleted_expression")["message"] == "CEL expression '1': it was deleted"


@pytest.mark.hosts("native", "wasm")
def test_where_the_proxy_has_no_expressions_configuring_them_fails_and_says_so(start_proxy: StartProxy) -> None:
    with pytest.raises(ConfigurationRejected, match="the proxy has no foreign function 'expr_create': Envoy has CEL"):
        start_proxy("foreign_functions", {"expressions": EXPRESSIONS})

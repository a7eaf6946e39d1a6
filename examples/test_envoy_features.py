"""Examples that use what Envoy offers beyond the specification, or what its configuration tells."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy_wasm.testing import ConfigurationRejected, Proxy, StartProxy

RSA = rsa.generate_private_key(65537, 2048)
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
BODY = b'{"event": "push"}'
SHA256 = hashes.SHA256()


def sign(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, body: bytes) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(body, padding.PKCS1v15(), SHA256)
    else:
        signature = key.sign(body, ec.ECDSA(SHA256, deterministic_signing=True))
    return base64.b64encode(signature).decode()


@pytest.mark.parametrize("key", [RSA, ELLIPTIC], ids=["rsa", "elliptic"])
def test_verify_signature_lets_signed_requests_pass(
    start_proxy: StartProxy, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    proxy = start_proxy(configuration=pem, root_id="verify_signature")
    exchange = proxy.post("/hook", headers={"x-signature": sign(key, BODY)}, body=BODY)
    assert exchange.upstream is not None
    assert exchange.upstream.body == BODY
    for signature in (sign(key, BODY + b" "), "", "no base64", "AAAA"):
        exchange = proxy.post("/hook", headers={"x-signature": signature}, body=BODY)
        assert (exchange.status, exchange.upstream) == (401, None)
    assert proxy.post("/hook", body=BODY).status == 401
    assert proxy.get("/hook", headers={"x-signature": sign(key, b"")}).status == 401


@pytest.mark.hosts("envoy")  # the emulator has no CEL
def test_cel_expression_decides_who_passes(start_proxy: StartProxy) -> None:
    condition = "request.path.startsWith('/public') || request.headers['x-role'] == 'admin'"
    proxy = start_proxy(configuration=condition, root_id="cel_expression")
    assert proxy.get("/public/a").status == 200
    assert proxy.get("/private", headers={"x-role": "admin"}).status == 200
    for headers in ({"x-role": "guest"}, {}):
        exchange = proxy.get("/private", headers=headers)
        assert (exchange.status, exchange.upstream) == (403, None)


@pytest.mark.hosts("envoy")
def test_cel_expression_refuses_what_is_none(start_proxy: StartProxy) -> None:
    with pytest.raises(ConfigurationRejected, match="the proxy cannot compile it"):
        start_proxy(configuration="request.path.(", root_id="cel_expression")


@pytest.mark.hosts("native", "wasm")
def test_cel_expression_says_where_the_proxy_has_none(start_proxy: StartProxy) -> None:
    with pytest.raises(ConfigurationRejected, match="the proxy has no foreign function 'expr_create'"):
        start_proxy(configuration="true", root_id="cel_expression")


def authority(proxy: Proxy) -> str:
    exchange = proxy.get("/", authority="shop.example.com")
    assert exchange.upstream is not None
    return exchange.upstream.authority


@pytest.mark.differs_between_hosts("the share is drawn at random")
def test_http_routing_sends_a_share_to_the_canary(start_proxy: StartProxy) -> None:
    assert authority(start_proxy(configuration="0", root_id="http_routing")) == "shop.example.com"
    assert authority(start_proxy(configuration="100", root_id="http_routing")) == "shop.example.com-canary"
    half = start_proxy(root_id="http_routing")
    assert len({authority(half) for _ in range(100)}) == 2


def test_access_log_state_can_be_read_later(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="access_log_state")
    assert proxy.get("/", headers={"x-user": "alice"}).headers["x-tier"] == "gold"
    assert proxy.get("/").headers["x-tier"] == "standard"

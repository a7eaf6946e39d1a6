"""Payloads of tokens that Envoy's own filter has verified: told to the emulator, and behind that filter in a real Envoy."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.build import build
from proxy_wasm.envoy import EnvoyProcess, Upstream, WasmFilter, bootstrap, cluster, encode_request, listener, send
from proxy_wasm.envoy.http1 import Message, encode_response
from proxy_wasm.testing import Exchange, StartProxy

if TYPE_CHECKING:
    from conftest import Issuer

Json = dict[str, Any]

CLAIMS = {
    "sub": "alice",
    "exp": 1_900_000_000,
    "ratio": 0.5,
    "admin": True,
    "realm_access": {"roles": ["admin", "dev"]},
    "https://example.com/tenant": "acme",
}

CONFIGURATION: Json = {
    "providers": {
        "verified": {
            "payload_from_metadata": "payload",
            "claim_to_headers": [
                {"claim": "sub", "header": "x-jwt-sub"},
                {"claim": "exp", "header": "x-jwt-exp"},
                {"claim": "ratio", "header": "x-jwt-ratio"},
                {"claim": "admin", "header": "x-jwt-admin"},
                {"claim": "realm_access.roles", "header": "x-jwt-roles"},
                {"claim": "realm_access", "header": "x-jwt-access"},
                {"claim": ["https://example.com/tenant"], "header": "x-jwt-tenant"},
            ],
            "forward_payload_header": "x-jwt-payload",
        }
    },
    "rules": [
        {"prefix": "/optional", "requires": {"allow_missing": "verified"}},
        {"prefix": "/", "requires": "verified"},
    ],
    "clear_route_cache": True,
}

EXPECTED = {
    "x-jwt-sub": "alice",
    "x-jwt-exp": "1900000000",
    "x-jwt-ratio": "0.5",
    "x-jwt-admin": "true",
    "x-jwt-roles": "admin,dev",
    "x-jwt-access": '{"roles":["admin","dev"]}',
    "x-jwt-tenant": "acme",
}


@pytest.mark.hosts("native", "wasm")
class TestEmulated:
    """What is told to the emulator."""

    pytestmark = pytest.mark.strict

    def exchange(self, start_proxy: StartProxy, payload: Any, path: str = "/") -> Exchange:  # noqa: ANN401 - JSON
        proxy = start_proxy(configuration=CONFIGURATION)
        metadata: Any = {"filter_metadata": {"envoy.filters.http.jwt_authn": payload}}
        return proxy.get(path, headers=[("x-jwt-sub", "root")], properties={"metadata": metadata})

    def test_claims_in_the_metadata_become_headers(self, start_proxy: StartProxy) -> None:
        exchange = self.exchange(start_proxy, {"payload": CLAIMS})
        assert exchange.upstream is not None
        assert {name: exchange.upstream.headers[name] for name in EXPECTED} == EXPECTED
        payload = base64.urlsafe_b64decode(exchange.upstream.headers["x-jwt-payload"] + "==")
        assert json.loads(payload) == CLAIMS
        assert b"1900000000," in payload

    @pytest.mark.parametrize("payload", [{}, {"other": CLAIMS}], ids=str)
    def test_without_a_payload_there_is_no_token(self, start_proxy: StartProxy, payload: Json) -> None:
        exchange = self.exchange(start_proxy, payload)
        assert exchange.status == 401
        assert exchange.details == "Request_denied_by_JWT_check._There_is_no_payload_in_the_metadata."
        exchange = self.exchange(start_proxy, payload, "/optional")
        assert exchange.upstream is not None
        assert "x-jwt-sub" not in exchange.upstream.headers

    @pytest.mark.parametrize("payload", ["text", [1], 5.0, True], ids=str)
    def test_a_payload_that_is_no_object_is_refused(self, start_proxy: StartProxy, payload: object) -> None:
        exchange = self.exchange(start_proxy, {"payload": payload}, "/optional")
        assert exchange.status == 401
        assert exchange.details == "Request_denied_by_JWT_check._The_payload_in_the_metadata_is_no_object."


def jwt_authn(issuer: "Issuer") -> Json:
    provider = {
        "issuer": "https://accounts.example.com",
        "local_jwks": {"inline_string": json.dumps(issuer.jwks("rsa"))},
        "payload_in_metadata": "payload",
    }
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"accounts": provider},
            "rules": [
                {"match": {"prefix": "/open"}},
                {
                    "match": {"prefix": "/optional"},
                    "requires": {
                        "requires_any": {"requirements": [{"provider_name": "accounts"}, {"allow_missing": {}}]}
                    },
                },
                {"match": {"prefix": "/"}, "requires": {"provider_name": "accounts"}},
            ],
        },
    }


def routes() -> list[Json]:
    """A tenant's own cluster, or the one for all."""
    tenant = {"name": "x-jwt-tenant", "string_match": {"exact": "acme"}}
    return [
        {"match": {"prefix": "/", "headers": [tenant]}, "route": {"cluster": "acme"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "others"}},
    ]


class Servers:
    """An Envoy that chooses between two upstreams by a claim: after verifying tokens itself, and after its own filter has."""

    def __init__(self, stack: ExitStack, issuer: "Issuer", module: Path) -> None:
        self.received: list[tuple[str, Message]] = []
        upstreams = {name: stack.enter_context(Upstream(self._answer(name))) for name in ("acme", "others")}
        verifying: Json = {
            "providers": {
                "accounts": {
                    "local_jwks": issuer.jwks("rsa"),
                    "claim_to_headers": [{"claim": ["https://example.com/tenant"], "header": "x-jwt-tenant"}],
                }
            },
            "rules": [
                {"prefix": "/optional", "requires": {"allow_missing": "accounts"}},
                {"prefix": "/", "requires": "accounts"},
            ],
            "clear_route_cache": True,
        }
        listeners = [self._listener("verifying", module, verifying, [])]
        listeners.append(self._listener("automatic", module, {**verifying, "clear_route_cache": False}, []))
        listeners.append(self._listener("behind", module, CONFIGURATION, [jwt_authn(issuer)]))
        clusters = [cluster(*upstream.address, name=name) for name, upstream in upstreams.items()]
        self.envoy = stack.enter_context(EnvoyProcess(bootstrap(clusters=clusters, listeners=listeners)))

    def _answer(self, name: str) -> Any:  # noqa: ANN401 - what `Upstream` calls
        def respond(message: Message) -> bytes:
            self.received.append((name, message))
            return encode_response(200, [(b"x-from", name.encode())], b"")

        return respond

    def _listener(self, name: str, module: Path, configuration: Json, before: list[Json]) -> Json:
        filtered = WasmFilter(module, json.dumps(configuration).encode(), name=name, vm_id=name)
        configured = listener(name, [filtered])
        manager = configured["filter_chains"][0]["filters"][0]["typed_config"]
        manager["http_filters"][:0] = before
        (host,) = manager["route_config"]["virtual_hosts"]
        host["routes"] = routes()
        return configured

    def get(self, name: str, path: str, *headers: tuple[str, str]) -> tuple[int, str, Message | None]:
        """Status, who answered, and what reached the upstream."""
        self.received.clear()
        pairs = [(b"host", b"example.com"), *((key.encode(), value.encode()) for key, value in headers)]
        reply = send(self.envoy.admin.listeners()[name], encode_request("GET", path, pairs))
        assert reply.message is not None
        from_whom = reply.message.header(b"x-from")
        reached = self.received[0][1] if self.received else None
        return int(reply.message.start[1]), (from_whom or b"").decode(), reached


@pytest.fixture(scope="module")
def servers(issuer: "Issuer") -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack, issuer, build(Path(__file__).parent).path)


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


@pytest.mark.hosts("envoy")
class TestInEnvoy:
    """What only a real Envoy has: its routes, and its own filter."""

    # "automatic": Envoy chooses the route anew by itself when a filter with ABI 0.2.1 changes the request's headers.
    @pytest.mark.parametrize("name", ["verifying", "automatic", "behind"])
    def test_a_claim_chooses_the_route(self, servers: Servers, issuer: "Issuer", name: str) -> None:
        acme = bearer(issuer.token(**{"https://example.com/tenant": "acme"}))  # pyright: ignore[reportArgumentType]
        other = bearer(issuer.token(**{"https://example.com/tenant": "umbrella"}))  # pyright: ignore[reportArgumentType]
        none = bearer(issuer.token())
        forged = ("X-Jwt-Tenant", "acme")
        for headers, expected in (
            ((acme,), "acme"),
            ((acme, ("x-jwt-tenant", "umbrella")), "acme"),
            ((other,), "others"),
            ((other, forged), "others"),
            ((none, forged, forged), "others"),
        ):
            status, from_whom, _ = servers.get(name, "/", *headers)
            assert (status, from_whom) == (200, expected)
        assert servers.get(name, "/optional", forged)[:2] == (200, "others")
        assert servers.get(name, "/", forged)[:2] == (401, "")

    def test_claims_that_envoys_own_filter_has_verified_become_headers(
        self, servers: Servers, issuer: "Issuer"
    ) -> None:
        claims: Json = {**CLAIMS, "iss": "https://accounts.example.com"}
        token = bearer(issuer.token(**claims))
        status, from_whom, reached = servers.get("behind", "/", token, ("x-jwt-sub", "root"))
        assert (status, from_whom) == (200, "acme")
        assert reached is not None
        assert {name: (reached.header(name.encode()) or b"").decode() for name in EXPECTED} == EXPECTED
        payload = base64.urlsafe_b64decode((reached.header(b"x-jwt-payload") or b"") + b"==")
        assert json.loads(payload).items() >= CLAIMS.items()

    def test_where_envoys_own_filter_wants_no_token_there_is_no_payload(self, servers: Servers) -> None:
        assert servers.get("behind", "/open", ("x-jwt-sub", "root"))[0] == 401
        status, _, reached = servers.get("behind", "/optional", ("x-jwt-sub", "root"))
        assert status == 200
        assert reached is not None
        assert reached.header(b"x-jwt-sub") is None

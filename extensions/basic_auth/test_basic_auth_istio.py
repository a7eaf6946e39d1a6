"""Configurations of istio-ecosystem's basic_auth mean the same here: the counterparts of its unit and integration tests."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from proxy_wasm.testing import ConfigurationRejected, StartProxy

Rule = Mapping[str, Any]

pytestmark = pytest.mark.strict

METHODS = ["GET", "POST"]
CREDENTIALS = ["ok:test", "admin:admin", "admin2:admin2", "YWRtaW4zOmFkbWluMw=="]


def rule(**fields: object) -> Rule:
    return {"request_methods": METHODS, "credentials": CREDENTIALS, **fields}


def configuration(*rules: Rule, **fields: object) -> dict[str, object]:
    return {"basic_auth_rules": list(rules), **fields}


def authorization(credentials: str) -> list[tuple[str, str]]:
    return [("authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}")]


def without_scheme(credentials: str) -> list[tuple[str, str]]:
    return [("authorization", base64.b64encode(credentials.encode()).decode())]


class TestUnit:
    """plugin_test.cc."""

    @pytest.mark.parametrize("document", [configuration(rule(prefix="/api"), rule(exact="/api")), {}])
    def test_on_configure_succeeds(self, start_proxy: StartProxy, document: dict[str, object]) -> None:
        assert start_proxy(configuration=document).get("/other").status == 200

    @pytest.mark.parametrize(
        ("broken", "message"),
        [
            (rule(), "basic_auth_rules[0]: needs exactly one of"),
            (rule(prefix="/api", exact="/api"), "basic_auth_rules[0]: needs exactly one of"),
            (rule(prefix="/api", request_methods=[]), "basic_auth_rules[0].request_methods: needs at least one entry"),
            (rule(prefix="/api", request_methods="GET"), "basic_auth_rules[0].request_methods: must be an array"),
            (rule(prefix="/api", credentials=[]), "basic_auth_rules[0].credentials: needs at least one entry"),
        ],
        ids=[
            "no request path",
            "more than one request path",
            "no request method",
            "wrong request method type",
            "no credentials",
        ],
    )
    def test_on_configure_fails(self, start_proxy: StartProxy, broken: Rule, message: str) -> None:
        with pytest.raises(ConfigurationRejected) as rejection:
            start_proxy(configuration=configuration(broken))
        assert message in str(rejection.value)

    @pytest.mark.parametrize(
        ("match", "allowed", "denied"),
        [
            (
                {"prefix": "/api"},
                [
                    ("GET", "/api/test", "ok:test"),
                    ("POST", "/api/config", "admin2:admin2"),
                    ("POST", "/api/config", "admin3:admin3"),
                    ("PUT", "/api/config", "wrong-cred"),
                    ("GET", "/config", "wrong-cred"),
                ],
                "/api/test",
            ),
            (
                {"exact": "/api"},
                [
                    ("GET", "/api", "ok:test"),
                    ("DELETE", "/api/config", "some-cred"),
                    ("GET", "/api/config", "some-cred"),
                ],
                "/api",
            ),
            ({"suffix": "/api"}, [("GET", "/test/api", "ok:test"), ("DELETE", "/api", "some-cred")], "/test/api"),
        ],
        ids=["prefix", "exact", "suffix"],
    )
    def test_allows_and_denies(
        self, start_proxy: StartProxy, match: Rule, allowed: list[tuple[str, str, str]], denied: str
    ) -> None:
        proxy = start_proxy(configuration=configuration(rule(**match)))
        for method, path, credentials in allowed:
            assert proxy.request(method, path, headers=authorization(credentials)).status == 200
        assert proxy.get(denied, headers=authorization("wrong-cred")).status == 401
        assert proxy.post(denied, headers=without_scheme("admin2:admin2")).status == 401


class TestIntegration:
    """test/basicauth."""

    @pytest.mark.parametrize(
        ("method", "path", "value", "status"),
        [
            ("GET", "/api", "Basic b2s6dGVzdA==", 200),
            ("POST", "/api/reviews/pay", "Basic AtRtaW46YWRtaW4=", 401),
            ("GET", "/api", "Basic YWRtaW4zOmFkbWluMw==", 200),
            ("GET", "/api/reviews/pay", None, 401),
            ("GET", "/secret", None, 200),
            ("DELETE", "/api/reviews/pay", None, 200),
            ("POST", "/api/reviews/pay", None, 401),
        ],
        ids=[
            "correct credentials",
            "incorrect credentials",
            "base64 credentials",
            "missing credentials",
            "no path match",
            "no method match",
            "no configuration credentials provided",
        ],
    )
    def test_status(self, start_proxy: StartProxy, method: str, path: str, value: str | None, status: int) -> None:
        proxy = start_proxy(configuration=configuration(rule(prefix="/api"), rule(exact="/api")))
        exchange = proxy.request(method, path, headers=[("authorization", value)] if value else [])
        assert exchange.status == status
        if status == 401:
            assert exchange.headers["www-authenticate"] == 'Basic realm="istio"'

    def test_realm(self, start_proxy: StartProxy) -> None:
        proxy = start_proxy(configuration=configuration(rule(prefix="/api"), realm="test"))
        assert proxy.get("/api").headers["www-authenticate"] == 'Basic realm="test"'

    @pytest.mark.parametrize(
        ("hosts", "status"),
        [(["127.0.0.2", "random"], 200), (["127.0.0.1"], 401), (["127.0.0*"], 401), (["*.0.0.1"], 401)],
        ids=["host mismatch", "host exact match", "host prefix match", "host suffix match"],
    )
    def test_hosts(self, start_proxy: StartProxy, hosts: list[str], status: int) -> None:
        proxy = start_proxy(configuration=configuration(rule(prefix="/api", hosts=hosts)))
        assert proxy.get("/api", authority="127.0.0.1:8080").status == status

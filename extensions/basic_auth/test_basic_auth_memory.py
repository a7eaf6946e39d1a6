"""What basic_auth remembers changes nothing but the time it takes: repeated, mixed and forgotten requests are judged as the first."""

import base64

import pytest
from basic_auth_memory import MOST_ACCEPTED, MOST_DECISIONS, Memory

from proxy_wasm.testing import Proxy, StartProxy

pytestmark = pytest.mark.strict

CONFIGURATION = {
    "basic_auth_rules": [
        {
            "prefix": "/admin",
            "request_methods": ["GET", "POST"],
            "credentials": ["alice:secret", "bob:secret2", "erin:with:colons"],
        },
        {"prefix": "/admin/vault", "request_methods": ["GET"], "credentials": ["alice:secret"]},
        {"exact": "/exact", "request_methods": ["GET"], "credentials": ["alice:secret"]},
        {
            "hosts": ["shop.example.com"],
            "prefix": "/hosts",
            "request_methods": ["GET"],
            "credentials": ["alice:secret"],
        },
    ],
    "forward_username_header": "x-authenticated-user",
}


def basic(credentials: str) -> tuple[str, str]:
    return "authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}"


@pytest.fixture
def proxy(start_proxy: StartProxy) -> Proxy:
    return start_proxy(configuration=CONFIGURATION)


def test_a_user_accepted_for_one_place_is_asked_again_by_another(proxy: Proxy) -> None:
    for _ in range(3):
        assert proxy.get("/admin/x", headers=[basic("bob:secret2")]).status == 200
        assert proxy.get("/admin/vault", headers=[basic("bob:secret2")]).status == 401
        assert proxy.get("/admin/vault", headers=[basic("alice:secret")]).status == 200
        assert proxy.get("/admin/vault", headers=[basic("alice:Secret")]).status == 401


def test_methods_and_hosts_are_remembered_apart(proxy: Proxy) -> None:
    for _ in range(2):
        assert proxy.request("POST", "/admin/vault", headers=[basic("bob:secret2")]).status == 200
        assert proxy.get("/admin/vault", headers=[basic("bob:secret2")]).status == 401
        assert proxy.get("/hosts", authority="other.example.com").status == 200
        assert proxy.get("/hosts", authority="shop.example.com").status == 401


def test_the_query_is_no_part_of_the_place(proxy: Proxy) -> None:
    assert [proxy.get(f"/exact?{number}").status for number in range(3)] == [401] * 3
    assert proxy.get("/open?/exact").status == 200


def test_a_further_value_makes_another_request(proxy: Proxy) -> None:
    for _ in range(2):
        assert proxy.get("/admin", headers=[basic("alice:secret")]).status == 200
        assert proxy.get("/admin", headers=[basic("alice:secret"), basic("alice:secret")]).status == 401
        assert proxy.get("/admin").status == 401
        assert proxy.get("/open", headers=[basic("alice:secret")]).status == 200


def test_an_unprotected_place_stays_unprotected_and_loses_what_the_client_says_of_users(proxy: Proxy) -> None:
    for _ in range(3):
        exchange = proxy.get("/open", headers=[("x-authenticated-user", "root")])
        assert exchange.upstream is not None
        assert exchange.upstream.headers.get_list("x-authenticated-user") == []


def test_the_query_makes_no_other_request_of_one_that_was_accepted(proxy: Proxy) -> None:
    assert proxy.get("/exact?1", headers=[basic("alice:secret")]).status == 200
    assert proxy.get("/exact?2", headers=[basic("alice:secret")]).status == 200
    assert proxy.get("/exact?2", headers=[basic("alice:other")]).status == 401


def test_each_user_is_forwarded_by_the_own_name(proxy: Proxy) -> None:
    for _ in range(2):
        for user, password in (("alice", "secret"), ("bob", "secret2"), ("erin", "with:colons")):
            headers = [basic(f"{user}:{password}"), ("x-authenticated-user", "root"), ("x-authenticated-user", "admin")]
            exchange = proxy.get("/admin", headers=headers)
            assert exchange.upstream is not None
            assert exchange.upstream.headers.get_list("x-authenticated-user") == [user]


def test_what_is_full_begins_anew() -> None:
    memory = Memory()
    for number in range(MOST_DECISIONS + 1):
        memory.remember_decision(f"{number}", "alice")
    assert memory.decisions == {f"{MOST_DECISIONS}": "alice"}
    for number in range(MOST_ACCEPTED + 1):
        memory.remember_accepted(memory.fingerprint(f"Basic {number}"), (), "alice")
    assert len(memory.accepted) == 1


def test_a_user_without_a_name_is_judged_each_time_and_accepted(start_proxy: StartProxy) -> None:
    rule = {"prefix": "/", "request_methods": ["GET"], "credentials": [":secret"]}
    proxy = start_proxy(configuration={"basic_auth_rules": [rule], "forward_username_header": "x-user"})
    for _ in range(3):
        exchange = proxy.get("/", headers=[basic(":secret")])
        assert exchange.upstream is not None
        assert exchange.upstream.headers.get_list("x-user") == [""]
        assert proxy.get("/", headers=[basic(":other")]).status == 401


def test_credentials_are_known_by_fingerprints_that_differ_from_one_memory_to_another() -> None:
    one, other = Memory(), Memory()
    assert one.fingerprint("Basic YQ==") == one.fingerprint("Basic YQ==")
    assert one.fingerprint("Basic YQ==") != other.fingerprint("Basic YQ==")

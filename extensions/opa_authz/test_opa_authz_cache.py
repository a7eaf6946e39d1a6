"""Decisions that are kept: for how long, by what, and that none is taken for another."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from opa_authz_cache import DecisionCache, Key, key_part
from opa_authz_input import Question
from opa_process import OpaServer

from proxy_wasm import Properties
from proxy_wasm.emulator import (
    Emulator,
    HttpStream,
    Plugin,
    UpstreamRequest,
    UpstreamResponse,
    native_guest,
    wasm_guest,
)
from proxy_wasm.emulator.clusters import Answering
from proxy_wasm.testing import Extension, Proxy, ServerAt, StartProxy, respond

Pairs = list[tuple[str, str]]


class Counting:
    """An OPA that decides by a function of the input, and remembers what it was asked."""

    def __init__(self, decide: Callable[[dict[str, Any]], object]) -> None:
        self.asked: list[dict[str, Any]] = []
        self._decide = decide

    def __call__(self, request: UpstreamRequest) -> UpstreamResponse:
        document = json.loads(request.body)["input"]
        self.asked.append(document)
        return respond(200, body=json.dumps({"result": self._decide(document)}))


def start(start_proxy: StartProxy, opa: Counting, *key: str, ttl: int = 600, **fields: object) -> Proxy:
    cache = {"ttl_seconds": ttl, "key": list(key), **fields}
    return start_proxy(
        configuration={"opa_cluster": "opa", "timeout_ms": 20_000, "cache": cache}, clusters={"opa": opa}, strict=True
    )


def by_path(document: dict[str, Any]) -> bool:
    return document["parsed_path"][0] == "yes"


def test_a_decision_is_asked_for_once_whichever_it_is(start_proxy: StartProxy) -> None:
    opa = Counting(by_path)
    proxy = start(start_proxy, opa, "method", "path")
    assert [proxy.get(path).status for path in ("/yes", "/no", "/yes", "/no", "/no")] == [200, 403, 200, 403, 403]
    assert len(opa.asked) == 2
    assert proxy.metric("opa_authz_cache", result="hit") == 3
    assert proxy.metric("opa_authz_cache", result="miss") == 2
    assert proxy.metric("opa_authz_requests", decision="denied") == 3


def test_a_kept_decision_changes_each_request(start_proxy: StartProxy) -> None:
    opa = Counting(lambda _: {"allowed": True, "headers": {"x-user": "alice"}, "query_parameters_to_set": {"a": "b"}})
    proxy = start(start_proxy, opa, "path")
    for _ in range(3):
        exchange = proxy.get("/x?c", headers={"x-user": "root"})
        assert exchange.upstream is not None
        assert exchange.upstream.headers.get_list("x-user") == ["alice"]
        assert exchange.upstream.path == "/x?c&a=b"
    assert len(opa.asked) == 1


NEAR: list[tuple[str, Pairs]] = [
    ("/a", [("x-token", "b")]),
    ("/ab", []),
    ("/ab", [("x-token", "")]),
    ("/a", [("x-token", "b,c")]),
    ("/a", [("x-token", "b"), ("x-token", "c")]),
    ("/a", [("x-token", "c"), ("x-token", "b")]),
    ("/a?", [("x-token", "b")]),
    ("//a", [("x-token", "b")]),
    ("/%61", [("x-token", "b")]),
    ("/A", [("x-token", "b")]),
]


def test_requests_that_are_almost_alike_are_asked_about_one_by_one(start_proxy: StartProxy) -> None:
    opa = Counting(lambda _: True)
    proxy = start(start_proxy, opa, "method", "path", "headers.X-Token", "source_principal")
    for path, headers in NEAR * 2:
        assert proxy.get(path, headers=headers).status == 200
    assert len(opa.asked) == len(NEAR)


@pytest.mark.parametrize(
    ("part", "requests"),
    [
        ("url_path", [("GET", "/a?x", "h"), ("GET", "/b?x", "h")]),
        ("path", [("GET", "/a?x", "h"), ("GET", "/a?y", "h"), ("GET", "/a", "h")]),
        ("host", [("GET", "/", "a.example"), ("GET", "/", "b.example")]),
        ("method", [("GET", "/", "h"), ("HEAD", "/", "h")]),
    ],
)
def test_each_part_tells_requests_apart(
    start_proxy: StartProxy, part: str, requests: list[tuple[str, str, str]]
) -> None:
    opa = Counting(lambda _: True)
    proxy = start(start_proxy, opa, part)
    for method, path, authority in requests * 2:
        assert proxy.request(method, path, authority=authority).status == 200
    assert len(opa.asked) == len(requests)


def test_bodies_are_part_of_the_key_where_they_are_asked_about(start_proxy: StartProxy) -> None:
    opa = Counting(lambda document: document["attributes"]["request"]["http"].get("body") != "no")
    proxy = start_proxy(
        configuration={
            "opa_cluster": "opa",
            "timeout_ms": 20_000,
            "with_request_body": {"max_request_bytes": 2, "allow_partial_message": True},
            "cache": {"ttl_seconds": 600, "key": ["body"]},
        },
        clusters={"opa": opa},
        allow_on_headers_stop_iteration=True,
    )
    bodies = [b"ok", b"no", b"", b"o", b"okay", b"ok", b"no"]
    assert [proxy.post("/", body=body).status for body in bodies] == [200, 403, 200, 200, 200, 200, 403]
    assert len(opa.asked) == 5


@pytest.mark.hosts("native", "wasm")
def test_clients_with_other_certificates_have_decisions_of_their_own(start_proxy: StartProxy) -> None:
    opa = Counting(lambda document: document.get("source_principal") == "spiffe://web")
    proxy = start(start_proxy, opa, "source_principal")
    mtls = {"connection.mtls": True}
    web = mtls | {"connection.uri_san_peer_certificate": "spiffe://web"}
    other = mtls | {"connection.uri_san_peer_certificate": "spiffe://webb"}
    statuses = [proxy.get("/", properties=who).status for who in (web, other, {}, web, other, {})]
    assert statuses == [200, 403, 403, 200, 403, 403]
    assert len(opa.asked) == 3


def test_the_oldest_decision_goes_where_there_are_too_many(start_proxy: StartProxy) -> None:
    opa = Counting(by_path)
    proxy = start(start_proxy, opa, "path", max_entries=2)
    for path in ("/yes", "/no", "/other", "/no", "/yes"):
        assert proxy.get(path).status == (200 if path == "/yes" else 403)
    assert [document["parsed_path"][0] for document in opa.asked] == ["yes", "no", "other", "yes"]


def test_a_key_of_many_bytes_is_not_kept(start_proxy: StartProxy) -> None:
    opa = Counting(lambda _: True)
    proxy = start(start_proxy, opa, "path")
    for _ in range(2):
        assert proxy.get("/" + "x" * 20_000).status == 200
    assert len(opa.asked) == 2


def test_a_change_of_the_policy_shows_after_the_caches_time(start_proxy: StartProxy, opa: OpaServer) -> None:
    def put(value: str) -> None:
        with opa.client() as client:
            client.update_policy_from_string(f"package changing\n\nallow := {value}\n", "changing", rego_compat=False)

    put("true")
    proxy = start_proxy(
        configuration={
            "opa_cluster": "opa",
            "decision_path": "changing/allow",
            "timeout_ms": 20_000,
            "cache": {"ttl_seconds": 2, "key": ["path"]},
        },
        clusters={"opa": ServerAt(opa.host, opa.port)},
    )
    assert proxy.get("/").status == 200
    put("false")
    if proxy.host != "envoy":  # whose time passes by itself
        proxy.advance(1.9)
        assert proxy.get("/").status == 200
    proxy.advance(2)
    assert proxy.get("/").status == 403
    put("true")
    proxy.advance(2)
    assert proxy.get("/").status == 200


# What takes more requests at once than one: on the emulated proxy.

EXTENSION = Extension(Path(__file__).parent)
CONFIGURATION: dict[str, object] = {
    "opa_cluster": "opa",
    "timeout_ms": 1000,
    "cache": {"ttl_seconds": 10, "key": ["path"]},
}


class Scene:
    """An emulated proxy with the filter, and an OPA that takes its time."""

    def __init__(self, host: str, opa: Counting, delay: float) -> None:
        guest = native_guest(EXTENSION.plugins()) if host == "native" else wasm_guest(EXTENSION.module().read_bytes())
        self.opa = opa
        self.emulator = Emulator(guest, clusters={"opa": Answering(opa, delay)})
        self.plugin: Plugin = self.emulator.start_plugin(json.dumps(CONFIGURATION).encode())

    def get(self, path: str) -> HttpStream:
        stream = self.plugin.http_stream()
        stream.request_headers(
            {":method": "GET", ":path": path, ":authority": "example.com", ":scheme": "http"}, end_of_stream=True
        )
        return stream

    def advance(self, seconds: float) -> None:
        self.emulator.clock.advance(seconds)


Open = Callable[[Counting, float], Scene]


@pytest.fixture(params=["native", "wasm"])
def scene(request: pytest.FixtureRequest) -> Iterator[Open]:
    scenes: list[Scene] = []

    def start_scene(opa: Counting, delay: float) -> Scene:
        scenes.append(Scene(request.param, opa, delay))
        return scenes[-1]

    yield start_scene
    for each in scenes:
        each.emulator.close()


def outcome(stream: HttpStream) -> object:
    """What came of a request: the status of the answer, `True` where it went on, `None` while it waits."""
    if stream.local_response is not None:
        return stream.local_response.status
    return True if stream.request.sent.headers is not None else None


def test_equal_requests_under_way_ask_once(scene: Open) -> None:
    opening = scene(Counting(by_path), 0.5)
    streams = [opening.get(path) for path in ("/yes", "/no", "/yes", "/yes", "/no")]
    assert [outcome(stream) for stream in streams] == [None] * 5
    opening.advance(0.6)
    assert [outcome(stream) for stream in streams] == [True, 403, True, True, 403]
    assert len(opening.opa.asked) == 2
    assert outcome(opening.get("/yes")) is True


def test_those_who_wait_with_a_client_that_leaves_get_their_answer(scene: Open) -> None:
    opening = scene(Counting(by_path), 0.5)
    first, second = opening.get("/yes"), opening.get("/yes")
    first.close()
    opening.advance(0.1)
    third = opening.get("/yes")
    opening.advance(0.5)
    assert [outcome(second), outcome(third)] == [True, True]
    assert len(opening.opa.asked) == 1


def test_an_answer_that_nobody_waits_for_any_more_is_kept_all_the_same(scene: Open) -> None:
    opening = scene(Counting(by_path), 0.5)
    opening.get("/no").close()
    opening.advance(0.6)
    assert outcome(opening.get("/no")) == 403
    assert len(opening.opa.asked) == 1


def test_a_failure_is_told_to_all_who_wait_and_to_nobody_after_them(scene: Open) -> None:
    opening = scene(Counting(by_path), 5)
    waiting = [opening.get("/yes") for _ in range(3)]
    waiting[0].close()
    opening.advance(1.1)
    assert [outcome(stream) for stream in waiting[1:]] == [403, 403]
    later = opening.get("/yes")
    assert outcome(later) is None
    assert len(opening.opa.asked) == 2
    opening.advance(1.1)
    assert outcome(later) == 403


def test_an_answer_is_as_old_as_its_question(scene: Open) -> None:
    opening = scene(Counting(by_path), 0.9)
    first = opening.get("/yes")
    opening.advance(0.95)
    assert outcome(first) is True
    opening.advance(9.0)
    assert outcome(opening.get("/yes")) is True
    opening.advance(0.1)
    assert outcome(opening.get("/yes")) is None
    assert len(opening.opa.asked) == 2


# A hundred thousand keys.


def question(method: str, path: str, headers: Pairs) -> Question:
    return Question([(":method", method), (":path", path), *headers], Properties.__new__(Properties))


def near_collision(random: Random) -> tuple[str, str, Pairs]:
    """A request of few and short parts, so that most have neighbours whose parts, joined, added or sorted, are the same."""
    text = "".join(random.choices("ab,/\0 \udcff", k=random.randint(0, 5)))
    cut, end = sorted((random.randint(0, len(text)), random.randint(0, len(text))))
    method = random.choice(["GET", "PUT", "get", "GE"])
    path = "/" + text[:cut]
    first, second = text[cut:end], text[end:]
    headers = random.choice(
        [
            [],
            [("authorization", first + second)],
            [("authorization", first), ("authorization", second)],
            [("authorization", second), ("authorization", first)],
            [("authorization", first), ("x-other", second)],
            [("x-other", first), ("authorization", second)],
        ]
    )
    return method, path, headers


def test_no_two_of_a_hundred_thousand_requests_are_taken_for_each_other() -> None:
    parts = [
        part for name in ("method", "path", "headers.authorization", "headers.x-other") if (part := key_part(name))
    ]
    random = Random(6)
    cache: DecisionCache[str] = DecisionCache(ttl=10, max_entries=1000)
    hits = 0
    for number in range(100_000):
        method, path, headers = near_collision(random)
        values = {"authorization": list[str](), "x-other": list[str]()}
        for name, value in headers:
            values[name].append(value)
        uncached = json.dumps([method, path, values["authorization"], values["x-other"]])
        asked = question(method, path, headers)
        key: Key = tuple(part(asked) for part in parts)
        now = number / 1000
        found = cache.get(key, now)
        if found is None:
            cache.put(key, uncached, now, now)
        else:
            hits += 1
            assert found == uncached
        assert len(cache) <= 1000
    assert hits > 10_000


def test_kept_decisions_are_those_that_opa_would_give(start_proxy: StartProxy) -> None:
    def decide(document: dict[str, Any]) -> bool:
        http = document["attributes"]["request"]["http"]
        return sum(json.dumps([http["method"], http["path"], http["headers"].get("authorization")]).encode()) % 2 == 0

    opa = Counting(decide)
    proxy = start(start_proxy, opa, "method", "path", "headers.authorization")
    random = Random(7)
    for _ in range(150):
        method = random.choice(["GET", "PUT"])
        path = "/" + "".join(random.choices("ab/", k=random.randint(0, 2)))
        values = ["".join(random.choices("ab", k=random.randint(1, 2))) for _ in range(random.randint(0, 2))]
        exchange = proxy.request(method, path, headers=[("authorization", value) for value in values])
        headers = {"authorization": ",".join(values)} if values else {}
        document = {"attributes": {"request": {"http": {"method": method, "path": path, "headers": headers}}}}
        assert exchange.status == (200 if decide(document) else 403)
    assert len(opa.asked) < 120

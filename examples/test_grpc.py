"""Examples that call gRPC services."""

import json

import pytest

from proxy_wasm.protobuf import Message, encode
from proxy_wasm.testing import Absent, GrpcCall, GrpcRefusal, GrpcServer, LogLevel, Proxy, StartProxy, grpc_unary

GRPC = {"content-type": "application/grpc"}


def random_error(status: int) -> GrpcServer:
    def answer(_: bytes) -> bytes:
        if status:
            raise GrpcRefusal(status, "by chance")
        return b""

    return grpc_unary({"/grpcbin.GRPCBin/RandomError": answer})


@pytest.mark.parametrize("status", [0, 2, 7, 16])
def test_grpc_auth_random_lets_the_service_decide(start_proxy: StartProxy, status: int) -> None:
    proxy = start_proxy(root_id="grpc_auth_random", clusters={"grpcbin": random_error(status)})
    exchange = proxy.post("/shop.Cart/Get", headers=GRPC)
    assert exchange.headers["powered-by"] == "proxy-wasm"
    if status % 2 == 0:
        assert exchange.upstream is not None
    else:
        assert exchange.upstream is None
        assert (exchange.headers["grpc-status"], exchange.headers["grpc-message"]) == ("10", "Aborted by Proxy-Wasm!")


def test_grpc_auth_random_is_for_grpc_and_always_allows_reflection(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="grpc_auth_random", clusters={"grpcbin": random_error(7)})
    reflection = proxy.post("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", headers=GRPC)
    assert reflection.upstream is not None
    exchange = proxy.get("/")
    assert (exchange.status, exchange.text) == (503, "Service accessible only to gRPC clients.\n")


def get_user(request: bytes) -> bytes:
    if Message(request).text(1) != "alice":
        raise GrpcRefusal(5, "no such user")
    return encode((1, "Alice Liddell"), (2, 7))


def test_grpc_call_tells_what_the_service_knows(start_proxy: StartProxy) -> None:
    users = grpc_unary({"/example.Users/Get": get_user})
    proxy = start_proxy(root_id="grpc_call", clusters={"users": users})
    exchange = proxy.get("/", headers={"x-user": "alice"})
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-user-name"] == "Alice Liddell"
    assert exchange.upstream.headers["x-user-age"] == "7"
    exchange = proxy.get("/", headers={"x-user": "bob"})
    assert (exchange.status, exchange.text, exchange.upstream) == (404, "no such user", None)


def test_grpc_call_answers_with_503_where_the_service_is_not_there(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="grpc_call", clusters={"users": Absent()})
    exchange = proxy.get("/", headers={"x-user": "alice"})
    assert (exchange.status, exchange.upstream) == (503, None)


class Clients(GrpcServer):
    """Streams a list of blocked clients, anew at every change."""

    def __init__(self) -> None:
        self.calls: list[GrpcCall] = []
        self.blocked = b"mallory"

    def on_call(self, call: GrpcCall) -> None:
        assert call.method == "/example.Clients/WatchBlocked"
        self.calls.append(call)
        call.send(self.blocked)

    def block(self, names: bytes) -> None:
        self.blocked = names
        for call in list(self.calls):
            call.send(names)

    def end_all(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call.close(14, "back soon")


def is_blocked(proxy: Proxy, client: str) -> bool:
    exchange = proxy.get("/", headers={"x-client": client})
    assert (exchange.status, exchange.upstream is None) in {(403, True), (200, False)}
    return exchange.upstream is None


def wait_until_blocked(proxy: Proxy, client: str) -> None:
    for _ in range(100):
        if is_blocked(proxy, client):
            return
        proxy.advance(0.1)
    pytest.fail(f"{client} is never blocked; {proxy.logs}")


def test_grpc_stream_keeps_the_list_up_to_date(start_proxy: StartProxy) -> None:
    clients = Clients()
    proxy = start_proxy(root_id="grpc_stream", clusters={"clients": clients})
    wait_until_blocked(proxy, "mallory")
    assert not is_blocked(proxy, "alice")
    clients.block(b"oscar")
    wait_until_blocked(proxy, "oscar")
    assert not is_blocked(proxy, "mallory")


def test_grpc_stream_opens_the_stream_again(start_proxy: StartProxy) -> None:
    clients = Clients()
    proxy = start_proxy(root_id="grpc_stream", clusters={"clients": clients})
    wait_until_blocked(proxy, "mallory")
    clients.blocked = b"trudy"
    clients.end_all()
    wait_until_blocked(proxy, "trudy")
    assert any("the list stays as it was" in record.message for record in proxy.logs)


class Logs(GrpcServer):
    def __init__(self) -> None:
        self.calls = 0
        self.entries: list[object] = []

    def on_call(self, call: GrpcCall) -> None:
        assert call.method == "/example.Logs/Append"
        self.calls += 1

    def on_message(self, call: GrpcCall, message: bytes) -> None:
        self.entries.append(json.loads(message))
        if len(self.entries) == 2:
            call.close()


def test_grpc_access_log_sends_entries_over_one_stream_at_a_time(start_proxy: StartProxy) -> None:
    logs = Logs()
    proxy = start_proxy(root_id="grpc_access_log", clusters={"logs": logs})
    for path in ("/1", "/2", "/3"):
        proxy.get(path)
        for _ in range(50):
            if len(logs.entries) == int(path[1:]):
                break
            proxy.advance(0.1)
        proxy.advance(0.1)
    assert logs.entries == [{"method": "GET", "path": path, "status": 200} for path in ("/1", "/2", "/3")]
    assert logs.calls == 2
    assert not [record for record in proxy.logs if record.level >= LogLevel.WARN]

"""Many streams that wait at once, and many clients that leave, in a real Envoy."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy_wasm.build import build
from proxy_wasm.envoy import (
    EnvoyProcess,
    Upstream,
    WasmFilter,
    abandon,
    bootstrap,
    cluster,
    encode_request,
    encode_response,
    listener,
    send,
)
from proxy_wasm.envoy.http1 import Message

STREAMS = 100
LEAVING = 1000
AT_ONCE = 50
FILTER = Path(__file__).parent / "many_streams"


class Answers:
    """Answers `/first/...` only when every stream has asked that."""

    def __init__(self) -> None:
        self.all_asked = threading.Barrier(STREAMS)

    def __call__(self, request: Message) -> bytes:
        path = request.start[1].decode()
        if path.startswith("/first/"):
            self.all_asked.wait(20)
        return encode_response(200, [], path.encode(), method="GET")


@pytest.fixture(scope="module")
def envoy() -> Iterator[EnvoyProcess]:
    never = threading.Event()

    def silent(_: Message) -> None:
        never.wait(30)

    with ExitStack() as stack:
        answers, silence = stack.enter_context(Upstream(Answers())), stack.enter_context(Upstream(silent))
        stack.callback(never.set)
        config = bootstrap(
            clusters=[
                cluster(*answers.address, name="answers"),
                cluster(*silence.address, name="silent"),
                cluster("127.0.0.1", 1),
            ],
            listeners=[listener("many", [WasmFilter(build(FILTER).path)])],
        )
        yield stack.enter_context(EnvoyProcess(config))


def ask(envoy: EnvoyProcess, path: str, **headers: str) -> bytes:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    request = encode_request("GET", path, [(b"host", b"test"), *pairs])
    message = send(envoy.admin.listeners()["many"], request).message
    assert message is not None
    assert message.start[1] == b"200"
    return message.body


def held(envoy: EnvoyProcess) -> dict[str, int]:
    return json.loads(ask(envoy, "/held"))


def metric(envoy: EnvoyProcess, name: str) -> int:
    return envoy.admin.stats(f"^wasmcustom.many.{name}$")[f"wasmcustom.many.{name}"]


def no_callout_left(envoy: EnvoyProcess) -> bool:
    """Whether Envoy has finished the callouts whose streams are gone, and told the filter so."""
    return envoy.admin.stats("^cluster.silent.upstream_rq_active$")["cluster.silent.upstream_rq_active"] == 0


def wasm_log(envoy: EnvoyProcess) -> list[str]:
    return [line.message for line in envoy.new_log_lines() if line.logger == "wasm"]


def test_a_hundred_streams_with_three_callouts_each_get_their_own_answers(envoy: EnvoyProcess) -> None:
    with ThreadPoolExecutor(STREAMS) as pool:
        asked = [pool.submit(ask, envoy, "/", x_number=str(number)) for number in range(STREAMS)]
    bodies = [each.result() for each in asked]
    assert bodies == [f"{n}: /first/{n} /second/{n} /third/{n}".encode() for n in range(STREAMS)]
    assert not wasm_log(envoy)


def test_a_thousand_clients_that_leave_while_a_callout_is_pending_leave_nothing_behind(envoy: EnvoyProcess) -> None:
    address = envoy.admin.listeners()["many"]
    request = encode_request("GET", "/silent", [(b"host", b"test")])

    def leave(count: int) -> dict[str, int]:
        """Let that many clients leave whose requests had reached the filter; on a busy machine some leave before."""
        wanted = metric(envoy, "begun") + count
        while (missing := wanted - metric(envoy, "begun")) > 0:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                left = [pool.submit(abandon, address, request, after=0.1) for _ in range(missing)]
            assert all(each.result().message is None for each in left)
        envoy.wait_for(lambda: no_callout_left(envoy) or None, "the end of all callouts", 30)
        return held(envoy)

    before = leave(AT_ONCE)
    after = leave(LEAVING)
    assert after["streams"] == before["streams"] == 1
    assert after["calls"] == before["calls"] == 0
    assert abs(after["objects"] - before["objects"]) < LEAVING // 10
    assert metric(envoy, "begun") >= LEAVING + AT_ONCE
    assert metric(envoy, "cancelled") == metric(envoy, "begun")
    assert metric(envoy, "applied") == 0
    assert not wasm_log(envoy)

"""Examples about what streams, plugins and VMs share: data, queues, metrics."""

import re
from hashlib import sha256

from proxy_wasm.testing import LogLevel, Proxy, StartProxy, UpstreamRequest, UpstreamResponse, respond


def said(proxy: Proxy) -> list[str]:
    return [record.message for record in proxy.logs if record.level is LogLevel.INFO]


def number(proxy: Proxy) -> int:
    exchange = proxy.get("/")
    assert exchange.upstream is not None
    return int(exchange.upstream.headers["x-request-number"])


def test_shared_data_numbers_the_requests_of_several_plugins(start_proxy: StartProxy) -> None:
    one = start_proxy(root_id="shared_data", vm_id="examples-counting")
    other = start_proxy(root_id="shared_data", vm_id="examples-counting", vm_configuration="a VM of its own")
    assert [number(one), number(other), number(other), number(one)] == [1, 2, 3, 4]


def receiver(start_proxy: StartProxy, queue: str) -> Proxy:
    return start_proxy(configuration=queue, root_id="shared_queue_receiver", vm_id="receiver")


def test_shared_queues_bring_headers_to_another_vm(start_proxy: StartProxy) -> None:
    requests = receiver(start_proxy, "http_request_headers")
    responses = receiver(start_proxy, "http_response_headers")
    sender = start_proxy(root_id="shared_queue_sender", vm_id="sender")
    sender.get("/cart", headers={"x-a": "1"}, upstream=respond(204, {"x-b": "2"}))
    heard = {*said(requests), *said(responses)}
    assert {"http_request_headers: :path: /cart", "http_request_headers: x-a: 1"} <= heard
    assert {"http_response_headers: :status: 204", "http_response_headers: x-b: 2"} <= heard


def test_shared_queues_bring_hashes_of_tcp_data_to_another_vm(start_proxy: StartProxy) -> None:
    hashes = receiver(start_proxy, "tcp_data_hashes")
    sender = start_proxy(root_id="shared_queue_sender", vm_id="sender", network=True)
    connection = sender.connect(lambda data: data * 2)
    connection.send(b"abc")
    connection.receive(6)
    connection.close()
    assert said(hashes) == [f"tcp_data_hashes: {sha256(b'abcabc').hexdigest()}"]


def test_metrics_count_known_values_by_label(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="metrics")
    for value in ("foo", "foo", "bar", "made up"):
        proxy.get("/", headers={"my-custom-header": value})
    proxy.get("/")
    counts = [
        proxy.metric("custom_header_value_counts", value=value, reporter="python") for value in ("foo", "bar", "other")
    ]
    assert counts == [2, 1, 1]
    assert not [name for name in proxy.metrics() if re.search("made.up", name)]


def test_request_metrics_measure_requests(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="request_metrics")
    under_way: list[int] = []

    def upstream(_: UpstreamRequest) -> UpstreamResponse:
        under_way.append(proxy.metrics()["requests.under_way"])
        return respond(200)

    proxy.get("/", upstream=upstream)
    proxy.get("/", upstream=respond(503))
    proxy.get("/", upstream=respond(500))
    assert under_way == [1]
    assert proxy.metrics()["requests.under_way"] == 0
    assert (proxy.metric("requests.total", code="2xx"), proxy.metric("requests.total", code="5xx")) == (1, 2)

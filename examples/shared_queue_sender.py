"""Puts what passes, headers or hashes of TCP data, into queues that plugins in VMs of the id "receiver" consume."""

from hashlib import sha256

from proxy_wasm import Body, Headers, HttpContext, PluginContext, TcpContext

RECEIVER = "receiver"


class SharedQueueSender(PluginContext):
    def http_context(self) -> "HttpSender":
        return HttpSender(self)

    def tcp_context(self) -> "TcpSender":
        return TcpSender(self)


class HttpSender(HttpContext[SharedQueueSender]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.enqueue("http_request_headers", headers)

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.enqueue("http_response_headers", headers)

    def enqueue(self, name: str, headers: Headers) -> None:
        queue = self.resolve_queue(RECEIVER, name)
        for key, value in headers.multi_items():
            queue.enqueue(f"{key}: {value}")


class TcpSender(TcpContext[SharedQueueSender]):
    def on_upstream_data(self, data: Body, end_of_stream: bool) -> None:
        if data:
            self.resolve_queue(RECEIVER, "tcp_data_hashes").enqueue(sha256(bytes(data)).hexdigest())

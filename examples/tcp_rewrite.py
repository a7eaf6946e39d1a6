"""Rewrites lines of a TCP connection both ways: the upstream goes by another name than its clients know."""

from proxy_wasm import Action, Body, PluginContext, TcpContext

OUTSIDE, INSIDE = b"mail.example.com", b"mail.svc.cluster.local"


class TcpRewrite(PluginContext):
    def tcp_context(self) -> "RewrittenConnection":
        return RewrittenConnection(self)


class RewrittenConnection(TcpContext[TcpRewrite]):
    def on_downstream_data(self, data: Body, end_of_stream: bool) -> Action:
        return rewritten(data, end_of_stream, OUTSIDE, INSIDE)

    def on_upstream_data(self, data: Body, end_of_stream: bool) -> Action:
        return rewritten(data, end_of_stream, INSIDE, OUTSIDE)


def rewritten(data: Body, end_of_stream: bool, name: bytes, other: bytes) -> Action:
    held = bytes(data)
    if not held.endswith(b"\n") and not end_of_stream:
        return Action.PAUSE  # a line may come in pieces; what follows is added to this one
    data.replace(held.replace(name, other))
    return Action.CONTINUE

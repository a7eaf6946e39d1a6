"""Headers that wait are not taken along by a body that no callback of the filter asks for, whatever Envoy is told to let through."""

import pytest

from proxy_wasm.testing import LogLevel, Proxy, StartProxy, respond


@pytest.fixture(params=["awaits", "pauses"])
def root_id(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[False, True])
def proxy(request: pytest.FixtureRequest, start_proxy: StartProxy, root_id: str) -> Proxy:
    return start_proxy("bodies_unseen", root_id=root_id, allow_on_headers_stop_iteration=request.param)


@pytest.mark.parametrize("trailers", [{}, {"x-t": "1"}])
def test_a_request_that_is_denied_later_does_not_pass_with_its_body(proxy: Proxy, trailers: dict[str, str]) -> None:
    exchange = proxy.post("/", headers={"x-deny": "yes"}, body=["one", "two"], trailers=trailers)
    assert (exchange.status, exchange.upstream) == (403, None)
    assert exchange.headers["x-late"] == "yes", "its own answer passes the filter like any other response"


@pytest.mark.parametrize("trailers", [{}, {"x-t": "1"}])
def test_a_request_that_is_allowed_later_passes_whole_and_so_does_its_response(
    proxy: Proxy, trailers: dict[str, str]
) -> None:
    answer = respond(200, {}, ["three", "four"], trailers)
    exchange = proxy.post("/", body=["one", "two"], trailers=trailers, upstream=answer)
    assert exchange.upstream is not None
    assert (exchange.upstream.text, exchange.upstream.trailers.get("x-t")) == ("onetwo", trailers.get("x-t"))
    assert (exchange.text, exchange.trailers.get("x-t")) == ("threefour", trailers.get("x-t"))
    assert exchange.headers["x-late"] == "yes"
    assert [record.message for record in proxy.logs if record.level >= LogLevel.ERROR] == []

"""A test sees what lives in a plugin's VM, what it shares, and what it set, as far as the host can show it."""

from pathlib import Path

import pytest

from proxy_wasm.testing import LiveContexts, NotOnThisHost, Silent, StartProxy, respond


def call(timeout: int) -> dict[str, str]:
    """The headers of a request for which the filter calls `callee` without waiting for it."""
    return {"x-do": "call", "x-timeout": str(timeout)}


def test_a_stream_that_is_over_leaves_the_plugins_context_alone(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder")
    proxy.get("/")
    proxy.abandon("POST", "/", body=["a", "b"], after_sending=1)
    assert proxy.live_contexts == LiveContexts(plugins=1)


@pytest.mark.hosts("wasm", "envoy")
def test_connections_live_until_they_are_closed(start_proxy: StartProxy, connections: Path) -> None:
    proxy = start_proxy(connections, network=True)
    first, second = proxy.connect(), proxy.connect()
    for connection in (first, second):
        connection.send(b"a")
        connection.receive(2)
    assert proxy.live_contexts == LiveContexts(plugins=1, connections=2)
    first.close()
    assert proxy.live_contexts == LiveContexts(plugins=1, connections=1)
    second.reset()
    assert proxy.live_contexts.connections == 0


def test_callouts_are_pending_until_they_are_answered_or_time_out(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder", clusters={"callee": Silent()})
    assert proxy.pending_callouts == 0
    proxy.get("/", headers=call(timeout=400))
    proxy.get("/", headers=call(timeout=0))
    assert proxy.pending_callouts == 2
    proxy.advance(0.6)
    assert proxy.pending_callouts == 1


def test_an_answered_callout_is_pending_no_more(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder", clusters={"callee": respond(204)})
    proxy.get("/", headers=call(timeout=0))
    proxy.advance(0.1)
    assert proxy.pending_callouts == 0


def test_shared_data_is_what_the_plugin_made_it(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder")
    assert proxy.shared_data("said") is None
    proxy.get("/", headers={"x-do": "share", "x-value": "hello"})
    assert proxy.shared_data("said") == b"hello"
    proxy.set_shared_data("said", b"\x00\xff" * 50_000)
    assert proxy.shared_data("said") == b"\x00\xff" * 50_000
    proxy.get("/", headers={"x-do": "share", "x-value": ""})
    assert proxy.shared_data("said") == b""


def test_shared_data_may_be_there_before_the_plugin(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder", shared_data={"before": "it all began"})
    assert [record.message for record in proxy.logs] == ["shared before: b'it all began'"]


def test_plugins_with_a_vm_id_share_what_a_test_sets(start_proxy: StartProxy) -> None:
    start_proxy("recorder", vm_id="team", shared_data={"before": b"both"})
    second = start_proxy("recorder", vm_id="team", configuration="another")
    assert [record.message for record in second.logs] == ["shared before: b'both'"]
    assert start_proxy("recorder").shared_data("before") is None


def test_properties_that_a_filter_set_are_the_exchanges(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder", observed_properties=["tag", "tag.second", "other"])
    exchange = proxy.get("/", headers={"x-do": "tag"})
    assert exchange.properties["tag"] == b"red"
    assert dict(exchange.properties) == {"tag": b"red", "tag.second": b"blue"}
    assert "other" not in exchange.properties
    assert len(proxy.get("/").properties) == 0


@pytest.mark.hosts("envoy")
def test_envoy_says_which_properties_it_cannot_show(start_proxy: StartProxy) -> None:
    exchange = start_proxy("recorder").get("/", headers={"x-do": "tag"})
    with pytest.raises(NotOnThisHost, match=r"start_proxy\(observed_properties=\['tag'\]\)"):
        exchange.properties["tag"]
    with pytest.raises(NotOnThisHost, match="told of before"):
        dict(exchange.properties)


@pytest.mark.hosts("wasm")
def test_memory_grows_with_what_the_plugin_keeps(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder")
    before = proxy.memory
    assert before > 1 << 20
    for _ in range(4):
        proxy.get("/", headers={"x-do": "grow"})
    assert before + (32 << 20) <= proxy.memory < before + (64 << 20)


@pytest.mark.hosts("native", "envoy")
def test_hosts_that_cannot_tell_a_vms_memory_say_so(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder")
    with pytest.raises(NotOnThisHost, match=r"pytest\.mark\.hosts\('wasm'\)"):
        _ = proxy.memory


@pytest.mark.hosts("wasm", "envoy")
def test_contexts_of_a_module_that_does_not_hear_of_their_end_are_not_known(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    from wasmtime import wat2wasm  # noqa: PLC0415 - of this test alone

    module = tmp_path / "deaf.wasm"
    module.write_bytes(
        wat2wasm("""(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
          (func (export "malloc") (param i32) (result i32) (i32.const 8)))""")
    )
    with pytest.raises(NotOnThisHost, match="the module has none of on_delete, on_done, on_log"):
        _ = start_proxy(module).live_contexts

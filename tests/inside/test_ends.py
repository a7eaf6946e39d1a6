"""What streams do at their end, whatever other classes the plugin has streams of: a module passes over ends of which nothing can come."""

from proxy_wasm.testing import LogLevel, StartProxy

KINDS = ["Plain", "Replacing", "Plain", "Finalized", "Plain", *(f"Numbered{number}" for number in range(20))]
"""The classes of `ends`, in the order in which it uses them, the first last."""


def test_every_end_that_matters_is_told_in_time(start_proxy: StartProxy) -> None:
    proxy = start_proxy("ends")
    expected: list[str] = []
    for turn in range(2):
        for number in range(1, len(KINDS) + 1):
            kind = KINDS[number % len(KINDS)]
            exchange = proxy.get(f"/{turn}")
            assert exchange.upstream is not None
            assert exchange.upstream.headers["x-kind"] == kind
            if kind == "Finalized":
                expected.append(f"let go: {kind}")
            elif kind != "Plain":
                expected.append(f"done: {kind}")
    assert [entry.message for entry in proxy.logs if entry.level is LogLevel.WARN] == expected

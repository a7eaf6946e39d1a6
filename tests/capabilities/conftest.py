"""What the tests share that need more of an Envoy than `start_proxy` offers: several workers, and tags."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from proxy_wasm.build import build
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, cluster, encode_request, listener, send

HERE = Path(__file__).parent


class RunningEnvoy:
    """An Envoy with a listener for each filter, by name."""

    def __init__(self, process: EnvoyProcess) -> None:
        self.process = process
        self.listeners = process.admin.listeners()
        """Their addresses, by name."""

    def ask(self, filter_name: str, headers: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON is what it is
        """The filter's answer to a request with `headers`, decoded from JSON where there is any."""
        request = encode_request(
            "GET", "/", [(b"host", b"test"), *((k.encode(), v.encode()) for k, v in headers.items())]
        )
        message = send(self.listeners[filter_name], request).message
        assert message is not None
        assert message.start[1] == b"200", message
        return json.loads(message.body) if message.body else None

    def prometheus(self) -> list[str]:
        """What Envoy tells Prometheus, line by line."""
        status, body = self.process.admin.get("/stats/prometheus")
        assert status == 200
        return body.decode().splitlines()


Filters = Mapping[str, WasmFilter | list[WasmFilter]]
Json = dict[str, Any]


class StartEnvoy(Protocol):
    def __call__(
        self, filters: Filters, *, concurrency: int = 1, adapt: Callable[[Json], None] = ...
    ) -> RunningEnvoy: ...


@pytest.fixture(scope="module")
def start_envoy() -> Iterator[StartEnvoy]:
    """Starts an Envoy, its bootstrap as `adapt` leaves it, that runs until a module's tests are done.

    Each listener has the name of its filter, or of its chain of filters, of which one has to answer: there is no upstream.
    """
    with ExitStack() as stack:

        def start(
            filters: Filters, *, concurrency: int = 1, adapt: Callable[[Json], None] = lambda _: None
        ) -> RunningEnvoy:
            chains = {name: chain if isinstance(chain, list) else [chain] for name, chain in filters.items()}
            config = bootstrap(
                clusters=[cluster("127.0.0.1", 1)],
                listeners=[listener(name, chain) for name, chain in chains.items()],
            )
            adapt(config)
            return RunningEnvoy(stack.enter_context(EnvoyProcess(config, concurrency=concurrency)))

        yield start


@pytest.fixture(scope="session")
def built() -> "Build":
    """Builds one of the filters beside this file, and gives the module's path."""
    return lambda name: build(HERE / name).path


class Build(Protocol):
    def __call__(self, name: str, /) -> Path: ...

"""Registries that are overloaded, or silent."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from proxy_wasm.image import FormatError, NotFoundError, Reference, RegistryError, Retries, pull, registry


@contextmanager
def answering(statuses: list[int], headers: dict[str, str] | None = None) -> Generator[tuple[Reference, list[int]]]:
    """A server that answers with these statuses, one after the other, and the reference of an image there."""
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(left.pop(0))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            body = b'{"errors": [{"code": "X", "message": "try\\u001b[31m later"}]}'
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield Reference(f"127.0.0.1:{server.server_address[1]}", "greeter", "1"), left
        finally:
            server.shutdown()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with answering([status, status, 404]) as (reference, left), pytest.raises(NotFoundError):
        pull(reference, plain_http=True, retries=Retries(2, first_wait=0.01))
    assert left == []


def test_what_does_not_pass_is_told_after_the_last_try_without_control_characters() -> None:
    with answering([503, 503, 404]) as (reference, left), pytest.raises(RegistryError) as raised:
        pull(reference, plain_http=True, retries=Retries(1, first_wait=0.01))
    assert str(raised.value) == f"{reference}: the registry answered 503 Service Unavailable: try [31m later"
    assert left == [404]


@pytest.mark.parametrize("status", [400, 403, 405])
def test_what_will_not_pass_is_not_tried_again(status: int) -> None:
    with answering([status, 404]) as (reference, left), pytest.raises(RegistryError, match=f"{reference}: .*{status} "):
        pull(reference, plain_http=True, retries=Retries(3, first_wait=0.01))
    assert left == [404]


def test_the_registry_says_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("proxy_wasm.image.registry.time.sleep", waited.append)
    with answering([429, 404], {"Retry-After": "7"}) as (reference, _), pytest.raises(NotFoundError):
        pull(reference, plain_http=True)
    with answering([503, 404], {"Retry-After": "3600"}) as (reference, _), pytest.raises(NotFoundError):
        pull(reference, plain_http=True)
    assert waited == [7, 30]


def test_a_registry_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reference = Reference(f"127.0.0.1:{silent.getsockname()[1]}", "greeter", "1")
        with pytest.raises(RegistryError, match=f"{reference}: no answer from the registry within"):
            pull(reference, plain_http=True, retries=Retries(0))


def test_a_server_that_is_no_registry_is_told() -> None:
    with answering([200]) as (reference, _), pytest.raises(FormatError, match=f"{reference}: manifest: is of the type"):
        pull(reference, plain_http=True)

"""A small server with the REST interface of Open Policy Agent (policies, data, health) over regopy, for where there is no `opa`.

    python opa_embedded.py

prints its address, HOST:PORT, and serves until its standard input ends. It keeps nothing and checks nobody: a stand-in for tests and for trying things out.
Source: https://www.openpolicyagent.org/docs/rest-api.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from regopy import Interpreter, LogLevel, RegoError

Json = Any


class BadPolicy(Exception):  # noqa: N818 - an answer, not an error
    """A policy, or the path of a query, is no Rego."""


class Failed(Exception):  # noqa: N818 - an answer, not an error
    """A policy could not be evaluated: a function failed, where OPA itself would go on with an undefined value."""


class Policies:
    """Policies and data, and what they say; one thread at a time."""

    def __init__(self) -> None:
        self.modules: dict[str, str] = {}
        self.data: dict[str, Json] = {}
        self._interpreter = _interpreter(self.modules, self.data)
        self._bundles: dict[str, Any] = {}
        self._lock = threading.Lock()

    def put_policy(self, name: str, source: str) -> None:
        """Add a policy, or put it in place of the one of that name; raises `BadPolicy`."""
        self._change({**self.modules, name: source}, self.data)

    def delete_policy(self, name: str) -> bool:
        """Remove a policy; false where there is none of that name."""
        if name not in self.modules:
            return False
        self._change({key: source for key, source in self.modules.items() if key != name}, self.data)
        return True

    def put_data(self, path: list[str], value: Json) -> None:
        """Put a value in place of what is at `path`."""
        data = json.loads(json.dumps(self.data))
        if not path:
            self._change(self.modules, value)
            return
        place = data
        for segment in path[:-1]:
            place = place.setdefault(segment, {})
        place[path[-1]] = value
        self._change(self.modules, data)

    def delete_data(self, path: list[str]) -> bool:
        """Remove what is at `path`; false where there is nothing."""
        data = place = json.loads(json.dumps(self.data))
        for segment in path[:-1]:
            place = place.get(segment, {})
        if not path or path[-1] not in place:
            return False
        del place[path[-1]]
        self._change(self.modules, data)
        return True

    def _change(self, modules: dict[str, str], data: dict[str, Json]) -> None:
        interpreter = _interpreter(modules, data)
        _built(interpreter, "system/nothing")
        with self._lock:
            self.modules, self.data = modules, data
            self._interpreter, self._bundles = interpreter, {}

    def query(self, path: str, given: Json) -> tuple[Json, ...]:
        """What is at `path` for an input, as a tuple of one; of none where that is undefined. Raises `BadPolicy`."""
        with self._lock:
            if path not in self._bundles:
                self._bundles[path] = _built(self._interpreter, path)
            self._interpreter.set_input(given)
            try:
                output = self._interpreter.query_bundle_entrypoint(self._bundles[path], path)
            except ValueError as error:  # regopy's own words about a function that failed, which it takes for JSON
                raise Failed("a function failed") from error
            if not output.ok():
                raise Failed(str(output))
            expressions = output[0].expressions
            return tuple(expressions[:1])


def _interpreter(modules: dict[str, str], data: dict[str, Json]) -> Interpreter:
    interpreter = Interpreter()
    interpreter.log_level = LogLevel.NONE
    try:
        for name, source in modules.items():
            interpreter.add_module(name, source)
        interpreter.add_data(data)
    except RegoError as error:
        raise BadPolicy(str(error)) from error
    return interpreter


def _built(interpreter: Interpreter, path: str) -> Any:  # noqa: ANN401 - regopy is not typed
    try:
        bundle = interpreter.build(None, [path])
    except RegoError as error:
        raise BadPolicy(str(error)) from error
    if not bundle.ok():
        raise BadPolicy(f"{path}: cannot be compiled")
    return bundle


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    """Head and body go out together: two small segments would wait for each other."""
    policies: Policies

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Log nothing."""

    def do_GET(self) -> None:
        """Policies, data, health."""
        kind, name = self._route()
        if kind == "health":
            self._answer(200, {})
        elif kind == "policies" and not name:
            self._answer(200, {"result": [_policy(key, raw) for key, raw in self.policies.modules.items()]})
        elif kind == "policies" and name in self.policies.modules:
            self._answer(200, {"result": _policy(name, self.policies.modules[name])})
        elif kind == "data":
            self._query(name, None)
        else:
            self._not_found()

    def do_POST(self) -> None:
        """Data for an input."""
        kind, name = self._route()
        body = self._body()
        if kind != "data":
            self._not_found()
        elif isinstance(body, dict):
            self._query(name, cast("dict[str, Json]", body).get("input"))

    def do_PUT(self) -> None:
        """A policy or data, new or other than before."""
        kind, name = self._route()
        if kind == "policies" and name:
            source = self._octets().decode("utf-8", "replace")
            try:
                self.policies.put_policy(name, source)
            except BadPolicy as error:
                self._invalid(str(error))
            else:
                self._answer(200, {})
        elif kind == "data":
            body = self._body()
            if body is not None:
                self.policies.put_data(_segments(name), body)
                self._answer(204)
        else:
            self._not_found()

    def do_DELETE(self) -> None:
        """A policy or data, which shall go."""
        kind, name = self._route()
        if kind == "policies" and self.policies.delete_policy(name):
            self._answer(200, {})
        elif kind == "data" and self.policies.delete_data(_segments(name)):
            self._answer(204)
        else:
            self._not_found()

    def _route(self) -> tuple[str, str]:
        path = unquote(urlsplit(self.path).path).strip("/")
        kind, _, name = path.removeprefix("v1/").partition("/")
        return (kind, name) if path.startswith("v1/") or path == "health" else ("", "")

    def _octets(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def _body(self) -> Json:
        try:
            return json.loads(self._octets())
        except ValueError as error:
            self._invalid(str(error))
            return None

    def _query(self, path: str, given: Json) -> None:
        try:
            result = self.policies.query(path.strip("/"), given)
        except BadPolicy as error:
            self._invalid(str(error))
        except Failed as error:
            self._answer(500, {"code": "internal_error", "message": str(error)})
        else:
            self._answer(200, {"result": result[0]} if result else {})

    def _invalid(self, message: str) -> None:
        self._answer(400, {"code": "invalid_parameter", "message": message})

    def _not_found(self) -> None:
        self._answer(404, {"code": "resource_not_found", "message": "not found"})

    def _answer(self, status: int, content: Json = None) -> None:
        body = b"" if content is None else json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _policy(name: str, raw: str) -> Json:
    return {"id": name, "raw": raw}


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def main() -> None:
    """Serve until standard input ends."""
    Handler.policies = Policies()
    server = _Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

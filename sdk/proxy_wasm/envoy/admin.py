"""Envoy's admin interface: what this package asks of it."""

import http.client
import json
from collections.abc import Callable
from typing import Any, Literal, cast
from urllib.parse import quote

from proxy_wasm.envoy.errors import EnvoyError, EnvoyFailed

StatType = Literal["All", "Counters", "Gauges"]


class Admin:
    """The admin interface at `host:port`.

    Envoy answers in its main thread, which also compiles modules: an answer may take as long as that. Where there is none, `why_gone` says
    why Envoy has ended, if it has.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout: float = 120,
        why_gone: Callable[[], EnvoyError | None] = lambda: None,
    ) -> None:
        self.host = host
        self.port = port
        self._timeout = timeout
        self._why_gone = why_gone

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET; raises `EnvoyFailed` where there is no answer, with Envoy's last words where it has ended."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self._timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            msg = f"Envoy's admin interface does not answer: {error}"
            raise (self._why_gone() or EnvoyFailed(msg)) from error
        finally:
            connection.close()

    def get_json(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`."""
        return cast("dict[str, Any]", json.loads(self.get(path)[1]))

    def is_ready(self) -> bool:
        """Whether Envoy has started completely."""
        return self.get("/ready")[0] == http.HTTPStatus.OK

    def stats(self, pattern: str = "", *, type_: StatType = "All") -> dict[str, int]:
        """Counters and gauges whose names have a match of the regular expression `pattern`."""
        found = self.get_json(f"/stats?format=json&type={type_}&filter={quote(pattern)}")["stats"]
        return {stat["name"]: stat["value"] for stat in found if isinstance(stat.get("value"), int)}

    def listeners(self) -> dict[str, tuple[str, int]]:
        """The address of each active listener, by name."""
        found: dict[str, tuple[str, int]] = {}
        for status in self.get_json("/listeners?format=json").get("listener_statuses", []):
            socket_address = status["local_address"]["socket_address"]
            found[status["name"]] = (socket_address["address"], socket_address["port_value"])
        return found

    def refused_listeners(self) -> dict[str, str]:
        """Why each listener of the last update was refused, by name."""
        dumped = self.get_json("/config_dump?resource=dynamic_listeners").get("configs", [])
        errors = [entry["error_state"] for entry in dumped if "error_state" in entry]
        return {error["failed_configuration"]["name"]: error["details"] for error in errors}

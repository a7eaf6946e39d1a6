"""The shared data of a plugin in a real Envoy, which has no view of it: seen through a filter with the same `vm_id`."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from wasmtime import wat2wasm

from proxy_wasm.envoy import FilteringEnvoy, RunningFilter, WasmFilter, encode_request, encode_response

_SOURCE = Path(__file__).with_name("shared_data_probe.wat")
_FOUND, _SET = b"200", b"204"


class SharedDataProbe:
    """Reads and writes what VMs with one `vm_id` share; its filter lasts until `stop`."""

    def __init__(self, envoy: FilteringEnvoy, vm_id: str) -> None:
        with ExitStack() as starting:
            directory = Path(starting.enter_context(tempfile.TemporaryDirectory(prefix="proxy-wasm-")))
            module = directory / "shared-data-probe.wasm"
            module.write_bytes(wat2wasm(_SOURCE.read_text("utf-8")))
            config = WasmFilter(module, vm_id=vm_id, name="probe", allow_on_headers_stop_iteration=True)
            self._running: RunningFilter = envoy.add(config)
            self._files = starting.pop_all()

    def get(self, key: str) -> bytes | None:
        """The value of `key`; `None` where it has none."""
        status, value = self._ask(b"g", key, b"")
        return value if status == _FOUND else None

    def set(self, key: str, value: bytes) -> None:
        """Give `key` a value, whatever its last change was."""
        status, _ = self._ask(b"s", key, value)
        assert status == _SET, status  # noqa: S101 - the probe answers nothing else

    def _ask(self, operation: bytes, key: str, value: bytes) -> tuple[bytes, bytes]:
        name = key.encode("utf-8", "surrogateescape")
        body = operation + len(name).to_bytes(4, "little") + name + value
        request = encode_request("POST", "/", [(b"host", b"probe")], body)
        response = self._running.exchange(request, lambda _: encode_response(500, []), method="POST").response
        assert response is not None  # noqa: S101 - it always answers
        return response.start[1], response.body

    def stop(self) -> None:
        """Take the filter away."""
        self._running.remove()
        self._files.close()

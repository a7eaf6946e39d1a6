"""The filter of `filter.c` in Python, on the hostcalls as Python sees them: the native guest's side of the same scripts."""

from collections import Counter
from typing import Any, cast

from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.abi.signatures import Wire
from scripted.script import CALLBACKS, HOSTCALLS, LOAD, Block, ContextId, Number, ResultOf, Script, Step

_INFO = 2
_REQUEST_HEADERS = 0
_NO_CONTENT = 204
_NO_GRPC_STATUS = -1
_U32 = 0xFFFFFFFF
_WIDTHS = {Wire.U32: 32, Wire.U64: 64, Wire.S32: 32, Wire.S64: 64}


class ScriptedFilter:
    """`proxy_wasm.abi.callbacks.Callbacks`; the scripts are handed over as values: `load` says which is next."""

    def __init__(self, host: Hostcalls) -> None:
        self._host = host
        self._script: Script = ()
        self._armed = False
        self._stream = self._plugin = 0
        self._calls: Counter[str] = Counter()
        self._latest: dict[str, int] = {}
        self.next_script: Script = ()
        """What the next control request loads."""

    def on_context_create(self, context_id: int, parent_context_id: int) -> None:
        if parent_context_id and self._armed:
            self._armed = False
            self._stream, self._plugin = context_id, parent_context_id
            self._run("on_context_create", context_id)

    def on_vm_start(self, context_id: int, configuration_size: int) -> int:
        return 1

    def on_configure(self, context_id: int, configuration_size: int) -> int:
        return 1

    def on_tick(self, context_id: int) -> None:
        self._host.set_tick_period_milliseconds(0)
        self._run("on_tick", context_id)

    def on_request_headers(self, context_id: int, num_headers: int, end_of_stream: int) -> int:
        if context_id != self._stream:
            return self._control()
        return self._run("on_request_headers", context_id, num_headers, end_of_stream, at_end=bool(end_of_stream))

    def on_request_body(self, context_id: int, body_size: int, end_of_stream: int) -> int:
        return self._part("on_request_body", context_id, body_size, end_of_stream)

    def on_request_trailers(self, context_id: int, num_trailers: int) -> int:
        return self._part("on_request_trailers", context_id, num_trailers)

    def on_response_headers(self, context_id: int, num_headers: int, end_of_stream: int) -> int:
        return self._part("on_response_headers", context_id, num_headers, end_of_stream)

    def on_response_body(self, context_id: int, body_size: int, end_of_stream: int) -> int:
        return self._part("on_response_body", context_id, body_size, end_of_stream)

    def on_response_trailers(self, context_id: int, num_trailers: int) -> int:
        return self._part("on_response_trailers", context_id, num_trailers)

    def on_downstream_data(self, context_id: int, data_size: int, end_of_stream: int) -> int:
        return self._part("on_downstream_data", context_id, data_size, end_of_stream)

    def on_upstream_data(self, context_id: int, data_size: int, end_of_stream: int) -> int:
        return self._part("on_upstream_data", context_id, data_size, end_of_stream)

    def on_new_connection(self, context_id: int) -> int:
        return self._run("on_new_connection", context_id) if context_id == self._stream else 0

    def on_downstream_connection_close(self, context_id: int, peer_type: int) -> None:
        if context_id == self._stream:
            self._run("on_downstream_connection_close", context_id, peer_type)

    def on_upstream_connection_close(self, context_id: int, peer_type: int) -> None:
        if context_id == self._stream:
            self._run("on_upstream_connection_close", context_id, peer_type)

    def on_http_call_response(
        self, context_id: int, call_id: int, num_headers: int, body_size: int, num_trailers: int
    ) -> None:
        self._run("on_http_call_response", context_id, call_id, num_headers, body_size, num_trailers)

    def on_grpc_receive_initial_metadata(self, context_id: int, call_id: int, num_elements: int) -> None:
        self._run("on_grpc_receive_initial_metadata", context_id, call_id, num_elements)

    def on_grpc_receive(self, context_id: int, call_id: int, message_size: int) -> None:
        self._run("on_grpc_receive", context_id, call_id, message_size)

    def on_grpc_receive_trailing_metadata(self, context_id: int, call_id: int, num_elements: int) -> None:
        self._run("on_grpc_receive_trailing_metadata", context_id, call_id, num_elements)

    def on_grpc_close(self, context_id: int, call_id: int, status_code: int) -> None:
        self._run("on_grpc_close", context_id, call_id, status_code)

    def on_queue_ready(self, context_id: int, queue_id: int) -> None:
        self._run("on_queue_ready", context_id, queue_id)

    def on_log(self, context_id: int) -> None:
        if context_id == self._stream:
            self._run("on_log", context_id)

    def on_done(self, context_id: int) -> int:
        return self._run("on_done", context_id, default=1) if context_id == self._stream else 1

    def on_delete(self, context_id: int) -> None:
        if context_id == self._stream:
            self._run("on_delete", context_id)

    def _control(self) -> int:
        command = self._host.get_header_map_value(_REQUEST_HEADERS, b"x-control")
        if command and command.startswith(LOAD):
            self._script, self._armed = self.next_script, True
            self._calls.clear()
            self._latest.clear()
        elif command:
            self._host.set_tick_period_milliseconds(1)
        self._host.send_local_response(_NO_CONTENT, b"", b"", b"", _NO_GRPC_STATUS)
        return 0

    def _part(self, callback: str, context_id: int, size: int, end_of_stream: int | None = None) -> int:
        if context_id != self._stream:
            return 0
        if end_of_stream is None:
            return self._run(callback, context_id, size, at_end=True)
        return self._run(callback, context_id, size, end_of_stream, at_end=bool(end_of_stream))

    def _run(self, callback: str, context_id: int, *arguments: int, at_end: bool = False, default: int = 0) -> int:
        whose = "S" if context_id == self._stream else "P" if context_id == self._plugin else "X"
        line = f"@{CALLBACKS.index(callback)}{whose}{' '.join(map(str, arguments))}"
        block = self._block(callback, self._calls[callback])
        self._calls[callback] += 1
        for step in block.steps if block else ():
            line += self._step(step)
        self._host.log(_INFO, line.encode())
        if block is None:
            return default
        return block.action_at_end if at_end else block.action

    def _block(self, callback: str, nth: int) -> Block | None:
        found = [block for block in self._script if block.callback == callback and block.nth <= nth]
        return max(found, key=lambda block: block.nth) if found else None

    def _step(self, step: Step) -> str:
        made = f"|{HOSTCALLS.index(step.hostcall)} "
        values = [
            argument if isinstance(argument, bytes) else self._number(argument, wire)  # pyright: ignore[reportArgumentType]
            for argument, (_, wire) in zip(step.arguments, step.signature.parameters, strict=True)
        ]
        try:
            results: Any = getattr(self._host, step.hostcall)(*values)
        except HostError as error:
            return f"{made}{int(error.status)}"
        if not step.signature.results:
            return f"{made}0"
        if results is None:
            return f"{made}1"
        made += "0"
        given: tuple[int | bytes, ...] = (
            cast("tuple[int | bytes, ...]", results) if isinstance(results, tuple) else (results,)
        )
        for (_, wire), result in zip(step.signature.results, given, strict=True):
            if isinstance(result, bytes):
                made += f" '{result.hex()}"
            else:
                made += f" {int(result)}"
                if wire is Wire.U32:
                    self._latest[step.hostcall] = result
        return made

    def _number(self, argument: Number, wire: Wire) -> int:
        match argument:
            case ResultOf():
                value = self._latest.get(argument.hostcall, 0)
            case ContextId():
                value = self._plugin if argument.of_plugin else self._stream
            case _:
                value = argument
        bits = _WIDTHS[wire]
        value &= (1 << bits) - 1
        signed = wire in (Wire.S32, Wire.S64) and value >> (bits - 1)
        return value - (1 << bits) if signed else value

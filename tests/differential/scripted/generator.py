"""Cases made by hypothesis: hostcalls from the whole ABI with good and bad arguments, in all callbacks, and traffic of all shapes.

What is left out, and why, is told where it is; docs/emulator.md lists it too.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TypeAlias

from hypothesis import strategies as st

from proxy_wasm.abi.header_map import Pair, encode_pairs
from proxy_wasm.protobuf import encode
from scripted.case import (
    BODILESS_STATUSES,
    Body,
    Case,
    Event,
    HttpCase,
    Request,
    Response,
    TcpCase,
    What,
    request_parts,
)
from scripted.script import NAME, Argument, Block, ContextId, Number, ResultOf, Script, Step, steps_of

Steps: TypeAlias = st.SearchStrategy[Step]

_LARGE = (1 << 31, (1 << 32) - 1)
_REQUEST_NAMES = (
    b"x-a",
    b"x-a",
    b"x-multi",
    b"X-Upper",
    b"authorization",
    b"user-agent",
    b"cookie",
    b"content-type",
    b"accept",
)
_RESPONSE_NAMES = (
    b"x-a",
    b"x-a",
    b"x-multi",
    b"X-Upper",
    b"vary",
    b"set-cookie",
    b"content-type",
    b"location",
    b"etag",
)
_NAMES = (
    *(
        b"x-a",
        b"X-A",
        b"x-new",
        b"x-multi",
        b"x-upper",
        b"authorization",
        b"user-agent",
        b"cookie",
        b"vary",
        b"set-cookie",
    ),
    *(
        b"content-type",
        b"location",
        b":path",
        b":method",
        b":authority",
        b":scheme",
        b":status",
        b"host",
        b"",
        b"x-forwarded-proto",
    ),
)
_VALUES = (b"", b"1", b"a,b", b"\xff\x80", b"x" * 40, b"text/html")
_FITTING = {
    b":path": (b"/new", b"/?q=1&r=%20", b"/a//b/../c"),
    b":method": (b"PUT", b"DELETE"),
    b":status": (b"201", b"404", b"503"),
    b":scheme": (b"https",),
    b":authority": (b"example.com", b"example.com:81"),
}
"""What else than nonsense some headers can be set to."""
_PROPERTIES = (
    *(b"request.path", b"request.url_path", b"request.host", b"request.scheme", b"request.method", b"request.referer"),
    *(
        b"request.useragent",
        b"request.id",
        b"request.protocol",
        b"request.query",
        b"request.size",
        b"request.total_size",
    ),
    *(
        b"request.headers",
        b"request.headers.x-a",
        b"request.headers.x-multi",
        b"request.headers_bytes",
        b"request",
        b"request.nothing",
    ),
    *(
        b"response.code",
        b"response.code_details",
        b"response.flags",
        b"response.grpc_status",
        b"response.headers",
        b"response.size",
    ),
    *(
        b"response.headers.x-a",
        b"response.headers_bytes",
        b"response.total_size",
        b"response.trailers",
        b"response",
        b"response.nothing",
    ),
    *(
        b"connection.mtls",
        b"connection.requested_server_name",
        b"connection.tls_version",
        b"connection.nothing",
        b"source.nothing",
    ),
    *(b"plugin_name", b"plugin_root_id", b"plugin_vm_id", b"nothing", b"", b"\0", b"set", b"set.part", b"filter_state"),
    *(b"filter_state.wasm.set", b"xds.route_name", b"xds.nothing", b"xds", b"upstream"),
    *(
        b"xds.virtual_host_name",
        b"xds.cluster_name",
        b"xds.node.id",
        b"upstream_filter_state",
        b"source",
        b"connection",
    ),
)
_CLUSTERS = (b"echo", b"echo", b"echo", b"absent", b"closing", b"nowhere", b"unknown", b"")
_CALL_HEADERS: tuple[list[Pair], ...] = (
    [(b":method", b"GET"), (b":path", b"/200"), (b":authority", b"a")],
    [(b":method", b"POST"), (b":path", b"/503"), (b":authority", b"a"), (b"x-a", b"1"), (b"x-a", b"2")],
    [(b":method", b"POST"), (b":path", b"/200/trailers"), (b":authority", b"a"), (b"x-a", b"1")],
    [(b":method", b"HEAD"), (b":path", b"/200"), (b"host", b"a")],
    [(b":method", b"PUT"), (b":path", b"/200/empty"), (b":authority", b"a"), (b":scheme", b"https")],
    [(b":method", b"GET"), (b":path", b"/204"), (b":authority", b"a")],
    [(b":path", b"/"), (b":authority", b"a")],
    [],
)


def _one_of(values: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    return st.sampled_from(values)


def _mostly(usual: Sequence[int], odd: Sequence[int]) -> st.SearchStrategy[Number]:
    """The usual numbers nine times in ten."""
    return st.integers(0, 9).flatmap(lambda draw: st.sampled_from(odd if draw == 9 else usual))


_MAPS = _mostly((0, 0, 1, 2, 2, 3), (4, 5, 6, 7, 8, *_LARGE))
_BUFFERS = _mostly((0, 0, 1, 1), (2, 3, 4, 5, 6, 7, 9, *_LARGE))
"""Not 8, in which Envoy shows whatever buffer was asked for last."""
_BYTES = st.sampled_from((b"", b"1", b"hello", b"\0\xff", b"z" * 30))


@st.composite
def _fields(draw: st.DrawFn, names: Sequence[bytes]) -> Pair:
    name = draw(_one_of(names))
    return name, draw(_one_of(_FITTING.get(name, _VALUES)))


_OWN_MAPS = {
    "on_request_headers": 0,
    "on_request_trailers": 1,
    "on_response_headers": 2,
    "on_response_trailers": 3,
    "on_http_call_response": 6,
}
"""The map that each callback is about."""


@st.composite
def _header_steps(draw: st.DrawFn, callback: str) -> Step:
    own = _OWN_MAPS.get(callback)
    kind = draw(_MAPS) if own is None or not draw(st.integers(0, 3)) else own
    hostcall = draw(
        st.sampled_from(
            (
                *("get_header_map_value", "add_header_map_value", "replace_header_map_value", "remove_header_map_value")
                * 2,
                *("get_header_map_pairs", "get_header_map_size", "set_header_map_pairs"),
            )
        )
    )
    if hostcall in ("get_header_map_pairs", "get_header_map_size"):
        return Step(hostcall, (kind,))
    if hostcall == "set_header_map_pairs":
        return Step(hostcall, (kind, draw(_serialized())))
    # On the wire the codec makes `host` of an `:authority`, in responses too; without a fitting `x-forwarded-proto` no route matches.
    kept = (b"x-forwarded-proto",) if kind in (0, 1) else (b"x-forwarded-proto", b":authority")
    names = _NAMES if hostcall == "get_header_map_value" else [name for name in _NAMES if name not in kept]
    name, value = draw(_fields(names))
    if hostcall in ("get_header_map_value", "remove_header_map_value"):
        return Step(hostcall, (kind, name))
    return Step(hostcall, (kind, name, value))


@st.composite
def _serialized(draw: st.DrawFn) -> bytes:
    """Pairs; now and then such as are none."""
    first: list[Pair] = draw(
        st.sampled_from(
            (
                [],
                [(b":method", b"GET"), (b":path", b"/set"), (b":authority", b"set"), (b":scheme", b"http")],
                [(b":status", b"202")],
            )
        )
    )
    pairs = encode_pairs(first + draw(st.lists(_fields(_NAMES), max_size=3)))
    return draw(
        st.sampled_from((pairs, pairs, pairs, pairs, pairs, b"", b"\0", pairs[:-1], pairs + b"\0", b"\xff" * 4))
    )


def _step(hostcall: str, *arguments: st.SearchStrategy[Number] | st.SearchStrategy[bytes]) -> Steps:
    return st.tuples(*arguments).map(lambda values: Step(hostcall, values))


_SIZES = st.sampled_from((0, 0, 1, 3, 7, 100, 100000, *_LARGE))


def _buffer_steps(kinds: st.SearchStrategy[Number]) -> Steps:
    return st.one_of(
        _step("get_buffer_bytes", kinds, _SIZES, _SIZES),
        _step("get_buffer_bytes", kinds, st.just(0), st.just(100)),
        _step("get_buffer_status", kinds),
        _step("set_buffer_bytes", kinds, _SIZES, _SIZES, _BYTES),
    )


_BUFFER_STEPS = _buffer_steps(_BUFFERS)
_PROPERTY_STEPS = st.one_of(
    _step("get_property", _one_of([path.replace(b".", b"\0") for path in _PROPERTIES])),
    _step("get_property", _one_of([path.replace(b".", b"\0") for path in _PROPERTIES])),
    _step("set_property", st.sampled_from((b"set", b"set\0part", b"", b"request\0path")), _BYTES),
)
_STREAMS = _mostly((0, 0, 1, 1), (2, 3, 4, *_LARGE))
_FLOW_STEPS = st.one_of(
    _step("continue_stream", _STREAMS),
    _step("continue_stream", _STREAMS),
    _step("close_stream", _STREAMS),
    _step(
        "send_local_response",
        _mostly((200, 403, 503), (0, 99, 204, 304, 600, 1000)),
        st.sampled_from((b"", b"why", b"why not")),
        st.sampled_from((b"", b"no", b"n" * 30)),
        st.lists(
            _fields((b"x-a", b"x-a", b"content-type", b":status", b"content-length", b"vary", b"")), max_size=2
        ).map(encode_pairs),
        _mostly((-1,), (0, 7, 16, 17)),
    ),
)
_ENDING = ("close_stream", "send_local_response")
"""In the callbacks of a stream's end they crash Envoy 1.40."""
_EFFECTIVE_STEPS = _step(
    "set_effective_context",
    st.sampled_from((ContextId(), ContextId(), ContextId(), ContextId(of_plugin=True), 0, 999999, 0xFFFFFFFF)),
)
_SHARED_STEPS = st.one_of(
    _step("get_shared_data", st.sampled_from((b"k" + NAME, b"k" + NAME, b"", b"absent" + NAME))),
    _step(
        "set_shared_data",
        st.just(b"k" + NAME),
        _BYTES,
        st.sampled_from((0, 0, 1, ResultOf("get_shared_data"), 0xFFFFFFFF)),
    ),
)
_QUEUE_STEPS = st.one_of(
    _step("register_shared_queue", st.sampled_from((b"q" + NAME, b"r" + NAME))),
    _step(
        "resolve_shared_queue",
        st.sampled_from((b"", b"vm", b"other")),
        st.sampled_from((b"q" + NAME, b"r" + NAME, b"")),
    ),
    _step("enqueue_shared_queue", st.sampled_from((ResultOf("register_shared_queue"), 0, 0xFFFFFFFF)), _BYTES),
    _step("dequeue_shared_queue", st.sampled_from((ResultOf("register_shared_queue"), 0, 0xFFFFFFFF))),
)
_METRICS = st.sampled_from((ResultOf("define_metric"), ResultOf("define_metric"), 0, 1, 2, 3, 0xFFFFFFFF))
_METRIC_STEPS = st.one_of(
    _step("define_metric", _mostly((0, 0, 1, 1, 2), (3, *_LARGE)), st.sampled_from((b"m" + NAME, b"n" + NAME))),
    _step("increment_metric", _METRICS, st.sampled_from((0, 1, 5, -1, -(1 << 63), (1 << 63) - 1))),
    _step("record_metric", _METRICS, st.sampled_from((0, 1, 5, (1 << 64) - 1, 1 << 40))),
    _step("get_metric", _METRICS),
)
_LOG_STEPS = st.one_of(
    _step("log", _mostly((0, 1, 2, 3, 4, 5), (6, *_LARGE)), st.sampled_from((b"", b"said", b"\xff said"))),
    _step("get_log_level"),
)
_FOREIGN_STEPS = _step(
    "call_foreign_function",
    st.sampled_from(
        (
            b"compress",
            b"uncompress",
            b"clear_route_cache",
            b"",
            b"unknown",
            b"set_envoy_filter_state",
        )
    ),
    st.sampled_from((b"", b"hello", b"\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\x00\x06\x2c\x02\x15")),
)
_OTHER_STEPS = st.one_of(
    _step("get_status"),
    _step("get_current_time_nanoseconds"),
    _step("done"),
    _step("set_tick_period_milliseconds", st.sampled_from((0, 3_600_000))),
)
_CALL_STEPS = _step(
    "http_call",
    _one_of(_CLUSTERS),
    st.sampled_from([*map(encode_pairs, _CALL_HEADERS), b"\0"]),
    st.sampled_from((b"", b"", b"call")),
    st.sampled_from((b"", encode_pairs([(b"x-t", b"1")]))),
    _mostly((0, 5000), _LARGE),
)


@cache
def _steps_in(callback: str) -> Steps:
    """What a callback may do."""
    own_buffer = {"on_request_body": 0, "on_response_body": 1, "on_http_call_response": 4}.get(callback)
    buffer_steps = _BUFFER_STEPS if own_buffer is None else st.one_of(_BUFFER_STEPS, _buffer_steps(st.just(own_buffer)))
    return st.one_of(
        *(_header_steps(callback),) * 5,
        *(buffer_steps,) * (6 if own_buffer is not None else 2),
        *(_PROPERTY_STEPS,) * 2,
        *(_FLOW_STEPS, _EFFECTIVE_STEPS, _SHARED_STEPS, _QUEUE_STEPS, _METRIC_STEPS, _LOG_STEPS, _FOREIGN_STEPS),
        *(_OTHER_STEPS, _CALL_STEPS),
    )


_REQUEST_CALLBACKS = ("on_request_headers", "on_request_body", "on_request_trailers")
_RESPONSE_CALLBACKS = ("on_response_headers", "on_response_body", "on_response_trailers")
_LAST_CALLBACKS = ("on_log", "on_done", "on_delete")
_RESUMING_CALLBACKS = ("on_tick", "on_http_call_response", "on_queue_ready")
_CALLING = ("http_call", "enqueue_shared_queue")
"""What leads to callbacks of the plugin."""
_ACTIONS = _mostly((0, 0, 0, 0, 1, 1, 3), (2, 4, 5, 0xFFFFFFFF))
_ACTIONS_AT_END = _mostly((0, 0, 0, 0, 0, 1), (2, 3, 4))
_DETAILS = Step("get_property", (b"response\0code_details",))


def _fits(callback: str, step: Step, *, resumes_response: bool) -> bool:
    """Whether a script may do that.

    Envoy 1.40 crashes where a stream is answered or closed at its end, and where a response is continued that has not begun, or whose headers or
    trailers are just passing. A request that is continued before its headers came goes on at once, but can still be changed for a moment. A filter that
    has ended a stream before hears of the headers all the same. Continuing a body in its own callback calls back without end where it was stopped before.
    """
    if step.hostcall in _ENDING:
        return callback not in (*_LAST_CALLBACKS, "on_context_create") and (callback, step.hostcall) != (
            "on_response_trailers",
            "close_stream",
        )
    if step.hostcall == "get_property" and step.arguments[0] in _DATED:
        return callback not in (*_LAST_CALLBACKS, *_RESUMING_CALLBACKS)
    if step == Step("continue_stream", (1,)):
        return resumes_response and callback in _RESUMING_CALLBACKS
    if step == Step("continue_stream", (0,)):
        return callback not in ("on_context_create", "on_request_body", "on_request_trailers")
    return step.hostcall not in _CALLING or not resumes_response or callback in _RESPONSE_CALLBACKS


@st.composite
def _blocks(draw: st.DrawFn, callback: str, *, resumes_response: bool) -> list[Block]:
    """One block of a callback, or two."""
    blocks: list[Block] = []
    for nth in range(draw(st.sampled_from((1, 1, 1, 2)))):
        steps = draw(st.lists(_steps_in(callback), min_size=1, max_size=5))
        if callback in _RESUMING_CALLBACKS:
            # What these do mostly concerns the stream.
            steps = [Step("set_effective_context", (ContextId(),)), *steps] if draw(st.integers(0, 3)) else steps
            steps += draw(st.lists(st.just(Step("continue_stream", (int(resumes_response),))), max_size=1))
        steps = [step for step in steps if _fits(callback, step, resumes_response=resumes_response)]
        ending = next((step for step in steps if step.hostcall in _ENDING), None)
        if ending is not None:
            # Whatever else is done to the stream then, Envoy does to what is gone already.
            steps = [step for step in steps if step is ending or step.hostcall not in ("continue_stream", *_ENDING)]
        if callback == "on_log":
            steps.append(_DETAILS)
        passes = callback not in (*_REQUEST_CALLBACKS, *_RESPONSE_CALLBACKS) or (
            resumes_response and callback in _REQUEST_CALLBACKS
        )
        action, at_end = (0, 0) if passes else (draw(_ACTIONS), draw(_ACTIONS_AT_END))
        blocks.append(Block(callback, tuple(steps), _number(action), _number(at_end), nth))
    return blocks


def _number(value: Number) -> int:
    assert isinstance(value, int)
    return value


def _lives(callback: str, step: Step, script: Script) -> bool:
    """Whether the body that a step wants is there, or safely not there.

    Envoy keeps a pointer to the latest piece of a body after the callback for it has returned, except where the filter buffers it, or has let a piece of
    a request go; what is read or written there later is another thing's memory.
    """
    if step.hostcall not in _BUFFER_HOSTCALLS or step.arguments[0] not in _BODIES:
        return True
    body = _BODIES[step.arguments[0]]
    safe = (0, 1) if body == "on_request_body" else (1,)
    actions = [action for block in script if block.callback == body for action in (block.action, block.action_at_end)]
    before = _REQUEST_CALLBACKS if body == "on_response_body" else ("on_request_headers",)
    buffers = (bool(actions) or body == "on_request_body") and all(action in safe for action in actions)
    return callback in (body, *before, "on_context_create") or buffers


_BUFFER_HOSTCALLS = ("get_buffer_bytes", "get_buffer_status", "set_buffer_bytes")
_BODIES: dict[Argument, str] = {0: "on_request_body", 1: "on_response_body"}
_DATED = (b"response\0headers_bytes", b"response\0total_size")
"""Properties that count the `date` which Envoy adds at the end."""


@st.composite
def _scripts(draw: st.DrawFn, *, resumes_response: bool) -> Script:
    main = _RESPONSE_CALLBACKS if resumes_response else _REQUEST_CALLBACKS
    callbacks = draw(st.lists(st.sampled_from(main), min_size=1, max_size=3, unique=True))
    others = (*_REQUEST_CALLBACKS, *_RESPONSE_CALLBACKS, *_LAST_CALLBACKS, *_RESUMING_CALLBACKS, "on_context_create")
    callbacks += draw(
        st.lists(st.sampled_from([name for name in others if name not in callbacks]), max_size=3, unique=True)
    )
    blocks = [block for name in callbacks for block in draw(_blocks(name, resumes_response=resumes_response))]
    script = tuple(blocks) if "on_log" in callbacks else (*blocks, Block("on_log", (_DETAILS,)))
    # Of callouts that are under way together nobody knows which is answered first.
    calls = [step for step in steps_of(script) if step.hostcall == "http_call"]
    unordered = {id(step) for step in calls[1:]}
    script = tuple(
        replace(block, steps=tuple(step for step in block.steps if id(step) not in unordered)) for block in script
    )
    return tuple(
        replace(block, steps=tuple(step for step in block.steps if _lives(block.callback, step, script)))
        for block in script
    )


@st.composite
def _bodies(draw: st.DrawFn, names: Sequence[bytes], *, may_have_length: bool) -> Body | None:
    if not draw(st.integers(0, 2)):
        return None
    pieces = draw(st.lists(st.sampled_from((b"a", b"bcd", b"e" * 30)), max_size=3))
    has_length = bool(pieces) and may_have_length and draw(st.booleans())
    trailers = () if has_length else draw(st.lists(_fields(names), max_size=2))
    return Body(tuple(pieces), tuple(trailers), has_length)


def _keeps_length(script: Script, buffer: str) -> bool:
    """Whether the script neither changes how long a body is, which breaks on the wire where it does not fit its length, nor holds it.

    Nobody sees on the wire that the end of a body is held whose length is known. Its last piece and its end come at once, so what the plugin is told
    later would have to wait for both.
    """
    changed = any(step.hostcall in ("set_buffer_bytes", *_CALLING) for step in steps_of(script))
    held = any(block.callback == buffer and (block.action or block.action_at_end) for block in script)
    return not changed and not held


@st.composite
def http_cases(draw: st.DrawFn) -> Case:
    """HTTP streams."""
    resumes_response = draw(st.booleans())
    script = draw(_scripts(resumes_response=resumes_response))
    body = draw(_bodies(_REQUEST_NAMES[:4], may_have_length=_keeps_length(script, "on_request_body")))
    methods = ("POST", "POST", "PUT") if body else ("GET", "GET", "HEAD", "POST")
    request = Request(
        draw(st.sampled_from(methods)),
        draw(st.sampled_from(("/", "/path?q=1"))),
        tuple(draw(st.lists(_fields(_REQUEST_NAMES), max_size=3))),
        body,
    )
    status = draw(st.sampled_from((200, 200, 200, 404, 204, 304, 503)))
    answer = None
    if request.method != "HEAD" and status not in BODILESS_STATUSES:
        answer = draw(_bodies(_RESPONSE_NAMES[:4], may_have_length=_keeps_length(script, "on_response_body")))
    response = Response(status, tuple(draw(st.lists(_fields(_RESPONSE_NAMES), max_size=3))), answer)
    first = len(request_parts(request)) if resumes_response else 0
    has_ticks = any(block.callback == "on_tick" for block in script)
    return HttpCase(
        script,
        request,
        response,
        ticks=frozenset(draw(st.lists(st.integers(first, first + 4), max_size=2))) if has_ticks else frozenset(),
        late_ticks=draw(st.integers(0, 2)) if has_ticks else 0,
        leaves_after=draw(st.sampled_from((None, None, None, None, None, None, 0, 1, 2, 3))),
    )


_TCP_BUFFERS = _mostly((2, 2, 3, 3), (0, 1, 4, 5, 6, 7, 9, *_LARGE))
_TCP_OWN_BUFFERS = {"on_downstream_data": 2, "on_upstream_data": 3}
_TCP_CALLBACKS = ("on_new_connection", "on_downstream_data", "on_upstream_data")
_TCP_CLOSING = ("on_downstream_connection_close", "on_upstream_connection_close")
_TCP_PROPERTIES = (
    *(
        b"source.nothing",
        b"connection.mtls",
        b"connection.requested_server_name",
        b"connection",
        b"plugin_name",
        b"plugin_root_id",
    ),
    *(b"plugin_vm_id", b"nothing", b"set", b"xds.node.id", b"filter_state", b""),
)


@cache
def _tcp_steps_in(callback: str) -> Steps:
    own = _TCP_OWN_BUFFERS.get(callback)
    buffers = _TCP_BUFFERS if own is None else st.one_of(st.just(own), _TCP_BUFFERS)
    steps = (
        *(_buffer_steps(buffers),) * 4,
        *(
            _header_steps(callback),
            _EFFECTIVE_STEPS,
            _SHARED_STEPS,
            _METRIC_STEPS,
            _LOG_STEPS,
            _OTHER_STEPS,
            _FOREIGN_STEPS,
        ),
        _step("get_property", _one_of([path.replace(b".", b"\0") for path in _TCP_PROPERTIES])),
        _step("set_property", st.sampled_from((b"set", b"set\0part", b"")), _BYTES),
        _step("continue_stream", _mostly((2, 2, 3), (0, 1, 4, *_LARGE))),
        _step("close_stream", _mostly((2, 3), (0, 1, 4, *_LARGE))),
        _step("send_local_response", st.just(200), st.just(b""), st.just(b"no"), st.just(b""), st.just(-1)),
    )
    return st.one_of(*steps)


@st.composite
def tcp_cases(draw: st.DrawFn) -> Case:
    """Connections."""
    callbacks = draw(st.lists(st.sampled_from(_TCP_CALLBACKS), min_size=1, max_size=3, unique=True))
    callbacks += draw(st.lists(st.sampled_from((*_TCP_CLOSING, *_LAST_CALLBACKS, "on_tick")), max_size=3, unique=True))
    blocks: list[Block] = []
    for callback in callbacks:
        for nth in range(draw(st.sampled_from((1, 1, 2)))):
            steps = draw(st.lists(_tcp_steps_in(callback), min_size=1, max_size=4))
            if callback == "on_tick":
                steps = [Step("set_effective_context", (ContextId(),)), *steps]
                steps += draw(st.lists(st.just(Step("continue_stream", (2,))), max_size=1))
            may_pause = callback in _TCP_CALLBACKS
            choices = st.sampled_from((0, 0, 1, 1, 2)) if may_pause else st.just(0)
            blocks.append(Block(callback, tuple(steps), draw(choices), draw(choices), nth))
    events = draw(
        st.lists(st.builds(Event, st.sampled_from(What), st.sampled_from((b"a", b"bcd", b"e" * 30))), max_size=7)
    )
    return TcpCase(tuple(blocks), tuple(events))


_MESSAGES = st.sampled_from((b"", b"hello", b"two", b"metadata", b"fail", b"end", b"silent"))
_METADATA = st.sampled_from((b"", encode_pairs([(b"x-m", b"1"), (b"x-m-bin", b"\0\xff")])))
_SERVICES = st.sampled_from((b"grpc",) * 6 + (b"absent", b"closing", b"nowhere", b"unknown")).map(
    lambda name: encode((1, encode((1, name))))
)
"""Never a bare name: where that reads as a message, Envoy aborts."""
_GRPC_STARTS = st.one_of(
    _step(
        "grpc_call",
        _SERVICES | st.just(encode((1, encode((1, b"echo"))))),
        st.just(b"s.S"),
        st.just(b"M"),
        _METADATA,
        _MESSAGES,
        st.sampled_from((0, 5000)),
    ),
    _step("grpc_stream", _SERVICES, st.just(b"s.S"), st.just(b"M"), _METADATA),
    _step("grpc_stream", _SERVICES, st.just(b"s.S"), st.just(b"M"), _METADATA),
)
_STREAM_ID = ResultOf("grpc_stream")
_GRPC_IDS = st.sampled_from((_STREAM_ID, _STREAM_ID, _STREAM_ID, ResultOf("grpc_call"), 0, 3, 0xFFFFFFFD))
_GRPC_STEPS = st.one_of(
    *(_step("grpc_send", _GRPC_IDS, _MESSAGES, st.sampled_from((0, 0, 1))),) * 4,
    _step("grpc_close", _GRPC_IDS),
    _step("grpc_cancel", _GRPC_IDS),
    _step("get_status"),
    _step("get_buffer_bytes", st.sampled_from((5, 4)), st.just(0), st.just(100)),
    _step("set_buffer_bytes", st.just(5), st.just(0), st.sampled_from((0, 100)), st.just(b"new")),
    _step("get_header_map_pairs", st.sampled_from((4, 5))),
    _step(
        "get_header_map_value", st.sampled_from((4, 5)), st.sampled_from((b"x-initial", b"x-trailing", b"grpc-status"))
    ),
    _step("get_header_map_size", st.sampled_from((4, 5))),
    _step("add_header_map_value", st.sampled_from((4, 5)), st.just(b"x"), st.just(b"1")),
    _step("set_effective_context", st.sampled_from((ContextId(), 0))),
)
_GRPC_CALLBACKS = (
    "on_grpc_receive_initial_metadata",
    "on_grpc_receive",
    "on_grpc_receive_trailing_metadata",
    "on_grpc_close",
)


@st.composite
def grpc_cases(draw: st.DrawFn) -> Case:
    """Streams that wait for a gRPC callout, of which there is one: nobody knows the order in which several are answered.

    A stream that its server has closed is closed from here, before anything else is done to it: Envoy has freed what stands behind it. While its metadata is
    told it is left alone: where the call has failed, Envoy calls back from within.
    """
    steps = [draw(_GRPC_STARTS), *draw(st.lists(_GRPC_STEPS, max_size=3))]
    blocks = [Block("on_request_headers", tuple(steps), 1, 1)]
    resuming = draw(st.sampled_from((*_GRPC_CALLBACKS, "on_tick")))
    for callback in (*_GRPC_CALLBACKS, "on_tick"):
        done = draw(st.lists(_GRPC_STEPS, max_size=3))
        if callback in ("on_grpc_receive_initial_metadata", "on_grpc_receive_trailing_metadata"):
            done = [step for step in done if step.hostcall not in ("grpc_close", "grpc_send", "grpc_cancel")]
        if callback == "on_grpc_close":
            done = [Step("grpc_close", (_STREAM_ID,)), *done]
        if callback == resuming:
            done += [Step("set_effective_context", (ContextId(),)), Step("continue_stream", (0,))]
        blocks.append(Block(callback, tuple(done)))
        # What is sent in answer to an answer would have no end.
        blocks.append(Block(callback, nth=1))
    return HttpCase((*blocks, Block("on_log", (_DETAILS,))), late_ticks=draw(st.integers(0, 3)))


def cases() -> st.SearchStrategy[Case]:
    """Streams and connections."""
    kinds = (http_cases,) * 8 + (tcp_cases, tcp_cases, grpc_cases)
    return st.sampled_from(kinds).flatmap(lambda kind: kind())

"""The callbacks of HTTP streams, from the host straight to an author's method.

`proxy_wasm.http_callbacks` and `proxy_wasm.dispatcher` say what a callback means; this is the part of it that every request passes, without the interpreter:
find the stream's object, tell `Host` which context and which phase it is, call the method, and be done where that returned `None` (or `CONTINUE`) and nothing
else is left to do. Whatever is not as usual goes to the dispatcher:

- before the method is called: a stream whose class is not registered or whose state is not 0;
- after: any other result, a state that has changed, something woken that waits (`settle`), an exception (`fail`).

Classes are registered by the dispatcher (`register`), for one plugin context each, when it has made the first object of a class that takes part: one
that leaves `replaces_request_body` and its like alone. From then on `on_context_create` calls `http_context` here, or, where that does nothing but call the
class, makes the object itself (`proxy_wasm.build.linker.stream_classes`). A result that is not
a new object of that class, made for this stream, goes to the dispatcher (`adopt`), and so does an exception (`unmade`).

A stream's end is the dispatcher's unless nothing could come of it: no `on_done` of its own, no tasks, nothing woken, and nobody but the
table of streams (`proxy_wasm.build.linker.stream_table`) has the object. Such an object is let go when the next stream begins: between a stream's beginning and its end the proxy has done
much else, and what lets an object go would have to be fetched from memory for it alone. If it is one that was made here, the next stream gets it, without the
attributes that it had of its own. Where the VM has one plugin context, registered, and nothing was
seen for which an end may matter (`Host.ends_matter`), `on_done` does not even look for the object.
"""

from proxy_wasm.abi.signatures import CoreSignature
from proxy_wasm.build.linker import stream_classes, stream_table
from proxy_wasm.build.linker.layouts import SIZE, WEAK_REFERENCES
from proxy_wasm.build.linker.stream_classes import SPARE, slot, slot_address
from proxy_wasm.guest.built_in import HAS_OBSERVED_END, HAS_ON_DONE, HAS_ON_LOG, HAS_VALUES, IS_MADE_PLAINLY

API: dict[str, CoreSignature] = {
    "PyErr_GetRaisedException": CoreSignature((), ("i32",)),
    "PyObject_VectorcallMethod": CoreSignature(("i32", "i32", "i32", "i32"), ("i32",)),
    "PyUnicode_InternFromString": CoreSignature(("i32",), ("i32",)),
    "Py_IncRef": CoreSignature(("i32",), ()),
    **stream_classes.API,
    **stream_table.API,
}
"""What they call of CPython's C API."""

MAPS_AND_BODIES = (
    "request_headers",
    "request_body",
    "request_trailers",
    "response_headers",
    "response_body",
    "response_trailers",
)
"""What the methods get, in the order of their phases, the first of which is 1."""

OBJECTS = (
    "plugins",
    "ready",
    "host",
    "continue",
    "function_type",
    "unmade",
    "adopt",
    "settle",
    "fail",
    *MAPS_AND_BODIES,
)
"""The first arguments of `serve_streams`: the dispatcher's dictionary of plugin contexts, the queue of what was woken, the `Host`, `Action.CONTINUE`, the type
of functions, methods of the dispatcher, and what the methods get."""
OFFSETS = (
    "host_context_id",
    "host_phase",
    "host_ends_matter",
    "plugin",
    "host",
    "context_id",
    "state",
    "tasks",
    "directions",
    "answered_in",
)
"""The arguments behind those: where objects keep these attributes, as `slot_offset` tells."""

_END_PHASE = 7

_WITH_END = ("on_request_headers", "on_request_body", "on_response_headers", "on_response_body")
MESSAGES = {f"on_{name}": (phase, f"on_{name}" in _WITH_END) for phase, name in enumerate(MAPS_AND_BODIES, 1)}
"""Callbacks for parts of a message: the phase, and whether the host tells if it is the last part."""

SERVED = ("on_context_create", *MESSAGES, "on_log", "on_done", "on_delete")
"""The callbacks that pass here first."""

FUNCTIONS = ("serve_streams", *stream_classes.FUNCTIONS, *stream_table.FUNCTIONS)
"""Built-in functions for the guest."""


def first_text(name: str) -> str:
    """What the export of a callback in `SERVED` does first: return, if there is nothing left to do."""
    if name == "on_context_create":
        return "(if (call $stream_created (local.get 0) (local.get 1)) (then (return)))"
    if name == "on_done":
        return "(if (call $stream_done (local.get 0)) (then (return (i32.const 1))))"
    if name == "on_log":
        return "(if (call $stream_logged (local.get 0)) (then (return)))"
    if name == "on_delete":
        return "(if (call $stream_deleted (local.get 0)) (then (return)))"
    phase, tells_end = MESSAGES[name]
    ended = "(local.get 2)" if tells_end else "(i32.const 1)"
    part = MAPS_AND_BODIES[phase - 1]
    call = f"(call $stream_message (local.get 0) (i32.const {phase}) (global.get $name_{name}) (global.get $served_{part}) {ended})"
    return f"(local.set $result {call})\n  (if (i32.ge_s (local.get $result) (i32.const 0)) (then (return (local.get $result))))"


def functions_text(entries: int, names: dict[str, int]) -> str:
    """The functions, and the globals that they work on; `entries` is the address of room for classes, `names` those of the methods' names."""
    objects = [f"(global $served_{name} (mut i32) (i32.const 0))" for name in OBJECTS]
    objects += [f"(global $name_{name} (mut i32) (i32.const 0))" for name in names]
    objects += [f"(global $offset_{name} (mut i32) (i32.const 0))" for name in OFFSETS]
    keeps = "\n  ".join(
        f"(global.set $served_{name} (i32.load offset={4 * index} (local.get $arguments)))"
        f" (call $Py_IncRef (global.get $served_{name}))"
        for index, name in enumerate(OBJECTS)
    )
    counts = "\n  ".join(
        f"(global.set $offset_{name} (call $PyLong_AsUnsignedLong (i32.load offset={4 * index} (local.get $arguments))))"
        for index, name in enumerate(OFFSETS, len(OBJECTS))
    )
    interned = "\n  ".join(
        f"(global.set $name_{name} (call $PyUnicode_InternFromString (i32.const {address})))"
        f" (if (i32.eqz (global.get $name_{name})) (then (return (i32.const 0))))"
        for name, address in names.items()
    )
    expected = len(OBJECTS) + len(OFFSETS)
    serve = f"""
(func $serve_streams (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  (if (i32.ne (local.get $count) (i32.const {expected})) (then (unreachable)))
  {keeps}
  {counts}
  {interned}
  (global.set $number_size (i32.sub (call $PyLong_FromUnsignedLong (i32.const 1)) (global.get $zero)))
  (if (i32.ne (call $small_number (i32.const {_END_PHASE})) (call $PyLong_FromUnsignedLong (i32.const {_END_PHASE})))
    (then (call $fatal)))
  (call $grow)
  (global.get $none))"""
    classes = stream_classes.functions_text(entries, {name: phase for name, (phase, _) in MESSAGES.items()})
    return "\n".join([*objects, serve, stream_table.TABLE, stream_table.BUILT_IN, classes, _FUNCTIONS])


_FUNCTIONS = f"""
(global $zero (mut i32) (i32.const 0))
(global $number_size (mut i32) (i32.const 0)) ;; the distance of CPython's small numbers in memory
(global $leaving (mut i32) (i32.const 0)) ;; the object of a stream that is over, to be let go

(func $number (param $value i32) (result i32)
  (local $number i32)
  (local.set $number (call $PyLong_FromUnsignedLong (local.get $value)))
  (if (i32.eqz (local.get $number)) (then (call $fatal)))
  (local.get $number))

(func $small_number (param $value i32) (result i32)
  ;; a phase as an object: nobody counts references to it
  (i32.add (global.get $zero) (i32.mul (local.get $value) (global.get $number_size))))

(global $last_id (mut i32) (i32.const 0))
(global $last_id_object (mut i32) (i32.const 0))

(func $id_object (param $context_id i32) (result i32)
  ;; A context's number as an object: mostly the same as the last time.
  (local $number i32)
  (if (i32.and (i32.eq (local.get $context_id) (global.get $last_id)) (i32.ne (global.get $last_id_object) (i32.const 0)))
    (then
      (call $Py_IncRef (global.get $last_id_object))
      (return (global.get $last_id_object))))
  (local.set $number (call $number (local.get $context_id)))
  (call $Py_IncRef (local.get $number))
  (call $Py_DecRef (global.get $last_id_object))
  (global.set $last_id (local.get $context_id))
  (global.set $last_id_object (local.get $number))
  (local.get $number))

(func $enter (param $id i32) (param $phase i32)
  ;; tell Host whose callback begins
  (local $slot i32) (local $old i32)
  (local.set $slot (i32.add (global.get $served_host) (global.get $offset_host_context_id)))
  (local.set $old (i32.load (local.get $slot)))
  (if (i32.ne (local.get $old) (local.get $id)) (then
    (call $Py_IncRef (local.get $id))
    (i32.store (local.get $slot) (local.get $id))
    (call $Py_DecRef (local.get $old))))
  (i32.store (i32.add (global.get $served_host) (global.get $offset_host_phase)) (call $small_number (local.get $phase))))

(func $at_rest (param $stream i32) (result i32)
  ;; whether the state is 0 and nothing was woken
  (i32.and
    (i32.eq {slot("state")} (global.get $zero))
    (i32.eqz (i32.load offset={SIZE} (global.get $served_ready)))))

(func $stream_created (param $context_id i32) (param $parent_id i32) (result i32)
  (local $frame i32) (local $result i32) (local $entry i32) (local $id i32) (local $stream i32) (local $error i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 32))))
  (block $done
    (br_if $done (i32.eqz (local.get $parent_id)))
    (call $let_go)
    (br_if $done (i32.eqz (local.tee $entry (call $entry (i32.const 0) (local.get $parent_id)))))
    (br_if $done (call $place (local.get $context_id)))
    (local.set $result (i32.const 1))
    (local.set $id (call $id_object (local.get $context_id)))
    (call $enter (local.get $id) (i32.const {_END_PHASE}))
    (if (call $made_plainly (local.get $entry)) (then
      (if (local.tee $stream (call $make (local.get $entry) (local.get $id))) (then
        (call $insert (local.get $context_id) (local.get $stream))
        (call $Py_DecRef (local.get $id))
        (br $done)))))
    (i32.store offset=4 (local.get $frame) (i32.load offset=4 (local.get $entry)))
    (call $Py_IncRef (i32.load offset=4 (local.get $frame)))
    (local.set $stream (call $PyObject_VectorcallMethod (global.get $name_http_context)
      (i32.add (local.get $frame) (i32.const 4)) (i32.const {0x80000001 - (1 << 32)}) (i32.const 0)))
    (block $made
      (if (i32.eqz (local.get $stream)) (then
        (local.set $error (call $PyErr_GetRaisedException))
        (call $ask (global.get $served_unmade) (local.get $id) (i32.load offset=4 (local.get $frame)) (local.get $error))
        (call $Py_DecRef (local.get $error))
        (br $made)))
      (if (i32.and
            (i32.and
              (i32.eq (i32.load offset=4 (local.get $stream)) (i32.load offset=8 (local.get $entry)))
              (i32.eq (i32.load (local.get $stream)) (i32.const 1)))
            (i32.eq (i32.load (local.get $entry)) (local.get $parent_id)))
        (then
          (if (i32.and
                (i32.eq {slot("context_id")} (local.get $id))
                (i32.eq {slot("state")} (global.get $zero)))
            (then
              (if (i32.eqz (call $place (local.get $context_id))) (then
                (call $insert (local.get $context_id) (local.get $stream))
                (local.set $stream (i32.const 0))
                (br $made)))))))
      (call $ask (global.get $served_adopt) (local.get $id) (i32.load offset=4 (local.get $frame)) (local.get $stream)))
    (call $Py_DecRef (local.get $stream))
    (call $Py_DecRef (i32.load offset=4 (local.get $frame)))
    (call $Py_DecRef (local.get $id)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 32)))
  (local.get $result))

(func $ask (param $function i32) (param $first i32) (param $second i32) (param $third i32)
  ;; call a method of the dispatcher that returns nothing
  (local $frame i32) (local $result i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 16))))
  (i32.store offset=4 (local.get $frame) (local.get $first))
  (i32.store offset=8 (local.get $frame) (local.get $second))
  (i32.store offset=12 (local.get $frame) (local.get $third))
  (local.set $result (call $PyObject_Vectorcall (local.get $function)
    (i32.add (local.get $frame) (i32.const 4)) (i32.const {0x80000003 - (1 << 32)}) (i32.const 0)))
  (if (i32.eqz (local.get $result)) (then (call $fatal)))
  (call $Py_DecRef (local.get $result))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16))))

(func $answer (param $object i32) (result i32)
  ;; the action that a method of the dispatcher returned
  (local $number i32)
  (if (i32.eqz (local.get $object)) (then (call $fatal)))
  (local.set $number (call $PyLong_AsUnsignedLong (local.get $object)))
  (call $Py_DecRef (local.get $object))
  (i32.and (local.get $number) (i32.const 0x7fffffff)))

(func $stream_message (param $context_id i32) (param $phase i32) (param $name i32) (param $part i32) (param $ended i32) (result i32)
  ;; the action to return, or -1: the dispatcher's callback has to be called
  (local $frame i32) (local $result i32) (local $id i32) (local $stream i32) (local $action i32) (local $entry i32) (local $method i32) (local $count i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 32))))
  (local.set $result (i32.const -1))
  (block $done
    (br_if $done (i32.eqz (local.tee $stream (call $place (local.get $context_id)))))
    (local.set $stream (i32.load offset=4 (local.get $stream)))
    (br_if $done (i32.eqz (local.tee $entry (call $entry (i32.const 8) (i32.load offset=4 (local.get $stream))))))
    (br_if $done (i32.ne {slot("state")} (global.get $zero)))
    (call $Py_IncRef (local.get $stream))
    (local.set $id (call $id_object (local.get $context_id)))
    (call $enter (local.get $id) (local.get $phase))
    (i32.store offset=4 (local.get $frame) (local.get $stream))
    (i32.store offset=8 (local.get $frame) (local.get $part))
    (i32.store offset=12 (local.get $frame) (select (global.get $true) (global.get $false) (local.get $ended)))
    (local.set $count (i32.or (i32.const {-(1 << 31)})
      (select (i32.const 2) (i32.const 3) (i32.eq (i32.rem_u (local.get $phase) (i32.const 3)) (i32.const 0)))))
    (local.set $method (call $known_method (local.get $entry) (local.get $stream) (local.get $phase)))
    (local.set $action (if (result i32) (local.get $method)
      (then (call $PyObject_Vectorcall (local.get $method)
        (i32.add (local.get $frame) (i32.const 4)) (local.get $count) (i32.const 0)))
      (else (call $PyObject_VectorcallMethod (local.get $name)
        (i32.add (local.get $frame) (i32.const 4)) (local.get $count) (i32.const 0)))))
    (block $ended
      (if (i32.eqz (local.get $action)) (then
        (local.set $action (call $PyErr_GetRaisedException))
        (local.set $result (call $answer (call $failed (local.get $frame) (local.get $id) (local.get $phase) (local.get $action))))
        (br $ended)))
      (if (i32.or
            (i32.eq (local.get $action) (global.get $none))
            (i32.eq (local.get $action) (global.get $served_continue)))
        (then (if (call $at_rest (local.get $stream)) (then
          (local.set $result (i32.const 0))
          (br $ended)))))
      (local.set $result (call $answer
        (call $settled (local.get $frame) (local.get $id) (local.get $stream) (local.get $action) (local.get $phase) (local.get $ended)))))
    (call $Py_DecRef (local.get $action))
    (call $Py_DecRef (local.get $stream))
    (call $Py_DecRef (local.get $id)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 32)))
  (local.get $result))

(func $failed (param $frame i32) (param $id i32) (param $phase i32) (param $error i32) (result i32)
  (i32.store offset=4 (local.get $frame) (local.get $id))
  (i32.store offset=8 (local.get $frame) (call $number (local.get $phase)))
  (i32.store offset=12 (local.get $frame) (local.get $error))
  (call $PyObject_Vectorcall (global.get $served_fail)
    (i32.add (local.get $frame) (i32.const 4)) (i32.const {0x80000003 - (1 << 32)}) (i32.const 0)))

(func $settled (param $frame i32) (param $id i32) (param $stream i32) (param $action i32) (param $phase i32) (param $ended i32) (result i32)
  (i32.store offset=4 (local.get $frame) (local.get $id))
  (i32.store offset=8 (local.get $frame) (local.get $stream))
  (i32.store offset=12 (local.get $frame) (local.get $action))
  (i32.store offset=16 (local.get $frame) (call $number (local.get $phase)))
  (i32.store offset=20 (local.get $frame) (select (global.get $true) (global.get $false) (local.get $ended)))
  (call $PyObject_Vectorcall (global.get $served_settle)
    (i32.add (local.get $frame) (i32.const 4)) (i32.const {0x80000005 - (1 << 32)}) (i32.const 0)))

(func $alone (param $stream i32) (result i32)
  ;; whether nothing could come of the stream's end
  (i32.and
    (i32.and
      (i32.eq (i32.load (local.get $stream)) (i32.const 1))
      (i32.eq {slot("tasks")} (global.get $none)))
    (call $at_rest (local.get $stream))))

(func $stream_entry (param $context_id i32) (result i32)
  ;; the entry of a stream's class, or 0
  (local $place i32)
  (if (i32.eqz (local.tee $place (call $place (local.get $context_id)))) (then (return (i32.const 0))))
  (call $entry (i32.const 8) (i32.load offset=4 (i32.load offset=4 (local.get $place)))))

(func $stream_done (param $context_id i32) (result i32)
  (local $entry i32)
  (if (i32.eqz (global.get $classes)) (then (return (i32.const 0))))
  (if (i32.and
        (i32.and
          (i32.eq (i32.load offset={SIZE} (global.get $served_plugins)) (i32.const 1))
          (i32.ne (i32.load (global.get $entries)) (local.get $context_id)))
        (i32.and
          (i32.eqz (i32.and (global.get $flags) (i32.const {HAS_ON_DONE})))
          (i32.and
            (i32.eq (i32.load (i32.add (global.get $served_host) (global.get $offset_host_ends_matter))) (global.get $false))
            (i32.eqz (i32.load offset={SIZE} (global.get $served_ready))))))
    (then (return (i32.const 1))))
  (if (i32.eqz (local.tee $entry (call $stream_entry (local.get $context_id)))) (then (return (i32.const 0))))
  (if (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {HAS_ON_DONE})) (then (return (i32.const 0))))
  (call $alone (i32.load offset=4 (call $place (local.get $context_id)))))

(func $stream_logged (param $context_id i32) (result i32)
  (local $entry i32)
  (if (i32.eqz (local.tee $entry (call $stream_entry (local.get $context_id)))) (then (return (i32.const 0))))
  (i32.eqz (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {HAS_ON_LOG}))))

(func $stream_deleted (param $context_id i32) (result i32)
  (local $place i32) (local $stream i32) (local $entry i32)
  (if (i32.eqz (local.tee $place (call $place (local.get $context_id)))) (then (return (i32.const 0))))
  (local.set $stream (i32.load offset=4 (local.get $place)))
  (if (i32.eqz (local.tee $entry (call $entry (i32.const 8) (i32.load offset=4 (local.get $stream))))) (then (return (i32.const 0))))
  (if (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {HAS_OBSERVED_END})) (then (return (i32.const 0))))
  (if (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {HAS_VALUES})) (then
    (if (i32.load (i32.sub (local.get $stream) (i32.const {WEAK_REFERENCES}))) (then (return (i32.const 0))))))
  (if (i32.eqz (call $alone (local.get $stream))) (then (return (i32.const 0))))
  (call $remove (local.get $place))
  (call $let_go)
  (global.set $leaving (local.get $stream))
  (i32.const 1))

(func $let_go
  ;; the object of the last stream that is over: where it is as good as new, the next stream gets it
  (local $frame i32) (local $stream i32) (local $entry i32) (local $values i32)
  (if (i32.eqz (local.tee $stream (global.get $leaving))) (then (return)))
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 16))))
  (global.set $leaving (i32.const 0))
  (block $done
    (block $not_spared
      (br_if $not_spared (i32.eqz (local.tee $entry (call $entry (i32.const 8) (i32.load offset=4 (local.get $stream))))))
      (br_if $not_spared (i32.eqz (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {IS_MADE_PLAINLY}))))
      (br_if $not_spared (i32.load offset={SPARE} (local.get $entry)))
      (br_if $not_spared (i32.ne (i32.load (local.get $stream)) (i32.const 1)))
      (br_if $not_spared (i32.load (i32.sub (local.get $stream) (i32.const {WEAK_REFERENCES}))))
      (br_if $not_spared (i32.eqz (local.tee $values (call $values (local.get $entry) (local.get $stream)))))
      (br_if $not_spared (i32.ne {slot("plugin")} (i32.load offset=4 (local.get $entry))))
      (br_if $not_spared (i32.ne {slot("host")} (global.get $served_host)))
      (br_if $not_spared (i32.ne {slot("directions")} (global.get $none)))
      (if (i32.load8_u offset=1 (local.get $values)) (then (call $clear (local.get $values))))
      (i32.store {slot_address("answered_in")} (global.get $zero))
      (call $Py_DecRef {slot("context_id")})
      (i32.store {slot_address("context_id")} (i32.const 0))
      (i32.store offset={SPARE} (local.get $entry) (local.get $stream))
      (br $done))
    (call $Py_DecRef (local.get $stream)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16))))
"""

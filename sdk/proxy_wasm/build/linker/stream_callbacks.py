"""The callbacks of HTTP streams, from the host straight to an author's method.

`proxy_wasm.http_callbacks` and `proxy_wasm.dispatcher` say what a callback means; this is the part of it that every request passes, without the interpreter:
find the stream's object, tell `Host` which context and which phase it is, call the method, and be done where that returned `None` (or `CONTINUE`) and nothing
else is left to do. Whatever is not as usual goes to the dispatcher:

- before the method is called: a stream whose class is not registered or whose state is not 0;
- after: any other result, a state that has changed, something woken that waits (`settle`), an exception (`fail`).

Classes are registered by the dispatcher (`register`), for one plugin context each, when it has made the first object of a class that takes part: one
that leaves `replaces_request_body` and its like alone. From then on `on_context_create` calls `http_context` here, or, where that does nothing but call the
class and the class makes its objects as `HttpContext` does, makes the object itself. A result that is not
a new object of that class, made for this stream, goes to the dispatcher (`adopt`), and so does an exception (`unmade`).

The functions behind the methods are looked up once for each version that CPython gives a class: whatever changes the class, or a base of it, changes the version.

A stream's end is the dispatcher's unless nothing could come of it: no `on_done` of its own, no tasks, nothing woken, and nobody but the
table of streams has the object. Such an object is let go when the next stream begins: between a stream's beginning and its end the proxy has done
much else, and what lets an object go would have to be fetched from memory for it alone. If it is one that was made here, the next stream gets it, without the
attributes that it had of its own. Where the VM has one plugin context, registered, and nothing was
seen for which an end may matter (`Host.ends_matter`), `on_done` does not even look for the object.
"""

from proxy_wasm.abi.signatures import CoreSignature
from proxy_wasm.guest.built_in import (
    HAS_FINALIZER,
    HAS_ON_DONE,
    HAS_ON_LOG,
    HAS_VALUES,
    IS_MADE_PLAINLY,
    MAX_CLASSES,
)

API: dict[str, CoreSignature] = {
    "PyDict_GetItemWithError": CoreSignature(("i32", "i32"), ("i32",)),
    "PyErr_GetRaisedException": CoreSignature((), ("i32",)),
    "PyObject_VectorcallMethod": CoreSignature(("i32", "i32", "i32", "i32"), ("i32",)),
    "PyType_GenericAlloc": CoreSignature(("i32", "i32"), ("i32",)),
    "PyUnicode_InternFromString": CoreSignature(("i32",), ("i32",)),
    "PyUnstable_Type_AssignVersionTag": CoreSignature(("i32",), ("i32",)),
    "Py_IncRef": CoreSignature(("i32",), ()),
    "_PyType_Lookup": CoreSignature(("i32", "i32"), ("i32",)),
    "free": CoreSignature(("i32",), ()),
    "malloc": CoreSignature(("i32",), ("i32",)),
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

_ENTRY = 80
_SPARE, _METHODS_VERSION, _METHODS, _NAMES, _NAME, _PLUGIN_VERSION, _CLASS_VERSION, _KNOWN = (
    16,
    20,
    24,
    48,
    52,
    56,
    60,
    64,
)
"""What is noted of a registered class: the number of its plugin context, the plugin, the class, flags; an object that the next stream gets; for which version of
the class its methods were looked up, and those for each phase; the dictionary and the name by which `http_context` finds the class; the versions
of plugin's class and class when they were registered; how many names of attributes its objects had when the methods were looked up."""
ENTRY_WORDS = _ENTRY // 4

_FEWEST_PLACES = 128
"""Places for streams that the table begins with."""

_VERSION_TAG, _BASIC_SIZE, _SHARED_KEYS = 192, 16, 440
"""Of `tp_version_tag`, `tp_basicsize` and `ht_cached_keys` in a class."""
_KEY_COUNT, _INDEX_SIZE, _INDICES = 16, 5, 20
"""Of `dk_nentries`, `dk_log2_index_bytes` and `dk_indices` in the keys that a class's objects share; behind their indices come entries of key and value."""
_DICTIONARY, _WEAK_REFERENCES = 12, 16
"""How far before an object the pointers to its dictionary and to its weak references are."""

_END_PHASE = 7

_WITH_END = ("on_request_headers", "on_request_body", "on_response_headers", "on_response_body")
MESSAGES = {f"on_{name}": (phase, f"on_{name}" in _WITH_END) for phase, name in enumerate(MAPS_AND_BODIES, 1)}
"""Callbacks for parts of a message: the phase, and whether the host tells if it is the last part."""

SERVED = ("on_context_create", *MESSAGES, "on_log", "on_done", "on_delete")
"""The callbacks that pass here first."""

FUNCTIONS = ("serve_streams", "register", "forget", "slot_offset", "stream_get", "stream_put", "stream_pop")
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
    look_ups = "\n  ".join(
        f"(i32.store offset={_METHODS + 4 * (phase - 1)} (local.get $entry) (call $looked_up (local.get $entry) (global.get $name_{name})))"
        for name, (phase, _) in MESSAGES.items()
    )
    functions = _FUNCTIONS.replace("LOOK_UPS", look_ups).replace("ENTRIES", str(entries))
    return "\n".join([*objects, serve, functions])


def _slot_address(name: str) -> str:
    """The address of a stream's attribute."""
    return f"(i32.add (local.get $stream) (global.get $offset_{name}))"


def _slot(name: str) -> str:
    return f"(i32.load {_slot_address(name)})"


_FUNCTIONS = f"""
(global $zero (mut i32) (i32.const 0))
(global $number_size (mut i32) (i32.const 0)) ;; the distance of CPython's small numbers in memory
(global $flags (mut i32) (i32.const 0)) ;; those of all classes that ever were registered
(global $leaving (mut i32) (i32.const 0)) ;; the object of a stream that is over, to be let go
(global $classes (mut i32) (i32.const 0)) ;; how many are registered
(global $places (mut i32) (i32.const 0)) ;; the table of streams: a number and an object for each, 0 where there is none
(global $last_place (mut i32) (i32.const 0)) ;; its number of places less one; that is a power of two
(global $streams (mut i32) (i32.const 0)) ;; how many it holds

;; The table of streams

(func $place (param $context_id i32) (result i32)
  ;; where the table holds a stream, or 0
  (local $at i32)
  (local.set $at (local.get $context_id))
  (loop $next
    (local.set $at (i32.and (local.get $at) (global.get $last_place)))
    (if (i32.eqz (i32.load offset=4 (i32.add (global.get $places) (i32.shl (local.get $at) (i32.const 3)))))
      (then (return (i32.const 0))))
    (if (i32.eq (i32.load (i32.add (global.get $places) (i32.shl (local.get $at) (i32.const 3)))) (local.get $context_id))
      (then (return (i32.add (global.get $places) (i32.shl (local.get $at) (i32.const 3))))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $next))
  (unreachable))

(func $insert (param $context_id i32) (param $stream i32)
  ;; a stream that the table does not hold; its object becomes the table's
  (local $at i32)
  (if (i32.gt_u (i32.shl (global.get $streams) (i32.const 1)) (global.get $last_place)) (then (call $grow)))
  (global.set $streams (i32.add (global.get $streams) (i32.const 1)))
  (local.set $at (local.get $context_id))
  (loop $next
    (local.set $at (i32.and (local.get $at) (global.get $last_place)))
    (if (i32.load offset=4 (i32.add (global.get $places) (i32.shl (local.get $at) (i32.const 3)))) (then
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))))
  (local.set $at (i32.add (global.get $places) (i32.shl (local.get $at) (i32.const 3))))
  (i32.store (local.get $at) (local.get $context_id))
  (i32.store offset=4 (local.get $at) (local.get $stream)))

(func $grow
  (local $old i32) (local $at i32) (local $end i32)
  (local.set $old (global.get $places))
  (local.set $at (local.get $old))
  (local.set $end (i32.add (local.get $at) (i32.shl (i32.add (global.get $last_place) (i32.const 1)) (i32.const 3))))
  (if (i32.eqz (local.get $old)) (then (local.set $end (i32.const 0))))
  (global.set $last_place (i32.or (i32.shl (global.get $last_place) (i32.const 1)) (i32.const {_FEWEST_PLACES - 1})))
  (global.set $places (call $malloc (i32.shl (i32.add (global.get $last_place) (i32.const 1)) (i32.const 3))))
  (if (i32.eqz (global.get $places)) (then (call $fatal)))
  (memory.fill (global.get $places) (i32.const 0) (i32.shl (i32.add (global.get $last_place) (i32.const 1)) (i32.const 3)))
  (global.set $streams (i32.const 0))
  (block $over
    (loop $next
      (br_if $over (i32.ge_u (local.get $at) (local.get $end)))
      (if (i32.load offset=4 (local.get $at)) (then
        (call $insert (i32.load (local.get $at)) (i32.load offset=4 (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br $next)))
  (call $free (local.get $old)))

(func $remove (param $place i32)
  ;; what the table holds there; its object is the caller's now
  (local $hole i32) (local $at i32) (local $home i32)
  (global.set $streams (i32.sub (global.get $streams) (i32.const 1)))
  (local.set $hole (i32.shr_u (i32.sub (local.get $place) (global.get $places)) (i32.const 3)))
  (local.set $at (local.get $hole))
  (block $over
    (loop $next
      ;; what was put further on because this place was taken moves here
      (local.set $at (i32.and (i32.add (local.get $at) (i32.const 1)) (global.get $last_place)))
      (local.set $place (i32.add (global.get $places) (i32.shl (local.get $at) (i32.const 3))))
      (br_if $over (i32.eqz (i32.load offset=4 (local.get $place))))
      (local.set $home (i32.and (i32.load (local.get $place)) (global.get $last_place)))
      (br_if $next (i32.gt_u
        (i32.and (i32.sub (local.get $hole) (local.get $home)) (global.get $last_place))
        (i32.and (i32.sub (local.get $at) (local.get $home)) (global.get $last_place))))
      (i64.store (i32.add (global.get $places) (i32.shl (local.get $hole) (i32.const 3))) (i64.load (local.get $place)))
      (local.set $hole (local.get $at))
      (br $next)))
  (i64.store (i32.add (global.get $places) (i32.shl (local.get $hole) (i32.const 3))) (i64.const 0)))

(func $stream_get (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (number,): the stream's object or None
  (local $place i32) (local $stream i32)
  (local.set $stream (global.get $none))
  (local.set $place (call $place (call $PyLong_AsUnsignedLong (i32.load (local.get $arguments)))))
  (if (local.get $place) (then (local.set $stream (i32.load offset=4 (local.get $place)))))
  (call $Py_IncRef (local.get $stream))
  (local.get $stream))

(func $stream_put (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (number, object): from now on that is the stream's
  (local $frame i32) (local $place i32) (local $old i32) (local $number i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 16))))
  (local.set $number (call $PyLong_AsUnsignedLong (i32.load (local.get $arguments))))
  (call $Py_IncRef (i32.load offset=4 (local.get $arguments)))
  (if (local.tee $place (call $place (local.get $number)))
    (then
      (local.set $old (i32.load offset=4 (local.get $place)))
      (i32.store offset=4 (local.get $place) (i32.load offset=4 (local.get $arguments)))
      (call $Py_DecRef (local.get $old)))
    (else (call $insert (local.get $number) (i32.load offset=4 (local.get $arguments)))))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16)))
  (global.get $none))

(func $stream_pop (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (number,): the object of a stream that the table forgets, or None
  (local $place i32) (local $stream i32)
  (if (i32.eqz (local.tee $place (call $place (call $PyLong_AsUnsignedLong (i32.load (local.get $arguments))))))
    (then (return (global.get $none))))
  (local.set $stream (i32.load offset=4 (local.get $place)))
  (call $remove (local.get $place))
  (local.get $stream))

;; Classes

(func $register (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (plugin context's number, plugin, class, flags, dictionary, name): the class is what the dictionary has under that name where
  ;; the flags tell that objects are made of it plainly; all these are kept alive until `forget`
  (local $entry i32)
  (if (i32.ge_u (global.get $classes) (i32.const {MAX_CLASSES})) (then (return (global.get $none))))
  (global.set $flags (i32.or (global.get $flags) (call $PyLong_AsUnsignedLong (i32.load offset=12 (local.get $arguments)))))
  (local.set $entry (i32.add (i32.const ENTRIES) (i32.mul (global.get $classes) (i32.const {_ENTRY}))))
  (memory.fill (local.get $entry) (i32.const 0) (i32.const {_ENTRY}))
  (i32.store (local.get $entry) (call $PyLong_AsUnsignedLong (i32.load (local.get $arguments))))
  (i32.store offset=12 (local.get $entry) (call $PyLong_AsUnsignedLong (i32.load offset=12 (local.get $arguments))))
  (call $keep (i32.add (local.get $entry) (i32.const 4)) (i32.load offset=4 (local.get $arguments)))
  (call $keep (i32.add (local.get $entry) (i32.const 8)) (i32.load offset=8 (local.get $arguments)))
  (call $keep (i32.add (local.get $entry) (i32.const {_NAMES})) (i32.load offset=16 (local.get $arguments)))
  (call $keep (i32.add (local.get $entry) (i32.const {_NAME})) (i32.load offset=20 (local.get $arguments)))
  (i32.store offset={_PLUGIN_VERSION} (local.get $entry) (call $version (i32.load offset=4 (i32.load offset=4 (local.get $entry)))))
  (i32.store offset={_CLASS_VERSION} (local.get $entry) (call $version (i32.load offset=8 (local.get $entry))))
  (global.set $classes (i32.add (global.get $classes) (i32.const 1)))
  (global.get $none))

(func $keep (param $address i32) (param $object i32)
  (i32.store (local.get $address) (local.get $object))
  (call $Py_IncRef (local.get $object)))

(func $version (param $class i32) (result i32)
  ;; a number that no class had before since it, or a base of it, was last changed; 0 where there are no more such numbers
  (drop (call $PyUnstable_Type_AssignVersionTag (local.get $class)))
  (i32.load offset={_VERSION_TAG} (local.get $class)))

(func $forget (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (plugin context's number,): every class of that plugin. The last entry takes the place of each that goes.
  (local $frame i32) (local $entry i32) (local $last i32) (local $number i32) (local $gone i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const {16 + _ENTRY}))))
  (call $let_go)
  (local.set $number (call $PyLong_AsUnsignedLong (i32.load (local.get $arguments))))
  (local.set $entry (i32.const ENTRIES))
  (block $over
    (loop $next
      (local.set $last (i32.add (i32.const ENTRIES) (i32.mul (i32.sub (global.get $classes) (i32.const 1)) (i32.const {_ENTRY}))))
      (br_if $over (i32.gt_s (local.get $entry) (local.get $last)))
      (if (i32.eq (i32.load (local.get $entry)) (local.get $number))
        (then
          (local.set $gone (i32.add (local.get $frame) (i32.const 16)))
          (memory.copy (local.get $gone) (local.get $entry) (i32.const {_ENTRY}))
          (memory.copy (local.get $entry) (local.get $last) (i32.const {_ENTRY}))
          (global.set $classes (i32.sub (global.get $classes) (i32.const 1)))
          (call $Py_DecRef (i32.load offset={_SPARE} (local.get $gone)))
          (call $Py_DecRef (i32.load offset=4 (local.get $gone)))
          (call $Py_DecRef (i32.load offset=8 (local.get $gone)))
          (call $Py_DecRef (i32.load offset={_NAMES} (local.get $gone)))
          (call $Py_DecRef (i32.load offset={_NAME} (local.get $gone))))
        (else (local.set $entry (i32.add (local.get $entry) (i32.const {_ENTRY})))))
      (br $next)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const {16 + _ENTRY})))
  (global.get $none))

(func $slot_offset (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (object, value, size of the object): where in the object that value is kept, 0 if nowhere
  (local $at i32) (local $end i32)
  (local.set $at (i32.const 8))
  (local.set $end (call $PyLong_AsUnsignedLong (i32.load offset=8 (local.get $arguments))))
  (block $over
    (loop $next
      (if (i32.ge_u (local.get $at) (local.get $end)) (then (local.set $at (i32.const 0)) (br $over)))
      (br_if $over (i32.eq
        (i32.load (i32.add (i32.load (local.get $arguments)) (local.get $at)))
        (i32.load offset=4 (local.get $arguments))))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br $next)))
  (call $PyLong_FromUnsignedLong (local.get $at)))

(func $entry (param $offset i32) (param $value i32) (result i32)
  ;; the first entry that has the value at that offset, or 0
  (local $entry i32) (local $end i32)
  (local.set $entry (i32.const ENTRIES))
  (local.set $end (i32.add (i32.const ENTRIES) (i32.mul (global.get $classes) (i32.const {_ENTRY}))))
  (loop $next
    (if (i32.ge_u (local.get $entry) (local.get $end)) (then (return (i32.const 0))))
    (if (i32.eq (i32.load (i32.add (local.get $entry) (local.get $offset))) (local.get $value)) (then (return (local.get $entry))))
    (local.set $entry (i32.add (local.get $entry) (i32.const {_ENTRY})))
    (br $next))
  (unreachable))

(func $look_up (param $entry i32)
  ;; note the class's methods, as long as it stays as it is: those that are plain functions and that no attribute of an object can hide
  (local $class i32)
  (local.set $class (i32.load offset=8 (local.get $entry)))
  (i32.store offset={_METHODS_VERSION} (local.get $entry) (call $version (local.get $class)))
  (i32.store offset={_KNOWN} (local.get $entry) (i32.load offset={_KEY_COUNT} (i32.load offset={_SHARED_KEYS} (local.get $class))))
  LOOK_UPS)

(func $looked_up (param $entry i32) (param $name i32) (result i32)
  (local $method i32) (local $at i32) (local $end i32)
  (local.set $at (i32.load offset={_SHARED_KEYS} (i32.load offset=8 (local.get $entry))))
  (local.set $at (i32.add (local.get $at)
    (i32.add (i32.const {_INDICES}) (i32.shl (i32.const 1) (i32.load8_u offset={_INDEX_SIZE} (local.get $at))))))
  (local.set $end (i32.add (local.get $at) (i32.shl (i32.load offset={_KNOWN} (local.get $entry)) (i32.const 3))))
  (block $over
    (loop $next
      (br_if $over (i32.ge_u (local.get $at) (local.get $end)))
      (if (i32.eq (i32.load (local.get $at)) (local.get $name)) (then (return (i32.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br $next)))
  (local.set $method (call $_PyType_Lookup (i32.load offset=8 (local.get $entry)) (local.get $name)))
  (if (i32.eqz (local.get $method)) (then (return (i32.const 0))))
  (select (local.get $method) (i32.const 0)
    (i32.eq (i32.load offset=4 (local.get $method)) (global.get $served_function_type))))

;; Streams

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
    (i32.eq {_slot("state")} (global.get $zero))
    (i32.eqz (i32.load offset=8 (global.get $served_ready)))))

(func $values (param $entry i32) (param $stream i32) (result i32)
  ;; where an object's own attributes are: one byte for how many there is room for, how many there are, and two that tell that they are here; 0 if elsewhere
  (local $values i32)
  (if (i32.eqz (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {HAS_VALUES}))) (then (return (i32.const 0))))
  (if (i32.load (i32.sub (local.get $stream) (i32.const {_DICTIONARY}))) (then (return (i32.const 0))))
  (local.set $values (i32.add (local.get $stream) (i32.load offset={_BASIC_SIZE} (i32.load offset=8 (local.get $entry)))))
  (select (local.get $values) (i32.const 0) (i32.load8_u offset=3 (local.get $values))))

(func $known_method (param $entry i32) (param $stream i32) (param $phase i32) (result i32)
  ;; the function behind a method, where it is known for sure, else 0
  (local $values i32)
  (if (i32.eqz (local.tee $values (call $values (local.get $entry) (local.get $stream)))) (then (return (i32.const 0))))
  (if (i32.ne
        (i32.load offset={_METHODS_VERSION} (local.get $entry))
        (i32.load offset={_VERSION_TAG} (i32.load offset=8 (local.get $entry))))
    (then (call $look_up (local.get $entry))))
  (if (i32.eqz (i32.load offset={_METHODS_VERSION} (local.get $entry))) (then (return (i32.const 0))))
  (if (i32.load8_u offset=1 (local.get $values)) (then
    (if (i32.ne
          (i32.load offset={_KEY_COUNT} (i32.load offset={_SHARED_KEYS} (i32.load offset=8 (local.get $entry))))
          (i32.load offset={_KNOWN} (local.get $entry)))
      (then (call $look_up (local.get $entry))))))
  (i32.load offset={_METHODS - 4} (i32.add (local.get $entry) (i32.shl (local.get $phase) (i32.const 2)))))

(func $clear (param $values i32)
  ;; drop an object's own attributes
  (local $frame i32) (local $at i32) (local $end i32) (local $old i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 16))))
  (local.set $at (i32.add (local.get $values) (i32.const 4)))
  (local.set $end (i32.add (local.get $at) (i32.shl (i32.load8_u (local.get $values)) (i32.const 2))))
  (i32.store8 offset=1 (local.get $values) (i32.const 0))
  (block $over
    (loop $next
      (br_if $over (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $old (i32.load (local.get $at)))
      (i32.store (local.get $at) (i32.const 0))
      (call $Py_DecRef (local.get $old))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br $next)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16))))

(func $made_plainly (param $entry i32) (result i32)
  ;; whether `http_context` would still do nothing but call the class, and that nothing but what its base does
  (if (i32.eqz (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {IS_MADE_PLAINLY}))) (then (return (i32.const 0))))
  (if (i32.ne
        (i32.load offset={_VERSION_TAG} (i32.load offset=4 (i32.load offset=4 (local.get $entry))))
        (i32.load offset={_PLUGIN_VERSION} (local.get $entry)))
    (then (return (i32.const 0))))
  (if (i32.ne
        (i32.load offset={_VERSION_TAG} (i32.load offset=8 (local.get $entry)))
        (i32.load offset={_CLASS_VERSION} (local.get $entry)))
    (then (return (i32.const 0))))
  (i32.eq
    (call $PyDict_GetItemWithError (i32.load offset={_NAMES} (local.get $entry)) (i32.load offset={_NAME} (local.get $entry)))
    (i32.load offset=8 (local.get $entry))))

(func $make (param $entry i32) (param $id i32) (result i32)
  ;; what the class makes of the plugin, as `HttpContext.__init__` does; 0 where there is no memory
  (local $stream i32)
  (if (local.tee $stream (i32.load offset={_SPARE} (local.get $entry)))
    (then (i32.store offset={_SPARE} (local.get $entry) (i32.const 0)))
    (else
      (if (i32.eqz (local.tee $stream (call $PyType_GenericAlloc (i32.load offset=8 (local.get $entry)) (i32.const 0))))
        (then (return (i32.const 0))))
      (call $keep {_slot_address("plugin")} (i32.load offset=4 (local.get $entry)))
      (call $keep {_slot_address("host")} (global.get $served_host))
      (i32.store {_slot_address("tasks")} (global.get $none))
      (i32.store {_slot_address("directions")} (global.get $none))
      (i32.store {_slot_address("state")} (global.get $zero))
      (i32.store {_slot_address("answered_in")} (global.get $zero))))
  (call $keep {_slot_address("context_id")} (local.get $id))
  (local.get $stream))

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
                (i32.eq {_slot("context_id")} (local.get $id))
                (i32.eq {_slot("state")} (global.get $zero)))
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
    (br_if $done (i32.ne {_slot("state")} (global.get $zero)))
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
      (i32.eq {_slot("tasks")} (global.get $none)))
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
          (i32.eq (i32.load offset=8 (global.get $served_plugins)) (i32.const 1))
          (i32.ne (i32.load (i32.const ENTRIES)) (local.get $context_id)))
        (i32.and
          (i32.eqz (i32.and (global.get $flags) (i32.const {HAS_ON_DONE})))
          (i32.and
            (i32.eq (i32.load (i32.add (global.get $served_host) (global.get $offset_host_ends_matter))) (global.get $false))
            (i32.eqz (i32.load offset=8 (global.get $served_ready))))))
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
  (if (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {HAS_FINALIZER})) (then (return (i32.const 0))))
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
      (br_if $not_spared (i32.load offset={_SPARE} (local.get $entry)))
      (br_if $not_spared (i32.ne (i32.load (local.get $stream)) (i32.const 1)))
      (br_if $not_spared (i32.load (i32.sub (local.get $stream) (i32.const {_WEAK_REFERENCES}))))
      (br_if $not_spared (i32.eqz (local.tee $values (call $values (local.get $entry) (local.get $stream)))))
      (br_if $not_spared (i32.ne {_slot("plugin")} (i32.load offset=4 (local.get $entry))))
      (br_if $not_spared (i32.ne {_slot("host")} (global.get $served_host)))
      (br_if $not_spared (i32.ne {_slot("directions")} (global.get $none)))
      (if (i32.load8_u offset=1 (local.get $values)) (then (call $clear (local.get $values))))
      (i32.store {_slot_address("answered_in")} (global.get $zero))
      (call $Py_DecRef {_slot("context_id")})
      (i32.store {_slot_address("context_id")} (i32.const 0))
      (i32.store offset={_SPARE} (local.get $entry) (local.get $stream))
      (br $done))
    (call $Py_DecRef (local.get $stream)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16))))
"""

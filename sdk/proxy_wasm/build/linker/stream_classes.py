"""Classes of HTTP streams: what is known of each, so that its objects are made and their methods found without the interpreter.

A class is registered for one plugin context. Where `http_context` does nothing but call the class, and the class makes its objects as `HttpContext` does, they
are made here. The functions behind the methods are looked up once for each version that CPython gives a class: whatever changes the class, or a base of it,
changes the version. And an object's own attributes can hide a method only if they have its name: objects of a class share the names of their attributes.
"""

from proxy_wasm.abi.signatures import CoreSignature
from proxy_wasm.build.linker.layouts import (
    BASIC_SIZE,
    DICTIONARY,
    INDEX_SIZE,
    INDICES,
    KEY_COUNT,
    SHARED_KEYS,
    VERSION_TAG,
)
from proxy_wasm.guest.built_in import HAS_NO_DICTIONARY, HAS_VALUES, IS_MADE_PLAINLY, MAX_CLASSES

API: dict[str, CoreSignature] = {
    "PyDict_GetItemWithError": CoreSignature(("i32", "i32"), ("i32",)),
    "PyType_GenericAlloc": CoreSignature(("i32", "i32"), ("i32",)),
    "PyUnstable_Type_AssignVersionTag": CoreSignature(("i32",), ("i32",)),
    "Py_IncRef": CoreSignature(("i32",), ()),
    "_PyType_Lookup": CoreSignature(("i32", "i32"), ("i32",)),
}
"""What they call of CPython's C API."""

FUNCTIONS = ("register", "forget", "slot_offset")
"""Built-in functions for the guest."""

_ENTRY = 80
SPARE, _METHODS_VERSION, _METHODS, _NAMES, _NAME = 16, 20, 24, 48, 52
_PLUGIN_VERSION, _CLASS_VERSION, _KNOWN = 56, 60, 64
"""What is noted of a registered class: the number of its plugin context, the plugin, the class, flags; an object that the next stream gets; for which version of
the class its methods were looked up, and those for each phase; the dictionary and the name by which `http_context` finds the class; the versions
of plugin's class and class when they were registered; how many names of attributes its objects had when the methods were looked up."""
ENTRY_WORDS = _ENTRY // 4


def slot_address(name: str) -> str:
    """The address of the attribute of `$stream` whose offset is `$offset_NAME`."""
    return f"(i32.add (local.get $stream) (global.get $offset_{name}))"


def slot(name: str) -> str:
    """The attribute."""
    return f"(i32.load {slot_address(name)})"


def functions_text(entries: int, methods: dict[str, int]) -> str:
    """The functions; `entries` is the address of room for `MAX_CLASSES` entries of `ENTRY_WORDS` words, `methods` are the methods' names and phases."""
    look_ups = "\n  ".join(
        f"(i32.store offset={_METHODS + 4 * (phase - 1)} (local.get $entry) (call $looked_up (local.get $entry) (global.get $name_{name})))"
        for name, phase in methods.items()
    )
    return _FUNCTIONS.replace("LOOK_UPS", look_ups).replace("ENTRIES", str(entries))


_FUNCTIONS = f"""
(global $entries i32 (i32.const ENTRIES))
(global $flags (mut i32) (i32.const 0)) ;; those of all classes that ever were registered
(global $classes (mut i32) (i32.const 0)) ;; how many are registered

(func $register (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (plugin context's number, plugin, class, flags, dictionary, name): the class is what the dictionary has under that name where
  ;; the flags tell that objects are made of it plainly; all these are kept alive until `forget`
  (local $entry i32)
  (if (i32.ge_u (global.get $classes) (i32.const {MAX_CLASSES})) (then (return (global.get $none))))
  (global.set $flags (i32.or (global.get $flags) (call $PyLong_AsUnsignedLong (i32.load offset=12 (local.get $arguments)))))
  (local.set $entry (i32.add (global.get $entries) (i32.mul (global.get $classes) (i32.const {_ENTRY}))))
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
  (i32.load offset={VERSION_TAG} (local.get $class)))

(func $forget (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (plugin context's number,): every class of that plugin. The last entry takes the place of each that goes.
  (local $frame i32) (local $entry i32) (local $last i32) (local $number i32) (local $gone i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const {16 + _ENTRY}))))
  (call $let_go)
  (local.set $number (call $PyLong_AsUnsignedLong (i32.load (local.get $arguments))))
  (local.set $entry (global.get $entries))
  (block $over
    (loop $next
      (local.set $last (i32.add (global.get $entries) (i32.mul (i32.sub (global.get $classes) (i32.const 1)) (i32.const {_ENTRY}))))
      (br_if $over (i32.gt_s (local.get $entry) (local.get $last)))
      (if (i32.eq (i32.load (local.get $entry)) (local.get $number))
        (then
          (local.set $gone (i32.add (local.get $frame) (i32.const 16)))
          (memory.copy (local.get $gone) (local.get $entry) (i32.const {_ENTRY}))
          (memory.copy (local.get $entry) (local.get $last) (i32.const {_ENTRY}))
          (global.set $classes (i32.sub (global.get $classes) (i32.const 1)))
          (call $Py_DecRef (i32.load offset={SPARE} (local.get $gone)))
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
  (local.set $entry (global.get $entries))
  (local.set $end (i32.add (global.get $entries) (i32.mul (global.get $classes) (i32.const {_ENTRY}))))
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
  (if (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {HAS_VALUES})) (then
    (i32.store offset={_KNOWN} (local.get $entry) (i32.load offset={KEY_COUNT} (i32.load offset={SHARED_KEYS} (local.get $class))))))
  LOOK_UPS)

(func $looked_up (param $entry i32) (param $name i32) (result i32)
  (local $method i32) (local $at i32) (local $end i32)
  (if (i32.load offset={_KNOWN} (local.get $entry)) (then (local.set $at (i32.load offset={SHARED_KEYS} (i32.load offset=8 (local.get $entry))))))
  (local.set $at (i32.add (local.get $at)
    (i32.add (i32.const {INDICES}) (i32.shl (i32.const 1) (i32.load8_u offset={INDEX_SIZE} (local.get $at))))))
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

(func $values (param $entry i32) (param $stream i32) (result i32)
  ;; where an object's own attributes are: one byte for how many there is room for, how many there are, and two that tell that they are here; 0 if elsewhere
  (local $values i32)
  (if (i32.eqz (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {HAS_VALUES}))) (then (return (i32.const 0))))
  (if (i32.load (i32.sub (local.get $stream) (i32.const {DICTIONARY}))) (then (return (i32.const 0))))
  (local.set $values (i32.add (local.get $stream) (i32.load offset={BASIC_SIZE} (i32.load offset=8 (local.get $entry)))))
  (select (local.get $values) (i32.const 0) (i32.load8_u offset=3 (local.get $values))))

(func $known_method (param $entry i32) (param $stream i32) (param $phase i32) (result i32)
  ;; the function behind a method, where it is known for sure, else 0
  (local $values i32)
  (if (i32.eqz (i32.and (i32.load offset=12 (local.get $entry)) (i32.const {HAS_NO_DICTIONARY}))) (then
    (if (i32.eqz (local.tee $values (call $values (local.get $entry) (local.get $stream)))) (then (return (i32.const 0))))))
  (if (i32.ne
        (i32.load offset={_METHODS_VERSION} (local.get $entry))
        (i32.load offset={VERSION_TAG} (i32.load offset=8 (local.get $entry))))
    (then (call $look_up (local.get $entry))))
  (if (i32.eqz (i32.load offset={_METHODS_VERSION} (local.get $entry))) (then (return (i32.const 0))))
  (if (i32.and (i32.ne (local.get $values) (i32.const 0)) (i32.ne (i32.load8_u offset=1 (local.get $values)) (i32.const 0))) (then
    (if (i32.ne
          (i32.load offset={KEY_COUNT} (i32.load offset={SHARED_KEYS} (i32.load offset=8 (local.get $entry))))
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
        (i32.load offset={VERSION_TAG} (i32.load offset=4 (i32.load offset=4 (local.get $entry))))
        (i32.load offset={_PLUGIN_VERSION} (local.get $entry)))
    (then (return (i32.const 0))))
  (if (i32.ne
        (i32.load offset={VERSION_TAG} (i32.load offset=8 (local.get $entry)))
        (i32.load offset={_CLASS_VERSION} (local.get $entry)))
    (then (return (i32.const 0))))
  (i32.eq
    (call $PyDict_GetItemWithError (i32.load offset={_NAMES} (local.get $entry)) (i32.load offset={_NAME} (local.get $entry)))
    (i32.load offset=8 (local.get $entry))))

(func $make (param $entry i32) (param $id i32) (result i32)
  ;; what the class makes of the plugin, as `HttpContext.__init__` does; 0 where there is no memory
  (local $stream i32)
  (if (local.tee $stream (i32.load offset={SPARE} (local.get $entry)))
    (then (i32.store offset={SPARE} (local.get $entry) (i32.const 0)))
    (else
      (if (i32.eqz (local.tee $stream (call $PyType_GenericAlloc (i32.load offset=8 (local.get $entry)) (i32.const 0))))
        (then (return (i32.const 0))))
      (call $keep {slot_address("plugin")} (i32.load offset=4 (local.get $entry)))
      (call $keep {slot_address("host")} (global.get $served_host))
      (i32.store {slot_address("tasks")} (global.get $none))
      (i32.store {slot_address("directions")} (global.get $none))
      (i32.store {slot_address("state")} (global.get $zero))
      (i32.store {slot_address("answered_in")} (global.get $zero))))
  (call $keep {slot_address("context_id")} (local.get $id))
  (local.get $stream))
"""

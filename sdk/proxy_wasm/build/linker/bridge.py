"""The edges of a module that holds CPython: host functions as Python's built-in functions, callbacks as calls of Python objects.

componentize-py's runtime stands between the two in its components: for each crossing it attaches to the interpreter, looks functions up by name, and moves
values through lists of its own. That takes several times what the work itself takes, so nothing of it is called here. The functions below, WebAssembly
text like the other adapters, use CPython's C API as an extension module would:

- `_initialize`, before any callback: attaches the interpreter to the only thread there is, for good, and adds a built-in function for every hostcall
  to the guest's module `HOSTCALLS_MODULE`. Each takes what `proxy_wasm.abi.hostcalls.Hostcalls` says, and returns that.
- the first `proxy_on_context_create` calls `start` in `APP_MODULE`, then looks up there the object behind every callback that the module exports.
- a callback calls its object with the numbers that the host gives, and returns the number that comes back.

What a hostcall returns as bytes is written by the host straight into the Python object: the host asks the module for memory
(`proxy_on_memory_allocate`), and as long as such a hostcall is under way gets that of a new `bytes`.

Names and tables of C structures lie at `DATA`, at the far end of the shadow stack, where no function's frame can reach
(`proxy_wasm.build.linker.stack`).

Sources: CPython 3.14, Doc/c-api; Include/cpython/bytesobject.h and methodobject.h for the two structures.
"""

from collections.abc import Iterable, Sequence

from proxy_wasm.abi import signatures
from proxy_wasm.abi.enums import LogLevel, Status
from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS, CoreSignature, CoreType, Hostcall, Wire
from proxy_wasm.build.linker import (
    allocation,
    callout_functions,
    fingerprints,
    header_functions,
    metric_functions,
    stack,
    stream_callbacks,
    stream_classes,
)
from proxy_wasm.build.linker.adapters import LINKER_MODULE, SYMBOL_MODULE, hostcall_import, signature_text
from proxy_wasm.build.linker.layouts import BYTES_START, SIZE
from proxy_wasm.guest.built_in import HEADER_METHODS, LEAVES_MAPS, MAX_CLASSES

APP_MODULE = "proxy_wasm.guest.app"
HOSTCALLS_MODULE = "proxy_wasm.guest.hostcalls"

DATA = 32768
"""The address of constants; messages about missing parts lie below (`proxy_wasm.build.linker.reduction`)."""

_BYTES_OBJECT, _SCRATCH_MEMORY, _MAP_MEMORY = 1, 2, 3
"""Values of `$expecting`."""
_SCRATCH_SIZE = 4096
_MAP_SIZE = 16384


_NONE, _FALSE, _TRUE, _EMPTY_BYTES = 0, 1, 2, 8
"""`Py_CONSTANT_NONE` and its like."""
_FASTCALL, _KEYWORDS = 0x80, 0x02
"""`METH_FASTCALL`: the function is called with `(self, arguments, how many)`; with `METH_KEYWORDS`, with the names of the last arguments behind these, or 0."""
_SCRATCH = 0x80000000
"""`PY_VECTORCALL_ARGUMENTS_OFFSET`: the word before the arguments is the callee's to use."""

_MAY_BE_MISSING = frozenset({"get_property", "get_header_map_value"})
"""Hostcalls that return `None` where the host finds nothing."""
_MAY_CALL_BACK = frozenset({"call_foreign_function"})
"""Hostcalls with a result of bytes during which another hostcall may begin: theirs go through memory of their own."""

C_API: dict[str, CoreSignature] = {
    "PyGILState_Ensure": CoreSignature((), ("i32",)),
    "Py_GetConstantBorrowed": CoreSignature(("i32",), ("i32",)),
    "PyImport_AddModule": CoreSignature(("i32",), ("i32",)),
    "PyModule_AddFunctions": CoreSignature(("i32", "i32"), ("i32",)),
    "PyObject_GetAttrString": CoreSignature(("i32", "i32"), ("i32",)),
    "PyObject_Vectorcall": CoreSignature(("i32", "i32", "i32", "i32"), ("i32",)),
    "PyErr_Occurred": CoreSignature((), ("i32",)),
    "PyLong_FromLong": CoreSignature(("i32",), ("i32",)),
    "PyLong_FromUnsignedLong": CoreSignature(("i32",), ("i32",)),
    "PyLong_FromUnsignedLongLong": CoreSignature(("i64",), ("i32",)),
    "PyLong_AsLong": CoreSignature(("i32",), ("i32",)),
    "PyLong_AsUnsignedLong": CoreSignature(("i32",), ("i32",)),
    "PyLong_AsLongLong": CoreSignature(("i32",), ("i64",)),
    "PyLong_AsUnsignedLongLong": CoreSignature(("i32",), ("i64",)),
    "PyBytes_AsStringAndSize": CoreSignature(("i32", "i32", "i32"), ("i32",)),
    "PyBytes_FromStringAndSize": CoreSignature(("i32", "i32"), ("i32",)),
    "PyUnicode_FromString": CoreSignature(("i32",), ("i32",)),
    "PyTuple_New": CoreSignature(("i32",), ("i32",)),
    "PyTuple_SetItem": CoreSignature(("i32", "i32", "i32"), ("i32",)),
    "Py_DecRef": CoreSignature(("i32",), ()),
    **allocation.API,
    **fingerprints.API,
    **header_functions.API,
    **metric_functions.API,
    **stream_callbacks.API,
    **callout_functions.API,
}
"""Functions of libpython and libc, with their C types."""

SYMBOLS = tuple(C_API)
"""What the module's own functions call, by name."""


_READERS = {
    Wire.U32: "PyLong_AsUnsignedLong",
    Wire.S32: "PyLong_AsLong",
    Wire.U64: "PyLong_AsUnsignedLongLong",
    Wire.S64: "PyLong_AsLongLong",
}


class _Constants:
    """Bytes at fixed addresses."""

    def __init__(self) -> None:
        self._contents = bytearray()
        self._texts: dict[str, int] = {}

    def text(self, text: str) -> int:
        """The address of `text`, ended by NUL."""
        if text not in self._texts:
            self._texts[text] = DATA + len(self._contents)
            self._contents += text.encode() + b"\0"
        return self._texts[text]

    def words(self, words: Sequence[int]) -> int:
        """The address of 32-bit numbers."""
        self._contents += bytes(-len(self._contents) % 4)
        address = DATA + len(self._contents)
        for word in words:
            self._contents += word.to_bytes(4, "little")
        return address

    def methods(self, names: Iterable[str], first_slot: int, flags: int = _FASTCALL) -> int:
        """The address of definitions of built-in functions (`PyMethodDef`), and one of zeros: name, table slot, flags, no docstring."""
        texts = [self.text(name) for name in names]
        words = [word for slot, text in enumerate(texts, first_slot) for word in (text, slot, flags, 0)]
        return self.words([*words, 0, 0, 0, 0])

    @property
    def segment(self) -> str:
        """The data segment."""
        octets = "".join(f"\\{octet:02x}" for octet in self._contents)
        return f'(data (i32.const {DATA}) "{octets}")'


def bridge_text(callbacks: Iterable[str], first_slot: int, limits: tuple[int, int, int]) -> tuple[list[str], list[str]]:
    """Imports, and functions with what belongs to them, for `callbacks` (names without prefix).

    The hostcalls take the table slots from `first_slot` on. `limits` is where the thread state keeps those of the stack.
    """
    constants = _Constants()
    names = list(callbacks)
    called = ("http_context", *stream_callbacks.MESSAGES)
    functions = [_hostcall(hostcall, constants) for hostcall in HOSTCALLS.values()]
    functions += [_callback(name) for name in names]
    functions += [
        _start(names, constants),
        _SUPPORT.format(
            fatal=_fatal_text(constants),
            bytes_object=_BYTES_OBJECT,
            scratch=_SCRATCH_MEMORY,
            map=_MAP_MEMORY,
            bytes_start=BYTES_START,
            size=SIZE,
        ),
        _ABI_FUNCTIONS,
    ]
    functions += [f"(global $object_{name} (mut i32) (i32.const 0))" for name in names]
    functions.append(allocation.functions_text(constants.words([0] * allocation.WORDS)))
    functions.append(
        stream_callbacks.functions_text(
            constants.words([0] * stream_classes.ENTRY_WORDS * MAX_CLASSES),
            {name: constants.text(name) for name in called},
        )
    )
    functions.append(callout_functions.TEXT)
    built_in = {name: f"$host_{name}" for name in HOSTCALLS}
    of_modules = (stream_callbacks, header_functions, fingerprints, metric_functions, callout_functions)
    built_in |= {name: f"${name}" for module in of_modules for name in module.FUNCTIONS}
    methods = {name: f"$headers_{name}" for name in HEADER_METHODS}
    in_slots = [f"${name}" for name in header_functions.SLOT_FUNCTIONS]
    of_keys = {name: f"${name}" for name in fingerprints.METHODS}
    of_counters = [f"$counter_{name}" for name in metric_functions.METHODS]
    in_table = [*built_in.values(), *methods.values(), *in_slots, *of_keys.values(), *of_counters]
    functions.append(f"(elem (i32.const {first_slot}) {' '.join(in_table)})")
    definitions = constants.methods(built_in, first_slot)
    of_headers = constants.methods(methods, first_slot + len(built_in))
    functions.append(
        header_functions.functions_text(
            surrogateescape=constants.text("surrogateescape"),
            path_name=constants.text(":path"),
            kept=constants.words([0] * header_functions.KEPT_NAMES),
            methods=constants.words([0] * len(HEADER_METHODS)),
            definitions=of_headers,
            first_slot=first_slot + len(built_in) + len(methods),
        )
    )
    functions.append(
        fingerprints.functions_text(
            constants.methods(of_keys, first_slot + in_table.index(next(iter(of_keys.values())))),
            utf8=constants.text("utf-8"),
            surrogateescape=constants.text("surrogateescape"),
            buffer_size=_SCRATCH_SIZE,
        )
    )
    functions.append(
        metric_functions.functions_text(
            constants.methods(
                metric_functions.METHODS, first_slot + in_table.index(of_counters[0]), _FASTCALL | _KEYWORDS
            ),
            hostcall=constants.text("increment_metric"),
        )
    )
    initialize = _INITIALIZE.format(
        module=constants.text(HOSTCALLS_MODULE),
        refused=constants.text("refused"),
        miscounted=constants.text("miscounted"),
        methods=definitions,
        none=_NONE,
        empty=_EMPTY_BYTES,
        false=_FALSE,
        scratch=_SCRATCH_SIZE + _MAP_SIZE,
        value_scratch=_SCRATCH_SIZE,
        true=_TRUE,
    )
    functions += [stack.initialize_text(limits, initialize), constants.segment]
    imports = [hostcall_import(name) for name in HOSTCALLS]
    imports += [
        f'(import "{SYMBOL_MODULE}" "{name}" (func ${name} {signature_text(signature)}))'
        for name, signature in C_API.items()
    ]
    imports.append(f'(import "{LINKER_MODULE}" "table" (table 0 funcref))')
    imports.append(stack.THREAD_STATE_IMPORT)
    return imports, functions


_INITIALIZE = """
  (drop (call $PyGILState_Ensure))
  (global.set $scratch (call $malloc (i32.const {scratch})))
  (global.set $map_scratch (i32.add (global.get $scratch) (i32.const {value_scratch})))
  (if (i32.eqz (global.get $scratch)) (then (call $fatal)))
  (global.set $none (call $Py_GetConstantBorrowed (i32.const {none})))
  (global.set $false (call $Py_GetConstantBorrowed (i32.const {false})))
  (global.set $true (call $Py_GetConstantBorrowed (i32.const {true})))
  (global.set $empty (call $Py_GetConstantBorrowed (i32.const {empty})))
  (global.set $zero (call $PyLong_FromLong (i32.const 0)))
  (local.set $module (call $PyImport_AddModule (i32.const {module})))
  (if (i32.eqz (local.get $module)) (then (call $fatal)))
  (if (call $PyModule_AddFunctions (local.get $module) (i32.const {methods})) (then (call $fatal)))
  (global.set $refused (call $PyObject_GetAttrString (local.get $module) (i32.const {refused})))
  (global.set $miscounted (call $PyObject_GetAttrString (local.get $module) (i32.const {miscounted})))
  (if (i32.eqz (i32.and (global.get $refused) (global.get $miscounted))) (then (call $fatal)))
"""

_SUPPORT = """
(global $none (mut i32) (i32.const 0))
(global $false (mut i32) (i32.const 0))
(global $true (mut i32) (i32.const 0))
(global $empty (mut i32) (i32.const 0)) ;; b""
(global $refused (mut i32) (i32.const 0))
(global $miscounted (mut i32) (i32.const 0))
(global $started (mut i32) (i32.const 0))
;; what the next memory that the host asks for is: {bytes_object}: that of a bytes object, {scratch}: $scratch, {map}: $map_scratch, else anything; and the object
;; that was made
(global $expecting (mut i32) (i32.const 0))
(global $received (mut i32) (i32.const 0))

;; memory for what is read and done with before the next hostcall; and for a map of headers, which is kept (`proxy_wasm.build.linker.header_functions`)
(global $scratch (mut i32) (i32.const 0))
(global $map_scratch (mut i32) (i32.const 0))

(func $release (param $start i32)
  ;; give back what the host was given
  (if (i32.and
        (i32.ne (local.get $start) (global.get $scratch))
        (i32.ne (local.get $start) (global.get $map_scratch)))
    (then (call $free (local.get $start)))))

(func $fatal
  ;; Nothing of Python leaves a callback, and what is looked up here is there: only a lack of memory leads here.
  {fatal}
  (unreachable))

(func $raise (param $function i32) (param $name i32) (param $number i32) (result i32)
  ;; call a function of Python's, which raises
  (local $frame i32) (local $result i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 16))))
  (i32.store offset=4 (local.get $frame) (call $PyUnicode_FromString (local.get $name)))
  (i32.store offset=8 (local.get $frame) (call $PyLong_FromUnsignedLong (local.get $number)))
  (if (i32.and
        (i32.ne (i32.load offset=4 (local.get $frame)) (i32.const 0))
        (i32.ne (i32.load offset=8 (local.get $frame)) (i32.const 0)))
    (then (local.set $result (call $PyObject_Vectorcall
      (local.get $function) (i32.add (local.get $frame) (i32.const 4)) (i32.const 2) (i32.const 0)))))
  (call $Py_DecRef (i32.load offset=4 (local.get $frame)))
  (call $Py_DecRef (i32.load offset=8 (local.get $frame)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16)))
  (local.get $result))

(func $taken (param $object i32) (param $start i32) (param $size i32) (result i32)
  ;; the bytes that the host has written: into `object` as it should, or into other memory of the module's
  (local $result i32)
  (if (i32.and
        (i32.and
          (i32.ne (local.get $object) (i32.const 0))
          (i32.eq (local.get $start) (i32.add (local.get $object) (i32.const {bytes_start}))))
        (i32.eq (local.get $size) (i32.load offset={size} (local.get $object))))
    (then (return (local.get $object))))
  (local.set $result (call $PyBytes_FromStringAndSize (local.get $start) (local.get $size)))
  (if (local.get $object)
    (then (call $Py_DecRef (local.get $object)))
    (else (call $free (local.get $start))))
  (local.get $result))
"""

_ABI_FUNCTIONS = f"""
(func $cabi_realloc (param i32 i32 i32 i32) (result i32)
  ;; memory for what WASI returns; componentize-py's runtime has one that does the same
  (call $malloc (local.get 3)))
(func (export "{signatures.ABI_VERSION_EXPORT}"))
(func (export "{signatures.MEMORY_ALLOCATE_EXPORT}") (param $size i32) (result i32)
  (local $object i32)
  (local $expecting i32)
  (local.set $expecting (global.get $expecting))
  (global.set $expecting (i32.const 0))
  (if (i32.and (i32.eq (local.get $expecting) (i32.const {_SCRATCH_MEMORY})) (i32.le_u (local.get $size) (i32.const {_SCRATCH_SIZE})))
    (then (return (global.get $scratch))))
  (if (i32.and (i32.eq (local.get $expecting) (i32.const {_MAP_MEMORY})) (i32.le_u (local.get $size) (i32.const {_MAP_SIZE})))
    (then (return (global.get $map_scratch))))
  (if (i32.ne (local.get $expecting) (i32.const {_BYTES_OBJECT})) (then (return (call $malloc (local.get $size)))))
  (local.set $object (call $PyBytes_FromStringAndSize (i32.const 0) (local.get $size)))
  (global.set $received (local.get $object))
  (if (result i32) (local.get $object)
    (then (i32.add (local.get $object) (i32.const {BYTES_START})))
    (else (i32.const 0))))
"""

_FATAL = (
    "the module cannot go on: Python ran out of memory outside of any callback, or raised where nothing can be raised"
)


def _fatal_text(constants: _Constants) -> str:
    arguments = f"(i32.const {LogLevel.CRITICAL}) (i32.const {constants.text(_FATAL)}) (i32.const {len(_FATAL)})"
    return f"(drop (call $proxy_log {arguments}))"


def _start(callbacks: Iterable[str], constants: _Constants) -> str:
    """Calls `start`, and keeps the objects behind callbacks."""
    lookups = "\n  ".join(
        f"(global.set $object_{name} (call $attribute (local.get $module) (i32.const {constants.text(name)})))"
        for name in callbacks
    )
    return f"""
(func $attribute (param $object i32) (param $name i32) (result i32) (local $found i32)
  (local.set $found (call $PyObject_GetAttrString (local.get $object) (local.get $name)))
  (if (i32.eqz (local.get $found)) (then (call $fatal)))
  (local.get $found))

(func $start (local $module i32) (local $result i32)
  (global.set $started (i32.const 1))
  (local.set $module (call $PyImport_AddModule (i32.const {constants.text(APP_MODULE)})))
  (if (i32.eqz (local.get $module)) (then (call $fatal)))
  (local.set $result (call $PyObject_Vectorcall
    (call $attribute (local.get $module) (i32.const {constants.text("start")}))
    (i32.const 0) (i32.const 0) (i32.const 0)))
  (if (i32.eqz (local.get $result)) (then (call $fatal)))
  {lookups})"""


def _callback(name: str) -> str:
    """The export of one callback."""
    callback = CALLBACKS[name]
    count = len(callback.parameters)
    size = _aligned(4 * (count + 1))
    lines = [
        f'(func (export "{callback.export_name}") {signature_text(callback.core)} (local $frame i32) (local $result i32)'
    ]
    lines.append(header_functions.FORGET_MAP)
    if name == "on_context_create":
        lines.append("(if (i32.eqz (global.get $started)) (then (call $start)))")
    if name in stream_callbacks.SERVED:
        lines.append(stream_callbacks.first_text(name))
    lines.append(_enter(size))
    for index in range(count):
        number = f"(call $PyLong_FromUnsignedLong (local.get {index}))"
        lines.append(f"(i32.store offset={4 * index + 4} (local.get $frame) (local.tee $result {number}))")
        lines.append("(if (i32.eqz (local.get $result)) (then (call $fatal)))")
    flags = _SCRATCH | count
    arguments = "(i32.add (local.get $frame) (i32.const 4))"
    call = f"(call $PyObject_Vectorcall (global.get $object_{name}) {arguments} (i32.const {flags}) (i32.const 0))"
    lines.append(f"(local.set $result {call})")
    lines.append("(if (i32.eqz (local.get $result)) (then (call $fatal)))")
    lines += [f"(call $Py_DecRef (i32.load offset={4 * index + 4} (local.get $frame)))" for index in range(count)]
    if callback.returns:
        lines.append("(i32.store (local.get $frame) (call $PyLong_AsUnsignedLong (local.get $result)))")
        lines.append("(call $Py_DecRef (local.get $result))")
        lines.append("(local.set $result (i32.load (local.get $frame)))")
    else:
        lines.append("(call $Py_DecRef (local.get $result))")
    lines.append(_leave(size))
    if callback.returns:
        lines.append("(local.get $result)")
    return "\n  ".join(lines) + ")"


def _aligned(size: int) -> int:
    return -(-size // 16) * 16


def _enter(size: int) -> str:
    """The prologue, in the form that compilers give it (`proxy_wasm.build.linker.frames`)."""
    lowered = f"(i32.sub (global.get $stack_pointer) (i32.const {size}))"
    return f"(global.set $stack_pointer (local.tee $frame {lowered}))"


def _leave(size: int) -> str:
    return f"(global.set $stack_pointer (i32.add (local.get $frame) (i32.const {size})))"


def _hostcall(hostcall: Hostcall, constants: _Constants) -> str:
    """The built-in function of one hostcall."""
    name = constants.text(hostcall.name)
    parameters = _Parameters(hostcall)
    size = _aligned(parameters.end)
    received = next((True for _, wire in hostcall.results if wire is Wire.BYTES), False)
    straight = received and hostcall.name not in _MAY_CALL_BACK
    lines = [
        f"(func $host_{hostcall.name} (param $self i32) (param $arguments i32) (param $count i32) (result i32)",
        "(local $frame i32) (local $result i32) (local $status i32) (local $object i32)",
        *parameters.locals,
        _enter(size),
        "(block $done",
        f"(if (i32.ne (local.get $count) (i32.const {len(hostcall.parameters)})) (then",
        f"  (local.set $result (call $raise (global.get $miscounted) (i32.const {name}) (local.get $count)))",
        "  (br $done)))",
        *parameters.reads,
        *parameters.clears,
        "" if hostcall.name in LEAVES_MAPS else header_functions.FORGET_MAP,
        "(global.set $expecting (i32.const 1))" if straight else "",
        f"(local.set $status (call ${hostcall.import_name} {' '.join(parameters.passed)}))",
    ]
    if straight:
        lines.append(
            "(local.set $object (global.get $received)) (global.set $received (i32.const 0)) (global.set $expecting (i32.const 0))"
        )
    lines += [
        "(if (local.get $status) (then",
        "  (call $Py_DecRef (local.get $object))",
        "  (br_if $done (call $PyErr_Occurred))",
    ]
    if hostcall.name in _MAY_BE_MISSING:
        lines.append(
            f"  (if (i32.eq (local.get $status) (i32.const {Status.NOT_FOUND})) (then (local.set $result (global.get $none)) (br $done)))"
        )
    lines += [
        f"  (local.set $result (call $raise (global.get $refused) (i32.const {name}) (local.get $status)))",
        "  (br $done)))",
        *parameters.results,
        ")",
        _leave(size),
        "(local.get $result))",
    ]
    return "\n  ".join(filter(None, lines))


class _Parameters:
    """How the built-in function of a hostcall reads its arguments, and makes objects of its results; offsets are those of its frame."""

    def __init__(self, hostcall: Hostcall) -> None:
        self.locals: list[str] = []
        self.reads: list[str] = []
        self.passed: list[str] = []
        self.clears: list[str] = []
        self.results: list[str] = []
        self.end = 0
        for index, (_, wire) in enumerate(hostcall.parameters):
            argument = f"(i32.load offset={4 * index} (local.get $arguments))"
            if wire is Wire.BYTES:
                self._read_bytes(argument)
            else:
                self._read_number(index, wire, argument)
        objects = [self._result(wire) for _, wire in hostcall.results]
        if not objects:
            self.results.append("(local.set $result (global.get $none))")
        elif len(objects) == 1:
            self.results.append(f"(local.set $result {objects[0]})")
        else:
            self._pack(objects)

    def _room(self, size: int) -> int:
        start = -(-self.end // size) * size if size <= 8 else self.end  # noqa: PLR2004 - the largest alignment
        self.end = start + size
        return start

    def _read_number(self, index: int, wire: Wire, argument: str) -> None:
        kind: CoreType = wire.core[0]
        value = f"$value_{index}"
        self.locals.append(f"(local {value} {kind})")
        self.reads.append(f"(local.set {value} (call ${_READERS[wire]} {argument}))")
        self.reads.append(
            f"(if ({kind}.eq (local.get {value}) ({kind}.const -1)) (then (br_if $done (call $PyErr_Occurred))))"
        )
        self.passed.append(f"(local.get {value})")

    def _read_bytes(self, argument: str) -> None:
        start = self._room(8)
        self.reads.append(
            f"(br_if $done (call $PyBytes_AsStringAndSize {argument} {_address(start)} {_address(start + 4)}))"
        )
        self.passed.append(
            f"(i32.load offset={start} (local.get $frame)) (i32.load offset={start + 4} (local.get $frame))"
        )

    def _result(self, wire: Wire) -> str:
        if wire is Wire.U32:
            start = self._room(4)
            self.clears.append(f"(i32.store offset={start} (local.get $frame) (i32.const 0))")
            self.passed.append(_address(start))
            return f"(call $PyLong_FromUnsignedLong (i32.load offset={start} (local.get $frame)))"
        start = self._room(8)
        self.clears.append(f"(i64.store offset={start} (local.get $frame) (i64.const 0))")
        self.passed.append(_address(start))
        if wire is Wire.U64:
            return f"(call $PyLong_FromUnsignedLongLong (i64.load offset={start} (local.get $frame)))"
        self.passed.append(_address(start + 4))
        where = f"(i32.load offset={start} (local.get $frame)) (i32.load offset={start + 4} (local.get $frame))"
        return f"(call $taken (local.get $object) {where})"

    def _pack(self, objects: Sequence[str]) -> None:
        """A tuple, or nothing where one of its members cannot be made."""
        self.locals.append("(local $member i32)")
        self.results.append(f"(local.set $result (call $PyTuple_New (i32.const {len(objects)})))")
        self.results.append("(br_if $done (i32.eqz (local.get $result)))")
        for index, made in enumerate(objects):
            self.results.append(f"(local.set $member {made})")
            self.results.append(
                "(if (i32.eqz (local.get $member)) (then"
                " (call $Py_DecRef (local.get $result)) (local.set $result (i32.const 0)) (br $done)))"
            )
            self.results.append(
                f"(drop (call $PyTuple_SetItem (local.get $result) (i32.const {index}) (local.get $member)))"
            )


def _address(offset: int) -> str:
    return f"(i32.add (local.get $frame) (i32.const {offset}))"

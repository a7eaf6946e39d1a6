"""Built-in functions in place of the methods of `proxy_wasm.headers.Headers` that requests spend their time in.

A method written in Python takes its frame, an encoding, a hostcall and a decoding, each of them a dozen steps of the interpreter. Here text goes to the
host as it lies in the string, and what the host writes becomes a string at once.

The functions are methods of one class, derived from `Headers`, whose objects the guest makes for each map (`proxy_wasm.guest.serving`): `header_method(index, class,
method)` makes one, `method` being the one that it stands for, of `Headers` itself, and `serve_headers` puts
functions behind `headers[name]`, `headers[name] = value` and `name in headers`, which would otherwise look for a method each time.

A map that was read as a whole, by `multi_items` or `getall`, stays in memory for the rest of the callback, until a hostcall may have changed it: a header that is in it
is read from there. One that is not is asked for, as hosts know some headers by further names (Envoy, `host` for `:authority`).

Whatever is not as usual is left to the method, with the same arguments: keys that are bytes, text that is not UTF-8, what may not be in a header, any
answer of the host's but OK and, where a header is read, NOT_FOUND. So messages and exceptions are the method's alone.
"""

import re

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.signatures import CoreSignature
from proxy_wasm.build.linker.layouts import (
    ASCII,
    ASSIGN,
    BYTES_START,
    CLASS,
    CONTAINS,
    DIGIT,
    LIST_ITEMS,
    MAPPING,
    NEW_ASCII,
    SEQUENCE,
    SIZE,
    SUBSCRIPT,
    TEXT_HASH,
    TEXT_LENGTH,
    TEXT_START,
    TEXT_STATE,
    TUPLE_MEMBERS,
)
from proxy_wasm.guest.built_in import HEADER_METHODS

API: dict[str, CoreSignature] = {
    "PyDescr_NewMethod": CoreSignature(("i32", "i32"), ("i32",)),
    "PyErr_Clear": CoreSignature((), ()),
    "PyErr_SetObject": CoreSignature(("i32", "i32"), ()),
    "PyList_New": CoreSignature(("i32",), ("i32",)),
    "PyMethod_New": CoreSignature(("i32", "i32"), ("i32",)),
    "PyUnicode_AsUTF8AndSize": CoreSignature(("i32", "i32"), ("i32",)),
    "PyUnicode_DecodeUTF8": CoreSignature(("i32", "i32", "i32"), ("i32",)),
    "Py_IncRef": CoreSignature(("i32",), ()),
}
"""What they call of CPython's C API."""


KEPT_NAMES = 256
"""How many names of headers are kept."""
_LONGEST_KEPT_NAME = 48
_LONGEST_COPIED = 65_536
"""Bytes that are copied here; what is longer takes its time in any case."""

FUNCTIONS = ("header_method", "serve_headers")
"""Built-in functions for the guest."""
SLOT_FUNCTIONS = ("headers_subscript", "headers_assign", "headers_contain")
"""What stands in a class's table slots; the table has them in this order."""


def functions_text(
    surrogateescape: int, path_name: int, kept: int, methods: int, definitions: int, first_slot: int
) -> str:
    """The functions `$headers_NAME` and those in `FUNCTIONS`.

    `surrogateescape` is the address of the name of that error handler, `path_name` that of `:path`, `kept` that of room for `KEPT_NAMES` pointers, `methods` that of room for one for
    each of `HEADER_METHODS`, `definitions` that of their definitions, and `first_slot` where the table has `SLOT_FUNCTIONS`.
    """
    constants = {
        "SURROGATEESCAPE": surrogateescape,
        "KEPT": kept,
        "NAMES": KEPT_NAMES,
        "NAME_SIZE": _LONGEST_KEPT_NAME,
        "METHODS": methods,
        "PATH_NAME": path_name,
        "DEFINITIONS": definitions,
        **{name.upper(): first_slot + index for index, name in enumerate(SLOT_FUNCTIONS)},
    }
    text = "\n".join(
        [
            _SUPPORT,
            _reading("get", _FOUND, _DEFAULT),
            _reading("__getitem__", _FOUND, _MISSING),
            _reading("path", _FOUND_PATH, _NO_PATH),
            _reading("__contains__", "(local.set $result (global.get $true))", _ABSENT),
            _GETALL,
            _MULTI_ITEMS,
            _writing("__setitem__", "replace"),
            _writing("add", "add"),
            _DISCARD,
            _SLOTS,
        ]
    )
    return re.sub(r"\b[A-Z_]{4,}\b", lambda found: str(constants.get(found[0], found[0])), text)


_FOUND = """(local.set $result
        (call $value (local.get $key) (i32.load (local.get $frame)) (local.get $start) (local.get $size)))"""
_DEFAULT = """
      (local.set $result (global.get $none))
      (if (i32.eq (local.get $count) (i32.const 2)) (then (local.set $result (i32.load offset=4 (local.get $arguments)))))
      (call $Py_IncRef (local.get $result))
      (br $done)"""
_MISSING = """
      (call $PyErr_SetObject (global.get $key_error) (i32.load (local.get $arguments)))
      (br $done)"""
_FOUND_PATH = """(local.set $result
        (call $text (local.get $start) (call $before_query (local.get $start) (local.get $size))))"""
_NO_PATH = "(local.set $result (call $text (i32.const 0) (i32.const 0))) (br $done)"
_ABSENT = "(local.set $result (global.get $false)) (br $done)"

FORGET_MAP = "(global.set $held_type (i32.const -1))"
"""What has to be done where a map of headers may change, or another context's becomes the current one."""

_SUPPORT = f"""
;; the map that was read last in the callback at hand, as long as nothing can have changed it: its type, where its sizes begin, end, and where it ends,
;; and how many pairs it has
(global $held_type (mut i32) (i32.const -1))
(global $held_sizes (mut i32) (i32.const 0))
(global $held_pairs (mut i32) (i32.const 0))
(global $held_end (mut i32) (i32.const 0))
(global $held_count (mut i32) (i32.const 0))

(global $str (mut i32) (i32.const 0))
(global $key_error (mut i32) (i32.const 0))
(global $offset_map_type (mut i32) (i32.const 0))
(global $delete (mut i32) (i32.const 0))

(func $header_method (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (index, class, method)
  (local $index i32)
  (local.set $index (call $PyLong_AsUnsignedLong (i32.load (local.get $arguments))))
  (call $Py_IncRef (i32.load offset=8 (local.get $arguments)))
  (i32.store (i32.add (i32.const METHODS) (i32.shl (local.get $index) (i32.const 2))) (i32.load offset=8 (local.get $arguments)))
  (call $PyDescr_NewMethod (i32.load offset=4 (local.get $arguments))
    (i32.add (i32.const DEFINITIONS) (i32.shl (local.get $index) (i32.const 4)))))

(func $serve_headers (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (class, where its objects keep the map's type, str, KeyError, the method that deletes)
  (local $mapping i32)
  (global.set $offset_map_type (call $PyLong_AsUnsignedLong (i32.load offset=4 (local.get $arguments))))
  (global.set $str (i32.load offset=8 (local.get $arguments)))
  (global.set $key_error (i32.load offset=12 (local.get $arguments)))
  (local.set $mapping (i32.load offset={MAPPING} (i32.load (local.get $arguments))))
  (global.set $delete (i32.load offset=16 (local.get $arguments)))
  (call $Py_IncRef (global.get $delete))
  (i32.store offset={SUBSCRIPT} (local.get $mapping) (i32.const HEADERS_SUBSCRIPT))
  (i32.store offset={ASSIGN} (local.get $mapping) (i32.const HEADERS_ASSIGN))
  (i32.store offset={CONTAINS} (i32.load offset={SEQUENCE} (i32.load (local.get $arguments))) (i32.const HEADERS_CONTAIN))
  (global.get $none))

(func $text (param $start i32) (param $size i32) (result i32)
  ;; a string: one of ASCII is copied, eight bytes at a time, the last of which may be among those before
  (local $text i32) (local $at i32) (local $last i32) (local $octets i64)
  (block $unusual
    (br_if $unusual (i32.gt_u (i32.sub (local.get $size) (i32.const 2)) (i32.const {_LONGEST_COPIED})))
    (br_if $unusual (i32.eqz (local.tee $text (call $allocate (i32.add (local.get $size) (i32.const {TEXT_START + 1}))))))
    (block $other
      (if (i32.lt_u (local.get $size) (i32.const 8))
        (then
          (loop $next
            (local.set $last (i32.load8_u (i32.add (local.get $start) (local.get $at))))
            (br_if $other (i32.ge_u (local.get $last) (i32.const 0x80)))
            (i32.store8 offset={TEXT_START} (i32.add (local.get $text) (local.get $at)) (local.get $last))
            (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (local.get $size)))))
        (else
          (local.set $last (i32.sub (local.get $size) (i32.const 8)))
          (loop $next
            (local.set $octets (i64.load align=1 (i32.add (local.get $start) (local.get $at))))
            (br_if $other (i64.ne (i64.and (local.get $octets) (i64.const 0x8080808080808080)) (i64.const 0)))
            (i64.store offset={TEXT_START} align=1 (i32.add (local.get $text) (local.get $at)) (local.get $octets))
            (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (local.get $last))))
          (local.set $octets (i64.load align=1 (i32.add (local.get $start) (local.get $last))))
          (br_if $other (i64.ne (i64.and (local.get $octets) (i64.const 0x8080808080808080)) (i64.const 0)))
          (i64.store offset={TEXT_START} align=1 (i32.add (local.get $text) (local.get $last)) (local.get $octets))))
      (i32.store8 offset={TEXT_START} (i32.add (local.get $text) (local.get $size)) (i32.const 0))
      (i32.store (local.get $text) (i32.const 1))
      (i32.store offset={CLASS} (local.get $text) (global.get $str))
      (i32.store offset={TEXT_LENGTH} (local.get $text) (local.get $size))
      (i32.store offset={TEXT_HASH} (local.get $text) (i32.const -1))
      (i32.store offset={TEXT_STATE} (local.get $text) (i32.const {NEW_ASCII}))
      (return (local.get $text)))
    (call $release_block (local.get $text)))
  (call $PyUnicode_DecodeUTF8 (local.get $start) (local.get $size) (i32.const SURROGATEESCAPE)))

(func $name_text (param $start i32) (param $size i32) (result i32)
  ;; A header's name. Most are the same from request to request: one of them is kept for each value of a hash.
  (local $frame i32) (local $at i32) (local $end i32) (local $hash i32) (local $result i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 16))))
  (local.set $at (local.get $start))
  (local.set $end (i32.add (local.get $start) (local.get $size)))
  (block $done
    (if (i32.gt_u (i32.sub (local.get $size) (i32.const 1)) (i32.const NAME_SIZE)) (then
      (local.set $result (call $text (local.get $start) (local.get $size)))
      (br $done)))
    (loop $next
      (local.set $hash (i32.add (i32.mul (local.get $hash) (i32.const 31)) (i32.load8_u (local.get $at))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (local.get $end))))
    (local.set $hash (i32.add (i32.const KEPT) (i32.shl (i32.rem_u (local.get $hash) (i32.const NAMES)) (i32.const 2))))
    (block $unknown
      (br_if $unknown (i32.eqz (local.tee $result (i32.load (local.get $hash)))))
      (local.set $at (call $utf8 (local.get $result) (local.get $frame)))
      (br_if $unknown (i32.ne (i32.load (local.get $frame)) (local.get $size)))
      (loop $next
        (br_if $unknown (i32.ne (i32.load8_u (local.get $start)) (i32.load8_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $next (i32.lt_u (local.tee $start (i32.add (local.get $start) (i32.const 1))) (local.get $end))))
      (call $Py_IncRef (local.get $result))
      (br $done))
    (local.set $result (call $text (i32.sub (local.get $end) (local.get $size)) (local.get $size)))
    ;; only ASCII is kept: its UTF-8 is there without a second copy
    (br_if $done (i32.eqz (local.get $result)))
    (br_if $done (i32.eqz (call $utf8 (local.get $result) (local.get $frame))))
    (br_if $done (i32.ne (i32.load offset={TEXT_LENGTH} (local.get $result)) (local.get $size)))
    (call $Py_IncRef (local.get $result))
    (local.set $at (i32.load (local.get $hash)))
    (i32.store (local.get $hash) (local.get $result))
    (call $Py_DecRef (local.get $at)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16)))
  (local.get $result))

(func $value (param $key i32) (param $key_size i32) (param $start i32) (param $size i32) (result i32)
  ;; A header's value. Those of :method, :scheme and :authority are as likely to come again as names are.
  (if (i32.gt_u (local.get $key_size) (i32.const 1)) (then
    (if (i32.and
          (i32.eq (i32.load8_u (local.get $key)) (i32.const {ord(":")}))
          (i32.ne (i32.load8_u offset=1 (local.get $key)) (i32.const {ord("p")})))
      (then (return (call $name_text (local.get $start) (local.get $size)))))))
  (call $text (local.get $start) (local.get $size)))

(func $before_query (param $start i32) (param $size i32) (result i32)
  ;; how many bytes of a path come before its query
  (local $at i32)
  (block $over
    (loop $next
      (br_if $over (i32.ge_u (local.get $at) (local.get $size)))
      (br_if $over (i32.eq (i32.load8_u (i32.add (local.get $start) (local.get $at))) (i32.const {ord("?")})))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
  (local.get $at))

(func $map_type (param $self i32) (result i32)
  (i32.load offset={DIGIT} (i32.load (i32.add (local.get $self) (global.get $offset_map_type)))))

(func $method (param $method i32) (param $self i32) (param $arguments i32) (param $count i32) (param $names i32) (result i32)
  ;; what the method makes of it; the last of the arguments have names, or 0
  (local $frame i32) (local $bound i32) (local $result i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 16))))
  (local.set $bound (call $PyMethod_New (local.get $method) (local.get $self)))
  (if (local.get $bound) (then
    (local.set $result (call $PyObject_Vectorcall (local.get $bound) (local.get $arguments) (local.get $count) (local.get $names)))
    (call $Py_DecRef (local.get $bound))))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16)))
  (local.get $result))

(func $utf8 (param $object i32) (param $size i32) (result i32)
  ;; the address of a string's UTF-8, its size written to the address $size; 0 where it has none
  (local $start i32)
  (if (i32.and
        (i32.eq (i32.load offset={CLASS} (local.get $object)) (global.get $str))
        (i32.eq (i32.and (i32.load offset={TEXT_STATE} (local.get $object)) (i32.const {ASCII})) (i32.const {ASCII})))
    (then
      (i32.store (local.get $size) (i32.load offset={TEXT_LENGTH} (local.get $object)))
      (return (i32.add (local.get $object) (i32.const {TEXT_START})))))
  (local.set $start (call $PyUnicode_AsUTF8AndSize (local.get $object) (local.get $size)))
  (if (i32.eqz (local.get $start)) (then (call $PyErr_Clear)))
  (local.get $start))

(func $octets (param $object i32) (param $size i32) (result i32)
  ;; the same of a string or of bytes
  (if (i32.eq (i32.load offset={CLASS} (local.get $object)) (i32.load offset={CLASS} (global.get $empty))) (then
    (i32.store (local.get $size) (i32.load offset={SIZE} (local.get $object)))
    (return (i32.add (local.get $object) (i32.const {BYTES_START})))))
  (call $utf8 (local.get $object) (local.get $size)))

(func $splits (param $start i32) (param $size i32) (result i32)
  ;; whether NUL, CR or LF is among the bytes
  (local $end i32) (local $octet i32)
  (local.set $end (i32.add (local.get $start) (local.get $size)))
  (block $found
    (loop $next
      (if (i32.ge_u (local.get $start) (local.get $end)) (then (return (i32.const 0))))
      (local.set $octet (i32.load8_u (local.get $start)))
      (local.set $start (i32.add (local.get $start) (i32.const 1)))
      (br_if $next (i32.gt_u (local.get $octet) (i32.const 13)))
      (br_if $found (i32.eq (local.get $octet) (i32.const 13)))
      (br_if $found (i32.eq (local.get $octet) (i32.const 10)))
      (br_if $found (i32.eqz (local.get $octet)))
      (br $next)))
  (i32.const 1))

(func $lower (param $octet i32) (result i32)
  (if (result i32) (i32.lt_u (i32.sub (local.get $octet) (i32.const 65)) (i32.const 26))
    (then (i32.add (local.get $octet) (i32.const 32)))
    (else (local.get $octet))))

(func $same_name (param $one i32) (param $other i32) (param $size i32) (result i32)
  ;; whether as many bytes are the same but for the case of ASCII letters
  (local $end i32)
  (local.set $end (i32.add (local.get $one) (local.get $size)))
  (loop $next
    (if (i32.ge_u (local.get $one) (local.get $end)) (then (return (i32.const 1))))
    (if (i32.ne (i32.load8_u (local.get $one)) (i32.load8_u (local.get $other))) (then
      (if (i32.ne (call $lower (i32.load8_u (local.get $one))) (call $lower (i32.load8_u (local.get $other))))
        (then (return (i32.const 0))))))
    (local.set $one (i32.add (local.get $one) (i32.const 1)))
    (local.set $other (i32.add (local.get $other) (i32.const 1)))
    (br $next))
  (unreachable))

(func $pairs (param $self i32) (param $frame i32) (result i32)
  ;; Fetches a serialized map: its address to +4, its size to +8, the end of its sizes to +12, its end to +16, the number of pairs to +20; whether
  ;; it is there and whole. The map is the caller's to release.
  (local $start i32) (local $count i32) (local $size i32) (local $status i32) (local $left i64) (local $sizes i32) (local $type i32)
  (local.set $type (call $map_type (local.get $self)))
  (if (i32.eq (local.get $type) (global.get $held_type)) (then
    (i32.store offset=4 (local.get $frame) (global.get $map_scratch))
    (i32.store offset=8 (local.get $frame) (i32.sub (global.get $held_end) (global.get $map_scratch)))
    (i32.store offset=12 (local.get $frame) (global.get $held_pairs))
    (i32.store offset=16 (local.get $frame) (global.get $held_end))
    (i32.store offset=20 (local.get $frame) (global.get $held_count))
    (return (i32.const 1))))
  {FORGET_MAP}
  (i64.store offset=4 align=4 (local.get $frame) (i64.const 0))
  (global.set $expecting (i32.const 3))
  (local.set $status (call $proxy_get_header_map_pairs (local.get $type)
    (i32.add (local.get $frame) (i32.const 4)) (i32.add (local.get $frame) (i32.const 8))))
  (global.set $expecting (i32.const 0))
  (if (local.get $status) (then (return (i32.const 0))))
  (local.set $start (i32.load offset=4 (local.get $frame)))
  (local.set $size (i32.load offset=8 (local.get $frame)))
  (if (i32.lt_u (local.get $size) (i32.const 4)) (then (return (i32.const 0))))
  (local.set $count (i32.load align=1 (local.get $start)))
  (if (i32.gt_u (local.get $count) (i32.shr_u (i32.sub (local.get $size) (i32.const 4)) (i32.const 3)))
    (then (return (i32.const 0))))
  (local.set $left (i64.extend_i32_u (i32.sub (i32.sub (local.get $size) (i32.const 4)) (i32.shl (local.get $count) (i32.const 3)))))
  (i32.store offset=20 (local.get $frame) (local.get $count))
  (local.set $sizes (i32.add (local.get $start) (i32.const 4)))
  (i32.store offset=12 (local.get $frame) (i32.add (local.get $sizes) (i32.shl (local.get $count) (i32.const 3))))
  (i32.store offset=16 (local.get $frame) (i32.add (local.get $start) (local.get $size)))
  ;; each key and value ends with a NUL
  (block $summed
    (loop $next
      (br_if $summed (i32.ge_u (local.get $sizes) (i32.load offset=12 (local.get $frame))))
      (local.set $left (i64.sub (local.get $left) (i64.add (i64.const 1) (i64.extend_i32_u (i32.load align=1 (local.get $sizes))))))
      (local.set $sizes (i32.add (local.get $sizes) (i32.const 4)))
      (br $next)))
  (if (i64.ne (local.get $left) (i64.const 0)) (then (return (i32.const 0))))
  (if (i32.eq (local.get $start) (global.get $map_scratch)) (then
    (global.set $held_type (local.get $type))
    (global.set $held_sizes (i32.add (local.get $start) (i32.const 4)))
    (global.set $held_pairs (i32.load offset=12 (local.get $frame)))
    (global.set $held_end (i32.load offset=16 (local.get $frame)))
    (global.set $held_count (local.get $count))))
  (i32.const 1))

(func $held (param $key i32) (param $size i32) (result i32)
  ;; where the sizes of the first pair of that name are in the map that is held, or 0; the pair's value is at $held_value
  (local $sizes i32) (local $at i32)
  (local.set $sizes (global.get $held_sizes))
  (local.set $at (global.get $held_pairs))
  (loop $next
    (if (i32.eq (local.get $sizes) (global.get $held_pairs)) (then (return (i32.const 0))))
    (if (i32.eq (i32.load align=1 (local.get $sizes)) (local.get $size)) (then
      (if (call $same_name (local.get $at) (local.get $key) (local.get $size)) (then
        (global.set $held_value (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 1)))
        (return (local.get $sizes))))))
    (local.set $at (i32.add (local.get $at)
      (i32.add (i32.const 2) (i32.add (i32.load align=1 (local.get $sizes)) (i32.load offset=4 align=1 (local.get $sizes))))))
    (local.set $sizes (i32.add (local.get $sizes) (i32.const 8)))
    (br $next))
  (unreachable))
(global $held_value (mut i32) (i32.const 0))

(func $pair (param $name i32) (param $name_size i32) (param $value i32) (param $value_size i32) (result i32)
  ;; a tuple of two strings, or 0
  (local $frame i32) (local $tuple i32) (local $member i32)
  (local.set $tuple (call $PyTuple_New (i32.const 2)))
  (if (i32.eqz (local.get $tuple)) (then (return (i32.const 0))))
  (block $short
    (br_if $short (i32.eqz (local.tee $member (call $name_text (local.get $name) (local.get $name_size)))))
    (i32.store offset={TUPLE_MEMBERS} (local.get $tuple) (local.get $member))
    (br_if $short (i32.eqz (local.tee $member (call $text (local.get $value) (local.get $value_size)))))
    (i32.store offset={TUPLE_MEMBERS + 4} (local.get $tuple) (local.get $member))
    (return (local.get $tuple)))
  (call $Py_DecRef (local.get $tuple))
  (i32.const 0))
"""

_ENTER = """
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 32))))"""
_LEAVE = """
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 32)))
  (local.get $result))"""
_PARAMETERS = "(param $self i32) (param $arguments i32) (param $count i32) (result i32)"


def _unusual(name: str) -> str:
    """Leave it to the method in Python."""
    method = f"(i32.load offset={4 * HEADER_METHODS.index(name)} (i32.const METHODS))"
    return f"(local.set $result (call $method {method} (local.get $self) (local.get $arguments) (local.get $count) (i32.const 0)))"


def _reading(name: str, found: str, missing: str) -> str:
    """A function of one key, `:path` in that of `path`; `missing` is what happens where there is no such header."""
    if name == "path":
        arguments = f"""
      (br_if $unusual (local.get $count))
      (local.set $key (i32.const PATH_NAME))
      (i32.store (local.get $frame) (i32.const {len(":path")}))"""
    else:
        arguments = f"""
      (br_if $unusual (i32.gt_u (i32.sub (local.get $count) (i32.const 1)) (i32.const {int(name == "get")})))
      (br_if $unusual (i32.eqz (local.tee $key (call $utf8 (i32.load (local.get $arguments)) (local.get $frame)))))"""
    absent = f"(if (i32.eq (local.get $status) (i32.const {Status.NOT_FOUND})) (then {missing}))"
    return f"""
(func $headers_{name} {_PARAMETERS}
  (local $frame i32) (local $result i32) (local $status i32) (local $key i32) (local $start i32) (local $size i32){_ENTER}
  (block $done
    (block $unusual{arguments}
      (if (i32.eq (global.get $held_type) (call $map_type (local.get $self))) (then
        (if (local.tee $size (call $held (local.get $key) (i32.load (local.get $frame)))) (then
          (local.set $start (global.get $held_value))
          (local.set $size (i32.load offset=4 align=1 (local.get $size)))
          {found}
          (br $done)))))
      (i64.store offset=8 (local.get $frame) (i64.const 0))
      (global.set $expecting (i32.const 2))
      (local.set $status (call $proxy_get_header_map_value (call $map_type (local.get $self))
        (local.get $key) (i32.load (local.get $frame))
        (i32.add (local.get $frame) (i32.const 8)) (i32.add (local.get $frame) (i32.const 12))))
      (global.set $expecting (i32.const 0))
      (local.set $start (i32.load offset=8 (local.get $frame)))
      (local.set $size (i32.load offset=12 (local.get $frame)))
      {absent}
      (if (local.get $status) (then (call $release (local.get $start)) (br $unusual)))
      {found}
      (call $release (local.get $start))
      (br $done))
    {_unusual(name)}){_LEAVE}"""


def _writing(name: str, hostcall: str) -> str:
    """A function of name and value."""
    return f"""
(func $headers_{name} {_PARAMETERS}
  (local $frame i32) (local $result i32) (local $key i32) (local $value i32){_ENTER}
  (block $done
    (block $unusual
      (br_if $unusual (i32.ne (local.get $count) (i32.const 2)))
      (br_if $unusual (i32.eqz (local.tee $key (call $utf8 (i32.load (local.get $arguments)) (local.get $frame)))))
      (br_if $unusual (i32.eqz (local.tee $value
        (call $octets (i32.load offset=4 (local.get $arguments)) (i32.add (local.get $frame) (i32.const 4))))))
      (br_if $unusual (i32.eqz (i32.load (local.get $frame))))
      (br_if $unusual (call $splits (local.get $key) (i32.load (local.get $frame))))
      (br_if $unusual (call $splits (local.get $value) (i32.load offset=4 (local.get $frame))))
      {FORGET_MAP}
      (br_if $unusual (call $proxy_{hostcall}_header_map_value (call $map_type (local.get $self))
        (local.get $key) (i32.load (local.get $frame)) (local.get $value) (i32.load offset=4 (local.get $frame))))
      (local.set $result (global.get $none))
      (br $done))
    {_unusual(name)}){_LEAVE}"""


_DISCARD = f"""
(func $headers_discard {_PARAMETERS}
  (local $frame i32) (local $result i32) (local $key i32){_ENTER}
  (block $done
    (block $unusual
      (br_if $unusual (i32.ne (local.get $count) (i32.const 1)))
      (br_if $unusual (i32.eqz (local.tee $key (call $utf8 (i32.load (local.get $arguments)) (local.get $frame)))))
      (br_if $unusual (i32.eqz (i32.load (local.get $frame))))
      (br_if $unusual (call $splits (local.get $key) (i32.load (local.get $frame))))
      {FORGET_MAP}
      (br_if $unusual (call $proxy_remove_header_map_value (call $map_type (local.get $self))
        (local.get $key) (i32.load (local.get $frame))))
      (local.set $result (global.get $none))
      (br $done))
    {_unusual("discard")}){_LEAVE}"""

_MULTI_ITEMS = f"""
(func $headers_multi_items {_PARAMETERS}
  (local $frame i32) (local $result i32) (local $at i32) (local $sizes i32) (local $index i32) (local $member i32){_ENTER}
  (block $done
    (block $unusual
      (br_if $unusual (local.get $count))
      (if (i32.eqz (call $pairs (local.get $self) (local.get $frame))) (then
        (call $release (i32.load offset=4 (local.get $frame)))
        (br $unusual)))
      (local.set $sizes (i32.add (i32.load offset=4 (local.get $frame)) (i32.const 4)))
      (local.set $at (i32.load offset=12 (local.get $frame)))
      (local.set $result (call $PyList_New (i32.load offset=20 (local.get $frame))))
      (block $over
        (br_if $over (i32.eqz (local.get $result)))
        (loop $next
          (br_if $over (i32.eq (local.get $index) (i32.load offset=20 (local.get $frame))))
          (local.set $member (call $pair
            (local.get $at) (i32.load align=1 (local.get $sizes))
            (i32.add (i32.add (local.get $at) (i32.load align=1 (local.get $sizes))) (i32.const 1))
            (i32.load offset=4 align=1 (local.get $sizes))))
          (if (i32.eqz (local.get $member)) (then
            (call $Py_DecRef (local.get $result)) (local.set $result (i32.const 0)) (br $over)))
          (i32.store (i32.add (i32.load offset={LIST_ITEMS} (local.get $result)) (i32.shl (local.get $index) (i32.const 2))) (local.get $member))
          (local.set $at (i32.add (local.get $at)
            (i32.add (i32.const 2) (i32.add (i32.load align=1 (local.get $sizes)) (i32.load offset=4 align=1 (local.get $sizes))))))
          (local.set $sizes (i32.add (local.get $sizes) (i32.const 8)))
          (local.set $index (i32.add (local.get $index) (i32.const 1)))
          (br $next)))
      (call $release (i32.load offset=4 (local.get $frame)))
      (br $done))
    {_unusual("multi_items")}){_LEAVE}"""

_GETALL = f"""
(func $headers_getall {_PARAMETERS}
  (local $frame i32) (local $result i32) (local $at i32) (local $sizes i32) (local $index i32) (local $member i32) (local $key i32){_ENTER}
  (block $done
    (block $unusual
      (br_if $unusual (i32.ne (local.get $count) (i32.const 1)))
      (br_if $unusual (i32.eqz (local.tee $key (call $utf8 (i32.load (local.get $arguments)) (local.get $frame)))))
      (br_if $unusual (i32.eqz (i32.load (local.get $frame))))
      (br_if $unusual (call $splits (local.get $key) (i32.load (local.get $frame))))
      (if (i32.eqz (call $pairs (local.get $self) (local.get $frame))) (then
        (call $release (i32.load offset=4 (local.get $frame)))
        (br $unusual)))
      ;; a list of the right size at once: first count, then fill
      (block $failed (loop $pass
        (local.set $sizes (i32.add (i32.load offset=4 (local.get $frame)) (i32.const 4)))
        (local.set $at (i32.load offset=12 (local.get $frame)))
        (local.set $index (i32.const 0))
        (block $over
          (loop $next
            (br_if $over (i32.eq (local.get $sizes) (i32.load offset=12 (local.get $frame))))
            (if (i32.eq (i32.load align=1 (local.get $sizes)) (i32.load (local.get $frame))) (then
              (if (call $same_name (local.get $at) (local.get $key) (i32.load (local.get $frame))) (then
                (if (local.get $result) (then
                  (local.set $member (call $text
                    (i32.add (i32.add (local.get $at) (i32.load (local.get $frame))) (i32.const 1))
                    (i32.load offset=4 align=1 (local.get $sizes))))
                  (if (i32.eqz (local.get $member)) (then
                    (call $Py_DecRef (local.get $result)) (local.set $result (i32.const 0)) (br $failed)))
                  (i32.store (i32.add (i32.load offset={LIST_ITEMS} (local.get $result)) (i32.shl (local.get $index) (i32.const 2))) (local.get $member))))
                (local.set $index (i32.add (local.get $index) (i32.const 1)))))))
            (local.set $at (i32.add (local.get $at)
              (i32.add (i32.const 2) (i32.add (i32.load align=1 (local.get $sizes)) (i32.load offset=4 align=1 (local.get $sizes))))))
            (local.set $sizes (i32.add (local.get $sizes) (i32.const 8)))
            (br $next)))
        (if (i32.eqz (local.get $result)) (then
          (local.set $result (call $PyList_New (local.get $index)))
          (br_if $pass (i32.ne (local.get $result) (i32.const 0)))))))
      (call $release (i32.load offset=4 (local.get $frame)))
      (br $done))
    {_unusual("getall")}){_LEAVE}"""

_SLOTS = f"""
(func $headers_subscript (param $self i32) (param $key i32) (result i32)
  (local $frame i32) (local $result i32){_ENTER}
  (i32.store offset=4 (local.get $frame) (local.get $key))
  (local.set $result (call $headers___getitem__ (local.get $self) (i32.add (local.get $frame) (i32.const 4)) (i32.const 1))){_LEAVE}

(func $headers_assign (param $self i32) (param $key i32) (param $value i32) (result i32)
  ;; -1 for an exception; without a value the key is to be deleted
  (local $frame i32) (local $result i32){_ENTER}
  (i32.store offset=4 (local.get $frame) (local.get $key))
  (if (local.get $value)
    (then
      (i32.store offset=8 (local.get $frame) (local.get $value))
      (local.set $result (call $headers___setitem__ (local.get $self) (i32.add (local.get $frame) (i32.const 4)) (i32.const 2))))
    (else
      (local.set $result (call $method (global.get $delete) (local.get $self) (i32.add (local.get $frame) (i32.const 4)) (i32.const 1) (i32.const 0)))))
  (call $Py_DecRef (local.get $result))
  (local.set $result (select (i32.const 0) (i32.const -1) (local.get $result))){_LEAVE}

(func $headers_contain (param $self i32) (param $key i32) (result i32)
  ;; -1 for an exception
  (local $frame i32) (local $result i32){_ENTER}
  (i32.store offset=4 (local.get $frame) (local.get $key))
  (local.set $result (call $headers___contains__ (local.get $self) (i32.add (local.get $frame) (i32.const 4)) (i32.const 1)))
  (call $Py_DecRef (local.get $result))
  (local.set $result (if (result i32) (local.get $result)
    (then (i32.eq (local.get $result) (global.get $true)))
    (else (i32.const -1)))){_LEAVE}
"""

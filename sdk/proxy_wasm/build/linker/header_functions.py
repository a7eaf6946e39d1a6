"""Built-in functions in place of the methods of `proxy_wasm.headers.Headers` that requests spend their time in.

A method written in Python takes its frame, an encoding, a hostcall and a decoding, each of them a dozen steps of the interpreter. Here text goes to the
host as it lies in the string, and what the host writes becomes a string at once.

Each function is made by `header_function(index, (map type, method, missing))` for one map, `method` being the one that it stands for, of a plain `Headers`, and `missing`
what raises `KeyError`. Whatever is
not as usual is left to that method, with the same arguments: keys that are bytes, text that is not UTF-8, what may not be in a header, any answer of the
host's but OK and, where a header is read, NOT_FOUND. So messages and exceptions are the method's alone.
"""

import re

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.signatures import CoreSignature

API: dict[str, CoreSignature] = {
    "PyCMethod_New": CoreSignature(("i32", "i32", "i32", "i32"), ("i32",)),
    "PyErr_Clear": CoreSignature((), ()),
    "PyList_Append": CoreSignature(("i32", "i32"), ("i32",)),
    "PyList_New": CoreSignature(("i32",), ("i32",)),
    "PyList_SetItem": CoreSignature(("i32", "i32", "i32"), ("i32",)),
    "PyTuple_GetItem": CoreSignature(("i32", "i32"), ("i32",)),
    "PyUnicode_AsUTF8AndSize": CoreSignature(("i32", "i32"), ("i32",)),
    "PyUnicode_DecodeUTF8": CoreSignature(("i32", "i32", "i32"), ("i32",)),
    "Py_IncRef": CoreSignature(("i32",), ()),
}
"""What they call of CPython's C API."""


KEPT_NAMES = 256
"""How many names of headers are kept."""
_LONGEST_KEPT_NAME = 48


def functions_text(surrogateescape: int, kept: int) -> str:
    """The functions `$headers_NAME`; `surrogateescape` is the address of the name of that error handler, `kept` that of room for `KEPT_NAMES` pointers."""
    constants = {"SURROGATEESCAPE": surrogateescape, "KEPT": kept, "NAMES": KEPT_NAMES, "NAME_SIZE": _LONGEST_KEPT_NAME}
    support = re.sub(r"\b[A-Z_]{4,}\b", lambda found: str(constants.get(found[0], found[0])), _SUPPORT)
    return "\n".join(
        [
            support,
            _reading("get", _FOUND, _DEFAULT),
            _reading("__getitem__", _FOUND, _MISSING),
            _reading(
                "__contains__", "(call $release (local.get $start)) (local.set $result (global.get $true))", _ABSENT
            ),
            _GETALL,
            _MULTI_ITEMS,
            _writing("__setitem__", "replace"),
            _writing("add", "add"),
            _DISCARD,
        ]
    )


_FOUND = "(local.set $result (call $text (local.get $start) (local.get $size))) (call $release (local.get $start))"
_DEFAULT = """
      (local.set $result (global.get $none))
      (if (i32.eq (local.get $count) (i32.const 2)) (then (local.set $result (i32.load offset=4 (local.get $arguments)))))
      (call $Py_IncRef (local.get $result))
      (br $done)"""
_MISSING = """
      (local.set $result (call $PyObject_Vectorcall (call $PyTuple_GetItem (local.get $self) (i32.const 2))
        (local.get $arguments) (i32.const 1) (i32.const 0)))
      (br $done)"""
_ABSENT = "(local.set $result (global.get $false)) (br $done)"

_SUPPORT = """
(func $text (param $start i32) (param $size i32) (result i32)
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
      (local.set $at (call $PyUnicode_AsUTF8AndSize (local.get $result) (local.get $frame)))
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
    (br_if $done (i32.ne (i32.load offset=8 (local.get $result)) (local.get $size)))
    (call $Py_IncRef (local.get $result))
    (local.set $at (i32.load (local.get $hash)))
    (i32.store (local.get $hash) (local.get $result))
    (call $Py_DecRef (local.get $at)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16)))
  (local.get $result))

(func $map_type (param $self i32) (result i32)
  (call $PyLong_AsUnsignedLong (call $PyTuple_GetItem (local.get $self) (i32.const 0))))

(func $method (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; what the method makes of it
  (call $PyObject_Vectorcall (call $PyTuple_GetItem (local.get $self) (i32.const 1))
    (local.get $arguments) (local.get $count) (i32.const 0)))

(func $utf8 (param $object i32) (param $size i32) (result i32)
  ;; the address of a string's UTF-8, its size written to the address $size; 0 where it has none
  (local $start i32)
  (local.set $start (call $PyUnicode_AsUTF8AndSize (local.get $object) (local.get $size)))
  (if (i32.eqz (local.get $start)) (then (call $PyErr_Clear)))
  (local.get $start))

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
    (if (i32.ne (call $lower (i32.load8_u (local.get $one))) (call $lower (i32.load8_u (local.get $other))))
      (then (return (i32.const 0))))
    (local.set $one (i32.add (local.get $one) (i32.const 1)))
    (local.set $other (i32.add (local.get $other) (i32.const 1)))
    (br $next))
  (unreachable))

(func $pairs (param $self i32) (param $frame i32) (result i32)
  ;; Fetches a serialized map: its address to +4, its size to +8, the end of its sizes to +12, its end to +16, the number of pairs to +20; whether
  ;; it is there and whole. The map is the caller's to release.
  (local $start i32) (local $count i32) (local $size i32) (local $status i32) (local $left i64) (local $sizes i32)
  (i64.store offset=4 align=4 (local.get $frame) (i64.const 0))
  (global.set $expecting (i32.const 2))
  (local.set $status (call $proxy_get_header_map_pairs (call $map_type (local.get $self))
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
  (i64.eqz (local.get $left)))

(func $pair (param $name i32) (param $name_size i32) (param $value i32) (param $value_size i32) (result i32)
  ;; a tuple of two strings, or 0
  (local $frame i32) (local $tuple i32) (local $member i32)
  (local.set $tuple (call $PyTuple_New (i32.const 2)))
  (if (i32.eqz (local.get $tuple)) (then (return (i32.const 0))))
  (block $short
    (br_if $short (i32.eqz (local.tee $member (call $name_text (local.get $name) (local.get $name_size)))))
    (drop (call $PyTuple_SetItem (local.get $tuple) (i32.const 0) (local.get $member)))
    (br_if $short (i32.eqz (local.tee $member (call $text (local.get $value) (local.get $value_size)))))
    (drop (call $PyTuple_SetItem (local.get $tuple) (i32.const 1) (local.get $member)))
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


def _reading(name: str, found: str, missing: str) -> str:
    """A function of one key; `missing` is what happens where there is no such header."""
    most = 2 if name == "get" else 1
    absent = f"(if (i32.eq (local.get $status) (i32.const {Status.NOT_FOUND})) (then {missing}))"
    return f"""
(func $headers_{name} {_PARAMETERS}
  (local $frame i32) (local $result i32) (local $status i32) (local $key i32) (local $start i32) (local $size i32){_ENTER}
  (block $done
    (block $unusual
      (br_if $unusual (i32.gt_u (i32.sub (local.get $count) (i32.const 1)) (i32.const {most - 1})))
      (br_if $unusual (i32.eqz (local.tee $key (call $utf8 (i32.load (local.get $arguments)) (local.get $frame)))))
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
      (br $done))
    (local.set $result (call $method (local.get $self) (local.get $arguments) (local.get $count)))){_LEAVE}"""


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
        (call $utf8 (i32.load offset=4 (local.get $arguments)) (i32.add (local.get $frame) (i32.const 4))))))
      (br_if $unusual (i32.eqz (i32.load (local.get $frame))))
      (br_if $unusual (call $splits (local.get $key) (i32.load (local.get $frame))))
      (br_if $unusual (call $splits (local.get $value) (i32.load offset=4 (local.get $frame))))
      (br_if $unusual (call $proxy_{hostcall}_header_map_value (call $map_type (local.get $self))
        (local.get $key) (i32.load (local.get $frame)) (local.get $value) (i32.load offset=4 (local.get $frame))))
      (local.set $result (global.get $none))
      (br $done))
    (local.set $result (call $method (local.get $self) (local.get $arguments) (local.get $count)))){_LEAVE}"""


_DISCARD = f"""
(func $headers_discard {_PARAMETERS}
  (local $frame i32) (local $result i32) (local $key i32){_ENTER}
  (block $done
    (block $unusual
      (br_if $unusual (i32.ne (local.get $count) (i32.const 1)))
      (br_if $unusual (i32.eqz (local.tee $key (call $utf8 (i32.load (local.get $arguments)) (local.get $frame)))))
      (br_if $unusual (i32.eqz (i32.load (local.get $frame))))
      (br_if $unusual (call $splits (local.get $key) (i32.load (local.get $frame))))
      (br_if $unusual (call $proxy_remove_header_map_value (call $map_type (local.get $self))
        (local.get $key) (i32.load (local.get $frame))))
      (local.set $result (global.get $none))
      (br $done))
    (local.set $result (call $method (local.get $self) (local.get $arguments) (local.get $count)))){_LEAVE}"""

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
          (drop (call $PyList_SetItem (local.get $result) (local.get $index) (local.get $member)))
          (local.set $at (i32.add (local.get $at)
            (i32.add (i32.const 2) (i32.add (i32.load align=1 (local.get $sizes)) (i32.load offset=4 align=1 (local.get $sizes))))))
          (local.set $sizes (i32.add (local.get $sizes) (i32.const 8)))
          (local.set $index (i32.add (local.get $index) (i32.const 1)))
          (br $next)))
      (call $release (i32.load offset=4 (local.get $frame)))
      (br $done))
    (local.set $result (call $method (local.get $self) (local.get $arguments) (local.get $count)))){_LEAVE}"""

_GETALL = f"""
(func $headers_getall {_PARAMETERS}
  (local $frame i32) (local $result i32) (local $at i32) (local $sizes i32) (local $member i32) (local $key i32){_ENTER}
  (block $done
    (block $unusual
      (br_if $unusual (i32.ne (local.get $count) (i32.const 1)))
      (br_if $unusual (i32.eqz (local.tee $key (call $utf8 (i32.load (local.get $arguments)) (local.get $frame)))))
      (br_if $unusual (i32.eqz (i32.load (local.get $frame))))
      (br_if $unusual (call $splits (local.get $key) (i32.load (local.get $frame))))
      (if (i32.eqz (call $pairs (local.get $self) (local.get $frame))) (then
        (call $release (i32.load offset=4 (local.get $frame)))
        (br $unusual)))
      (local.set $sizes (i32.add (i32.load offset=4 (local.get $frame)) (i32.const 4)))
      (local.set $at (i32.load offset=12 (local.get $frame)))
      (local.set $result (call $PyList_New (i32.const 0)))
      (block $over
        (br_if $over (i32.eqz (local.get $result)))
        (loop $next
          (br_if $over (i32.eq (local.get $sizes) (i32.load offset=12 (local.get $frame))))
          (if (i32.eq (i32.load align=1 (local.get $sizes)) (i32.load (local.get $frame))) (then
            (if (call $same_name (local.get $at) (local.get $key) (i32.load (local.get $frame))) (then
              (local.set $member (call $text
                (i32.add (i32.add (local.get $at) (i32.load (local.get $frame))) (i32.const 1))
                (i32.load offset=4 align=1 (local.get $sizes))))
              (if (i32.eqz (local.get $member)) (then
                (call $Py_DecRef (local.get $result)) (local.set $result (i32.const 0)) (br $over)))
              (if (call $PyList_Append (local.get $result) (local.get $member)) (then
                (call $Py_DecRef (local.get $member))
                (call $Py_DecRef (local.get $result)) (local.set $result (i32.const 0)) (br $over)))
              (call $Py_DecRef (local.get $member))))))
          (local.set $at (i32.add (local.get $at)
            (i32.add (i32.const 2) (i32.add (i32.load align=1 (local.get $sizes)) (i32.load offset=4 align=1 (local.get $sizes))))))
          (local.set $sizes (i32.add (local.get $sizes) (i32.const 8)))
          (br $next)))
      (call $release (i32.load offset=4 (local.get $frame)))
      (br $done))
    (local.set $result (call $method (local.get $self) (local.get $arguments) (local.get $count)))){_LEAVE}"""

"""Built-in functions for HTTP callouts: what a request is sent as, and the status of an answer, without the interpreter.

`request_map(head, path, headers, names, str)` gives the headers of a request as the proxy takes them, and `None` for whatever is not as usual, which
is left to `proxy_wasm.callouts`, as are all errors: text that is not printable ASCII, a path that does not look like one, headers that are no plain
`dict`, names that are not among `names` (those that were checked before, as bytes). `head` is what `proxy_wasm.callouts.Head` says.

`status_of(headers)` gives the status that a serialized map begins with, and -1 where it begins with anything else, or is no such map.
"""

from proxy_wasm.abi.signatures import CoreSignature
from proxy_wasm.build.linker.layouts import BYTES_START, CLASS, SIZE
from proxy_wasm.headers import MAX_PAIRS, MAX_SERIALIZED_SIZE

API: dict[str, CoreSignature] = {
    "PyBytes_FromStringAndSize": CoreSignature(("i32", "i32"), ("i32",)),
    "PyDict_GetItemWithError": CoreSignature(("i32", "i32"), ("i32",)),
    "PyDict_Next": CoreSignature(("i32", "i32", "i32", "i32"), ("i32",)),
    "PyLong_FromLong": CoreSignature(("i32",), ("i32",)),
    "memcpy": CoreSignature(("i32", "i32", "i32"), ("i32",)),
}
"""What they call of CPython's C API, and of libc."""

FUNCTIONS = ("request_map", "status_of")
"""Built-in functions for the guest."""

_HEAD_SIZES = 28
"""Bytes of the sizes that a head begins with."""
_HEAD_PAIRS = 4

TEXT = f"""
(func $all_within (param $start i32) (param $size i32) (param $least i32) (result i32)
  ;; whether all bytes are ASCII, from $least on and before DEL
  (local $end i32)
  (local.set $end (i32.add (local.get $start) (local.get $size)))
  (block $not
    (loop $next
      (if (i32.ge_u (local.get $start) (local.get $end)) (then (return (i32.const 1))))
      (br_if $not (i32.ge_u (i32.sub (i32.load8_u (local.get $start)) (local.get $least)) (i32.sub (i32.const 127) (local.get $least))))
      (local.set $start (i32.add (local.get $start) (i32.const 1)))
      (br $next)))
  (i32.const 0))

(func $put (param $at i32) (param $start i32) (param $size i32) (result i32)
  ;; copy bytes and a NUL; where they end
  (drop (call $memcpy (local.get $at) (local.get $start) (local.get $size)))
  (i32.store8 (local.tee $at (i32.add (local.get $at) (local.get $size))) (i32.const 0))
  (i32.add (local.get $at) (i32.const 1)))

(func $request_map (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; frame: +0 position in the dictionary, +4 key, +8 value, +12 size of a text
  (local $frame i32) (local $result i32) (local $head i32) (local $head_size i32) (local $path i32) (local $path_size i32)
  (local $headers i32) (local $names i32) (local $pairs i32) (local $total i32) (local $name i32) (local $value i32) (local $sizes i32) (local $at i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 16))))
  (local.set $result (global.get $none))
  (block $done
    (br_if $done (i32.ne (local.get $count) (i32.const 5)))
    (local.set $head (i32.load (local.get $arguments)))
    (local.set $head_size (i32.sub (i32.load offset={SIZE} (local.get $head)) (i32.const {_HEAD_SIZES})))
    (local.set $headers (i32.load offset=8 (local.get $arguments)))
    (local.set $names (i32.load offset=12 (local.get $arguments)))
    (br_if $done (i32.eqz (local.tee $path
      (call $utf8 (i32.load offset=4 (local.get $arguments)) (i32.add (local.get $frame) (i32.const 12))))))
    (local.set $path_size (i32.load offset=12 (local.get $frame)))
    (br_if $done (i32.eqz (local.get $path_size)))
    (br_if $done (i32.and
      (i32.ne (i32.load8_u (local.get $path)) (i32.const {ord("/")}))
      (i32.ne (i32.load8_u (local.get $path)) (i32.const {ord("*")}))))
    (br_if $done (i32.eqz (call $all_within (local.get $path) (local.get $path_size) (i32.const 33))))
    (local.set $pairs (i32.const {_HEAD_PAIRS}))
    (local.set $total (i32.add (local.get $head_size) (i32.add (local.get $path_size) (i32.const 1))))
    (if (i32.eq (local.get $headers) (global.get $none)) (then (local.set $headers (i32.const 0))))
    (if (local.get $headers) (then
      (br_if $done (i32.ne (i32.load offset={CLASS} (local.get $headers)) (i32.load offset={CLASS} (local.get $names))))
      (local.set $pairs (i32.add (local.get $pairs) (i32.load offset={SIZE} (local.get $headers))))
      (i32.store (local.get $frame) (i32.const 0))
      (block $measured
        (loop $next
          (br_if $measured (i32.eqz (call $PyDict_Next (local.get $headers)
            (local.get $frame) (i32.add (local.get $frame) (i32.const 4)) (i32.add (local.get $frame) (i32.const 8)))))
          (br_if $done (i32.ne (i32.load offset={CLASS} (i32.load offset=4 (local.get $frame))) (i32.load offset=16 (local.get $arguments))))
          (br_if $done (i32.eqz (local.tee $name (call $PyDict_GetItemWithError (local.get $names) (i32.load offset=4 (local.get $frame))))))
          (br_if $done (i32.eqz (local.tee $value (call $utf8 (i32.load offset=8 (local.get $frame)) (i32.add (local.get $frame) (i32.const 12))))))
          (br_if $done (i32.eqz (call $all_within (local.get $value) (i32.load offset=12 (local.get $frame)) (i32.const 32))))
          (local.set $total (i32.add (i32.add (local.get $total) (i32.const 2))
            (i32.add (i32.load offset={SIZE} (local.get $name)) (i32.load offset=12 (local.get $frame)))))
          (br $next)))))
    (local.set $total (i32.add (local.get $total) (i32.add (i32.const 4) (i32.shl (local.get $pairs) (i32.const 3)))))
    (br_if $done (i32.gt_u (local.get $pairs) (i32.const {MAX_PAIRS})))
    (br_if $done (i32.gt_u (local.get $total) (i32.const {MAX_SERIALIZED_SIZE})))
    (br_if $done (i32.eqz (local.tee $result (call $PyBytes_FromStringAndSize (i32.const 0) (local.get $total)))))
    (local.set $sizes (i32.add (local.get $result) (i32.const {BYTES_START})))
    (i32.store (local.get $sizes) (local.get $pairs))
    (local.set $at (i32.add (local.get $sizes) (i32.add (i32.const 4) (i32.shl (local.get $pairs) (i32.const 3)))))
    (drop (call $memcpy (i32.add (local.get $sizes) (i32.const 4)) (i32.add (local.get $head) (i32.const {BYTES_START})) (i32.const {_HEAD_SIZES})))
    (i32.store offset={4 + _HEAD_SIZES} (local.get $sizes) (local.get $path_size))
    (local.set $sizes (i32.add (local.get $sizes) (i32.const {8 + _HEAD_SIZES})))
    (drop (call $memcpy (local.get $at) (i32.add (local.get $head) (i32.const {BYTES_START + _HEAD_SIZES})) (local.get $head_size)))
    (local.set $at (call $put (i32.add (local.get $at) (local.get $head_size)) (local.get $path) (local.get $path_size)))
    (br_if $done (i32.eqz (local.get $headers)))
    (i32.store (local.get $frame) (i32.const 0))
    (loop $next
      (br_if $done (i32.eqz (call $PyDict_Next (local.get $headers)
        (local.get $frame) (i32.add (local.get $frame) (i32.const 4)) (i32.add (local.get $frame) (i32.const 8)))))
      (local.set $name (call $PyDict_GetItemWithError (local.get $names) (i32.load offset=4 (local.get $frame))))
      (local.set $value (call $utf8 (i32.load offset=8 (local.get $frame)) (i32.add (local.get $frame) (i32.const 12))))
      (i32.store (local.get $sizes) (i32.load offset={SIZE} (local.get $name)))
      (i32.store offset=4 (local.get $sizes) (i32.load offset=12 (local.get $frame)))
      (local.set $sizes (i32.add (local.get $sizes) (i32.const 8)))
      (local.set $at (call $put (local.get $at) (i32.add (local.get $name) (i32.const {BYTES_START})) (i32.load offset={SIZE} (local.get $name))))
      (local.set $at (call $put (local.get $at) (local.get $value) (i32.load offset=12 (local.get $frame))))
      (br $next)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16)))
  (local.get $result))

(func $status_number (param $object i32) (result i32)
  (local $start i32) (local $size i32) (local $count i32) (local $at i32) (local $end i32) (local $left i64) (local $digit i32) (local $status i32)
  (local.set $start (i32.add (local.get $object) (i32.const {BYTES_START})))
  (local.set $size (i32.load offset={SIZE} (local.get $object)))
  (block $unusual
    (br_if $unusual (i32.lt_u (local.get $size) (i32.const 23))) ;; of a map with a status, and nothing else
    (br_if $unusual (i32.eqz (local.tee $count (i32.load (local.get $start)))))
    (br_if $unusual (i32.gt_u (local.get $count) (i32.shr_u (i32.sub (local.get $size) (i32.const 4)) (i32.const 3))))
    (br_if $unusual (i64.ne (i64.load offset=4 align=4 (local.get $start)) (i64.const 0x300000007)))
    (local.set $at (i32.add (local.get $start) (i32.const 4)))
    (local.set $end (i32.add (local.get $at) (i32.shl (local.get $count) (i32.const 3))))
    ;; each name and value ends with a NUL
    (local.set $left (i64.extend_i32_u (i32.sub (i32.add (local.get $start) (local.get $size)) (local.get $end))))
    (loop $next
      (local.set $left (i64.sub (local.get $left) (i64.add (i64.const 1) (i64.extend_i32_u (i32.load (local.get $at))))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (local.get $end))))
    (br_if $unusual (i64.ne (local.get $left) (i64.const 0)))
    (br_if $unusual (i64.ne (i64.load align=1 (local.get $end)) (i64.const {int.from_bytes(b":status" + bytes(1), "little"):#x})))
    (local.set $at (i32.add (local.get $end) (i32.const 8)))
    (local.set $end (i32.add (local.get $end) (i32.const 11)))
    (loop $next
      (br_if $unusual (i32.gt_u (local.tee $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const {ord("0")}))) (i32.const 9)))
      (local.set $status (i32.add (i32.mul (local.get $status) (i32.const 10)) (local.get $digit)))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (local.get $end))))
    (return (local.get $status)))
  (i32.const -1))

(func $status_of (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  (call $PyLong_FromLong (if (result i32) (i32.eq (local.get $count) (i32.const 1))
    (then (call $status_number (i32.load (local.get $arguments))))
    (else (i32.const -1)))))
"""
"""The functions."""

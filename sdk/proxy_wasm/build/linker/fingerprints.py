"""Built-in functions for `proxy_wasm.fingerprints`: SipHash-2-4 with 128 bits, as hexadecimal digits.

`fingerprint_function(key)` makes one for a key of 16 bytes, `headers_fingerprint_function(specification)` one for what `proxy_wasm.fingerprints` writes down of
headers. Arguments that they do not take, and maps that cannot be read, go to the functions in Python that do the same, which `serve_fingerprints` is given.
"""

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.signatures import CoreSignature
from proxy_wasm.build.linker.layouts import BYTES_START, CLASS, SIZE
from proxy_wasm.fingerprints import END_OF_VALUES, KEY_SIZE

API: dict[str, CoreSignature] = {
    "PyCMethod_New": CoreSignature(("i32", "i32", "i32", "i32"), ("i32",)),
    "PyUnicode_AsEncodedString": CoreSignature(("i32", "i32", "i32"), ("i32",)),
    "memcpy": CoreSignature(("i32", "i32", "i32"), ("i32",)),
}
"""What they call of CPython's C API and of libc, besides what `proxy_wasm.build.linker.header_functions` does."""

FUNCTIONS = ("serve_fingerprints", "fingerprint_function", "headers_fingerprint_function")
"""Built-in functions for the guest."""
METHODS = ("fingerprint", "headers_fingerprint")
"""What the last two make functions of."""
_DEFINITION = 16
"""Bytes of a definition."""

_FURTHER = 512
"""Bytes of values that are in no map, but that the host knows, with four for the size of each."""


_ROUND = """
    (local.set $v0 (i64.add (local.get $v0) (local.get $v1)))
    (local.set $v1 (i64.xor (i64.rotl (local.get $v1) (i64.const 13)) (local.get $v0)))
    (local.set $v0 (i64.rotl (local.get $v0) (i64.const 32)))
    (local.set $v2 (i64.add (local.get $v2) (local.get $v3)))
    (local.set $v3 (i64.xor (i64.rotl (local.get $v3) (i64.const 16)) (local.get $v2)))
    (local.set $v0 (i64.add (local.get $v0) (local.get $v3)))
    (local.set $v3 (i64.xor (i64.rotl (local.get $v3) (i64.const 21)) (local.get $v0)))
    (local.set $v2 (i64.add (local.get $v2) (local.get $v1)))
    (local.set $v1 (i64.xor (i64.rotl (local.get $v1) (i64.const 17)) (local.get $v2)))
    (local.set $v2 (i64.rotl (local.get $v2) (i64.const 32)))"""


def functions_text(definitions: int, utf8: int, surrogateescape: int, buffer_size: int) -> str:
    """The functions.

    `definitions` is the address of those of `METHODS`, `utf8` and `surrogateescape` are those of the names of the encoding and its error handler, and
    `buffer_size` is how many bytes there are at `$scratch`.
    """
    return f"""
(global $fingerprint_with (mut i32) (i32.const 0))
(global $headers_fingerprint_with (mut i32) (i32.const 0))
(global $headers_class (mut i32) (i32.const 0))

(func $serve_fingerprints (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (fingerprint_with, headers_fingerprint_with, the class of headers)
  (global.set $fingerprint_with (i32.load (local.get $arguments)))
  (global.set $headers_fingerprint_with (i32.load offset=4 (local.get $arguments)))
  (global.set $headers_class (i32.load offset=8 (local.get $arguments)))
  (call $Py_IncRef (global.get $fingerprint_with))
  (call $Py_IncRef (global.get $headers_fingerprint_with))
  (call $Py_IncRef (global.get $headers_class))
  (global.get $none))

(func $fingerprint_function (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  (call $PyCMethod_New (i32.const {definitions}) (i32.load (local.get $arguments)) (i32.const 0) (i32.const 0)))

(func $headers_fingerprint_function (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  (call $PyCMethod_New (i32.const {definitions + _DEFINITION}) (i32.load (local.get $arguments)) (i32.const 0) (i32.const 0)))

(func $siphash (param $key i32) (param $start i32) (param $size i32) (result i32)
  ;; the digits as a string; frame: +8 the last block, +16 the digits
  (local $frame i32) (local $result i32) (local $left i32) (local $rounds i32)
  (local $v0 i64) (local $v1 i64) (local $v2 i64) (local $v3 i64) (local $block i64)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 48))))
  (local.set $v2 (i64.load align=1 (local.get $key)))
  (local.set $v3 (i64.load offset=8 align=1 (local.get $key)))
  (local.set $v0 (i64.xor (local.get $v2) (i64.const 0x736f6d6570736575)))
  (local.set $v1 (i64.xor (local.get $v3) (i64.const 0x646f72616e646f83)))
  (local.set $v2 (i64.xor (local.get $v2) (i64.const 0x6c7967656e657261)))
  (local.set $v3 (i64.xor (local.get $v3) (i64.const 0x7465646279746573)))
  (local.set $block (i64.shl (i64.extend_i32_u (local.get $size)) (i64.const 56)))
  ;; what does not fill a block stands in the last one, below the size
  (local.set $left (i32.and (local.get $size) (i32.const 7)))
  (block $copied
    (loop $next
      (br_if $copied (i32.eqz (local.get $left)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (local.set $block (i64.or (local.get $block) (i64.shl
        (i64.load8_u (i32.add (i32.add (local.get $start) (i32.and (local.get $size) (i32.const -8))) (local.get $left)))
        (i64.extend_i32_u (i32.shl (local.get $left) (i32.const 3))))))
      (br $next)))
  (i64.store offset=8 (local.get $frame) (local.get $block))
  (local.set $size (i32.and (local.get $size) (i32.const -8)))
  ;; all blocks, the last included; then four rounds for each half of the result
  (loop $blocks
    (local.set $block (i64.load align=1 (select (local.get $start) (i32.add (local.get $frame) (i32.const 8)) (local.get $size))))
    (local.set $v3 (i64.xor (local.get $v3) (local.get $block)))
    (local.set $rounds (i32.const 2))
    (loop $mix {_ROUND}
      (br_if $mix (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (local.set $v0 (i64.xor (local.get $v0) (local.get $block)))
    (if (local.get $size) (then
      (local.set $start (i32.add (local.get $start) (i32.const 8)))
      (local.set $size (i32.sub (local.get $size) (i32.const 8)))
      (br $blocks))))
  (local.set $v2 (i64.xor (local.get $v2) (i64.const 0xee)))
  (loop $halves
    (local.set $rounds (i32.const 4))
    (loop $mix {_ROUND}
      (br_if $mix (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (local.set $block (i64.xor (i64.xor (local.get $v0) (local.get $v1)) (i64.xor (local.get $v2) (local.get $v3))))
    (loop $digits
      ;; of each byte the higher four bits come first
      (local.set $rounds (i32.and (i32.wrap_i64 (i64.shr_u (local.get $block) (i64.extend_i32_u
        (i32.xor (i32.shl (local.get $size) (i32.const 2)) (i32.const 4))))) (i32.const 15)))
      (i32.store8 offset=16 (i32.add (local.get $frame) (local.get $size)) (i32.add (local.get $rounds)
        (select (i32.const {ord("0")}) (i32.const {ord("a") - 10}) (i32.lt_u (local.get $rounds) (i32.const 10)))))
      (local.set $size (i32.add (local.get $size) (i32.const 1)))
      (br_if $digits (i32.and (local.get $size) (i32.const 15))))
    (local.set $v1 (i64.xor (local.get $v1) (i64.const 0xdd)))
    (br_if $halves (i32.eq (local.get $size) (i32.const 16))))
  (local.set $result (call $text (i32.add (local.get $frame) (i32.const 16)) (i32.const 32)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 48)))
  (local.get $result))

(func $fingerprint (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  (local $frame i32) (local $result i32) (local $object i32) (local $start i32) (local $encoded i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 16))))
  (block $done
    (block $unusual
      (br_if $unusual (i32.ne (local.get $count) (i32.const 1)))
      (local.set $object (i32.load (local.get $arguments)))
      (if (i32.eq (i32.load offset={CLASS} (local.get $object)) (global.get $str)) (then
        (if (local.tee $start (call $utf8 (local.get $object) (local.get $frame))) (then
          (local.set $result (call $siphash (i32.add (local.get $self) (i32.const {BYTES_START}))
            (local.get $start) (i32.load (local.get $frame))))
          (br $done)))
        (local.set $object (local.tee $encoded (call $PyUnicode_AsEncodedString (local.get $object)
          (i32.const {utf8}) (i32.const {surrogateescape}))))
        (br_if $done (i32.eqz (local.get $encoded)))))
      ;; bytes, as the key is
      (br_if $unusual (i32.ne (i32.load offset={CLASS} (local.get $object)) (i32.load offset={CLASS} (local.get $self))))
      (local.set $result (call $siphash (i32.add (local.get $self) (i32.const {BYTES_START}))
        (i32.add (local.get $object) (i32.const {BYTES_START})) (i32.load offset={SIZE} (local.get $object))))
      (call $Py_DecRef (local.get $encoded))
      (br $done))
    (local.set $result (call $method (global.get $fingerprint_with)
      (local.get $self) (local.get $arguments) (local.get $count) (i32.const 0))))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 16)))
  (local.get $result))

(func $put_value (param $at i32) (param $start i32) (param $size i32) (param $is_path i32) (result i32)
  ;; a value, behind its size; where it ends
  (if (local.get $is_path) (then
    (local.set $size (call $before_query (local.get $start) (local.get $size)))))
  (i32.store align=1 (local.get $at) (local.get $size))
  (drop (call $memcpy (i32.add (local.get $at) (i32.const 4)) (local.get $start) (local.get $size)))
  (i32.add (i32.add (local.get $at) (i32.const 4)) (local.get $size)))

(func $headers_fingerprint (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; frame: +4 to +20 the map, as `$pairs` tells it, +24 and +28 a value that is not in the map
  (local $frame i32) (local $result i32) (local $buffer i32) (local $put i32) (local $limit i32) (local $is_path i32)
  (local $name i32) (local $name_size i32) (local $at i32) (local $sizes i32) (local $found i32) (local $status i32) (local $further i32)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 32))))
  (block $done
    (block $unusual
      (br_if $unusual (i32.ne (local.get $count) (i32.const 1)))
      (br_if $unusual (i32.ne (i32.load offset={CLASS} (i32.load (local.get $arguments))) (global.get $headers_class)))
      (i32.store offset=4 (local.get $frame) (i32.const 0))
      (if (i32.eqz (call $pairs (i32.load (local.get $arguments)) (local.get $frame))) (then
        (call $release (i32.load offset=4 (local.get $frame)))
        (br $unusual)))
      ;; no value is put twice, and each has eight bytes of sizes in the map: with the ends of all names it takes no more than this
      (local.set $limit (i32.add (i32.const {_FURTHER})
        (i32.add (i32.load offset=8 (local.get $frame)) (i32.shl (i32.load offset={SIZE} (local.get $self)) (i32.const 2)))))
      (local.set $further (i32.const {_FURTHER}))
      (local.set $buffer (global.get $scratch))
      (if (i32.gt_u (local.get $limit) (i32.const {buffer_size})) (then
        (if (i32.eqz (local.tee $buffer (call $malloc (local.get $limit)))) (then
          (call $release (i32.load offset=4 (local.get $frame)))
          (br $unusual)))))
      (local.set $put (local.get $buffer))
      (local.set $name (i32.add (local.get $self) (i32.const {BYTES_START + KEY_SIZE})))
      (block $failed
        (block $put_all
          (loop $names
            (br_if $put_all (i32.eqz (local.tee $name_size (i32.load8_u (local.get $name)))))
            (local.set $is_path (i32.load8_u offset=1 (local.get $name)))
            (local.set $name (i32.add (local.get $name) (i32.const 2)))
            (local.set $found (i32.const 0))
            (local.set $sizes (i32.add (i32.load offset=4 (local.get $frame)) (i32.const 4)))
            (local.set $at (i32.load offset=12 (local.get $frame)))
            (block $looked
              (loop $next
                (br_if $looked (i32.eq (local.get $sizes) (i32.load offset=12 (local.get $frame))))
                (if (i32.eq (i32.load align=1 (local.get $sizes)) (local.get $name_size)) (then
                  (if (call $same_name (local.get $at) (local.get $name) (local.get $name_size)) (then
                    (local.set $found (i32.const 1))
                    (local.set $put (call $put_value (local.get $put)
                      (i32.add (i32.add (local.get $at) (local.get $name_size)) (i32.const 1))
                      (i32.load offset=4 align=1 (local.get $sizes)) (local.get $is_path)))))))
                (local.set $at (i32.add (local.get $at)
                  (i32.add (i32.const 2) (i32.add (i32.load align=1 (local.get $sizes)) (i32.load offset=4 align=1 (local.get $sizes))))))
                (local.set $sizes (i32.add (local.get $sizes) (i32.const 8)))
                (br $next)))
            (if (i32.eqz (local.get $found)) (then
              ;; the host may know it by a further name
              (i64.store offset=24 (local.get $frame) (i64.const 0))
              (local.set $status (call $proxy_get_header_map_value (call $map_type (i32.load (local.get $arguments)))
                (local.get $name) (local.get $name_size)
                (i32.add (local.get $frame) (i32.const 24)) (i32.add (local.get $frame) (i32.const 28))))
              (if (i32.eqz (local.get $status))
                (then
                  (local.set $found (i32.add (i32.load offset=28 (local.get $frame)) (i32.const 4)))
                  (if (i32.le_u (local.get $found) (local.get $further)) (then
                    (local.set $put (call $put_value (local.get $put)
                      (i32.load offset=24 (local.get $frame)) (i32.load offset=28 (local.get $frame)) (local.get $is_path)))))
                  (call $free (i32.load offset=24 (local.get $frame)))
                  (br_if $failed (i32.gt_u (local.get $found) (local.get $further)))
                  (local.set $further (i32.sub (local.get $further) (local.get $found))))
                (else (br_if $failed (i32.ne (local.get $status) (i32.const {Status.NOT_FOUND})))))))
            (i32.store align=1 (local.get $put) (i32.const {END_OF_VALUES - (1 << 32)}))
            (local.set $put (i32.add (local.get $put) (i32.const 4)))
            (local.set $name (i32.add (local.get $name) (local.get $name_size)))
            (br $names)))
        (local.set $result (call $siphash (i32.add (local.get $self) (i32.const {BYTES_START}))
          (local.get $buffer) (i32.sub (local.get $put) (local.get $buffer))))
        (local.set $limit (i32.const 0)))
      (call $release (i32.load offset=4 (local.get $frame)))
      (call $release (local.get $buffer))
      (br_if $done (i32.eqz (local.get $limit))))
    (local.set $result (call $method (global.get $headers_fingerprint_with)
      (local.get $self) (local.get $arguments) (local.get $count) (i32.const 0))))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 32)))
  (local.get $result))
"""

"""A built-in function for `proxy_wasm.fingerprints`: SipHash-2-4 with 128 bits, as hexadecimal digits.

`fingerprint_function(key)` makes one for a key of 16 bytes. Arguments that are neither `bytes` nor text with UTF-8 go to `fingerprint_with`, in Python, which
`serve_fingerprints` is given.
"""

from proxy_wasm.abi.signatures import CoreSignature

API: dict[str, CoreSignature] = {
    "PyCMethod_New": CoreSignature(("i32", "i32", "i32", "i32"), ("i32",)),
}
"""What they call of CPython's C API, besides what `proxy_wasm.build.linker.header_functions` does."""

FUNCTIONS = ("serve_fingerprints", "fingerprint_function")
"""Built-in functions for the guest."""
METHODS = ("fingerprint",)
"""What `fingerprint_function` makes functions of."""

_BYTES = 16
"""Where the bytes of a `bytes` object begin."""

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


def functions_text(definition: int) -> str:
    """The functions; `definition` is the address of that of `METHODS`."""
    return f"""
(global $fingerprint_with (mut i32) (i32.const 0))

(func $serve_fingerprints (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  ;; (fingerprint_with,)
  (global.set $fingerprint_with (i32.load (local.get $arguments)))
  (call $Py_IncRef (global.get $fingerprint_with))
  (global.get $none))

(func $fingerprint_function (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  (call $PyCMethod_New (i32.const {definition}) (i32.load (local.get $arguments)) (i32.const 0) (i32.const 0)))

(func $fingerprint (param $self i32) (param $arguments i32) (param $count i32) (result i32)
  (local $frame i32) (local $result i32) (local $object i32) (local $start i32) (local $size i32) (local $rounds i32)
  (local $v0 i64) (local $v1 i64) (local $v2 i64) (local $v3 i64) (local $block i64)
  (global.set $stack_pointer (local.tee $frame (i32.sub (global.get $stack_pointer) (i32.const 48))))
  (block $done
    (block $unusual
      (br_if $unusual (i32.ne (local.get $count) (i32.const 1)))
      (local.set $object (i32.load (local.get $arguments)))
      (if (i32.eq (i32.load offset=4 (local.get $object)) (i32.load offset=4 (local.get $self)))
        (then ;; bytes, as the key is
          (local.set $start (i32.add (local.get $object) (i32.const {_BYTES})))
          (local.set $size (i32.load offset=8 (local.get $object))))
        (else
          (br_if $unusual (i32.eqz (local.tee $start (call $utf8 (local.get $object) (local.get $frame)))))
          (local.set $size (i32.load (local.get $frame)))))
      (local.set $v2 (i64.load offset={_BYTES} align=1 (local.get $self)))
      (local.set $v3 (i64.load offset={_BYTES + 8} align=1 (local.get $self)))
      (local.set $v0 (i64.xor (local.get $v2) (i64.const 0x736f6d6570736575)))
      (local.set $v1 (i64.xor (local.get $v3) (i64.const 0x646f72616e646f83)))
      (local.set $v2 (i64.xor (local.get $v2) (i64.const 0x6c7967656e657261)))
      (local.set $v3 (i64.xor (local.get $v3) (i64.const 0x7465646279746573)))
      (local.set $block (i64.shl (i64.extend_i32_u (local.get $size)) (i64.const 56)))
      ;; what does not fill a block stands in the last one, below the size
      (local.set $object (i32.and (local.get $size) (i32.const 7)))
      (block $copied
        (loop $next
          (br_if $copied (i32.eqz (local.get $object)))
          (local.set $object (i32.sub (local.get $object) (i32.const 1)))
          (local.set $block (i64.or (local.get $block) (i64.shl
            (i64.load8_u (i32.add (i32.add (local.get $start) (i32.and (local.get $size) (i32.const -8))) (local.get $object)))
            (i64.extend_i32_u (i32.shl (local.get $object) (i32.const 3))))))
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
      (br $done))
    (local.set $object (call $PyMethod_New (global.get $fingerprint_with) (local.get $self)))
    (br_if $done (i32.eqz (local.get $object)))
    (local.set $result (call $PyObject_Vectorcall (local.get $object) (local.get $arguments) (local.get $count) (i32.const 0)))
    (call $Py_DecRef (local.get $object)))
  (global.set $stack_pointer (i32.add (local.get $frame) (i32.const 48)))
  (local.get $result))
"""

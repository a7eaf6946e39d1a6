"""The table of a module's HTTP streams, by the host's numbers: every callback looks a stream up, and the interpreter need not take part in it.

An open hash table in the module's memory. Numbers of streams follow each other in a proxy, so a number itself, modulo the table's size, is its place; what finds its
place taken stands in the next that is free, and moves up when one before it goes. The table owns a reference to each object.

The dispatcher uses it like a dictionary, through the built-in functions in `FUNCTIONS`.
"""

from proxy_wasm.abi.signatures import CoreSignature

API: dict[str, CoreSignature] = {
    "Py_IncRef": CoreSignature(("i32",), ()),
    "free": CoreSignature(("i32",), ()),
    "malloc": CoreSignature(("i32",), ("i32",)),
}
"""What they call of CPython's C API and of libc."""

FUNCTIONS = ("stream_get", "stream_put", "stream_pop")
"""Built-in functions for the guest."""

FEWEST_PLACES = 128
"""Places for streams that the table begins with."""

TABLE = f"""
(global $places (mut i32) (i32.const 0)) ;; the table: a number and an object for each, 0 where there is none
(global $last_place (mut i32) (i32.const 0)) ;; its number of places less one; that is a power of two
(global $streams (mut i32) (i32.const 0)) ;; how many it holds

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
  (global.set $last_place (i32.or (i32.shl (global.get $last_place) (i32.const 1)) (i32.const {FEWEST_PLACES - 1})))
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
"""
"""`$place` finds a stream, `$insert` and `$remove` do what they say, `$grow` makes the first table and every larger one; they need `$malloc`, `$free` and `$fatal`."""

BUILT_IN = """
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
"""
"""What the guest calls."""

;; What componentize-py makes, in small: a main module that owns memory, table, stack pointer and all GOT globals, two libraries that
;; share them, a stub for WASI, and a shim and fixup between the libraries and the lowered imports.
(component
  (import "proxy-log" (func $log (param "level" u32) (param "message" (list u8)) (result u32)))
  (import "proxy-get-header-map-value"
    (func $value (param "map-type" u32) (param "key" (list u8)) (result (tuple u32 (list u8)))))

  (core module $main
    (type $unary (func (param i32) (result i32)))
    (memory (export "memory") 3 20)
    (table (export "__indirect_function_table") 12 funcref)
    (global (export "__stack_pointer") (mut i32) (i32.const 65536))
    (global $heap (export "heap") (mut i32) (i32.const 131072))
    (global (export "letters:memory_base") i32 (i32.const 1024))
    (global (export "letters:table_base") i32 (i32.const 2))
    (global (export "numbers:memory_base") (mut i32) (i32.const 2048))
    (global (export "numbers:table_base") i32 (i32.const 5))
    (global (export "GOT.mem.counter") (mut i32) (i32.const 2056))
    (global (export "GOT.func.triple") (mut i32) (i32.const 6))
    (func $unreached (result i32) i32.const 12345)
    ;; forwards to "triple" of $numbers, in slot 6
    (func (export "triple") (type $unary) local.get 0 i32.const 6 call_indirect (type $unary))
    (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $heap (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    (data (i32.const 1024) "x-name\00\00")
    (data (i32.const 2048) "\07\00\00\00"))

  (core module $clock
    (func (export "now") (param i32) unreachable))

  (core module $shim
    (type $log (func (param i32 i32 i32) (result i32)))
    (type $value (func (param i32 i32 i32 i32)))
    (table (export "$imports") 2 2 funcref)
    (func (export "0") (type $log) local.get 0 local.get 1 local.get 2 i32.const 0 call_indirect (type $log))
    (func (export "1") (type $value)
      local.get 0 local.get 1 local.get 2 local.get 3 i32.const 1 call_indirect (type $value)))

  (core module $fixup
    (import "" "0" (func $log (param i32 i32 i32) (result i32)))
    (import "" "1" (func $value (param i32 i32 i32 i32)))
    (import "" "$imports" (table 2 2 funcref))
    (elem (i32.const 0) func $log $value))

  ;; A library with a type section of its own order, a table of functions and a name.
  (core module $letters
    (type $nothing (func))
    (type $unary (func (param i32) (result i32)))
    (import "env" "memory" (memory 0))
    (import "env" "__indirect_function_table" (table 0 funcref))
    (import "env" "__memory_base" (global $memory_base i32))
    (import "env" "__table_base" (global $table_base i32))
    (import "env" "__stack_pointer" (global $stack_pointer (mut i32)))
    (import "GOT.func" "triple" (global $triple (mut i32)))
    (import "env" "triple" (func $call_triple (type $unary)))
    (import "$root" "proxy-log" (func $log (param i32 i32 i32) (result i32)))
    (import "$root" "proxy-get-header-map-value" (func $value (param i32 i32 i32 i32)))
    (import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))
    (func $double (type $unary) local.get 0 local.get 0 i32.add)
    (func $negate (type $unary) i32.const 0 local.get 0 i32.sub)
    (func $only_in_table (type $unary) local.get 0 i32.const 1000 i32.add)
    (func $lost (type $nothing) call $lost_too)
    (func $lost_too (type $nothing) call $lost)
    (elem (global.get $table_base) func $double)
    (elem (i32.add (global.get $table_base) (i32.mul (i32.const 1) (i32.const 1))) func $negate $only_in_table)

    ;; logs the header's value; returns its length
    (func $log_name (export "log_name") (param $map i32) (result i32) (local $frame i32) (local $size i32)
      global.get $stack_pointer
      i32.const 16
      i32.sub
      local.tee $frame
      global.set $stack_pointer
      (call $value (local.get $map) (i32.add (global.get $memory_base) (i32.const 0)) (i32.const 6) (local.get $frame))
      (local.set $size (i32.load offset=8 (local.get $frame)))
      (drop (call $log (i32.const 2) (i32.load offset=4 (local.get $frame)) (local.get $size)))
      local.get $frame
      i32.const 16
      i32.add
      global.set $stack_pointer
      local.get $size)

    (func (export "on_request_headers") (param i32 i32 i32) (result i32)
      (call $log_name (local.get 2))
      (call_indirect (type $unary) (local.get 1) (global.get $triple))
      i32.add
      (call $call_triple (i32.const 100))
      i32.add
      (call_indirect (type $unary) (local.get 0) (i32.add (global.get $table_base) (i32.const 1)))
      i32.add)

    (func (export "on_vm_start") (param i32 i32) (result i32) (local $frame i32)
      global.get $stack_pointer
      i32.const 32
      i32.sub
      local.tee $frame
      global.set $stack_pointer
      (call $now (local.get $frame))
      (i32.add (i32.load (local.get $frame)) (i32.load offset=8 (local.get $frame)))
      local.get $frame
      i32.const 32
      i32.add
      global.set $stack_pointer))

  (core module $numbers
    (type $unary (func (param i32) (result i32)))
    (type $pair (func (param i32) (result i32 i32)))
    (import "env" "memory" (memory 0))
    (import "env" "__indirect_function_table" (table 0 funcref))
    (import "env" "__memory_base" (global $memory_base (mut i32)))
    (import "env" "__table_base" (global $table_base i32))
    (import "env" "log_name" (func $log_name (param i32) (result i32)))
    (import "GOT.mem" "counter" (global $counter (mut i32)))
    (global $calls (mut i64) (i64.const 40))
    (global $ratio f32 (f32.const 0.5))
    (global $precise f64 (f64.const -0.25))
    (global $wide i64 (i64.const 0x123456789))
    (elem (i32.add (global.get $table_base) (i32.const 1)) func $triple $recurse)
    (func $triple (export "triple_itself") (type $unary) (i32.mul (local.get 0) (i32.const 3)))
    (func $both (type $pair) local.get 0 i32.const 1 i32.add local.get 0)

    ;; recursion through the table, without a shadow frame
    (func $recurse (type $unary)
      (if (result i32) (local.get 0)
        (then (i32.add (i32.const 1)
          (call_indirect (type $unary) (i32.sub (local.get 0) (i32.const 1)) (i32.add (global.get $table_base) (i32.const 2)))))
        (else (i32.const 0))))

    (func (export "on_done") (param i32) (result i32)
      (i32.store (global.get $counter) (i32.add (i32.load (global.get $counter)) (i32.const 1)))
      (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
      (i32.load (global.get $memory_base))
      local.get 0
      block (type $pair)
        call $both
      end
      i32.mul
      i32.add
      (i32.load (global.get $counter))
      i32.add
      (i32.wrap_i64 (i64.add (global.get $calls) (i64.shr_u (global.get $wide) (i64.const 32))))
      i32.add
      (i32.trunc_f64_s (f64.add (f64.promote_f32 (f32.mul (global.get $ratio) (f32.const 100))) (global.get $precise)))
      i32.add)

    (func (export "on_tick") (param i32)
      (i32.store offset=16 (global.get $memory_base) (call $recurse (local.get 0))))

    (func (export "on_log") (param i32)
      (drop (call $log_name (i32.load offset=16 (global.get $memory_base)))))

    ;; counts at 2072 how often it was called
    (func $count (i32.store offset=24 (global.get $memory_base) (i32.add (i32.load offset=24 (global.get $memory_base)) (i32.const 1))))
    (func (export "post_returned") (param i32) call $count)
    (func (export "post_nothing") call $count))

  (core instance $shim (instantiate $shim))
  (core instance $main (instantiate $main))
  (core instance $clock (instantiate $clock))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "__indirect_function_table" (core table $table))
  (alias core export $main "cabi_realloc" (core func $realloc))

  (core instance $letters_environment
    (export "memory" (memory $memory))
    (export "__indirect_function_table" (table $table))
    (export "__stack_pointer" (global $main "__stack_pointer"))
    (export "__memory_base" (global $main "letters:memory_base"))
    (export "__table_base" (global $main "letters:table_base"))
    (export "triple" (func $main "triple")))
  (core instance $functions
    (export "triple" (global $main "GOT.func.triple")))
  (core instance $root
    (export "proxy-log" (func $shim "0"))
    (export "proxy-get-header-map-value" (func $shim "1")))
  (core instance $letters (instantiate $letters
    (with "env" (instance $letters_environment))
    (with "GOT.func" (instance $functions))
    (with "$root" (instance $root))
    (with "wasi:clocks/wall-clock@0.2.0" (instance $clock))))

  (core instance $numbers_environment
    (export "memory" (memory $memory))
    (export "__indirect_function_table" (table $table))
    (export "__memory_base" (global $main "numbers:memory_base"))
    (export "__table_base" (global $main "numbers:table_base"))
    (export "log_name" (func $letters "log_name")))
  (core instance $memories
    (export "counter" (global $main "GOT.mem.counter")))
  (core instance $numbers (instantiate $numbers
    (with "env" (instance $numbers_environment))
    (with "GOT.mem" (instance $memories))))

  (core func $lowered_log (canon lower (func $log) (memory $memory)))
  (core func $lowered_value (canon lower (func $value) (memory $memory) (realloc $realloc)))
  (core instance $fixed
    (export "$imports" (table $shim "$imports"))
    (export "0" (func $lowered_log))
    (export "1" (func $lowered_value)))
  (core instance (instantiate $fixup (with "" (instance $fixed))))

  (func (export "proxy-on-request-headers")
    (param "context-id" u32) (param "num-headers" u32) (param "end-of-stream" u32) (result u32)
    (canon lift (core func $letters "on_request_headers") (memory $memory) (post-return (core func $numbers "post_returned"))))
  (func (export "proxy-on-vm-start") (param "context-id" u32) (param "configuration-size" u32) (result u32)
    (canon lift (core func $letters "on_vm_start")))
  (func (export "proxy-on-done") (param "context-id" u32) (result u32)
    (canon lift (core func $numbers "on_done") (post-return (core func $numbers "post_returned"))))
  (func (export "proxy-on-tick") (param "context-id" u32)
    (canon lift (core func $numbers "on_tick") (post-return (core func $numbers "post_nothing"))))
  (func (export "proxy-on-log") (param "context-id" u32)
    (canon lift (core func $numbers "on_log")))
)

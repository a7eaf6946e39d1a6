;; Shows a test the shared data of a vm_id, from a VM of its own with that vm_id.
;;
;; The body of a request is an operation, `g` (get) or `s` (set), the size of a key in four bytes (little-endian), the key and, to set it, a value.
;; The answer is 200 with the value, 404 where there is none, 204 where it was set.
(module
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer_bytes (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_shared_data" (func $get_shared_data (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set_shared_data (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $send_local_response (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 1024))

  (func (export "proxy_abi_version_0_2_1"))

  ;; Memory is given out from 1024 on, anew for each request.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $address i32) (local $missing i32)
    (local.set $address (global.get $free))
    (global.set $free (i32.add (local.get $address) (local.get $size)))
    (local.set $missing (i32.sub (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then (drop (memory.grow (i32.add (i32.div_u (local.get $missing) (i32.const 65536)) (i32.const 1))))))
    (local.get $address))

  (func $answer (param $status i32) (param $body i32) (param $size i32)
    (drop (call $send_local_response (local.get $status) (i32.const 0) (i32.const 0)
      (local.get $body) (local.get $size) (i32.const 0) (i32.const 0) (i32.const -1))))

  ;; Headers wait (`allow_on_headers_stop_iteration`), so that nothing reaches an upstream.
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))

  (func (export "proxy_on_request_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
    (local $body i32) (local $key i32) (local $key_size i32) (local $value i32)
    (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
    (global.set $free (i32.const 1024))
    (drop (call $get_buffer_bytes (i32.const 0) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
    (local.set $body (i32.load (i32.const 0)))
    (local.set $key (i32.add (local.get $body) (i32.const 5)))
    (local.set $key_size (i32.load (i32.add (local.get $body) (i32.const 1))))
    (local.set $value (i32.add (local.get $key) (local.get $key_size)))
    (if (i32.eq (i32.load8_u (local.get $body)) (i32.const 0x73))
      (then
        (drop (call $set_shared_data (local.get $key) (local.get $key_size) (local.get $value)
          (i32.sub (i32.add (local.get $body) (i32.load (i32.const 4))) (local.get $value)) (i32.const 0)))
        (call $answer (i32.const 204) (i32.const 0) (i32.const 0)))
      (else
        (if (call $get_shared_data (local.get $key) (local.get $key_size) (i32.const 8) (i32.const 12) (i32.const 16))
          (then (call $answer (i32.const 404) (i32.const 0) (i32.const 0)))
          (else (call $answer (i32.const 200) (i32.load (i32.const 8)) (i32.load (i32.const 12)))))))
    (i32.const 1)))

;; A Proxy-Wasm filter that calls clusters and answers with what they answered.
;;
;; on_configure     the configuration is a name, if there is one: every 20 ms "tick" is logged and the cluster of that name called, whatever comes of it
;; request headers  `x-call: CLUSTER` calls a cluster over HTTP, `x-grpc: CLUSTER` the method echo.Echo/Say in it with the message "hi"; the request waits.
;;                  A call that the proxy refuses is answered with 400 + the hostcall's status
;; HTTP answers     become the response: status and body; 599 where there was none
;; gRPC answers     become the response: 200 with the message, or 500 with the status' message
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $set_tick (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $use (param i32) (result i32)))
  (import "env" "proxy_get_status" (func $get_status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call"
    (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_call"
    (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 64)
  (data (i32.const 100) "x-call")
  (data (i32.const 110) "x-grpc")
  (data (i32.const 120) ":status")
  (data (i32.const 130) "echo.Echo")
  (data (i32.const 140) "Say")
  (data (i32.const 150) "hi")
  (data (i32.const 160) "tick")
  ;; :method GET, :path /called, :authority callee
  (data (i32.const 200) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\07\00\00\00\0a\00\00\00\06\00\00\00:method\00GET\00:path\00/called\00:authority\00callee\00")
  (global $free (mut i32) (i32.const 8192))
  (global $stream (mut i32) (i32.const 0))
  (global $ticked (mut i32) (i32.const 0))
  (global $ticked_size (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  ;; Memory is given out once and taken back all at once, when less than half of it is left.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $start i32)
    (if (i32.gt_u (global.get $free) (i32.const 2097152)) (then (global.set $free (i32.const 8192))))
    (local.set $start (global.get $free))
    (global.set $free (i32.add (local.get $start) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
    (local.get $start))
  ;; Whether the map has the name in memory; its value's place is then at 0 and its size at 4.
  (func $has (param $map i32) (param $name i32) (param $size i32) (result i32)
    (i32.eqz (call $get_header (local.get $map) (local.get $name) (local.get $size) (i32.const 0) (i32.const 4))))
  (func $answer (param $status i32) (param $body i32) (param $size i32)
    (drop
      (call $respond (local.get $status) (i32.const 0) (i32.const 0) (local.get $body) (local.get $size)
        (i32.const 0) (i32.const 0) (i32.const -1))))
  (func $call (param $name i32) (param $size i32) (result i32)
    (call $http_call (local.get $name) (local.get $size) (i32.const 200) (i32.const 72)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 500) (i32.const 16)))
  ;; A GrpcService that names a cluster: field 1, in it field 1 with the name.
  (func $call_grpc (param $name i32) (param $size i32) (result i32)
    (i32.store8 (i32.const 4096) (i32.const 10))
    (i32.store8 (i32.const 4097) (i32.add (local.get $size) (i32.const 2)))
    (i32.store8 (i32.const 4098) (i32.const 10))
    (i32.store8 (i32.const 4099) (local.get $size))
    (memory.copy (i32.const 4100) (local.get $name) (local.get $size))
    (call $grpc_call (i32.const 4096) (i32.add (local.get $size) (i32.const 4)) (i32.const 130) (i32.const 9)
      (i32.const 140) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 150) (i32.const 2) (i32.const 500) (i32.const 16)))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32)
    (if (local.get $size)
      (then
        (drop (call $get_buffer (i32.const 7) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
        (memory.copy (i32.const 5000) (i32.load (i32.const 0)) (local.get $size))
        (global.set $ticked_size (local.get $size))
        (drop (call $set_tick (i32.const 20)))))
    (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (drop (call $log (i32.const 2) (i32.const 160) (i32.const 4)))
    (drop (call $call (i32.const 5000) (global.get $ticked_size))))
  (func (export "proxy_on_request_headers") (param $context i32) (param $headers i32) (param $end i32) (result i32)
    (local $status i32)
    (if (call $has (i32.const 0) (i32.const 100) (i32.const 6))
      (then (local.set $status (call $call (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
      (else
        (if (call $has (i32.const 0) (i32.const 110) (i32.const 6))
          (then (local.set $status (call $call_grpc (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
          (else (return (i32.const 0))))))
    (if (local.get $status)
      (then (call $answer (i32.add (i32.const 400) (local.get $status)) (i32.const 0) (i32.const 0)))
      (else (global.set $stream (local.get $context))))
    (i32.const 1))
  ;; Whether a request waits; it is then the one that is meant.
  (func $waits (result i32)
    (local $stream i32)
    (local.set $stream (global.get $stream))
    (global.set $stream (i32.const 0))
    (if (result i32) (local.get $stream)
      (then (i32.eqz (call $use (local.get $stream))))
      (else (i32.const 0))))
  (func (export "proxy_on_http_call_response")
    (param $context i32) (param $call i32) (param $headers i32) (param $size i32) (param $trailers i32)
    (local $status i32)
    (local.set $status (i32.const 599))
    (if (call $has (i32.const 6) (i32.const 120) (i32.const 7))
      (then
        (local.set $status
          (i32.sub
            (i32.add
              (i32.add
                (i32.mul (i32.load8_u (i32.load (i32.const 0))) (i32.const 100))
                (i32.mul (i32.load8_u offset=1 (i32.load (i32.const 0))) (i32.const 10)))
              (i32.load8_u offset=2 (i32.load (i32.const 0))))
            (i32.const 5328)))))
    (i32.store (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (i32.const 0))
    (drop (call $get_buffer (i32.const 4) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
    (if (call $waits)
      (then (call $answer (local.get $status) (i32.load (i32.const 0)) (i32.load (i32.const 4))))))
  (func (export "proxy_on_grpc_receive") (param $context i32) (param $call i32) (param $size i32)
    (drop (call $get_buffer (i32.const 5) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
    (if (call $waits)
      (then (call $answer (i32.const 200) (i32.load (i32.const 0)) (i32.load (i32.const 4))))))
  (func (export "proxy_on_grpc_close") (param $context i32) (param $call i32) (param $status i32)
    (drop (call $get_status (i32.const 8) (i32.const 0) (i32.const 4)))
    (if (call $waits)
      (then (call $answer (i32.const 500) (i32.load (i32.const 0)) (i32.load (i32.const 4)))))))

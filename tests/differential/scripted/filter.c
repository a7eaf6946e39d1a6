/* A filter that does what a script says, and logs what the host answers.
 *
 * Written against the raw ABI (proxy-wasm/spec, abi-versions/v0.2.1), so that nothing stands between a script and the host: no dispatcher,
 * no guards, every argument as it is given. The form of scripts is told in script.py, that of the log lines in observation.py.
 *
 * A script arrives in the header `x-control` of a request of its own, which is answered with 204. The stream that is made next runs it.
 * Such a control request can also ask for a tick, so that whoever drives the filter says when the plugin context is called.
 */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name("proxy_" #name)))
#define IMPORT(name) __attribute__((import_module("env"), import_name("proxy_" #name))) u32 host_##name

IMPORT(log)(u32, u32, u32);
IMPORT(get_log_level)(u32);
IMPORT(get_status)(u32, u32, u32);
IMPORT(get_property)(u32, u32, u32, u32);
IMPORT(set_property)(u32, u32, u32, u32);
IMPORT(send_local_response)(u32, u32, u32, u32, u32, u32, u32, u32);
IMPORT(get_shared_data)(u32, u32, u32, u32, u32);
IMPORT(set_shared_data)(u32, u32, u32, u32, u32);
IMPORT(register_shared_queue)(u32, u32, u32);
IMPORT(resolve_shared_queue)(u32, u32, u32, u32, u32);
IMPORT(dequeue_shared_queue)(u32, u32, u32);
IMPORT(enqueue_shared_queue)(u32, u32, u32);
IMPORT(get_header_map_value)(u32, u32, u32, u32, u32);
IMPORT(add_header_map_value)(u32, u32, u32, u32, u32);
IMPORT(replace_header_map_value)(u32, u32, u32, u32, u32);
IMPORT(remove_header_map_value)(u32, u32, u32);
IMPORT(get_header_map_pairs)(u32, u32, u32);
IMPORT(set_header_map_pairs)(u32, u32, u32);
IMPORT(get_header_map_size)(u32, u32);
IMPORT(get_buffer_status)(u32, u32, u32);
IMPORT(get_buffer_bytes)(u32, u32, u32, u32, u32);
IMPORT(set_buffer_bytes)(u32, u32, u32, u32, u32);
IMPORT(http_call)(u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);
IMPORT(grpc_call)(u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);
IMPORT(grpc_stream)(u32, u32, u32, u32, u32, u32, u32, u32, u32);
IMPORT(grpc_send)(u32, u32, u32, u32);
IMPORT(grpc_cancel)(u32);
IMPORT(grpc_close)(u32);
IMPORT(set_tick_period_milliseconds)(u32);
IMPORT(get_current_time_nanoseconds)(u32);
IMPORT(define_metric)(u32, u32, u32, u32);
IMPORT(increment_metric)(u32, u64);
IMPORT(record_metric)(u32, u64);
IMPORT(get_metric)(u32, u32);
IMPORT(set_effective_context)(u32);
IMPORT(done)(void);
IMPORT(continue_stream)(u32);
IMPORT(close_stream)(u32);
IMPORT(call_foreign_function)(u32, u32, u32, u32, u32, u32);

/* One hostcall: its parameters (u: 32 bits, U: 64 bits, b: bytes), its results behind the slash (i: 32 bits, l: 64 bits, b: bytes). The order is
 * that of `HOSTCALLS` in script.py. */
struct Hostcall {
  void *function;
  const char *shape;
};

static const struct Hostcall hostcalls[] = {
    {host_log, "ub/"},
    {host_get_log_level, "/i"},
    {host_get_status, "/ib"},
    {host_get_property, "b/b"},
    {host_set_property, "bb/"},
    {host_send_local_response, "ubbbu/"},
    {host_get_shared_data, "b/bi"},
    {host_set_shared_data, "bbu/"},
    {host_register_shared_queue, "b/i"},
    {host_resolve_shared_queue, "bb/i"},
    {host_dequeue_shared_queue, "u/b"},
    {host_enqueue_shared_queue, "ub/"},
    {host_get_header_map_value, "ub/b"},
    {host_add_header_map_value, "ubb/"},
    {host_replace_header_map_value, "ubb/"},
    {host_remove_header_map_value, "ub/"},
    {host_get_header_map_pairs, "u/b"},
    {host_set_header_map_pairs, "ub/"},
    {host_get_header_map_size, "u/i"},
    {host_get_buffer_status, "u/ii"},
    {host_get_buffer_bytes, "uuu/b"},
    {host_set_buffer_bytes, "uuub/"},
    {host_http_call, "bbbbu/i"},
    {host_grpc_call, "bbbbbu/i"},
    {host_grpc_stream, "bbbb/i"},
    {host_grpc_send, "ubu/"},
    {host_grpc_cancel, "u/"},
    {host_grpc_close, "u/"},
    {host_set_tick_period_milliseconds, "u/"},
    {host_get_current_time_nanoseconds, "/l"},
    {host_define_metric, "ub/i"},
    {host_increment_metric, "uU/"},
    {host_record_metric, "uU/"},
    {host_get_metric, "u/l"},
    {host_set_effective_context, "u/"},
    {host_done, "/"},
    {host_continue_stream, "u/"},
    {host_close_stream, "u/"},
    {host_call_foreign_function, "bb/b"},
};
enum { HOSTCALLS = sizeof hostcalls / sizeof hostcalls[0] };

/* The order is that of `CALLBACKS` in script.py. */
enum Callback {
  ON_CONTEXT_CREATE, ON_TICK, ON_NEW_CONNECTION, ON_DOWNSTREAM_DATA, ON_UPSTREAM_DATA, ON_DOWNSTREAM_CONNECTION_CLOSE,
  ON_UPSTREAM_CONNECTION_CLOSE, ON_REQUEST_HEADERS, ON_REQUEST_BODY, ON_REQUEST_TRAILERS, ON_RESPONSE_HEADERS, ON_RESPONSE_BODY,
  ON_RESPONSE_TRAILERS, ON_HTTP_CALL_RESPONSE, ON_GRPC_RECEIVE_INITIAL_METADATA, ON_GRPC_RECEIVE, ON_GRPC_RECEIVE_TRAILING_METADATA,
  ON_GRPC_CLOSE, ON_QUEUE_READY, ON_DONE, ON_LOG, ON_DELETE, CALLBACKS
};

enum { LITERAL, RESULT_OF, STREAM_CONTEXT, PLUGIN_CONTEXT };
enum { CONTROL_LOAD, CONTROL_TICK };
enum { INFO = 2, REQUEST_HEADERS = 0, NO_CONTENT = 204, ARENA = 8 << 20, LINE = 4 << 20 };
static const u32 OUTSIDE = 0xffffffff; /* as the length of bytes: a pointer and a length of its own follow */

static u8 script[1 << 20];
static u32 script_size;
static u32 calls[CALLBACKS];
static u32 latest[HOSTCALLS];
static u32 stream_context, plugin_context;
static int armed, depth;
static u8 arena[ARENA];
static u32 arena_used;
static u8 line[LINE];
static u32 line_used;

__attribute__((export_name("proxy_abi_version_0_2_1"))) void proxy_abi_version_0_2_1(void) {}
__attribute__((export_name("_initialize"))) void initialize(void) {}

EXPORT(on_memory_allocate) u32 on_memory_allocate(u32 size) {
  u32 start = (arena_used + 7) & ~7u;
  if (size > ARENA - start) return 0;
  arena_used = start + size;
  return (u32)(arena + start);
}

static void put(u8 byte) {
  if (line_used < LINE) line[line_used++] = byte;
}

static void put_text(const char *text) {
  while (*text) put((u8)*text++);
}

static void put_number(u64 number) {
  u8 digits[20];
  int count = 0;
  do digits[count++] = (u8)('0' + number % 10);
  while (number /= 10);
  while (count) put(digits[--count]);
}

static void put_hex(u32 pointer, u32 size) {
  put('\'');
  for (u32 at = 0; at < size; at++) {
    u8 byte = ((const u8 *)pointer)[at];
    put((u8) "0123456789abcdef"[byte >> 4]);
    put((u8) "0123456789abcdef"[byte & 15]);
  }
}

static u32 read_u32(const u8 **at) {
  u32 value = (u32)(*at)[0] | (u32)(*at)[1] << 8 | (u32)(*at)[2] << 16 | (u32)(*at)[3] << 24;
  *at += 4;
  return value;
}

static u64 read_u64(const u8 **at) {
  u64 low = read_u32(at);
  return low | (u64)read_u32(at) << 32;
}

static u64 read_number(const u8 **at) {
  u8 kind = *(*at)++;
  u64 value = read_u64(at);
  switch (kind) {
    case RESULT_OF: return latest[value];
    case STREAM_CONTEXT: return stream_context;
    case PLUGIN_CONTEXT: return plugin_context;
    default: return value;
  }
}

static u32 invoke(void *function, const u32 *a, u32 count) {
  switch (count) {
    case 0: return ((u32(*)(void))function)();
    case 1: return ((u32(*)(u32))function)(a[0]);
    case 2: return ((u32(*)(u32, u32))function)(a[0], a[1]);
    case 3: return ((u32(*)(u32, u32, u32))function)(a[0], a[1], a[2]);
    case 4: return ((u32(*)(u32, u32, u32, u32))function)(a[0], a[1], a[2], a[3]);
    case 5: return ((u32(*)(u32, u32, u32, u32, u32))function)(a[0], a[1], a[2], a[3], a[4]);
    case 6: return ((u32(*)(u32, u32, u32, u32, u32, u32))function)(a[0], a[1], a[2], a[3], a[4], a[5]);
    case 8:
      return ((u32(*)(u32, u32, u32, u32, u32, u32, u32, u32))function)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    case 9:
      return ((u32(*)(u32, u32, u32, u32, u32, u32, u32, u32, u32))function)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7],
                                                                             a[8]);
    case 10:
      return ((u32(*)(u32, u32, u32, u32, u32, u32, u32, u32, u32, u32))function)(a[0], a[1], a[2], a[3], a[4], a[5], a[6],
                                                                                  a[7], a[8], a[9]);
    case 12:
      return ((u32(*)(u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32))function)(
          a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]);
    default: __builtin_trap();
  }
}

/* Makes the hostcall at `at`, and appends it, its status and, where that is 0, its results to the line. */
static const u8 *step(const u8 *at) {
  u8 number = *at++;
  const struct Hostcall *hostcall = &hostcalls[number];
  const char *shape = hostcall->shape;
  u32 arguments[12], count = 0;
  u64 wide = 0;
  int is_wide = 0;
  struct { u64 number; u32 pointer, size; } results[2] = {{0, 0, 0}, {0, 0, 0}};
  for (; *shape != '/'; shape++) {
    if (*shape == 'b') {
      u32 size = read_u32(&at);
      if (size == OUTSIDE) {
        arguments[count++] = read_u32(&at);
        arguments[count++] = read_u32(&at);
      } else {
        arguments[count++] = (u32)at;
        arguments[count++] = size;
        at += size;
      }
    } else if (*shape == 'U') {
      wide = read_number(&at);
      is_wide = 1;
    } else {
      arguments[count++] = (u32)read_number(&at);
    }
  }
  const char *result_shape = shape + 1;
  for (u32 at_result = 0; result_shape[at_result]; at_result++) {
    if (result_shape[at_result] == 'b') {
      arguments[count++] = (u32)&results[at_result].pointer;
      arguments[count++] = (u32)&results[at_result].size;
    } else {
      arguments[count++] = (u32)&results[at_result].number;
    }
  }
  u32 status = is_wide ? ((u32(*)(u32, u64))hostcall->function)(arguments[0], wide)
                       : invoke(hostcall->function, arguments, count);
  put('|');
  put_number(number);
  put(' ');
  put_number(status);
  for (u32 at_result = 0; !status && result_shape[at_result]; at_result++) {
    put(' ');
    if (result_shape[at_result] == 'b') {
      put_hex(results[at_result].pointer, results[at_result].size);
    } else {
      put_number(results[at_result].number);
      if (result_shape[at_result] == 'i') latest[number] = (u32)results[at_result].number;
    }
  }
  return at;
}

/* The block for this call of a callback: the one with the highest `nth` that is not beyond it. */
static const u8 *find_block(u32 callback, u32 nth) {
  const u8 *at = script, *found = 0;
  while (at < script + script_size) {
    u32 of = at[0], from = at[1];
    const u8 *block = at;
    at += 2;
    u32 size = read_u32(&at);
    if (of == callback && from <= nth) found = block;
    at += size;
  }
  return found;
}

static u32 run(u32 callback, u32 context, u32 count, const u32 *arguments, int end_of_stream, u32 action) {
  if (!depth++) arena_used = 0;
  u32 start = line_used;
  put_text("@");
  put_number(callback);
  put(context == stream_context ? 'S' : context == plugin_context ? 'P' : 'X');
  for (u32 at = 0; at < count; at++) {
    if (at) put(' ');
    put_number(arguments[at]);
  }
  const u8 *block = find_block(callback, calls[callback]++);
  if (block) {
    const u8 *at = block + 2;
    u32 size = read_u32(&at);
    const u8 *end = at + size;
    u32 while_open = read_u32(&at), at_end = read_u32(&at);
    action = end_of_stream ? at_end : while_open;
    while (at < end) at = step(at);
  }
  host_log(INFO, (u32)(line + start), line_used - start);
  line_used = start;
  depth--;
  return action;
}

static u32 hex_digit(u8 character) { return character <= '9' ? character - '0' : character - 'a' + 10; }

static u32 control(void) {
  u32 pointer = 0, size = 0;
  arena_used = 0;
  if (host_get_header_map_value(REQUEST_HEADERS, (u32) "x-control", 9, (u32)&pointer, (u32)&size) == 0 && size >= 2) {
    const u8 *text = (const u8 *)pointer;
    u32 command = hex_digit(text[0]) << 4 | hex_digit(text[1]);
    if (command == CONTROL_LOAD) {
      script_size = size / 2 - 1;
      if (script_size > sizeof script) __builtin_trap();
      for (u32 at = 0; at < script_size; at++)
        script[at] = (u8)(hex_digit(text[2 * at + 2]) << 4 | hex_digit(text[2 * at + 3]));
      for (u32 at = 0; at < CALLBACKS; at++) calls[at] = 0;
      for (u32 at = 0; at < HOSTCALLS; at++) latest[at] = 0;
      armed = 1;
    } else {
      host_set_tick_period_milliseconds(1);
    }
  }
  host_send_local_response(NO_CONTENT, 0, 0, 0, 0, 0, 0, 0xffffffff);
  return 0;
}

EXPORT(on_context_create) void on_context_create(u32 id, u32 parent) {
  if (!parent || !armed) return;
  armed = 0;
  stream_context = id;
  plugin_context = parent;
  run(ON_CONTEXT_CREATE, id, 0, 0, 0, 0);
}

EXPORT(on_vm_start) u32 on_vm_start(u32 id, u32 size) { return 1; }
EXPORT(on_configure) u32 on_configure(u32 id, u32 size) { return 1; }

EXPORT(on_tick) void on_tick(u32 id) {
  host_set_tick_period_milliseconds(0);
  run(ON_TICK, id, 0, 0, 0, 0);
}

EXPORT(on_request_headers) u32 on_request_headers(u32 id, u32 count, u32 end) {
  if (id != stream_context) return control();
  return run(ON_REQUEST_HEADERS, id, 2, (u32[]){count, end}, (int)end, 0);
}

/* Callbacks of a stream; those of control requests pass unseen. */
#define WITH_END(callback, name)                                                    \
  EXPORT(name) u32 name(u32 id, u32 size, u32 end) {                                \
    if (id != stream_context) return 0;                                             \
    return run(callback, id, 2, (u32[]){size, end}, (int)end, 0);                   \
  }
#define LAST(callback, name)                                                        \
  EXPORT(name) u32 name(u32 id, u32 size) {                                         \
    if (id != stream_context) return 0;                                             \
    return run(callback, id, 1, (u32[]){size}, 1, 0);                               \
  }
WITH_END(ON_REQUEST_BODY, on_request_body)
LAST(ON_REQUEST_TRAILERS, on_request_trailers)
WITH_END(ON_RESPONSE_HEADERS, on_response_headers)
WITH_END(ON_RESPONSE_BODY, on_response_body)
LAST(ON_RESPONSE_TRAILERS, on_response_trailers)
WITH_END(ON_DOWNSTREAM_DATA, on_downstream_data)
WITH_END(ON_UPSTREAM_DATA, on_upstream_data)

EXPORT(on_new_connection) u32 on_new_connection(u32 id) {
  return id == stream_context ? run(ON_NEW_CONNECTION, id, 0, 0, 0, 0) : 0;
}

EXPORT(on_downstream_connection_close) void on_downstream_connection_close(u32 id, u32 peer) {
  if (id == stream_context) run(ON_DOWNSTREAM_CONNECTION_CLOSE, id, 1, (u32[]){peer}, 0, 0);
}

EXPORT(on_upstream_connection_close) void on_upstream_connection_close(u32 id, u32 peer) {
  if (id == stream_context) run(ON_UPSTREAM_CONNECTION_CLOSE, id, 1, (u32[]){peer}, 0, 0);
}

EXPORT(on_http_call_response) void on_http_call_response(u32 id, u32 call, u32 headers, u32 body, u32 trailers) {
  run(ON_HTTP_CALL_RESPONSE, id, 4, (u32[]){call, headers, body, trailers}, 0, 0);
}

EXPORT(on_grpc_receive_initial_metadata) void on_grpc_receive_initial_metadata(u32 id, u32 call, u32 count) {
  run(ON_GRPC_RECEIVE_INITIAL_METADATA, id, 2, (u32[]){call, count}, 0, 0);
}

EXPORT(on_grpc_receive) void on_grpc_receive(u32 id, u32 call, u32 size) {
  run(ON_GRPC_RECEIVE, id, 2, (u32[]){call, size}, 0, 0);
}

EXPORT(on_grpc_receive_trailing_metadata) void on_grpc_receive_trailing_metadata(u32 id, u32 call, u32 count) {
  run(ON_GRPC_RECEIVE_TRAILING_METADATA, id, 2, (u32[]){call, count}, 0, 0);
}

EXPORT(on_grpc_close) void on_grpc_close(u32 id, u32 call, u32 status) {
  run(ON_GRPC_CLOSE, id, 2, (u32[]){call, status}, 0, 0);
}

EXPORT(on_queue_ready) void on_queue_ready(u32 id, u32 queue) { run(ON_QUEUE_READY, id, 1, (u32[]){queue}, 0, 0); }

EXPORT(on_log) void on_log(u32 id) {
  if (id == stream_context) run(ON_LOG, id, 0, 0, 0, 0);
}

EXPORT(on_done) u32 on_done(u32 id) { return id == stream_context ? run(ON_DONE, id, 0, 0, 0, 1) : 1; }

EXPORT(on_delete) void on_delete(u32 id) {
  if (id == stream_context) run(ON_DELETE, id, 0, 0, 0, 0);
}

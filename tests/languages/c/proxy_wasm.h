/* What the filters in these folders use of the Proxy-Wasm ABI, declared as the specification has it
 * (https://github.com/proxy-wasm/spec), and the little that programs without a C library need. */
#ifndef PROXY_WASM_H
#define PROXY_WASM_H

#include <stddef.h>
#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("env"), import_name(#name))) extern
#define EXPORT(name) __attribute__((export_name(#name)))

enum status { OK = 0, NOT_FOUND = 1, BAD_ARGUMENT = 2, EMPTY = 7, CAS_MISMATCH = 8 };
enum action { CONTINUE = 0, PAUSE = 1 };
enum level { TRACE, DEBUG, INFO, WARN, ERROR, CRITICAL };
enum map { REQUEST_HEADERS = 0, REQUEST_TRAILERS = 1, RESPONSE_HEADERS = 2, RESPONSE_TRAILERS = 3, CALL_HEADERS = 6 };
enum buffer { REQUEST_BODY = 0, RESPONSE_BODY = 1, DOWNSTREAM = 2, UPSTREAM = 3, CALL_BODY = 4, VM_CONFIG = 6, PLUGIN_CONFIG = 7 };
enum stream { REQUEST_STREAM = 0, RESPONSE_STREAM = 1, DOWNSTREAM_STREAM = 2, UPSTREAM_STREAM = 3 };
enum metric { COUNTER = 0, GAUGE = 1, HISTOGRAM = 2 };

typedef uint32_t u32;

/* Of all versions. */
IMPORT(proxy_log) u32 proxy_log(u32 level, const char *message, size_t size);
IMPORT(proxy_get_property) u32 proxy_get_property(const char *path, size_t size, char **value, size_t *value_size);
IMPORT(proxy_set_property) u32 proxy_set_property(const char *path, size_t size, const char *value, size_t value_size);
IMPORT(proxy_send_local_response)
u32 proxy_send_local_response(u32 status, const char *details, size_t details_size, const char *body, size_t body_size,
                              const char *headers, size_t headers_size, u32 grpc_status);
IMPORT(proxy_get_header_map_value)
u32 proxy_get_header_map_value(u32 map, const char *key, size_t key_size, char **value, size_t *value_size);
IMPORT(proxy_add_header_map_value)
u32 proxy_add_header_map_value(u32 map, const char *key, size_t key_size, const char *value, size_t value_size);
IMPORT(proxy_replace_header_map_value)
u32 proxy_replace_header_map_value(u32 map, const char *key, size_t key_size, const char *value, size_t value_size);
IMPORT(proxy_remove_header_map_value) u32 proxy_remove_header_map_value(u32 map, const char *key, size_t key_size);
IMPORT(proxy_get_header_map_pairs) u32 proxy_get_header_map_pairs(u32 map, char **pairs, size_t *size);
IMPORT(proxy_set_header_map_pairs) u32 proxy_set_header_map_pairs(u32 map, const char *pairs, size_t size);
IMPORT(proxy_get_header_map_size) u32 proxy_get_header_map_size(u32 map, size_t *size);
IMPORT(proxy_get_buffer_bytes) u32 proxy_get_buffer_bytes(u32 buffer, size_t start, size_t length, char **data, size_t *size);
IMPORT(proxy_set_buffer_bytes) u32 proxy_set_buffer_bytes(u32 buffer, size_t start, size_t length, const char *data, size_t size);
IMPORT(proxy_http_call)
u32 proxy_http_call(const char *upstream, size_t upstream_size, const char *headers, size_t headers_size, const char *body,
                    size_t body_size, const char *trailers, size_t trailers_size, u32 timeout_milliseconds, u32 *call_id);
IMPORT(proxy_set_tick_period_milliseconds) u32 proxy_set_tick_period_milliseconds(u32 period);
IMPORT(proxy_get_shared_data) u32 proxy_get_shared_data(const char *key, size_t key_size, char **value, size_t *size, u32 *cas);
IMPORT(proxy_set_shared_data) u32 proxy_set_shared_data(const char *key, size_t key_size, const char *value, size_t size, u32 cas);
IMPORT(proxy_register_shared_queue) u32 proxy_register_shared_queue(const char *name, size_t size, u32 *queue);
IMPORT(proxy_enqueue_shared_queue) u32 proxy_enqueue_shared_queue(u32 queue, const char *data, size_t size);
IMPORT(proxy_dequeue_shared_queue) u32 proxy_dequeue_shared_queue(u32 queue, char **data, size_t *size);
IMPORT(proxy_define_metric) u32 proxy_define_metric(u32 type, const char *name, size_t size, u32 *id);
IMPORT(proxy_increment_metric) u32 proxy_increment_metric(u32 id, int64_t offset);
IMPORT(proxy_record_metric) u32 proxy_record_metric(u32 id, uint64_t value);
IMPORT(proxy_get_metric) u32 proxy_get_metric(u32 id, uint64_t *value);
IMPORT(proxy_set_effective_context) u32 proxy_set_effective_context(u32 context);

/* Since 0.2.0. */
IMPORT(proxy_continue_stream) u32 proxy_continue_stream(u32 stream);
IMPORT(proxy_close_stream) u32 proxy_close_stream(u32 stream);
/* Since 0.2.1. */
IMPORT(proxy_get_log_level) u32 proxy_get_log_level(u32 *level);
/* Of 0.1.0 alone. */
IMPORT(proxy_get_configuration) u32 proxy_get_configuration(char **value, size_t *size);
IMPORT(proxy_continue_request) u32 proxy_continue_request(void);

/* Text with its size: string literals as arguments. */
#define S(literal) (literal), (sizeof(literal) - 1)

static inline int equal(const char *a, size_t a_size, const char *b, size_t b_size) {
    if (a_size != b_size) return 0;
    for (size_t i = 0; i < a_size; i++)
        if (a[i] != b[i]) return 0;
    return 1;
}

/* Joins texts for one log line or value. */
struct text {
    size_t size;
    char data[1024];
};

static inline void put(struct text *text, const char *data, size_t size) {
    for (size_t i = 0; i < size && text->size < sizeof(text->data); i++) text->data[text->size++] = data[i];
}

static inline void put_number(struct text *text, uint64_t number) {
    char digits[20];
    size_t count = 0;
    do digits[count++] = '0' + number % 10;
    while (number /= 10);
    while (count) put(text, &digits[--count], 1);
}

/* Header pairs as the wire has them: how many, all sizes, then each name and value with a zero byte behind it. */
static inline void put_u32(struct text *text, u32 number) {
    for (int shift = 0; shift < 32; shift += 8) put(text, (char[]){(char)(number >> shift)}, 1);
}

struct pair {
    const char *name;
    size_t name_size;
    const char *value;
    size_t value_size;
};

static inline struct text encode(const struct pair *pairs, u32 count) {
    struct text text = {0};
    put_u32(&text, count);
    for (u32 i = 0; i < count; i++) {
        put_u32(&text, pairs[i].name_size);
        put_u32(&text, pairs[i].value_size);
    }
    for (u32 i = 0; i < count; i++) {
        put(&text, pairs[i].name, pairs[i].name_size);
        put(&text, "", 1);
        put(&text, pairs[i].value, pairs[i].value_size);
        put(&text, "", 1);
    }
    return text;
}

/* Memory for what the host passes: a heap that starts anew with each callback that has nothing left to keep. */
#ifdef WITHOUT_LIBC
static char heap[1 << 20] __attribute__((aligned(16)));
static size_t used;

EXPORT(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) {
    size_t start = (used + 15) & ~(size_t)15;
    if (start + size > sizeof(heap)) return 0;
    used = start + size;
    return heap + start;
}

static inline void forget_all(void) { used = 0; }

void *memcpy(void *to, const void *from, size_t size) {
    char *target = to;
    const char *source = from;
    while (size--) *target++ = *source++;
    return to;
}

void *memset(void *to, int byte, size_t size) {
    char *target = to;
    while (size--) *target++ = (char)byte;
    return to;
}
#endif

#endif

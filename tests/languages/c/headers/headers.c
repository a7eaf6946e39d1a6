/* Marks requests and responses, lists a request's headers, and denies requests that ask for it. ABI 0.2.1, no C library. */
#define WITHOUT_LIBC
#include "../proxy_wasm.h"

static u32 level = INFO;

EXPORT(proxy_abi_version_0_2_1) void abi_version(void) {}

EXPORT(proxy_on_configure) u32 on_configure(u32 context, u32 size) {
    proxy_get_log_level(&level);
    if (!size) {
        proxy_log(ERROR, S("a mark is needed"));
        return 0;
    }
    return 1;
}

static void list_headers(void) {
    char *pairs;
    size_t size, count, start;
    struct text line = {0};
    if (proxy_get_header_map_pairs(REQUEST_HEADERS, &pairs, &size) != OK) return;
    u32 *sizes = (u32 *)pairs;
    count = *sizes++;
    start = 4 + 8 * count;
    for (size_t i = 0; i < count; i++) {
        if (pairs[start] == 'x' && pairs[start + 1] == '-' && pairs[start + 2] != 'f') { /* not x-forwarded-proto, which Envoy adds */
            put(&line, pairs + start, sizes[2 * i]);
            put(&line, S("="));
            put(&line, pairs + start + sizes[2 * i] + 1, sizes[2 * i + 1]);
            put(&line, S(" "));
        }
        start += sizes[2 * i] + sizes[2 * i + 1] + 2;
    }
    proxy_log(INFO, line.data, line.size);
}

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 context, u32 count, u32 end_of_stream) {
    char *value;
    size_t size;
    forget_all();
    if (proxy_get_header_map_value(REQUEST_HEADERS, S("x-deny"), &value, &size) == OK) {
        struct text headers = encode(&(struct pair){S("x-reason"), value, size}, 1);
        proxy_send_local_response(403, S("denied by C"), S("no\n"), headers.data, headers.size, -1);
        return PAUSE;
    }
    if (level <= INFO) list_headers();
    proxy_remove_header_map_value(REQUEST_HEADERS, S("x-secret"));
    proxy_replace_header_map_value(REQUEST_HEADERS, S("x-version"), S("2"));
    proxy_add_header_map_value(REQUEST_HEADERS, S("x-language"), S("C"));
    proxy_add_header_map_value(REQUEST_HEADERS, S("x-end"), end_of_stream ? "1" : "0", 1);
    return CONTINUE;
}

EXPORT(proxy_on_response_headers) u32 on_response_headers(u32 context, u32 count, u32 end_of_stream) {
    char *value;
    size_t size;
    if (proxy_get_property(S("plugin_root_id"), &value, &size) == OK)
        proxy_add_header_map_value(RESPONSE_HEADERS, S("x-root-id"), value, size);
    if (proxy_get_header_map_value(REQUEST_HEADERS, S("x-language"), &value, &size) == BAD_ARGUMENT)
        proxy_add_header_map_value(RESPONSE_HEADERS, S("x-request-is-gone"), S("yes"));
    return CONTINUE;
}

EXPORT(proxy_on_log) void on_log(u32 context) {
    char *value;
    size_t size;
    struct text line = {0};
    if (proxy_get_header_map_value(RESPONSE_HEADERS, S(":status"), &value, &size) != OK) return;
    put(&line, S("status "));
    put(&line, value, size);
    proxy_log(INFO, line.data, line.size);
}

/* Fails its VM when a request asks for it, and marks responses as long as it lives. ABI 0.2.1. */
#define WITHOUT_LIBC
#include "../proxy_wasm.h"

EXPORT(proxy_abi_version_0_2_1) void abi_version(void) {}

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 context, u32 count, u32 end_of_stream) {
    char *value;
    size_t size;
    forget_all();
    if (proxy_get_header_map_value(REQUEST_HEADERS, S("x-trap"), &value, &size) == OK) __builtin_trap();
    return CONTINUE;
}

EXPORT(proxy_on_response_headers) u32 on_response_headers(u32 context, u32 count, u32 end_of_stream) {
    proxy_add_header_map_value(RESPONSE_HEADERS, S("x-marked"), S("yes"));
    return CONTINUE;
}

/* Gathers request bodies and passes them on in capitals; puts a line before and after responses' bodies, piece by piece. ABI 0.2.0. */
#define WITHOUT_LIBC
#include "../proxy_wasm.h"

EXPORT(proxy_abi_version_0_2_0) void abi_version(void) {}

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 context, u32 count, u32 end_of_stream) {
    forget_all();
    proxy_remove_header_map_value(REQUEST_HEADERS, S("content-length"));
    return CONTINUE;
}

EXPORT(proxy_on_request_body) u32 on_request_body(u32 context, u32 size, u32 end_of_stream) {
    char *data;
    size_t length;
    forget_all();
    if (!end_of_stream) return PAUSE;
    if (proxy_get_buffer_bytes(REQUEST_BODY, 0, size, &data, &length) != OK) return CONTINUE;
    for (size_t i = 0; i < length; i++)
        if (data[i] >= 'a' && data[i] <= 'z') data[i] -= 'a' - 'A';
    proxy_set_buffer_bytes(REQUEST_BODY, 0, size, data, length);
    return CONTINUE;
}

EXPORT(proxy_on_response_headers) u32 on_response_headers(u32 context, u32 count, u32 end_of_stream) {
    forget_all();
    proxy_remove_header_map_value(RESPONSE_HEADERS, S("content-length"));
    return CONTINUE;
}

EXPORT(proxy_on_response_body) u32 on_response_body(u32 context, u32 size, u32 end_of_stream) {
    forget_all();
    if (size) proxy_set_buffer_bytes(RESPONSE_BODY, 0, 0, S("["));
    if (end_of_stream) proxy_set_buffer_bytes(RESPONSE_BODY, size + 100, 0, S("] end\n"));
    return CONTINUE;
}

EXPORT(proxy_on_request_trailers) u32 on_request_trailers(u32 context, u32 count) {
    proxy_add_header_map_value(REQUEST_TRAILERS, S("x-trailers"), S("seen"));
    return CONTINUE;
}

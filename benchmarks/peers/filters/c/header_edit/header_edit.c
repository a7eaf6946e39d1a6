/* Reads all headers of a request, and adds one. */
#define WITHOUT_LIBC
#include "proxy_wasm.h"

EXPORT(proxy_abi_version_0_2_1) void abi_version(void) {}

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 context, u32 count, u32 end_of_stream) {
    char *pairs;
    size_t size, sum = 0;
    struct text text;
    forget_all();
    if (proxy_get_header_map_pairs(REQUEST_HEADERS, &pairs, &size) != OK) return PAUSE;
    const u32 *sizes = (const u32 *)pairs;
    for (u32 i = 0; i < sizes[0]; i++) sum += sizes[2 + 2 * i];
    text.size = 0;
    put_number(&text, sum);
    proxy_add_header_map_value(REQUEST_HEADERS, S("x-size"), text.data, text.size);
    return CONTINUE;
}

/* Reads three headers of a request, and denies it unless they are as wanted. */
#define WITHOUT_LIBC
#include "proxy_wasm.h"

EXPORT(proxy_abi_version_0_2_1) void abi_version(void) {}

static int is(const char *name, size_t name_size, const char *wanted, size_t wanted_size) {
    char *value;
    size_t size;
    if (proxy_get_header_map_value(REQUEST_HEADERS, name, name_size, &value, &size) != OK) return 0;
    return equal(value, size, wanted, wanted_size);
}

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 context, u32 count, u32 end_of_stream) {
    forget_all();
    if (is(S("x-tenant"), S("acme")) && is(S("x-plan"), S("gold")) && is(S("x-region"), S("eu"))) return CONTINUE;
    proxy_send_local_response(403, 0, 0, 0, 0, 0, 0, -1);
    return PAUSE;
}

/* A filter of connections: lines from the client are answered or passed on in capitals, whole. ABI 0.2.1. */
#define WITHOUT_LIBC
#include "../proxy_wasm.h"

EXPORT(proxy_abi_version_0_2_1) void abi_version(void) {}

EXPORT(proxy_on_new_connection) u32 on_new_connection(u32 context) {
    forget_all();
    proxy_log(INFO, S("connected"));
    return CONTINUE;
}

EXPORT(proxy_on_downstream_data) u32 on_downstream_data(u32 context, u32 size, u32 end_of_stream) {
    char *data;
    size_t length;
    forget_all();
    if (proxy_get_buffer_bytes(DOWNSTREAM, 0, size, &data, &length) != OK || !length) return CONTINUE;
    if (data[length - 1] != '\n' && !end_of_stream) return PAUSE;
    if (equal(data, length, S("quit\n"))) {
        proxy_close_stream(DOWNSTREAM_STREAM);
        return PAUSE;
    }
    for (size_t i = 0; i < length; i++)
        if (data[i] >= 'a' && data[i] <= 'z') data[i] -= 'a' - 'A';
    proxy_set_buffer_bytes(DOWNSTREAM, 0, length, data, length);
    return CONTINUE;
}

EXPORT(proxy_on_upstream_data) u32 on_upstream_data(u32 context, u32 size, u32 end_of_stream) {
    forget_all();
    if (size) proxy_set_buffer_bytes(UPSTREAM, 0, 0, S("> "));
    return CONTINUE;
}

EXPORT(proxy_on_downstream_connection_close) void on_downstream_connection_close(u32 context, u32 peer) {
    proxy_log(INFO, S("closed"));
}

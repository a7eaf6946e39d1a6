/* Asks the cluster `users` who a request comes from, and lets it go on with the answer, or not. ABI 0.2.1. */
#define WITHOUT_LIBC
#include "../proxy_wasm.h"

EXPORT(proxy_abi_version_0_2_1) void abi_version(void) {}

/* Which stream has made which call. */
static struct {
    u32 call;
    u32 context;
} calls[64];

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 context, u32 count, u32 end_of_stream) {
    char *token = "";
    size_t size = 0;
    u32 call;
    forget_all();
    proxy_get_header_map_value(REQUEST_HEADERS, S("authorization"), &token, &size);
    struct pair pairs[] = {
        {S(":method"), S("GET")},
        {S(":path"), S("/v1/me")},
        {S(":authority"), S("users")},
        {S("authorization"), token, size},
    };
    struct text headers = encode(pairs, 4);
    if (proxy_http_call(S("users"), headers.data, headers.size, 0, 0, 0, 0, 1000, &call) != OK) {
        proxy_send_local_response(500, S("no call"), S("nobody to ask\n"), 0, 0, -1);
        return PAUSE;
    }
    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
        if (!calls[i].call) {
            calls[i].call = call;
            calls[i].context = context;
            break;
        }
    return PAUSE;
}

static u32 caller(u32 call) {
    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
        if (calls[i].call == call) {
            calls[i].call = 0;
            return calls[i].context;
        }
    return 0;
}

EXPORT(proxy_on_http_call_response)
void on_http_call_response(u32 plugin, u32 call, u32 headers, u32 body_size, u32 trailers) {
    char *status = "", *name = "";
    size_t status_size = 0, name_size = 0;
    u32 context = caller(call);
    forget_all();
    proxy_get_header_map_value(CALL_HEADERS, S(":status"), &status, &status_size);
    proxy_get_buffer_bytes(CALL_BODY, 0, body_size, &name, &name_size);
    if (proxy_set_effective_context(context) != OK) {
        proxy_log(INFO, S("the client has left"));
        return;
    }
    if (!equal(status, status_size, S("200"))) {
        proxy_send_local_response(403, S("unknown user"), name, name_size, 0, 0, -1);
        return;
    }
    proxy_add_header_map_value(REQUEST_HEADERS, S("x-user"), name, name_size);
    proxy_continue_stream(REQUEST_STREAM);
}

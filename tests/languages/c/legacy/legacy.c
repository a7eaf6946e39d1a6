/* A filter as they were in 2020: ABI 0.1.0, on a C library, whose streams, clock and environment are WASI's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../proxy_wasm.h"

EXPORT(proxy_abi_version_0_1_0) void abi_version(void) {}

EXPORT(proxy_on_memory_allocate) void *on_memory_allocate(size_t size) { return malloc(size); }

static char *mark;
static u32 waiting;

int main(int argc, char **argv) {
    printf("main was called with %d arguments\n", argc);
    return 0;
}

EXPORT(proxy_on_vm_start) u32 on_vm_start(u32 context, u32 size) {
    char *value;
    size_t length;
    if (proxy_get_configuration(&value, &length) == OK) printf("vm: %.*s\n", (int)length, value);
    fflush(stdout);
    return 1;
}

EXPORT(proxy_on_configure) u32 on_configure(u32 context, u32 size) {
    char *value;
    size_t length;
    if (proxy_get_configuration(&value, &length) != OK || length != size) return 0;
    mark = calloc(length + 1, 1);
    memcpy(mark, value, length);
    free(value);
    fprintf(stderr, "plugin: %s in %s\n", mark, getenv("PLACE") ? getenv("PLACE") : "nowhere");
    if (fopen("/etc/passwd", "r") || time(NULL) < 1700000000) return 0;
    proxy_set_tick_period_milliseconds(10);
    return 1;
}

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 context, u32 count) {
    proxy_add_header_map_value(REQUEST_HEADERS, S("x-mark"), mark, strlen(mark));
    waiting = context;
    return PAUSE;
}

EXPORT(proxy_on_tick) void on_tick(u32 context) {
    if (waiting && proxy_set_effective_context(waiting) == OK) proxy_continue_request();
    waiting = 0;
}

EXPORT(proxy_on_response_headers) u32 on_response_headers(u32 context, u32 count) {
    proxy_add_header_map_value(RESPONSE_HEADERS, S("x-mark"), mark, strlen(mark));
    return CONTINUE;
}

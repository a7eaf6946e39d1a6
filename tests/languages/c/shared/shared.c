/* Counts requests in shared data and metrics, and tells of them by way of a queue and ticks. ABI 0.2.0. */
#define WITHOUT_LIBC
#include "../proxy_wasm.h"

EXPORT(proxy_abi_version_0_2_0) void abi_version(void) {}

static u32 requests, sizes, length, queue, ticks;

EXPORT(proxy_on_configure) u32 on_configure(u32 context, u32 size) {
    proxy_define_metric(COUNTER, S("c_requests"), &requests);
    proxy_define_metric(GAUGE, S("c_queue_length"), &length);
    proxy_define_metric(HISTOGRAM, S("c_sizes"), &sizes);
    proxy_register_shared_queue(S("seen"), &queue);
    proxy_set_tick_period_milliseconds(20);
    return 1;
}

/* Adds one to a number in shared data, however many do so at once. */
static uint64_t count_up(void) {
    for (;;) {
        char *value;
        size_t size;
        u32 cas = 0;
        uint64_t number = 0;
        if (proxy_get_shared_data(S("count"), &value, &size, &cas) == OK && size == sizeof(number)) number = *(uint64_t *)value;
        number++;
        if (proxy_set_shared_data(S("count"), (char *)&number, sizeof(number), cas) == OK) return number;
    }
}

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 context, u32 headers, u32 end_of_stream) {
    struct text count = {0};
    char *path;
    size_t size;
    forget_all();
    put_number(&count, count_up());
    proxy_increment_metric(requests, 1);
    proxy_add_header_map_value(REQUEST_HEADERS, S("x-count"), count.data, count.size);
    if (proxy_get_header_map_value(REQUEST_HEADERS, S(":path"), &path, &size) == OK) {
        proxy_record_metric(sizes, size);
        proxy_increment_metric(length, 1);
        proxy_enqueue_shared_queue(queue, path, size);
    }
    return CONTINUE;
}

EXPORT(proxy_on_tick) void on_tick(u32 context) { ticks++; }

EXPORT(proxy_on_response_headers) u32 on_response_headers(u32 context, u32 headers, u32 end_of_stream) {
    uint64_t value = 0;
    struct text text = {0};
    char *path;
    size_t size;
    forget_all();
    if (proxy_get_metric(requests, &value) == OK) put_number(&text, value);
    proxy_add_header_map_value(RESPONSE_HEADERS, S("x-requests"), text.data, text.size);
    proxy_add_header_map_value(RESPONSE_HEADERS, S("x-ticked"), ticks ? "yes" : "no", ticks ? 3 : 2);
    if (proxy_get_metric(sizes, &value) == BAD_ARGUMENT) proxy_add_header_map_value(RESPONSE_HEADERS, S("x-histogram"), S("unread"));
    while (proxy_dequeue_shared_queue(queue, &path, &size) == OK) {
        proxy_increment_metric(length, -1);
        proxy_add_header_map_value(RESPONSE_HEADERS, S("x-seen"), path, size);
    }
    return CONTINUE;
}

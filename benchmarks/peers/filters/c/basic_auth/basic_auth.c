/* Basic authentication of GET requests for any path: the configuration is `user:password`. The password is compared as it is: there is no
 * hash here. */
#define WITHOUT_LIBC
#include "proxy_wasm.h"

EXPORT(proxy_abi_version_0_2_1) void abi_version(void) {}

static char credentials[256];
static size_t credentials_size, user_size;
static u32 allowed, denied, unprotected;

EXPORT(proxy_on_configure) u32 on_configure(u32 context, u32 size) {
    char *text;
    size_t got;
    forget_all();
    if (proxy_get_buffer_bytes(PLUGIN_CONFIG, 0, size, &text, &got) != OK || got > sizeof(credentials)) return 0;
    memcpy(credentials, text, credentials_size = got);
    while (user_size < got && text[user_size] != ':') user_size++;
    proxy_define_metric(COUNTER, S("basic_auth_requests_allowed"), &allowed);
    proxy_define_metric(COUNTER, S("basic_auth_requests_denied"), &denied);
    proxy_define_metric(COUNTER, S("basic_auth_requests_unprotected"), &unprotected);
    return user_size < got;
}

static u32 deny(void) {
    struct text headers = encode(&(struct pair){S("www-authenticate"), S("Basic realm=\"istio\"")}, 1);
    proxy_increment_metric(denied, 1);
    proxy_send_local_response(401, 0, 0, 0, 0, headers.data, headers.size, -1);
    return PAUSE;
}

static int digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base64 in place of itself; how many bytes it is, or -1. */
static long decode(char *text, size_t size) {
    u32 bits = 0;
    long count = 0;
    while (size && text[size - 1] == '=') size--;
    for (size_t i = 0; i < size; i++) {
        int value = digit(text[i]);
        if (value < 0) return -1;
        bits = bits << 6 | (u32)value;
        if (i % 4) text[count++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    return count;
}

/* The one authorization header; 0 where there are more. */
static int find(char **value, size_t *value_size) {
    char *pairs;
    size_t size, found = 0;
    if (proxy_get_header_map_pairs(REQUEST_HEADERS, &pairs, &size) != OK) return 0;
    const u32 *sizes = (const u32 *)pairs + 1;
    char *text = pairs + 4 + 8 * *(const u32 *)pairs;
    for (u32 i = 0; i < *(const u32 *)pairs; i++) {
        if (equal(text, sizes[2 * i], S("authorization"))) {
            *value = text + sizes[2 * i] + 1;
            *value_size = sizes[2 * i + 1];
            found++;
        }
        text += sizes[2 * i] + sizes[2 * i + 1] + 2;
    }
    return found == 1;
}

EXPORT(proxy_on_request_headers) u32 on_request_headers(u32 context, u32 count, u32 end_of_stream) {
    char *value, *path;
    size_t size, path_size;
    forget_all();
    if (proxy_get_header_map_value(REQUEST_HEADERS, S(":method"), &value, &size) != OK) return deny();
    if (proxy_get_header_map_value(REQUEST_HEADERS, S(":path"), &path, &path_size) != OK) return deny();
    if (!equal(value, size, S("GET"))) {
        if (proxy_get_header_map_value(REQUEST_HEADERS, S("x-user"), &value, &size) == OK)
            proxy_remove_header_map_value(REQUEST_HEADERS, S("x-user"));
        proxy_increment_metric(unprotected, 1);
        return CONTINUE;
    }
    if (!path_size || path[0] != '/' || !find(&value, &size)) return deny();
    if (size < 6 || (value[0] | 32) != 'b' || (value[1] | 32) != 'a' || (value[2] | 32) != 's' || (value[3] | 32) != 'i' ||
        (value[4] | 32) != 'c' || value[5] != ' ')
        return deny();
    long decoded = decode(value + 6, size - 6);
    int different = decoded != (long)credentials_size;
    for (long i = 0; i < decoded && i < (long)credentials_size; i++) different |= value[6 + i] ^ credentials[i];
    if (different) return deny();
    if (proxy_get_header_map_value(REQUEST_HEADERS, S("x-user"), &value, &size) == OK)
        proxy_remove_header_map_value(REQUEST_HEADERS, S("x-user"));
    proxy_replace_header_map_value(REQUEST_HEADERS, S("x-user"), credentials, user_size);
    proxy_increment_metric(allowed, 1);
    return CONTINUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile and careless requests. Each refusal is one well-formed answer on a
 * connection that ends, and the server goes on.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>
#include <zstd.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http/api/http_endpoints.h"
#include "daemon/http/wire/http_coding.h"
#include "tests/util/http_util.h"

#define HOST "Host: localhost\r\n"
#define SCORE "POST /v1/score HTTP/1.1\r\n" HOST
#define SECOND "GET /v1/status HTTP/1.1\r\n" HOST "\r\n"

/* --- one answer --------------------------------------------------------- */

static int count(const char *text, const char *what)
{
    int n = 0;

    for (const char *s = text; (s = strstr(s, what)); s++)
        n++;
    return n;
}

/* The value of a header of the answer, or NULL. */
static const char *field_of(const struct util_answer *a, const char *name)
{
    static char value[256];
    size_t n = strlen(name);

    for (const char *s = strstr(a->text, "\r\n"); s && s + 2 < a->body - 2;
         s = strstr(s + 2, "\r\n"))
        if (strncasecmp(s + 2, name, n) == 0 && s[2 + n] == ':') {
            size_t length = strcspn(s + 4 + n, "\r");

            memcpy(value, s + 4 + n, length);
            value[length] = '\0';
            return value;
        }
    return NULL;
}

/* The text is one answer, whose body has its Content-Length. */
static void check_whole(const struct util_answer *a, const char *request)
{
    const char *length = field_of(a, "Content-Length");

    if (strncmp(a->text, "HTTP/1.1 ", 9) != 0 ||
        count(a->text, "Content-Type: ") != 1 || !length ||
        strlen(a->body) != (size_t)atoi(length) || !a->json)
        fail_msg("%s\nis answered with\n%s", request, a->text);
}

/* Sends all bytes and reads until the server closes the connection. */
static struct util_answer answer_to(const char *text, size_t n)
{
    int fd = util_dial();

    util_send_all(fd, text, n);
    return util_read_answer(fd);
}

static void check_refused(const char *text, size_t n, int status)
{
    int64_t began = timing_mono_ms();
    struct util_answer a = answer_to(text, n);

    if (a.status != status)
        fail_msg("%d, not %d:\n%s\n%s", a.status, status, text, a.text);
    check_whole(&a, text);
    assert_string_equal(field_of(&a, "Connection"), "close");
    assert_true(*util_text_at(&a, "error.message"));
    assert_true(*util_text_at(&a, "error.code"));
    util_release(&a);
    /* The refusal does not wait for a deadline of 30 s. */
    assert_true(timing_mono_ms() - began < 20000);
}

/* Bytes after a request that cannot be read are never taken for a request. */
static void test_framings(void **state)
{
    static const struct {
        int status;
        const char *text;
    } cases[] = {
        {400, SCORE "Content-Length : 2\r\n\r\n{}" SECOND},
        {400, SCORE "Content-Length: 2\r\n Content-Length: 9\r\n\r\n" SECOND},
        {400, SCORE "X: a\r\n\tb\r\nContent-Length: 2\r\n\r\n{}" SECOND},
        {400, "POST /v1/score HTTP/1.1\r\n " HOST "\r\n" SECOND},
        {400, "POST /v1/score HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"},
        {400, "POST /v1/score HTTP/1.1\r\n" HOST HOST "\r\n" SECOND},
        {400, SCORE "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" SECOND},
        {400, SCORE "Content-Length: 0\r\nContent-Length: 60\r\n\r\n" SECOND},
        {400, SCORE "Content-Length: 2,2\r\n\r\n{}" SECOND},
        {400, SCORE "Content-Length: -1\r\n\r\n{}" SECOND},
        {400, SCORE "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "2\r\n{}\r\n0\r\n\r\n" SECOND},
        {400, SCORE "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"
                    "0\r\n\r\n" SECOND},
        {400, SCORE "Transfer-Encoding: chunked\r\n"
                    "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" SECOND},
        {400, SCORE "Transfer-Encoding: gzip\r\n\r\n{}" SECOND},
        {400, SCORE "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" SECOND},
        {400, SCORE "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"},
        {400, SCORE "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" SECOND},
        {400, SCORE "Transfer-Encoding:\x0b"
                    "chunked\r\n\r\n0\r\n\r\n" SECOND},
        {400, "POST /v1/score HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
              "0\r\n\r\n" SECOND},
        {501, SCORE "Transfer-Encoding: gzip, chunked\r\n\r\n"
                    "2\r\n{}\r\n0\r\n\r\n" SECOND},
        {400, "GET /v1/status HTTP/1.1\n" HOST "\n" SECOND},
        {400, "GET /v1/status HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n" SECOND},
        {400, "GET /v1/status%00x HTTP/1.1\r\n" HOST "\r\n" SECOND},
        {400, "GET /v1/status%zz HTTP/1.1\r\n" HOST "\r\n" SECOND},
        {400, "GET v1/status HTTP/1.1\r\n" HOST "\r\n" SECOND},
        {400, "GET  /v1/status HTTP/1.1\r\n" HOST "\r\n" SECOND},
        {400, "GET /v1/status\r\n\r\n" SECOND},
        {505, "GET /v1/status HTTP/3.0\r\n" HOST "\r\n" SECOND},
        {417, SCORE "Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}" SECOND},
        {413, SCORE "Content-Length: 99999999999\r\n\r\n" SECOND},
        {413, SCORE "Content-Length: 99999999999999999999999\r\n\r\n" SECOND},
        {400, SCORE "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n"},
        {400, SCORE "Transfer-Encoding: chunked\r\n\r\n"
                    "2\r\n{}0\r\n\r\n" SECOND},
        {400, SCORE "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n" SECOND},
        {400, SCORE "Transfer-Encoding: chunked\r\n\r\n"
                    "fffffffffffffffff\r\n{}" SECOND},
        {400, SCORE "Transfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n"},
        {400, "GET /nothing HTTP/1.1\r\n" HOST
              "Transfer-Encoding: chunked\r\n\r\nx\r\n" SECOND},
        {400, "\x16\x03\x01\x02\x01\x01\xfc\x03\x03"},
    };
    static const char nul[] = "GET /v1/status\0 HTTP/1.1\r\n" HOST "\r\n";

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(cases[i].text, strlen(cases[i].text), cases[i].status);
    check_refused(nul, sizeof nul - 1, 400);
    util_check_ok(util_get("/healthz"));
}

/* A head without an end, and one with too much in it. */
static void test_large_heads(void **state)
{
    struct buf b = BUF_INIT;

    (void)state;
    buf_adds(&b, "GET /");
    for (int i = 0; i < 40000; i++)
        buf_addc(&b, 'a');
    check_refused(b.data, b.len, 414);
    buf_clear(&b);
    buf_adds(&b, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 40000; i++)
        buf_adds(&b, "A: b\r\n");
    check_refused(b.data, b.len, 431);
    buf_release(&b);
    util_check_ok(util_get("/healthz"));
}

/* A client that closes its sending side in the middle of a request gets 400. */
static void test_cut_short(void **state)
{
    static const char *const texts[] = {
        SCORE "Content-Length: 20\r\n\r\n{}",
        SCORE "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", SCORE, "G"};

    (void)state;
    for (int i = 0; i < 4; i++) {
        int fd = util_dial();

        util_send_all(fd, texts[i], strlen(texts[i]));
        shutdown(fd, SHUT_WR);
        util_check_error(util_read_answer(fd), 400, NULL);
    }
}

/* --- valid requests ----------------------------------------------------- */

/* Several requests in one piece get their answers on one connection. */
static void test_one_connection(void **state)
{
    static const char text[] =
        "GET /healthz HTTP/1.1\r\n" HOST "\r\n"
        "HEAD /healthz HTTP/1.1\r\n" HOST "\r\n"
        "HEAD /v1/events HTTP/1.1\r\n" HOST "\r\n"
        "\r\nGET http://localhost/healthz?a=b HTTP/1.1\r\n" HOST "\r\n"
        "GET /nothing HTTP/1.1\r\n" HOST "Content-Length: 7\r\n\r\ndropped"
        "POST /v1/score HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\n\r\n"
        "5;x=y\r\n{\"tex\r\n8\r\nt\":\"ab\"}\r\n0\r\nX: y\r\n\r\n"
        "GET /healthz HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n" SECOND;
    struct util_answer a = answer_to(text, sizeof text - 1);
    const char *at = a.text;
    static const int statuses[] = {200, 200, 200, 200, 404, 200, 200};

    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        const char *end = at ? strstr(at, "\r\n\r\n") : NULL;
        const char *length = at ? strstr(at, "Content-Length: ") : NULL;

        if (!end || strncmp(at, "HTTP/1.1 ", 9) != 0 ||
            atoi(at + 9) != statuses[i])
            fail_msg("answer %zu of %s", i, a.text);
        at = end + 4;
        if (i != 1 && i != 2)
            at += atoi(length + 16);
    }
    assert_string_equal(at, "");
    assert_int_equal(count(a.text, "Connection: close"), 1);
    util_release(&a);
}

/* A request may come byte by byte. */
static void test_byte_by_byte(void **state)
{
    static const char text[] =
        SCORE "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
              "c\r\n{\"text\":\"a\"}\r\n0\r\n\r\n";
    int fd = util_dial();

    (void)state;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        util_send_all(fd, text + i, 1);
        if (i % 16 == 0)
            timing_sleep_ms(1);
    }
    util_check_ok(util_read_answer(fd));
}

static void test_old_clients(void **state)
{
    static const char once[] = "GET /healthz HTTP/1.0\r\n\r\n";
    static const char twice[] =
        "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        "GET /healthz HTTP/1.0\r\n\r\n";
    static const char stream[] =
        "POST /v1/completions HTTP/1.0\r\nContent-Length: 33\r\n\r\n"
        "{\"stream\":true,\"max_tokens\":2   }";
    struct util_answer a = answer_to(once, sizeof once - 1);

    (void)state;
    assert_int_equal(a.status, 200);
    assert_string_equal(field_of(&a, "Connection"), "close");
    util_release(&a);
    a = answer_to(twice, sizeof twice - 1);
    assert_int_equal(count(a.text, "HTTP/1.1 200"), 2);
    util_release(&a);
    /* A stream ends with the connection. */
    a = answer_to(stream, sizeof stream - 1);
    assert_int_equal(a.status, 200);
    assert_null(field_of(&a, "Transfer-Encoding"));
    assert_int_equal(strncmp(a.body, "data: {", 7), 0);
    assert_non_null(strstr(a.body, "data: [DONE]\n\n"));
    util_release(&a);
}

/* Reads until the text has come. */
static void await_text(int fd, const char *text)
{
    struct buf got = BUF_INIT;
    char block[512];
    ssize_t n;

    while (!got.data || !strstr(got.data, text)) {
        n = recv(fd, block, sizeof block, 0);
        if (n <= 0)
            fail_msg("no %s in: %s", text, got.data);
        buf_add(&got, block, (size_t)n);
    }
    buf_release(&got);
}

static void test_expect(void **state)
{
    static const char head[] = SCORE
        "Expect: 100-continue\r\nConnection: close\r\nContent-Length: ";
    int fd = util_dial();

    (void)state;
    util_send_all(fd, head, sizeof head - 1);
    util_send_all(fd, "12\r\n\r\n", 6);
    await_text(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    util_send_all(fd, "{\"text\":\"a\"}", 12);
    util_check_ok(util_read_answer(fd));
    /* A refusal comes before the body: no 100 Continue. */
    fd = util_dial();
    util_send_all(fd, head, sizeof head - 1);
    util_send_all(fd, "9999\r\n\r\n", 8);
    util_check_error(util_read_answer(fd), 413, NULL);
}

/* --- compressed bodies -------------------------------------------------- */

static struct util_answer post_coded(const char *coding, const void *body,
                                     size_t n, bool chunked)
{
    struct buf b = BUF_INIT;
    struct util_answer a;

    buf_addf(&b, SCORE "Content-Encoding: %s\r\nConnection: close\r\n", coding);
    if (!chunked)
        buf_addf(&b, "Content-Length: %zu\r\n\r\n", n);
    else
        buf_adds(&b, "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; chunked && i < n; i++) {
        buf_adds(&b, "1\r\n");
        buf_add(&b, (const char *)body + i, 1);
        buf_adds(&b, "\r\n");
    }
    if (chunked)
        buf_adds(&b, "0\r\n\r\n");
    else
        buf_add(&b, body, n);
    a = answer_to(b.data, b.len);
    buf_release(&b);
    return a;
}

/* Compresses with zlib (gzip) or zstd, at once. */
static size_t compress_to(bool gzip, const void *text, size_t n, char *out,
                          size_t size)
{
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)text,
                  .avail_in = (unsigned)n,
                  .next_out = (unsigned char *)out,
                  .avail_out = (unsigned)size};

    if (!gzip)
        return ZSTD_compress(out, size, text, n, 3);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, 0), 0);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

static void check_coding(bool gzip)
{
    static const char text[] = "{\"text\":\"some text\"}";
    const char *name = gzip ? "gzip" : "zstd";
    char *bomb = xcalloc(1, 100 * UTIL_MAX_BODY), *out = xmalloc(1 << 20);
    size_t half = sizeof text / 2, n, first;
    struct util_answer a;

    n = compress_to(gzip, text, sizeof text - 1, out, 1 << 20);
    for (int chunked = 0; chunked < 2; chunked++) {
        a = post_coded(name, out, n, chunked);
        assert_int_equal(util_number_at(&a, "results.0.bytes"), 9);
        util_release(&a);
    }
    util_check_error(post_coded(name, out, n - 3, false), 400, NULL);
    util_check_error(post_coded(name, text, sizeof text - 1, false), 400, NULL);
    /* Several members or frames are one body. */
    first = compress_to(gzip, text, half, out, 1 << 20);
    n = compress_to(gzip, text + half, sizeof text - 1 - half, out + first,
                    (1 << 20) - first);
    a = post_coded(name, out, first + n, true);
    assert_int_equal(util_number_at(&a, "results.0.bytes"), 9);
    util_release(&a);
    /* A bomb. */
    memset(bomb, ' ', 100 * UTIL_MAX_BODY);
    n = compress_to(gzip, bomb, 100 * UTIL_MAX_BODY, out, 1 << 20);
    assert_true(n < UTIL_MAX_BODY);
    util_check_error(post_coded(name, out, n, false), 413, NULL);
    /* Just as much as is allowed. */
    memcpy(bomb, text, sizeof text - 1);
    n = compress_to(gzip, bomb, UTIL_MAX_BODY, out, 1 << 20);
    a = post_coded(name, out, n, false);
    assert_int_equal(util_number_at(&a, "results.0.bytes"), 9);
    util_release(&a);
    free(bomb);
    free(out);
}

static void test_encoded_body(void **state)
{
    struct util_answer a = post_coded("br", "x", 1, false);

    (void)state;
    assert_string_equal(field_of(&a, "Accept-Encoding"), "gzip, zstd");
    util_check_error(a, 415, NULL);
    util_check_error(post_coded("gzip, gzip", "x", 1, false), 415, NULL);
    check_coding(true);
    check_coding(false);
}

/* --- the memory of decoders --------------------------------------------- */

static size_t charged, charge_limit;

static bool charge(void *arg, size_t n)
{
    (void)arg;
    if (n > charge_limit - charged)
        return false;
    charged += n;
    return true;
}

static enum http_coding_result decode(const char *bytes, size_t n, size_t step,
                                      struct buf *out)
{
    const struct http_coding_limits limits = {1 << 20, charge, NULL};
    struct http_coding *c = http_coding_create("zstd");
    enum http_coding_result result = HTTP_CODING_OK;

    charged = 0;
    for (size_t i = 0; i < n && result == HTTP_CODING_OK; i += step)
        result = http_coding_decode(c, bytes + i, n - i < step ? n - i : step,
                                    &limits, out);
    if (result == HTTP_CODING_OK && !http_coding_is_complete(c))
        result = HTTP_CODING_BAD;
    http_coding_free(c);
    return result;
}

static size_t compress_with(int window_log, bool with_size, const void *text,
                            size_t n, char *out, size_t size)
{
    ZSTD_CCtx *z = ZSTD_createCCtx();

    ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, window_log);
    ZSTD_CCtx_setParameter(z, ZSTD_c_contentSizeFlag, with_size);
    n = ZSTD_compress2(z, out, size, text, n);
    assert_false(ZSTD_isError(n));
    ZSTD_freeCCtx(z);
    return n;
}

/* A decoder is charged for the window of each frame, before it takes it. */
static void test_coding_memory(void **state)
{
    static const unsigned char skipped[] = {0x5a, 0x2a, 0x4d, 0x18, 3,
                                            0,    0,    0,    1,    2, 3};
    static const unsigned char large[] = {0x28, 0xb5, 0x2f, 0xfd, 0, 0x69};
    size_t n_text = 300000, n = sizeof skipped, n_small;
    char *text = xmalloc(n_text), *bytes = xmalloc(1 << 20);
    struct buf out = BUF_INIT;

    (void)state;
    charge_limit = (size_t)1 << 30;
    for (size_t i = 0; i < n_text; i++)
        text[i] = (char)('a' + (i * 2654435761u >> 7) % 23);
    memcpy(bytes, skipped, n);
    n += compress_with(10, false, text, n_text, bytes + n, (1 << 20) - n);
    n_small = n;
    assert_int_equal(decode(bytes, n, n, &out), HTTP_CODING_OK);
    assert_int_equal(charged, (640 << 10) + 1024 + 2 * n_text);
    /* Frames with other headers follow, byte by byte. */
    n += compress_with(17, true, text, 200, bytes + n, (1 << 20) - n);
    n += compress_with(17, true, text, 30000, bytes + n, (1 << 20) - n);
    n += compress_with(18, true, text, n_text, bytes + n, (1 << 20) - n);
    buf_clear(&out);
    assert_int_equal(decode(bytes, n, 1, &out), HTTP_CODING_OK);
    assert_int_equal(out.len, 2 * n_text + 30200);
    assert_memory_equal(out.data, text, n_text);
    assert_memory_equal(out.data + n_text + 30200, text, n_text);
    assert_int_equal(charged, (640 << 10) + (1 << 18) + 2 * out.len);
    /* Nothing is kept that was not charged. */
    charge_limit = (640 << 10) + 1023;
    buf_clear(&out);
    assert_int_equal(decode(bytes, n_small, 7, &out), HTTP_CODING_NO_MEMORY);
    charge_limit += 1 + 100000;
    assert_int_equal(decode(bytes, n_small, 7, &out), HTTP_CODING_NO_MEMORY);
    assert_in_range(out.len, 1, 50000);
    /* A window above 8 MiB, and a header that breaks off. */
    charge_limit = (size_t)1 << 30;
    assert_int_equal(decode((const char *)large, sizeof large, 6, &out),
                     HTTP_CODING_BAD);
    assert_int_equal(decode((const char *)large, 5, 5, &out), HTTP_CODING_BAD);
    assert_int_equal(charged, 640 << 10);
    buf_release(&out);
    free(text);
    free(bytes);
}

/* --- ids of requests ---------------------------------------------------- */

static void test_ids(void **state)
{
    static const char *const taken[] = {"a", "0b1e-4_x.y:z/w+=@~"};
    static const char *const refused[] = {"a b", "a\"b", "a,b", ""};
    char first[40];

    (void)state;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        char *text = xasprintf("GET /healthz HTTP/1.1\r\n" HOST
                               "Connection: close\r\nX-Request-Id: %s\r\n\r\n",
                               taken[i]);
        struct util_answer a = answer_to(text, strlen(text));

        assert_string_equal(field_of(&a, "X-Request-Id"), taken[i]);
        util_release(&a);
        free(text);
    }
    first[0] = '\0';
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char *text = xasprintf("GET /healthz HTTP/1.1\r\n" HOST
                               "Connection: close\r\nX-Request-Id: %s\r\n\r\n",
                               refused[i]);
        struct util_answer a = answer_to(text, strlen(text));

        assert_int_equal(strlen(field_of(&a, "X-Request-Id")), 32);
        assert_string_not_equal(field_of(&a, "X-Request-Id"), first);
        snprintf(first, sizeof first, "%s", field_of(&a, "X-Request-Id"));
        util_release(&a);
        free(text);
    }
}

/* --- CORS --------------------------------------------------------------- */

static struct util_answer from_page(const char *method, const char *origin,
                                    const char *more)
{
    char *text = xasprintf("%s /v1/status HTTP/1.1\r\n" HOST
                           "Connection: close\r\nOrigin: %s\r\n%s\r\n",
                           method, origin, more);
    struct util_answer a = answer_to(text, strlen(text));

    free(text);
    return a;
}

#define ASKS_METHOD "Access-Control-Request-Method: POST\r\n"

static int n_counted(const char *path)
{
    char *name = xasprintf("_request_duration_seconds_count{endpoint=\"%s\","
                           "method=\"GET\"} ",
                           path);
    struct util_answer a = util_get("/metrics");
    const char *at = strstr(a.body, name);
    int n = at ? atoi(at + strlen(name)) : 0;

    util_release(&a);
    free(name);
    return n;
}

static void test_cors(void **state)
{
    static const char preflight_after[] =
        "GET /healthz HTTP/1.1\r\n" HOST "\r\n"
        "OPTIONS /v1/status HTTP/1.1\r\n" HOST "Connection: close\r\n"
        "Origin: https://app.example\r\n" ASKS_METHOD "\r\n";
    static char *one[] = {(char *)"https://app.example"},
                *all[] = {(char *)"*"};
    struct util_answer a =
        from_page("OPTIONS", "https://app.example", ASKS_METHOD);
    int n;

    (void)state;
    /* By default no page may do anything. */
    assert_null(field_of(&a, "Access-Control-Allow-Origin"));
    util_check_error(a, 405, NULL);
    util_check_error(from_page("GET", "https://app.example", ""), 403, NULL);

    fix.conf->http.cors_origins = (struct conf_strings){one, 1};
    a = from_page("OPTIONS", "https://app.example", ASKS_METHOD);
    assert_int_equal(a.status, 204);
    assert_string_equal(field_of(&a, "Access-Control-Allow-Origin"),
                        "https://app.example");
    assert_non_null(
        strstr(field_of(&a, "Access-Control-Allow-Headers"), "Authorization"));
    assert_null(field_of(&a, "Access-Control-Allow-Credentials"));
    util_release(&a);
    a = from_page("GET", "https://app.example", "");
    assert_int_equal(a.status, 200);
    assert_string_equal(field_of(&a, "Access-Control-Allow-Origin"),
                        "https://app.example");
    assert_string_equal(field_of(&a, "Vary"), "Origin");
    util_release(&a);
    a = from_page("OPTIONS", "https://app.example.evil", ASKS_METHOD);
    assert_null(field_of(&a, "Access-Control-Allow-Origin"));
    util_check_error(a, 405, NULL);
    util_check_error(from_page("GET", "https://app.example.evil", ""), 403,
                     NULL);
    util_check_error(from_page("GET", "http://app.example", ""), 403, NULL);
    util_check_error(from_page("GET", "null", ""), 403, NULL);
    /* A preflight is not counted for the request before it. */
    n = n_counted("/healthz");
    a = answer_to(preflight_after, sizeof preflight_after - 1);
    assert_non_null(strstr(a.text, "HTTP/1.1 204"));
    util_release(&a);
    assert_int_equal(n_counted("/healthz"), n + 1);

    fix.conf->http.cors_origins = (struct conf_strings){all, 1};
    a = from_page("GET", "https://any.example", "");
    assert_string_equal(field_of(&a, "Access-Control-Allow-Origin"), "*");
    util_release(&a);
    fix.conf->http.cors_origins = (struct conf_strings){NULL, 0};
}

/* --- tokens and origins ------------------------------------------------- */

/* A web page of another origin must not use the daemon through a browser. */
static void test_origins(void **state)
{
    static const struct {
        int status;
        const char *target, *fields;
    } cases[] = {
        {200, "/v1/status", "Host: localhost\r\n"},
        {200, "/v1/status", "Host: 127.0.0.1:6636\r\n"},
        {200, "/v1/status", "Host: [::1]:6636\r\n"},
        {200, "/v1/status", "Host: a.localhost\r\n"},
        {200, "http://localhost/v1/status", "Host: localhost\r\n"},
        {200, "/v1/status", "Host: localhost\r\nOrigin: http://localhost\r\n"},
        {403, "/v1/status", "Host: evil.example\r\n"},
        {403, "/v1/status", "Host: localhost.evil.example\r\n"},
        {403, "/v1/status", "Host: 127.0.0.1.evil.example\r\n"},
        {403, "/v1/status", "Host: evil.example:6636\r\n"},
        {403, "/v1/status", "Host: notlocalhost\r\n"},
        {403, "http://evil.example/v1/status", "Host: localhost\r\n"},
        {403, "http://localhost/v1/status", "Host: evil.example\r\n"},
        {403, "/v1/status", "Host: localhost\r\nOrigin: null\r\n"},
        {403, "/v1/status", "Host: localhost\r\nOrigin: http://evil\r\n"},
        {403, "/v1/status",
         "Host: localhost\r\nOrigin: http://localhost:5173\r\n"},
        {403, "/v1/status",
         "Host: localhost\r\nOrigin: http://localhost.evil\r\n"},
        {400, "/v1/status", "Host: localhost@evil\r\n"},
        {400, "/v1/status", "Host: localhost/evil\r\n"},
        {400, "/v1/status", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = xasprintf("GET %s HTTP/1.1\r\n%sConnection: close\r\n\r\n",
                               cases[i].target, cases[i].fields);
        struct util_answer a = answer_to(text, strlen(text));

        if (a.status != cases[i].status)
            fail_msg("%d, not %d: %s", a.status, cases[i].status, text);
        check_whole(&a, text);
        util_release(&a);
        free(text);
    }
}

#define ROW(method, path, function, scope, work, summary)                      \
    {#method, path, NULL, HTTP_##scope, HTTP_##work, summary},

static const struct http_endpoint endpoints[] = {HTTP_ENDPOINTS(ROW)};

#define N_ENDPOINTS (sizeof endpoints / sizeof *endpoints)

#define INFER_TOKEN "infer-token-of-the-test"
#define ADMIN_TOKEN "admin-token-of-the-test"
#define FEED_TOKEN "feed-token-of-the-test"
/* Of "abc": FIPS 180-2, appendix B. */
#define ABC_SHA256                                                             \
    "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"

/* The path with an x at each {}, to be freed. */
static char *fill_in(const char *path)
{
    struct buf b = BUF_INIT;

    for (; *path; path += *path == '{' ? 2 : 1)
        buf_addc(&b, *path == '{' ? 'x' : *path);
    return buf_detach(&b);
}

/* Checks one row of the table with one credential. Sends HEAD for GET, so that
 * no stream begins. */
static void check_credential(const struct http_endpoint *e, const char *field,
                             enum http_scope scope)
{
    char *path = fill_in(e->path);
    int want = scope >= e->scope ? 0 : scope == HTTP_OPEN ? 401 : 403;
    char *text =
        xasprintf("%s %s HTTP/1.1\r\nHost: any.example\r\n"
                  "Connection: close\r\n%s"
                  "Content-Length: 2\r\n\r\n{}",
                  strcmp(e->method, "GET") ? e->method : "HEAD", path, field);
    struct util_answer a = answer_to(text, strlen(text));
    int got = a.status == 401 || a.status == 403 ? a.status : 0;

    if (got != want || !a.status || a.status == 500 || a.status == 405)
        fail_msg("%d, not %d: %s", a.status, want, text);
    util_release(&a);
    free(text);
    free(path);
}

static void test_credentials(void **state)
{
    static const struct {
        enum http_scope scope;
        const char *field;
    } credentials[] = {
        {HTTP_OPEN, ""},
        {HTTP_OPEN, "Authorization:\r\n"},
        {HTTP_OPEN, "Authorization: Bearer\r\n"},
        {HTTP_OPEN, "Authorization: Bearer wrong-token-of-the-test\r\n"},
        {HTTP_OPEN, "Authorization: Bearer " INFER_TOKEN "x\r\n"},
        {HTTP_OPEN, "Authorization: Bearer x" INFER_TOKEN "\r\n"},
        {HTTP_OPEN, "Authorization: Basic " ADMIN_TOKEN "\r\n"},
        {HTTP_OPEN, "Authorization: " ADMIN_TOKEN "\r\n"},
        {HTTP_OPEN, "X-Authorization: Bearer " ADMIN_TOKEN "\r\n"},
        {HTTP_INFER, "Authorization: Bearer " INFER_TOKEN "\r\n"},
        {HTTP_FEED, "Authorization: Bearer " FEED_TOKEN "\r\n"},
        {HTTP_ADMIN, "authorization: bearer " ADMIN_TOKEN "\r\n"},
        {HTTP_ADMIN, "Authorization: Bearer abc\r\n"},
        /* A digest is no token. */
        {HTTP_OPEN, "Authorization: Bearer sha256:" ABC_SHA256 "\r\n"},
        {HTTP_OPEN, "Authorization: Bearer " ABC_SHA256 "\r\n"},
    };
    static const char lines[] =
        "infer " INFER_TOKEN "\nadmin " ADMIN_TOKEN "\nfeed " FEED_TOKEN
        " rate=100000\nadmin sha256:" ABC_SHA256 "\n";
    char *path = fileio_join(fix.dir, "tokens");

    (void)state;
    assert_int_equal(fileio_write_atomic(path, lines, strlen(lines), NULL), 0);
    util_stop();
    util_start("127.0.0.1:0", path);
    for (size_t i = 0; i < N_ENDPOINTS; i++)
        for (size_t j = 0; j < sizeof credentials / sizeof *credentials; j++)
            check_credential(&endpoints[i], credentials[j].field,
                             credentials[j].scope);
    util_stop();
    unlink(path);
    free(path);
    util_start("127.0.0.1:0", NULL);
}

/* A wrong method gets 405, with the method and the summary of the row. */
static void test_methods(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ENDPOINTS; i++) {
        const struct http_endpoint *e = &endpoints[i];
        char *path = fill_in(e->path);
        struct util_answer a = util_ask("PATCH", path, NULL, NULL, 0);

        assert_non_null(strstr(util_text_at(&a, "error.message"), e->summary));
        assert_non_null(strstr(field_of(&a, "Allow"), e->method));
        util_check_error(a, 405, NULL);
        free(path);
    }
}

/* --- too many ----------------------------------------------------------- */

#define MANY 60 /* above the limit: 8 requests, and 16 reserved */

/* Waiting connections keep no client out: the oldest are evicted. */
static void test_half_open(void **state)
{
    int fds[MANY];
    char byte;

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) {
            fds[i] = util_dial();
            if (i % 3 == 1)
                util_send_all(fds[i], "GET /v1/sta", 11);
            else if (i % 3 == 2)
                util_send_all(fds[i], SCORE "Content-Length: 9\r\n\r\n{",
                              sizeof SCORE + 22);
        }
        util_check_ok(util_get("/healthz"));
        util_check_ok(util_get("/v1/status"));
        assert_true(recv(fds[0], &byte, 1, 0) <= 0);
        for (int i = 0; i < MANY; i++)
            close(fds[i]);
    }
}

static int open_stream(const char *from)
{
    static const char text[] = "GET /v1/events HTTP/1.1\r\n" HOST "\r\n";
    int fd = util_dial_from(from);

    util_send_all(fd, text, sizeof text - 1);
    await_text(fd, "\"event\"");
    return fd;
}

static struct util_answer ask_from(const char *from, const char *request)
{
    char *text = xasprintf("%s HTTP/1.1\r\n" HOST "Connection: close\r\n"
                           "Content-Length: 2\r\n\r\n{}",
                           request);
    int fd = util_dial_from(from);

    util_send_all(fd, text, strlen(text));
    free(text);
    return util_read_answer(fd);
}

/* Of 8 requests that are answered at a time, one address may have 6; vital
 * endpoints have more. When the clients leave, others are admitted again. */
static void test_crowd(void **state)
{
    int fds[8];

    (void)state;
    for (int i = 0; i < 6; i++)
        fds[i] = open_stream("127.0.0.1");
    util_check_error(ask_from("127.0.0.1", "GET /v1/status"), 429, NULL);
    util_check_ok(ask_from("127.0.0.2", "GET /v1/status"));
    fds[6] = open_stream("127.0.0.2");
    fds[7] = open_stream("127.0.0.2");
    util_check_error(ask_from("127.0.0.2", "GET /v1/status"), 429, NULL);
    util_check_error(ask_from("127.0.0.3", "GET /v1/status"), 429, NULL);
    util_check_ok(ask_from("127.0.0.1", "GET /healthz"));
    util_check_ok(ask_from("127.0.0.3", "GET /readyz"));
    util_check_error(ask_from("127.0.0.1", "POST /v1/rollback"), 400, NULL);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    for (int i = 0; i < 1500; i++) {
        struct util_answer a = util_get("/v1/status");
        bool ok = a.status == 200;

        util_release(&a);
        if (ok)
            return;
        timing_sleep_ms(20);
    }
    fail_msg("streams whose clients have left still count");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framings),
        cmocka_unit_test(test_large_heads),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_one_connection),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_old_clients),
        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_encoded_body),
        cmocka_unit_test(test_coding_memory),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_cors),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_half_open),
        cmocka_unit_test(test_crowd),
    };

    return cmocka_run_group_tests(tests, util_open_all, util_close_all);
}

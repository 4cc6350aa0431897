/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing heads and bodies: which are valid, and the status of the others.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "daemon/http/wire/http_head.h"

#define GET "GET / HTTP/1.1\r\n"
#define HOST "Host: a\r\n"
#define END "\r\n"

/* Returns 200 for a valid head, 0 for an incomplete one, or the status of its
 * refusal. *bytes must live as long as *head. */
static int read_head(const char *text, size_t n, struct http_head *head,
                     char **bytes)
{
    struct http_refusal why = {0, NULL, NULL};
    size_t seen = 0, length = 0;

    memset(head, 0, sizeof *head);
    *bytes = NULL;
    if (!http_head_find(text, n, &seen, &length, &why)) {
        assert_non_null(why.message);
        return why.status;
    }
    if (!length)
        return 0;
    *bytes = xmalloc(length + 1);
    memcpy(*bytes, text, length);
    if (http_head_parse(*bytes, length, head, &why))
        return 200;
    assert_non_null(why.message);
    assert_non_null(why.code);
    return why.status;
}

static void test_statuses(void **state)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {GET HOST END, 200},
        {"GET / HTTP/1.0\r\n" END, 200},
        {GET "Host:\r\n" END, 200},
        {GET "HOST:  a:80 \t\r\n" END, 200},
        {GET "Host: [::1]:6636\r\n" END, 200},
        {"GET http://a/b?c=d HTTP/1.1\r\n" HOST END, 200},
        {"GET HTTP://a?c=d HTTP/1.1\r\n" HOST END, 200},
        {"OPTIONS * HTTP/1.1\r\n" HOST END, 200},
        {"GET /%41%2f HTTP/1.1\r\n" HOST END, 200},
        {GET HOST "Accept: \xc3\xa9\tb\r\n" END, 200},
        {GET HOST "X:\r\n" END, 200},
        {GET HOST "Accept: a\r\nAccept: b\r\n" END, 200},
        {GET HOST "Content-Length: 000000000000000000000007\r\n" END, 200},
        {GET HOST "Transfer-Encoding: chunked\r\n" END, 200},
        {"GET / HTTP/1.2\r\n" HOST END, 200},
        /* incomplete */
        {"", 0},
        {"GET / HT", 0},
        {GET HOST, 0},
        {GET HOST "\r", 0},
        /* the request line */
        {END END END, 400},
        {"GET /\r\n" END, 400},
        {" GET / HTTP/1.1\r\n" HOST END, 400},
        {"GET  / HTTP/1.1\r\n" HOST END, 400},
        {"GET /  HTTP/1.1\r\n" HOST END, 400},
        {"GET / HTTP/1.1 \r\n" HOST END, 400},
        {"GET\t/ HTTP/1.1\r\n" HOST END, 400},
        {"GET / a HTTP/1.1\r\n" HOST END, 400},
        {"G(T / HTTP/1.1\r\n" HOST END, 400},
        {"GET / http/1.1\r\n" HOST END, 400},
        {"GET / HTTP/1.10\r\n" HOST END, 400},
        {"GET / HTTP/1\r\n" HOST END, 400},
        {"GET / HTTP/x.1\r\n" HOST END, 400},
        {"GET / HTTP/2.0\r\n" HOST END, 505},
        {"PRI * HTTP/2.0\r\n" END, 505},
        {"GET a HTTP/1.1\r\n" HOST END, 400},
        {"GET a:80 HTTP/1.1\r\n" HOST END, 400},
        {"CONNECT a:80 HTTP/1.1\r\n" HOST END, 400},
        {"GET ftp://a/ HTTP/1.1\r\n" HOST END, 400},
        {"GET http:// HTTP/1.1\r\n" HOST END, 400},
        {"GET http:///a HTTP/1.1\r\n" HOST END, 400},
        {"GET http://u@a/ HTTP/1.1\r\n" HOST END, 400},
        {"GET /#a HTTP/1.1\r\n" HOST END, 400},
        {"GET /\xc3\xa9 HTTP/1.1\r\n" HOST END, 400},
        {"GET /%00 HTTP/1.1\r\n" HOST END, 400},
        {"GET /a%00b HTTP/1.1\r\n" HOST END, 400},
        {"GET /?a=%00 HTTP/1.1\r\n" HOST END, 400},
        {"GET /?%00 HTTP/1.1\r\n" HOST END, 400},
        {"GET /% HTTP/1.1\r\n" HOST END, 400},
        {"GET /%4 HTTP/1.1\r\n" HOST END, 400},
        {"GET /%4g HTTP/1.1\r\n" HOST END, 400},
        /* lines */
        {"GET / HTTP/1.1\nHost: a\n\n", 400},
        {GET "Host: a\n\r\n", 400},
        {GET HOST "A: b\rc: d\r\n" END, 400},
        {GET HOST "A: b\r\r\n" END, 400},
        {GET HOST "A: b\x01\r\n" END, 400},
        {GET HOST "A: b\x7f\r\n" END, 400},
        {GET HOST "A: b\x0b\r\n" END, 400},
        {"\x16\x03\x01", 400},
        {GET " " HOST END, 400},
        {GET "\t" HOST END, 400},
        {GET HOST "A: b\r\n c\r\n" END, 400},
        {GET HOST "A: b\r\n\tc\r\n" END, 400},
        {GET HOST " \r\n" END, 400},
        {GET "Host : a\r\n" END, 400},
        {GET HOST "A\t: b\r\n" END, 400},
        {GET HOST "A b: c\r\n" END, 400},
        {GET HOST ": b\r\n" END, 400},
        {GET HOST "A\r\n" END, 400},
        {GET HOST "A;: b\r\n" END, 400},
        {GET HOST "\xc3\xa9: b\r\n" END, 400},
        /* Host */
        {GET END, 400},
        {GET HOST HOST END, 400},
        {GET "Host: a\r\nhOST: b\r\n" END, 400},
        {"GET / HTTP/1.0\r\n" HOST HOST END, 400},
        {GET "Host: a b\r\n" END, 400},
        {GET "Host: a, b\r\n" END, 400},
        {GET "Host: a/b\r\n" END, 400},
        {GET "Host: u@a\r\n" END, 400},
        {GET "Host: a:b\r\n" END, 400},
        {GET "Host: [::1\r\n" END, 400},
        {GET "Host: []\r\n" END, 400},
        {GET "Host: :80\r\n" END, 400},
        /* lengths */
        {GET HOST "Content-Length: 2\r\nContent-Length: 2\r\n" END, 400},
        {GET HOST "Content-Length: 2\r\ncontent-length: 3\r\n" END, 400},
        {GET HOST "Content-Length: 2, 2\r\n" END, 400},
        {GET HOST "Content-Length: -1\r\n" END, 400},
        {GET HOST "Content-Length: +1\r\n" END, 400},
        {GET HOST "Content-Length: 0x1\r\n" END, 400},
        {GET HOST "Content-Length: 1e3\r\n" END, 400},
        {GET HOST "Content-Length: 1 1\r\n" END, 400},
        {GET HOST "Content-Length: 1.0\r\n" END, 400},
        {GET HOST "Content-Length: \"1\"\r\n" END, 400},
        {GET HOST "Content-Length:\r\n" END, 400},
        {GET HOST "Content-Length: 18446744073709551617\r\n" END, 413},
        /* codings */
        {GET HOST "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n" END,
         400},
        {GET HOST "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n" END,
         400},
        {GET HOST "Transfer-Encoding: chunked\r\n"
                  "Transfer-Encoding: chunked\r\n" END,
         400},
        {GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n" END,
         400},
        {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" END, 400},
        {GET HOST "Transfer-Encoding: Chunked\r\n" END, 400},
        {GET HOST "Transfer-Encoding: chunked, chunked\r\n" END, 400},
        {GET HOST "Transfer-Encoding: chunked, gzip\r\n" END, 400},
        {GET HOST "Transfer-Encoding: gzip\r\n" END, 400},
        {GET HOST "Transfer-Encoding: identity\r\n" END, 400},
        {GET HOST "Transfer-Encoding: xchunked\r\n" END, 400},
        {GET HOST "Transfer-Encoding: chunked;a=b\r\n" END, 400},
        {GET HOST "Transfer-Encoding: chunked,\r\n" END, 400},
        {GET HOST "Transfer-Encoding: ,chunked\r\n" END, 400},
        {GET HOST "Transfer-Encoding: \"chunked\"\r\n" END, 400},
        {GET HOST "Transfer-Encoding:\r\n" END, 400},
        {GET HOST "Transfer-Encoding: gzip, chunked\r\n" END, 501},
        {GET HOST "Transfer-Encoding: gzip,chunked\r\n" END, 501},
        /* others */
        {GET HOST "Expect: tea\r\n" END, 417},
        {GET HOST "Expect: 100-continue\r\nExpect: 100-continue\r\n" END, 400},
        {GET HOST "Authorization: a\r\nAuthorization: b\r\n" END, 400},
        {GET HOST "Origin: a\r\nOrigin: b\r\n" END, 400},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_head head;
        char *bytes;
        int status = read_head(cases[i].text, strlen(cases[i].text), &head,
                               &bytes);

        if (status != cases[i].status)
            fail_msg("%d, not %d: %s", status, cases[i].status, cases[i].text);
        free(bytes);
    }
}

/* Each character is accepted only where RFC 9112 allows it. */
static void test_characters(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        static const char *const patterns[] = {
            "GET /?x HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a?b\r\nA: b\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nA?b: b\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\nA: b?b\r\n\r\n",
        };
        bool is_token = c && (strchr("!#$%&'*+-.^_`|~", c) ||
                              (c >= '0' && c <= '9') ||
                              (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
        bool good[] = {
            c > 0x20 && c < 0x7f && c != '#' && c != '%',
            c && (strchr("-._~", c) || (is_token && !strchr("!#$%&'*+^`|", c))),
            is_token || c == ':', c >= 0x80 || (c >= 0x20 && c < 0x7f) ||
            c == '\t'};

        for (int i = 0; i < 4; i++) {
            char *text = xstrdup(patterns[i]), *bytes;
            size_t n = strlen(text);
            struct http_head head;

            *strchr(text, '?') = (char)c;
            if ((read_head(text, n, &head, &bytes) == 200) != good[i])
                fail_msg("character %d in pattern %d", c, i);
            free(text);
            free(bytes);
        }
    }
}

static void test_values(void **state)
{
    static const char text[] =
        "POST http://h:1/a%20b?n=3&t=a+b%2b&empty=&none HTTP/1.1\r\n"
        "Host: other\r\nX-A: \t b c \t\r\nconnection: x, Close\r\n"
        "Content-Length: 12\r\nExpect: 100-Continue\r\n\r\nrest";
    struct http_head head;
    char *bytes;

    (void)state;
    assert_int_equal(read_head(text, sizeof text - 1, &head, &bytes), 200);
    assert_string_equal(head.method, "POST");
    assert_string_equal(head.path, "/a b");
    assert_string_equal(head.authority, "h:1");
    assert_string_equal(http_head_field(&head, "host"), "other");
    assert_string_equal(http_head_field(&head, "x-a"), "b c");
    assert_null(http_head_field(&head, "X"));
    assert_string_equal(http_head_argument(&head, "n"), "3");
    assert_string_equal(http_head_argument(&head, "t"), "a b+");
    assert_string_equal(http_head_argument(&head, "empty"), "");
    assert_null(http_head_argument(&head, "none"));
    assert_int_equal(head.length, 12);
    assert_false(head.chunked);
    assert_false(head.keep_alive);
    assert_true(head.expects_continue);
    free(bytes);
    assert_int_equal(read_head("GET http://h?q=1 HTTP/1.0\r\n"
                               "Connection: Keep-Alive\r\n\r\n",
                               53, &head, &bytes),
                     200);
    assert_string_equal(head.path, "/");
    assert_true(head.keep_alive);
    free(bytes);
}

static void test_sizes(void **state)
{
    struct http_head head;
    struct buf b = BUF_INIT;
    char *bytes;

    (void)state;
    buf_adds(&b, "GET /");
    while (b.len < HTTP_MAX_HEAD_BYTES)
        buf_addc(&b, 'a');
    assert_int_equal(read_head(b.data, b.len, &head, &bytes), 414);
    buf_clear(&b);
    buf_adds(&b, GET HOST);
    while (b.len < HTTP_MAX_HEAD_BYTES)
        buf_adds(&b, "A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n");
    buf_adds(&b, END);
    assert_int_equal(read_head(b.data, b.len, &head, &bytes), 431);
    buf_clear(&b);
    buf_adds(&b, GET HOST);
    for (int i = 0; i < HTTP_MAX_FIELDS; i++)
        buf_addf(&b, "A%d: b\r\n", i);
    buf_adds(&b, END);
    assert_int_equal(read_head(b.data, b.len, &head, &bytes), 431);
    free(bytes);
    buf_clear(&b);
    buf_adds(&b, "GET /?");
    for (int i = 0; i < HTTP_MAX_ARGUMENTS + 1; i++)
        buf_addf(&b, "a%d=1&", i);
    buf_adds(&b, " HTTP/1.1\r\n" HOST END);
    assert_int_equal(read_head(b.data, b.len, &head, &bytes), 400);
    free(bytes);
    buf_release(&b);
}

/* --- bodies ------------------------------------------------------------- */

/* Reads a body that comes in pieces of `step` bytes. False: invalid. */
static bool read_chunks(const char *text, size_t step, struct buf *out,
                        bool *ended)
{
    struct http_head head = {.chunked = true};
    struct http_body body;
    size_t n = strlen(text), at = 0, have = 0;

    *ended = false;
    http_body_init(&body, &head);
    while (!*ended) {
        const char *piece = NULL;
        size_t used, n_piece = 0;

        switch (http_body_next(&body, text + at, have - at, &used, &piece,
                               &n_piece)) {
        case HTTP_BODY_BAD:
            return false;
        case HTTP_BODY_END:
            *ended = true;
            break;
        case HTTP_BODY_PIECE:
            buf_add(out, piece, n_piece);
            break;
        case HTTP_BODY_MORE:
            assert_int_equal(used, have - at);
            if (have == n)
                return true;
            have = have + step < n ? have + step : n;
            break;
        }
        at += used;
    }
    return true;
}

static void test_chunks(void **state)
{
    static const struct {
        const char *text;
        const char *body; /* NULL: invalid; > marks an incomplete body */
    } cases[] = {
        {"0\r\n\r\n", ""},
        {"2\r\n{}\r\n0\r\n\r\n", "{}"},
        {"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", "{}"},
        {"0002\r\n{}\r\n000\r\n\r\n", "{}"},
        {"A\r\n0123456789\r\n0\r\n\r\n", "0123456789"},
        {"a;x=y;z=\"w\"\r\n0123456789\r\n0\r\n\r\n", "0123456789"},
        {"0\r\nA: b\r\nC:\r\n\r\n", ""},
        {"2\r\n{", ">{"},
        {"2\r\n{}\r\n", ">{}"},
        {"2\r\n{}\r\n0\r\n", ">{}"},
        {"\r\n", NULL},
        {"g\r\n", NULL},
        {"0x2\r\n{}\r\n0\r\n\r\n", NULL},
        {"-2\r\n{}\r\n0\r\n\r\n", NULL},
        {"+2\r\n{}\r\n0\r\n\r\n", NULL},
        {" 2\r\n{}\r\n0\r\n\r\n", NULL},
        {"2 \r\n{}\r\n0\r\n\r\n", NULL},
        {"2\n{}\r\n0\r\n\r\n", NULL},
        {"2\r{}\r\n0\r\n\r\n", NULL},
        {"2\r\n{}\n0\r\n\r\n", NULL},
        {"2\r\n{}0\r\n\r\n", NULL},
        {"2\r\n{}}\r\n0\r\n\r\n", NULL},
        {"2;a\nb\r\n{}\r\n0\r\n\r\n", NULL},
        {"2;\x01\r\n{}\r\n0\r\n\r\n", NULL},
        {"0\r\n A: b\r\n\r\n", NULL},
        {"0\r\nA : b\r\n\r\n", NULL},
        {"0\r\nA\r\n\r\n", NULL},
        {"0\r\nA: b\n\r\n", NULL},
        {"0\r\n\rX", NULL},
        {"10000000000000000\r\n", NULL},
        {"ffffffffffffffff\r\n", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step < 64; step *= 2) {
            const char *want = cases[i].body;
            struct buf out = BUF_INIT;
            bool ended, ok;

            buf_adds(&out, want && *want == '>' ? ">" : "");
            ok = read_chunks(cases[i].text, step, &out, &ended);
            if (ok != (want != NULL) ||
                (want && (strcmp(out.data ? out.data : "", want) != 0 ||
                          ended != (*want != '>'))))
                fail_msg("%s by %zu: %s", cases[i].text, step, out.data);
            buf_release(&out);
        }
}

static void test_endless(void **state)
{
    struct buf b = BUF_INIT, out = BUF_INIT;
    bool ended;

    (void)state;
    for (int i = 0; i < 100000; i++)
        buf_addc(&b, '0');
    assert_false(read_chunks(b.data, 4096, &out, &ended));
    buf_clear(&b);
    buf_adds(&b, "0\r\n");
    for (int i = 0; i < 10000; i++)
        buf_adds(&b, "A: b\r\n");
    assert_false(read_chunks(b.data, 4096, &out, &ended));
    buf_release(&b);
    buf_release(&out);
}

/* Mutated heads: some are valid, and no byte beyond them is read. */
static void test_noise(void **state)
{
    static const char base[] =
        "POST /v1/score?a=%41 HTTP/1.1\r\nHost: localhost\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    static const char odd[] = "\r\n\t :;,%?&=#\0\x80"
                              "0aA";
    int n_read = 0;

    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        char *text = xmemdup(base, sizeof base - 1), *bytes;
        struct http_head head;

        for (uint64_t j = 0; j < 1 + i % 3; j++)
            text[rng_below(sizeof base - 1, i, RNG_INIT, j, 0)] =
                odd[rng_below(sizeof odd - 1, i, RNG_INIT, j, 1)];
        n_read += read_head(text, sizeof base - 1, &head, &bytes) == 200;
        free(bytes);
        free(text);
    }
    assert_in_range(n_read, 1, 19999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses), cmocka_unit_test(test_characters),
        cmocka_unit_test(test_values),   cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_chunks),   cmocka_unit_test(test_endless),
        cmocka_unit_test(test_noise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

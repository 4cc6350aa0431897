/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: wrong requests, tokens, addresses, and a server without a
 * version.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http/http.h"
#include "store/store.h"
#include "tests/util/http_util.h"

#define ADMIN "admin-token-of-the-test"
#define INFER "infer-token-of-the-test"

/* --- wrong requests ----------------------------------------------------- */

static void test_bad_json(void **state)
{
    static const char *const bodies[] = {
        "{",
        "[]",
        "5",
        "nonsense",
        "{\"text\":\"a\"} x",
        "{\"text\":\"a\",\"text\":\"b\"}",
        "{\"text\":\"\xff\"}",
        "{\"text\":\"\\ud800\"}",
        "{\"text\":1e999}",
        "{\"text\":123456789012345678901234567890}",
        "{\"\\u0000\":1}",
    };
    struct buf deep = BUF_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        util_check_error(util_post("/v1/score", bodies[i]), 400, NULL);
    buf_adds(&deep, "{\"text\":");
    for (int i = 0; i < 2000; i++)
        buf_addc(&deep, '[');
    util_check_error(util_post("/v1/score", deep.data), 400, NULL);
    buf_release(&deep);
    util_check_error(
        util_ask("POST", "/v1/score", NULL, "{\"text\":\0\"a\"}", 13), 400,
        NULL);
}

static void test_paths(void **state)
{
    struct util_answer a;

    (void)state;
    util_check_error(util_get("/nothing"), 404, NULL);
    util_check_error(util_get("/v1/versions/"), 404, NULL);
    util_check_error(util_get("/v1/versions/1/2/3"), 404, NULL);
    util_check_error(util_get("/v1/score"), 405, NULL);
    util_check_error(util_get("/v1/quarantine/release"), 405, NULL);
    a = util_ask("DELETE", "/v1/versions/1", NULL, NULL, 0);
    assert_non_null(strstr(a.text, "Allow: GET"));
    util_check_error(a, 405, NULL);
}

static void test_too_large(void **state)
{
    char *body = xmalloc(UTIL_MAX_BODY + 2);
    struct buf b = BUF_INIT;
    int fd;

    (void)state;
    memset(body, ' ', UTIL_MAX_BODY + 2);
    body[UTIL_MAX_BODY + 1] = '\0';
    util_check_error(util_post("/v1/score", body), 413, NULL);
    /* Only a Content-Length, without a byte of the body. */
    fd = util_dial();
    buf_adds(&b, "POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
                 "Content-Length: 99999999999\r\n\r\n");
    util_send_all(fd, b.data, b.len);
    util_check_error(util_read_answer(fd), 413, NULL);
    /* In chunks, which have no Content-Length. */
    buf_clear(&b);
    buf_addf(&b,
             "POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
             "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
             "%x\r\n%s\r\n0\r\n\r\n",
             UTIL_MAX_BODY + 1, body);
    util_check_error(util_ask_raw(b.data, b.len), 413, NULL);
    buf_release(&b);
    free(body);
}

/* A stream whose client has left puts its slot back. */
static void test_hang_up(void **state)
{
    static const char body[] = "{\"stream\":true,\"max_tokens\":16384,"
                               "\"top_k\":1,\"temperature\":0}";
    char first[256];

    (void)state;
    for (int i = 0; i < 12; i++) {
        struct buf b = BUF_INIT;
        int fd = util_dial();

        buf_addf(&b,
                 "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                 "Content-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
        util_send_all(fd, b.data, b.len);
        assert_true(recv(fd, first, sizeof first, 0) > 0);
        assert_memory_equal(first, "HTTP/1.1 ", 9);
        close(fd);
        buf_release(&b);
        timing_sleep_ms(20);
    }
    for (int i = 0; i < 200; i++) {
        struct util_answer a =
            util_post("/v1/completions", "{\"max_tokens\":1}");
        bool ok = a.status == 200;

        util_release(&a);
        if (ok)
            return;
        timing_sleep_ms(20);
    }
    fail_msg("slots are not put back");
}

/* --- other servers ------------------------------------------------------ */

static void test_tokens_needed(void **state)
{
    char *path = fileio_join(fix.dir, "tokens");
    static const char lines[] =
        "# who may\n\ninfer " INFER "\nadmin " ADMIN "\n";
    const char *v = "{\"version\":1,\"stream\":\"keep\"}";
    struct util_answer a;

    (void)state;
    assert_int_equal(fileio_write_atomic(path, lines, strlen(lines), NULL), 0);
    util_stop();
    util_start("127.0.0.1:0", path);
    util_check_ok(util_get("/healthz"));
    util_check_ok(util_get("/readyz"));
    a = util_get("/v1/status");
    assert_non_null(strstr(a.text, "WWW-Authenticate: Bearer"));
    util_check_error(a, 401, NULL);
    util_check_error(util_ask("GET", "/v1/status", "wrong", NULL, 0), 401,
                     NULL);
    util_check_error(util_ask("GET", "/v1/status", INFER "x", NULL, 0), 401,
                     NULL);
    util_check_ok(util_ask("GET", "/v1/status", INFER, NULL, 0));
    util_check_ok(util_ask("GET", "/v1/status", ADMIN, NULL, 0));
    util_check_error(util_ask("POST", "/v1/rollback", INFER, v, strlen(v)), 403,
                     NULL);
    a = util_ask("POST", "/v1/rollback", ADMIN, v, strlen(v));
    assert_int_equal(a.status, 202);
    util_release(&a);
    util_stop();
    unlink(path);
    free(path);
    util_start("127.0.0.1:0", NULL);
}

static void test_unix_socket(void **state)
{
    char *path = fileio_join(fix.dir, "socket");
    char *listen = xasprintf("unix:%s", path);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    static const char request[] = "GET /healthz HTTP/1.1\r\n"
                                  "Host: localhost\r\n"
                                  "Connection: close\r\n\r\n";
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    int fd;

    (void)state;
    strncpy(a.sun_path, path, sizeof a.sun_path - 1);
    assert_int_equal(bind(stale, (struct sockaddr *)&a, sizeof a), 0);
    close(stale); /* its file stays, as after a kill */
    util_stop();
    util_start(listen, NULL);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    util_send_all(fd, request, strlen(request));
    util_check_ok(util_read_answer(fd));
    assert_string_equal(http_address(fix.http), listen);
    util_stop();
    assert_false(fileio_exists(path));
    util_start("127.0.0.1:0", NULL);
    free(path);
    free(listen);
}

static void test_address(void **state)
{
    char *path = fileio_join(fix.dir, "http.addr");
    struct buf line = BUF_INIT;
    struct http_context context;
    struct http *second = NULL;
    struct err err = ERR_INIT;

    (void)state;
    assert_int_equal(fileio_read(path, 100, &line, NULL), 0);
    line.data[strcspn(line.data, "\n")] = '\0';
    assert_string_equal(line.data, http_address(fix.http));
    context = (struct http_context){fix.conf,    &fix.board,  fix.serving,
                                    fix.catalog, fix.control, NULL, 8};
    fix.conf->http.listen_port = fix.port;
    assert_int_equal(http_start(&context, &second, &err), ERR_IO);
    assert_true(*err.msg);
    assert_true(fileio_exists(path)); /* the first server's */
    util_stop();
    assert_false(fileio_exists(path));
    buf_release(&line);
    free(path);
    util_start("127.0.0.1:0", NULL);
}

/* Without a version, health is fine and requests for one get 503. */
static void test_not_ready(void **state)
{
    struct serving *full = fix.serving;

    (void)state;
    util_stop();
    fix.serving = serving_create(fix.catalog, NULL);
    serving_prepare(fix.serving, &util_shape, fix.tokenizer);
    util_start("127.0.0.1:0", NULL);
    util_check_ok(util_get("/healthz"));
    {
        struct util_answer a = util_get("/readyz");

        assert_int_equal(a.status, 503);
        assert_non_null(a.json);
        util_release(&a);
    }
    util_check_error(util_post("/v1/score", "{\"text\":\"a\"}"), 503, NULL);
    util_check_error(util_post("/v1/completions", "{}"), 503, NULL);
    util_stop();
    serving_free(fix.serving);
    fix.serving = full;
    util_start("127.0.0.1:0", NULL);
}

/* A request that names a damaged version fails, even while it is in memory. */
static void test_damaged(void **state)
{
    (void)state;
    util_check_ok(
        util_post("/v1/score", "{\"text\":\"a\",\"model\":\"mneme@1\"}"));
    assert_int_equal(
        store_set_state(fix.store, 1, STORE_DAMAGED, "a bit has flipped", NULL),
        0);
    util_check_error(
        util_post("/v1/score", "{\"text\":\"a\",\"model\":\"mneme@1\"}"), 409,
        NULL);
    util_check_error(util_post("/v1/rollback", "{\"version\":1}"), 409, NULL);
}

/* A stop ends the connection of an incomplete request at once: it does not wait
 * for the deadline of 30 s. */
static void test_stop(void **state)
{
    int64_t began = timing_mono_ms();
    int fd = util_dial();

    (void)state;
    util_send_all(fd, "POST /v1/sc", 11);
    timing_sleep_ms(50);
    util_stop();
    assert_true(timing_mono_ms() - began < 20000);
    close(fd);
    util_start("127.0.0.1:0", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_hang_up),
        cmocka_unit_test(test_tokens_needed),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_address),
        cmocka_unit_test(test_not_ready),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, util_open_all, util_close_all);
}

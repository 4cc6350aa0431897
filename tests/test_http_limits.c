/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server piece by piece: places to compute, tokens, deadlines, which
 * operations can be asked for, events. What versions answer is in
 * test_api.c; here none serves.
 */
#include "config.h"

#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http.h"
#include "daemon/http_impl.h"
#include "store/store.h"
#include "tests/store_util.h"

static char *dir;
static struct store *store;
static struct catalog *catalog;
static struct serving *serving;
static struct control *control;
static struct status_board board;
static struct conf *conf;
static struct http *http;

/* A publisher that refuses what is asked because of "fail". */
static void wake_publisher(void *arg)
{
    struct control_operation op;
    struct err refused = {ERR_STATE, "not now"};

    (void)arg;
    while (control_take(control, false, &op))
        control_finish(control, op.id,
                       strcmp(op.reason, "fail") ? NULL : &refused, "did it");
}

static void wake_nobody(void *arg)
{
    (void)arg;
}

static void start(void)
{
    struct http_context context = {conf, &board, serving, catalog, control};
    struct err err = ERR_INIT;

    if (http_start(&context, &http, &err) != 0)
        fail_msg("%s", err.msg);
}

static int open_all(void **state)
{
    if (util_make_temp(state) != 0)
        return -1;
    dir = *state;
    assert_int_equal(store_open(dir, NULL, 0, &store, NULL), 0);
    assert_int_equal(util_pass(store, 1, true), 1);
    assert_int_equal(catalog_open(dir, &catalog, NULL), 0);
    serving = serving_create(catalog, NULL);
    control = control_create(wake_nobody, wake_publisher, NULL);
    status_board_init(&board);
    conf = conf_create();
    free(conf->data_dir);
    conf->data_dir = xstrdup(dir);
    conf->http.listen_port = 0;
    start();
    return 0;
}

static int close_all(void **state)
{
    http_stop(http);
    control_free(control);
    serving_free(serving);
    catalog_close(catalog);
    store_close(store);
    status_board_release(&board);
    conf_free(conf);
    return util_remove_temp(state);
}

/* --- a client ----------------------------------------------------------- */

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    struct timeval limit = {10, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_port = htons((uint16_t)atoi(strrchr(http_address(http), ':') + 1));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

/* To the end of the connection; the status, or 0. */
static int read_status(int fd)
{
    char block[4096] = "", more[4096];
    size_t n = 0;
    ssize_t got;

    while (n < sizeof block - 1 &&
           (got = recv(fd, block + n, sizeof block - 1 - n, 0)) > 0)
        n += (size_t)got;
    while (recv(fd, more, sizeof more, 0) > 0)
        ;
    close(fd);
    return n > 12 ? atoi(block + 9) : 0;
}

static int ask(const char *method, const char *path, const char *token,
               const char *body)
{
    char *text = xasprintf(
        "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "%s%s%sContent-Length: %zu\r\n\r\n%s",
        method, path, token ? "Authorization: Bearer " : "",
        token ? token : "", token ? "\r\n" : "", strlen(body), body);
    int fd = dial();

    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
                     (ssize_t)strlen(text));
    free(text);
    return read_status(fd);
}

/* --- places ------------------------------------------------------------- */

static void *take_and_give(void *arg)
{
    if (http_places_take(arg, NULL) == 0)
        http_places_give(arg);
    return NULL;
}

static void test_places(void **state)
{
    struct http_places *p = http_places_create(1, 0);
    struct err err = ERR_INIT;
    pthread_t thread;

    (void)state;
    assert_int_equal(http_places_take(p, NULL), 0);
    assert_int_equal(http_places_take(p, &err), ERR_AGAIN);
    http_places_give(p);
    assert_int_equal(http_places_take(p, NULL), 0);
    http_places_free(p);

    p = http_places_create(1, 1);
    assert_int_equal(http_places_take(p, NULL), 0);
    pthread_create(&thread, NULL, take_and_give, p);
    http_places_give(p);
    pthread_join(thread, NULL);
    http_places_free(p);
}

/* Whoever waits when the server stops is sent away. */
static void test_places_closed(void **state)
{
    struct http_places *p = http_places_create(1, 1);
    pthread_t thread;

    (void)state;
    assert_int_equal(http_places_take(p, NULL), 0);
    pthread_create(&thread, NULL, take_and_give, p);
    http_places_close(p);
    pthread_join(thread, NULL);
    http_places_give(p);
    assert_int_equal(http_places_take(p, NULL), ERR_STATE);
    http_places_free(p);
}

/* --- tokens ------------------------------------------------------------- */

static int load(const char *text, struct http_tokens **tokens,
                struct err *err)
{
    char *path = fileio_join(dir, "tokens");
    int rc;

    assert_int_equal(fileio_write_atomic(path, text, strlen(text), NULL), 0);
    rc = http_tokens_load(path, tokens, err);
    unlink(path);
    free(path);
    return rc;
}

static void test_tokens(void **state)
{
    static const struct {
        const char *header;
        enum http_scope scope;
    } cases[] = {
        {NULL, HTTP_OPEN},           {"", HTTP_OPEN},
        {"Bearer", HTTP_OPEN},       {"Bearer ", HTTP_OPEN},
        {"Bearer abc", HTTP_INFER},  {"bearer  abc", HTTP_INFER},
        {"Bearer xyz", HTTP_ADMIN},  {"Bearer ab", HTTP_OPEN},
        {"Bearer abcd", HTTP_OPEN},  {"Bearer abcabc", HTTP_OPEN},
        {"Bearer ABC", HTTP_OPEN},   {"Basic abc", HTTP_OPEN},
        {"Bearer abc x", HTTP_OPEN}, {"Bearer both", HTTP_ADMIN},
    };
    struct http_tokens *t = NULL;

    (void)state;
    assert_int_equal(load("# who\n\ninfer abc\r\n  admin\txyz\n"
                          "infer both\nadmin both",
                          &t, NULL),
                     0);
    assert_true(http_tokens_needed(t));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (http_tokens_check(t, cases[i].header) != cases[i].scope)
            fail_msg("%s", cases[i].header);
    http_tokens_free(t);
}

/* What is wrong is said without quoting a secret. */
static void test_bad_tokens(void **state)
{
    static const char *const texts[] = {
        "", "# none\n", "infer\n", "reader hidden\n", "infer hidden two\n",
        "hidden\n"};
    struct http_tokens *t = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct err err = ERR_INIT;

        assert_int_equal(load(texts[i], &t, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, "http.token_file"));
        assert_null(strstr(err.msg, "hidden"));
    }
    assert_int_equal(http_tokens_load("/nowhere/tokens", &t, NULL),
                     ERR_NOTFOUND);
}

/* A reload reads the file again, and keeps the old tokens when it cannot. */
static void test_reload(void **state)
{
    struct err err = ERR_INIT;
    char *path = fileio_join(dir, "tokens");

    (void)state;
    assert_int_equal(ask("GET", "/v1/status", NULL, ""), 200);
    fileio_write_atomic(path, "infer one\n", 10, NULL);
    conf->http.token_file = path;
    assert_int_equal(http_reload(http, NULL), 0);
    assert_int_equal(ask("GET", "/v1/status", NULL, ""), 401);
    assert_int_equal(ask("GET", "/v1/status", "one", ""), 200);
    assert_int_equal(ask("POST", "/v1/rollback", "one", ""), 403);
    fileio_write_atomic(path, "admin two\n", 10, NULL);
    assert_int_equal(http_reload(http, NULL), 0);
    assert_int_equal(ask("GET", "/v1/status", "one", ""), 401);
    assert_int_equal(ask("POST", "/v1/rollback", "two", ""), 400);
    unlink(path);
    assert_int_equal(http_reload(http, &err), ERR_NOTFOUND);
    assert_int_equal(ask("GET", "/v1/status", "two", ""), 200);
    conf->http.token_file = NULL;
    assert_int_equal(http_reload(http, NULL), 0);
    assert_int_equal(ask("GET", "/v1/status", NULL, ""), 200);
    free(path);
}

/* --- deadlines ---------------------------------------------------------- */

/* A byte now and then keeps no connection. The clock is moved under the
 * server's feet, which the thread sanitizer rightly dislikes. */
#ifndef __SANITIZE_THREAD__
static void test_slow(void **state)
{
    static int64_t now;
    int fd;

    (void)state;
    http_stop(http);
    now = timing_wall_ms();
    timing_set_fake(&now);
    start();
    fd = dial();
    assert_int_equal(send(fd, "GET /healthz HT", 15, MSG_NOSIGNAL), 15);
    timing_sleep_ms(50);
    now += 31000;
    assert_int_equal(send(fd, "T", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(read_status(fd), 0);
    assert_int_equal(ask("GET", "/healthz", NULL, ""), 200);
    http_stop(http);
    timing_set_fake(NULL);
    start();
}
#endif

/* --- operations --------------------------------------------------------- */

static void test_operations(void **state)
{
    (void)state;
    assert_int_equal(ask("POST", "/v1/versions/1/pin", NULL, ""), 200);
    assert_int_equal(
        ask("POST", "/v1/versions/1/pin", NULL, "{\"reason\":\"fail\"}"),
        409);
    assert_int_equal(
        ask("POST", "/v1/versions/1/pin", NULL, "{\"reason\":7}"), 400);
    assert_int_equal(ask("POST", "/v1/versions/latest/pin", NULL, ""), 404);
    assert_int_equal(ask("POST", "/v1/versions/1/promote", NULL, ""), 200);
}

/* Nobody carries them out: at some number further ones are refused. */
static void test_too_many_operations(void **state)
{
    struct control_operation op;
    int status = 202;

    (void)state;
    for (int i = 0; i < 100 && status == 202; i++)
        status = ask("POST", "/v1/rollback", NULL, "{\"version\":1}");
    assert_int_equal(status, 429);
    while (control_take(control, true, &op))
        control_finish(control, op.id, NULL, "");
    assert_int_equal(ask("POST", "/v1/rollback", NULL, "{\"version\":1}"),
                     202);
    assert_true(control_take(control, true, &op));
    control_finish(control, op.id, NULL, "");
}

/* A reason that is cut to size is cut between characters. */
static void test_long_reason(void **state)
{
    struct buf body = BUF_INIT;

    (void)state;
    buf_adds(&body, "{\"reason\":\"x");
    for (int i = 0; i < 300; i++)
        buf_adds(&body, "\xe2\x82\xac");
    buf_adds(&body, "\"}");
    assert_int_equal(ask("POST", "/v1/versions/1/pin", NULL, body.data), 200);
    buf_release(&body);
}

/* --- pages and events --------------------------------------------------- */

static void test_dashboard(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/", NULL, ""), 200);
    assert_int_equal(ask("POST", "/", NULL, ""), 405);
}

/* Reads until there is such a text; fails when it does not come. */
static void await_text(int fd, struct buf *got, const char *text)
{
    char block[512];
    ssize_t n;

    while (!got->data || !strstr(got->data, text)) {
        n = recv(fd, block, sizeof block, 0);
        if (n <= 0)
            fail_msg("no %s in: %s", text, got->data);
        buf_add(got, block, (size_t)n);
    }
}

/* What changes on the board is told; a stream does not hold up the end. */
static void test_events(void **state)
{
    static const char request[] =
        "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct buf got = BUF_INIT;
    int fd = dial();
    struct status *s;
    int64_t began;

    (void)state;
    send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
    await_text(fd, &got, "text/event-stream");
    await_text(fd, &got, "\"event\":\"step\"");
    s = status_lock(&board);
    s->head_version = s->publish.newest_version = 7;
    strcpy(s->publish.last_verdict, "failed"); /* the one before it */
    status_unlock(&board);
    await_text(fd, &got, "\"event\":\"publish\"");
    await_text(fd, &got, "\"head_version\":7");
    assert_null(strstr(got.data, "verdict"));
    s = status_lock(&board);
    s->publish.judged_version = 7;
    s->publish.passed++;
    strcpy(s->publish.last_verdict, "passed");
    status_unlock(&board);
    await_text(fd, &got, "\"event\":\"gate\"");
    await_text(fd, &got, "\"version\":7");
    await_text(fd, &got, "\"verdict\":\"passed\"");
    /* A rollback is no publish. */
    buf_clear(&got);
    s = status_lock(&board);
    s->head_version = s->publish.judged_version = 6;
    s->publish.rollbacks++;
    status_unlock(&board);
    await_text(fd, &got, "\"event\":\"rollback\"");
    await_text(fd, &got, "\"head_version\":6");
    assert_null(strstr(got.data, "publish"));
    assert_null(strstr(got.data, "gate"));
    began = timing_mono_ms();
    http_stop(http);
    assert_true(timing_mono_ms() - began < 5000);
    start();
    close(fd);
    buf_release(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_places_closed),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_bad_tokens),
        cmocka_unit_test(test_reload),
#ifndef __SANITIZE_THREAD__
        cmocka_unit_test(test_slow),
#endif
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_too_many_operations),
        cmocka_unit_test(test_long_reason),
        cmocka_unit_test(test_dashboard),
        cmocka_unit_test(test_events),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}

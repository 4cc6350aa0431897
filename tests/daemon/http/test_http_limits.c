/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's parts: slots, tokens, deadlines, limits, operations, events. No
 * version serves here; test_api.c has the answers of versions.
 */
#include "config.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http/http.h"
#include "daemon/http/request/http_mhd.h"
#include "daemon/http/request/http_tokens.h"
#include "daemon/http/wire/http_connections.h"
#include "daemon/http/wire/http_slots.h"
#include "store/store.h"
#include "tests/util/store_util.h"

static char *dir;
static struct store *store;
static struct catalog *catalog;
static struct serving *serving;
static struct control *control;
static struct status_board board;
static struct conf *conf;
static struct http *http;

/* A publisher that refuses operations with the reason "fail". */
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
    struct http_context context = {conf,    &board,  serving,
                                   catalog, control, NULL, 8};
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

/* Reads to the end of the connection. The status, or 0. */
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

/* --- slots -------------------------------------------------------------- */

static void *get_and_put(void *arg)
{
    if (http_slots_get(arg, 0, NULL, NULL) == 0)
        http_slots_put(arg, 0);
    return NULL;
}

static void test_slots(void **state)
{
    struct http_slots *s = http_slots_create(1, 0);
    struct err err = ERR_INIT;
    pthread_t thread;

    (void)state;
    assert_int_equal(http_slots_get(s, 0, NULL, NULL), 0);
    assert_int_equal(http_slots_get(s, 0, NULL, &err), ERR_LIMIT);
    http_slots_put(s, 0);
    assert_int_equal(http_slots_get(s, 0, NULL, NULL), 0);
    http_slots_free(s);

    s = http_slots_create(1, 1);
    assert_int_equal(http_slots_get(s, 0, NULL, NULL), 0);
    pthread_create(&thread, NULL, get_and_put, s);
    http_slots_put(s, 0);
    pthread_join(thread, NULL);
    http_slots_free(s);
}

/* A holder of all slots keeps no other holder waiting. */
static void test_slots_shared(void **state)
{
    struct http_slots *s = http_slots_create(2, 0);
    enum { A = 1, B, C };

    (void)state;
    assert_int_equal(http_slots_get(s, A, NULL, NULL), 0);
    assert_int_equal(http_slots_get(s, A, NULL, NULL), 0);
    assert_int_equal(http_slots_get(s, A, NULL, NULL), ERR_LIMIT);
    assert_int_equal(http_slots_get(s, B, NULL, NULL), 0);
    assert_int_equal(http_slots_get(s, B, NULL, NULL), ERR_LIMIT);
    assert_int_equal(http_slots_get(s, C, NULL, NULL), ERR_LIMIT);
    http_slots_put(s, A);
    assert_int_equal(http_slots_get(s, A, NULL, NULL), ERR_LIMIT);
    assert_int_equal(http_slots_get(s, C, NULL, NULL), 0);
    http_slots_put(s, A);
    http_slots_put(s, B);
    assert_int_equal(http_slots_get(s, C, NULL, NULL), 0);
    http_slots_put(s, C);
    http_slots_put(s, C);
    http_slots_free(s);
}

struct queued {
    struct http_slots *slots;
    uint64_t holder;
    atomic_int *turn;
    int got; /* which turn it had */
    atomic_bool waits;
};

/* The first check shows that the request waits. */
static int note_waiting(void *arg, struct err *err)
{
    struct queued *q = arg;

    (void)err;
    atomic_store(&q->waits, true);
    return 0;
}

static void *get_a_turn(void *arg)
{
    struct queued *q = arg;
    struct cancel cancel = {note_waiting, q};

    if (http_slots_get(q->slots, q->holder, &cancel, NULL) == 0) {
        q->got = atomic_fetch_add(q->turn, 1);
        http_slots_put(q->slots, q->holder);
    }
    return NULL;
}

/* The holder with the fewest slots is next, even if another came first. */
static void test_slots_fewest(void **state)
{
    struct http_slots *s = http_slots_create(1, 4);
    atomic_int turn = 1;
    enum { A = 1, B, C };
    struct queued first = {s, B, &turn, 0, false};
    struct queued second = {s, A, &turn, 0, false};
    pthread_t threads[2];

    (void)state;
    assert_int_equal(http_slots_get(s, A, NULL, NULL), 0);
    assert_int_equal(http_slots_get(s, B, NULL, NULL), 0);
    pthread_create(&threads[0], NULL, get_a_turn, &first);
    while (!atomic_load(&first.waits))
        timing_sleep_ms(1);
    pthread_create(&threads[1], NULL, get_a_turn, &second);
    while (!atomic_load(&second.waits))
        timing_sleep_ms(1);
    http_slots_put(s, A);
    pthread_join(threads[1], NULL);
    assert_int_equal(second.got, 1);
    assert_int_equal(first.got, 0);
    http_slots_put(s, B);
    pthread_join(threads[0], NULL);
    assert_int_equal(first.got, 2);
    http_slots_free(s);
}

static int refuse(void *arg, struct err *err)
{
    (void)arg;
    return err_set(err, ERR_AGAIN, "left");
}

/* A cancelled request leaves the line. */
static void test_slots_cancelled(void **state)
{
    struct http_slots *s = http_slots_create(1, 1);
    struct cancel cancel = {refuse, NULL};

    (void)state;
    assert_int_equal(http_slots_get(s, 0, NULL, NULL), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(http_slots_get(s, 0, &cancel, NULL), ERR_AGAIN);
    http_slots_put(s, 0);
    assert_int_equal(http_slots_get(s, 0, &cancel, NULL), 0);
    http_slots_free(s);
}

/* A stop refuses the waiting requests. */
static void test_slots_closed(void **state)
{
    struct http_slots *s = http_slots_create(1, 1);
    pthread_t thread;

    (void)state;
    assert_int_equal(http_slots_get(s, 0, NULL, NULL), 0);
    pthread_create(&thread, NULL, get_and_put, s);
    http_slots_close(s);
    pthread_join(thread, NULL);
    http_slots_put(s, 0);
    assert_int_equal(http_slots_get(s, 0, NULL, NULL), ERR_STATE);
    http_slots_free(s);
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
    /* The holder does not depend on blanks and letter case. */
    assert_true(http_tokens_holder(t, "Bearer abc") ==
                http_tokens_holder(t, "bearer   abc"));
    assert_true(http_tokens_holder(t, "Bearer abc") !=
                http_tokens_holder(t, "Bearer xyz"));
    http_tokens_free(t);
    assert_int_equal(http_tokens_load(NULL, &t, NULL), 0);
    assert_true(http_tokens_holder(t, "Bearer abc") == 0);
    http_tokens_free(t);
}

/* A bucket of requests, which fills in a minute. */
static void test_rate(void **state)
{
    struct http_tokens *t = NULL;
    int64_t now = 1000000;

    (void)state;
    assert_int_equal(load("infer abc rate=3\nadmin free\n", &t, NULL), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(http_tokens_take(t, "Bearer free", now), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(http_tokens_take(t, "Bearer abc", now), 0);
    assert_int_equal(http_tokens_take(t, "Bearer abc", now), 20);
    assert_int_equal(http_tokens_take(t, "Bearer abc", now + 19500), 1);
    assert_int_equal(http_tokens_take(t, "Bearer abc", now + 20000), 0);
    assert_int_equal(http_tokens_take(t, "Bearer abc", now + 20000), 20);
    now += 10000000;
    for (int i = 0; i < 3; i++)
        assert_int_equal(http_tokens_take(t, "Bearer abc", now), 0);
    assert_true(http_tokens_take(t, "Bearer abc", now) > 0);
    assert_int_equal(http_tokens_take(t, "Bearer none", now), 0);
    assert_int_equal(http_tokens_take(t, NULL, now), 0);
    http_tokens_free(t);
}

/* An error quotes no secret. */
static void test_bad_tokens(void **state)
{
    static const char *const texts[] = {
        "",
        "# none\n",
        "infer\n",
        "reader hidden\n",
        "infer hidden two\n",
        "hidden\n",
        "infer hidden rate=0\n",
        "infer hidden rate=\n",
        "infer hidden rate=-1\n",
        "infer hidden rate=5x\n",
        "infer hidden rate=5 hidden\n",
        "infer sha256:hidden\n",
        "admin sha256:"
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015\n"};
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

/* Loads a token file of a mode, and returns the log lines. */
static char *log_of(const char *text, mode_t mode)
{
    char *path = fileio_join(dir, "open-tokens");
    char *log = fileio_join(dir, "log");
    struct http_tokens *t = NULL;
    struct buf said = BUF_INIT;
    int was = dup(STDERR_FILENO);
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_int_equal(fileio_write_atomic(path, text, strlen(text), NULL), 0);
    assert_int_equal(chmod(path, mode), 0);
    dup2(fd, STDERR_FILENO);
    assert_int_equal(http_tokens_load(path, &t, NULL), 0);
    dup2(was, STDERR_FILENO);
    close(was);
    close(fd);
    assert_int_equal(fileio_read(log, 65536, &said, NULL), 0);
    http_tokens_free(t);
    unlink(path);
    unlink(log);
    free(path);
    free(log);
    return buf_detach(&said);
}

static void test_weak_tokens(void **state)
{
    static const char good[] = "infer 0123456789abcdef\n";
    char *said = log_of(good, 0640);

    (void)state;
    assert_string_equal(said, "");
    free(said);
    said = log_of(good, 0644);
    assert_non_null(strstr(said, " warn tokens "));
    assert_non_null(strstr(said, "chmod"));
    free(said);
    said = log_of("infer hidden\nadmin 0123456789abcde\n", 0600);
    assert_non_null(strstr(said, "2 tokens have fewer than 16"));
    assert_null(strstr(said, "hidden"));
    free(said);
}

/* A pipe instead of a file is an error; the daemon does not wait for it. */
static void test_token_pipe(void **state)
{
    char *path = fileio_join(dir, "pipe");
    struct http_tokens *t = NULL;
    struct err err = ERR_INIT;

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(http_tokens_load(path, &t, &err), ERR_IO);
    assert_non_null(strstr(err.msg, "http.token_file"));
    unlink(path);
    free(path);
}

/* A reload reads the file again; when it fails, the old tokens stay. */
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

/* Slow bytes do not extend a deadline. */
static void test_slow(void **state)
{
    static const char body[] = "POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
                               "Content-Length: 9\r\n\r\n1";
    static _Atomic int64_t now;
    int fd, silent;

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
    assert_int_equal(read_status(fd), 408);
    /* The same in a body, and for a client that sends nothing. */
    fd = dial();
    send(fd, body, sizeof body - 1, MSG_NOSIGNAL);
    silent = dial();
    timing_sleep_ms(50);
    now += 31000;
    assert_int_equal(send(fd, "2", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(read_status(fd), 408);
    assert_int_equal(read_status(silent), 0);
    assert_int_equal(ask("GET", "/healthz", NULL, ""), 200);
    http_stop(http);
    timing_set_fake(NULL);
    start();
}

/* --- memory ------------------------------------------------------------- */

#define N_BODIES 20
#define BODY_BYTES 1000000

struct body {
    pthread_t thread;
    const char *text;
    int status;
};

static void *post_body(void *arg)
{
    struct body *b = arg;

    b->status = ask("POST", "/v1/score", NULL, b->text);
    return NULL;
}

/* The peak memory of this process, in MiB. */
static int peak_mib(void)
{
    struct buf text = BUF_INIT;
    const char *line;
    int mib = 0;

    assert_int_equal(fileio_read("/proc/self/status", 65536, &text, NULL), 0);
    line = strstr(text.data, "VmHWM:");
    if (line)
        mib = atoi(line + 6) >> 10;
    buf_release(&text);
    return mib;
}

/* {"text":[PIECE,PIECE, ... ]} and blanks up to BODY_BYTES. */
static char *body_of(const char *piece, size_t n_pieces)
{
    char *text = xmalloc(BODY_BYTES + 1);
    size_t n = (size_t)sprintf(text, "{\"text\":["), size = strlen(piece);

    for (size_t i = 0; i < n_pieces && n + size + 4 < BODY_BYTES; i++)
        n += (size_t)sprintf(text + n, "%s%s", i ? "," : "", piece);
    n += (size_t)sprintf(text + n, "]}");
    memset(text + n, ' ', BODY_BYTES - n);
    text[BODY_BYTES] = '\0';
    return text;
}

/* Sends many bodies at a time. Each is answered, with the status or 429. */
static void post_many(const char *piece, size_t n_pieces, int status)
{
    char *text = body_of(piece, n_pieces);
    struct body bodies[N_BODIES];

    for (int i = 0; i < N_BODIES; i++) {
        bodies[i] = (struct body){.text = text};
        pthread_create(&bodies[i].thread, NULL, post_body, &bodies[i]);
    }
    for (int i = 0; i < N_BODIES; i++)
        pthread_join(bodies[i].thread, NULL);
    for (int i = 0; i < N_BODIES; i++)
        if (bodies[i].status != status && bodies[i].status != 429)
            fail_msg("%s: %d", piece, bodies[i].status);
    assert_int_equal(ask("POST", "/v1/score", NULL, text), status);
    free(text);
}

static void test_bodies(void **state)
{
    int before = peak_mib();

    (void)state;
    post_many("{}", SIZE_MAX, 400);
    post_many("[]", SIZE_MAX, 400);
    post_many("1", SIZE_MAX, 400);
    post_many("{\"a\":1}", SIZE_MAX, 400);
    /* Bodies at the limit of values, which are parsed. */
    post_many("{\"a\":1,\"b\":2}", 16000, 400);
    post_many("\"a\"", 131000, 400);
    post_many("1", 131000, 400);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    /* Allows for the clients' copies, and for memory that malloc keeps. */
    if (peak_mib() - before > 64 + N_BODIES + 48)
        fail_msg("%d MiB", peak_mib() - before);
#else
    (void)before;
#endif
}

/* --- descriptors -------------------------------------------------------- */

#ifndef __SANITIZE_THREAD__ /* which cannot start threads after a fork */
/* http_start in a process with a limit on open files. */
static int start_with(rlim_t soft, rlim_t hard, rlim_t *raised)
{
    struct http_context context = {conf,    &board,  serving,
                                   catalog, control, NULL, 8};
    struct rlimit was, limit = {soft, hard};
    struct http *h = NULL;
    int rc;

    getrlimit(RLIMIT_NOFILE, &was);
    limit.rlim_max = hard ? hard : was.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1;
    rc = http_start(&context, &h, NULL);
    getrlimit(RLIMIT_NOFILE, &limit);
    *raised = limit.rlim_cur;
    http_stop(h);
    return rc;
}

static void test_descriptors(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    http_stop(http);
    pid = fork();
    if (pid == 0) { /* a child: a lowered hard limit cannot be raised again */
        rlim_t raised;
        bool ok = start_with(64, 0, &raised) == 0 && raised >= 256 + 256;

        conf->http.max_connections = 4096;
        ok = ok && start_with(64, 512, &raised) == ERR_LIMIT;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    start();
}
#endif

static int count_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* A connection has the descriptors that http_start counts, and closes all. */
static void test_descriptors_each(void **state)
{
    static const char text[] = "GET /healthz HTTP/1.1\r\n"
                               "Host: localhost\r\n\r\n";
    int before;
    int each = 2 + HTTP_MHD_DESCRIPTORS; /* with the client's own */
    char answer[4096];
    int fds[8];

    (void)state;
    http_stop(http); /* no connection of an earlier test is left */
    start();
    before = count_descriptors();
    for (int i = 0; i < 8; i++) {
        fds[i] = dial();
        assert_int_equal(send(fds[i], text, sizeof text - 1, MSG_NOSIGNAL),
                         (ssize_t)sizeof text - 1);
        assert_true(recv(fds[i], answer, sizeof answer, 0) > 0);
    }
    assert_int_equal(count_descriptors() - before, 8 * each);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    for (int i = 0; i < 500 && count_descriptors() > before; i++)
        timing_sleep_ms(20);
    assert_int_equal(count_descriptors(), before);
}

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

/* The trainer runs no operation here: at some number 429 follows. */
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

/* A long reason is cut between characters. */
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

/* --- events ------------------------------------------------------------- */

/* Reads until the text has come. */
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

static int listen_after(const char *id)
{
    char *request =
        xasprintf("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n%s%s%s\r\n",
                  id ? "Last-Event-ID: " : "", id ? id : "", id ? "\r\n" : "");
    int fd = dial();

    send(fd, request, strlen(request), MSG_NOSIGNAL);
    free(request);
    return fd;
}

static void set_head(int64_t version)
{
    struct status *s = status_lock(&board);

    s->head_version = s->publish.newest_version = version;
    status_unlock(&board);
}

/* The id of the first event with a name. */
static char *id_of(const struct buf *got, const char *name)
{
    char *line = xasprintf("event: %s\n", name), *at;
    char *id = NULL;

    at = strstr(got->data, line);
    if (!at || strncmp(at + strlen(line), "id: ", 4) != 0)
        fail_msg("no event %s with an id in: %s", name, got->data);
    at += strlen(line) + 4;
    id = xasprintf("%.*s", (int)strcspn(at, "\n"), at);
    free(line);
    return id;
}

/* Each change of the board is an event with a name and an id. A stop ends the
 * stream with a last chunk. */
static void test_events(void **state)
{
    struct buf got = BUF_INIT;
    int fd = listen_after(NULL);
    struct status *s;

    (void)state;
    await_text(fd, &got, "text/event-stream");
    await_text(fd, &got, "\"event\":\"step\"");
    s = status_lock(&board);
    s->head_version = s->publish.newest_version = 7;
    strcpy(s->publish.last_verdict, "failed"); /* of version 6 */
    status_unlock(&board);
    await_text(fd, &got, "event: publish\nid: ");
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
    /* A rollback makes no publish event. */
    buf_clear(&got);
    s = status_lock(&board);
    s->head_version = s->publish.judged_version = 6;
    s->publish.rollbacks++;
    status_unlock(&board);
    await_text(fd, &got, "\"event\":\"rollback\"");
    await_text(fd, &got, "\"head_version\":6");
    assert_null(strstr(got.data, "publish"));
    assert_null(strstr(got.data, "gate"));
    http_stop(http);
    await_text(fd, &got, "\r\n0\r\n\r\n");
    start();
    close(fd);
    buf_release(&got);
}

/* A client that reconnects gets the events that it missed, and no others. A
 * client of an earlier run of the daemon gets an event `missed`. */
static void test_events_resumed(void **state)
{
    struct buf got = BUF_INIT, more = BUF_INIT, other = BUF_INIT;
    int fd = listen_after(NULL);
    char *id;

    (void)state;
    await_text(fd, &got, "event: step");
    set_head(11);
    await_text(fd, &got, "\"head_version\":11,");
    id = id_of(&got, "publish");
    close(fd);
    fd = listen_after(NULL);
    await_text(fd, &other, "event: step");
    set_head(12);
    await_text(fd, &other, "\"head_version\":12,");
    close(fd);

    fd = listen_after(id);
    await_text(fd, &more, "\"head_version\":12,");
    assert_null(strstr(more.data, "\"head_version\":11,"));
    assert_null(strstr(more.data, "event: missed"));
    close(fd);

    buf_clear(&more);
    http_stop(http);
    start();
    fd = listen_after(id);
    await_text(fd, &more, "event: missed\nid: ");
    await_text(fd, &more, "\"missed\":null");
    close(fd);
    free(id);
    buf_release(&got);
    buf_release(&more);
    buf_release(&other);
}

/* --- stopping ----------------------------------------------------------- */

/* After http_close, requests that compute get 503, and others are answered. */
static void test_closed(void **state)
{
    (void)state;
    http_close(http);
    assert_int_equal(ask("POST", "/v1/score", NULL, "{\"text\":\"a\"}"), 503);
    assert_int_equal(ask("GET", "/readyz", NULL, ""), 503);
    assert_int_equal(ask("GET", "/healthz", NULL, ""), 200);
    assert_int_equal(ask("GET", "/v1/status", NULL, ""), 200);
    http_stop(http);
    start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_slots_shared),
        cmocka_unit_test(test_slots_fewest),
        cmocka_unit_test(test_slots_cancelled),
        cmocka_unit_test(test_slots_closed),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_bad_tokens),
        cmocka_unit_test(test_weak_tokens),
        cmocka_unit_test(test_token_pipe),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_bodies),
#ifndef __SANITIZE_THREAD__
        cmocka_unit_test(test_descriptors),
#endif
        cmocka_unit_test(test_descriptors_each),
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_too_many_operations),
        cmocka_unit_test(test_long_reason),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_events_resumed),
        cmocka_unit_test(test_closed),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that arrive over HTTP: the log and its limits, and the source that
 * follows it. A record keeps its offset, whatever fails.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/queue.h"
#include "daemon/stream/record_log.h"
#include "daemon/stream/source.h"
#include "tests/util/store_util.h"

#define WAIT_MS 20000
#define LIMIT (1 << 20)

/* --- the log ------------------------------------------------------------ */

static struct record_log *open_log(const char *dir)
{
    const struct record_log_options o = {.data_dir = dir, .limit_bytes = LIMIT};
    struct record_log *l = NULL;
    struct err err = ERR_INIT;

    if (record_log_open(&o, &l, &err) != 0)
        fail_msg("%s", err.msg);
    return l;
}

static int64_t append(struct record_log *l, const char *lines, int64_t n)
{
    struct err err = ERR_INIT;
    int64_t first = -1;

    if (record_log_append(l, lines, strlen(lines), n, &first, &err) != 0)
        fail_msg("%s", err.msg);
    return first;
}

/* Reads from `offset` to the end; "a b c", to be freed. */
static char *read_all(struct record_log *l, int64_t offset)
{
    struct record_log_reader *r = record_log_read_from(l, offset, 1 << 16);
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;
    struct line line;
    int rc;

    while ((rc = record_log_read(r, &line, &err)) == 0)
        buf_addf(&text, "%s%.*s", text.len ? " " : "", (int)line.n_bytes,
                 line.bytes);
    if (rc != ERR_END)
        buf_addf(&text, " (%s)", err.msg);
    buf_adds(&text, "");
    record_log_reader_free(r);
    return buf_detach(&text);
}

static void check_read(struct record_log *l, int64_t offset,
                       const char *expected)
{
    char *text = read_all(l, offset);

    assert_string_equal(text ? text : "", expected);
    free(text);
}

static char *file_of(const char *dir, int64_t first)
{
    return xasprintf("%s/records/%020lld.jsonl", dir, (long long)first);
}

static void append_bytes(const char *dir, int64_t first, const char *bytes)
{
    char *path = file_of(dir, first);
    FILE *f = fopen(path, "ab");

    assert_non_null(f);
    fputs(bytes, f);
    fclose(f);
    free(path);
}

static void remove_log(const char *dir)
{
    char *path = xasprintf("%s/records", dir);

    fileio_fault = NULL;
    assert_int_equal(fileio_remove_dir(path, NULL), 0);
    free(path);
}

static void test_log(void **state)
{
    const char *dir = *state;
    struct record_log *l = open_log(dir);

    check_read(l, 0, "");
    assert_int_equal(append(l, "a\nb\n", 2), 0);
    assert_int_equal(append(l, "c\n", 1), 2);
    check_read(l, 0, "a b c");
    check_read(l, 2, "c");
    check_read(l, 3, "");
    record_log_close(l);
    /* A crash has left an incomplete line, which nobody was told about. */
    append_bytes(dir, 0, "d\ne\nhalf");
    l = open_log(dir);
    assert_int_equal(record_log_end(l), 5);
    check_read(l, 0, "a b c d e");
    assert_int_equal(append(l, "f\n", 1), 5);
    check_read(l, 4, "e f");
    assert_int_equal(record_log_first(l), 0);
    record_log_close(l);
    remove_log(dir);
}

/* Another process reads the log and changes nothing. */
static void test_reads_only(void **state)
{
    const char *dir = *state;
    struct record_log_options o = {.data_dir = dir, .limit_bytes = LIMIT};
    struct record_log *l = NULL, *other = NULL;
    char *path = file_of(dir, 0);
    struct buf bytes = BUF_INIT;

    o.reads_only = true;
    assert_int_equal(record_log_open(&o, &other, NULL), 0);
    assert_int_equal(record_log_end(other), 0); /* there is no directory */
    record_log_close(other);
    l = open_log(dir);
    append(l, "a\nb\n", 2);
    append_bytes(dir, 0, "ha");
    assert_int_equal(record_log_open(&o, &other, NULL), 0);
    check_read(other, 1, "b");
    record_log_close(other);
    assert_int_equal(fileio_read(path, 100, &bytes, NULL), 0);
    assert_string_equal(bytes.data, "a\nb\nha");
    buf_release(&bytes);
    free(path);
    record_log_close(l);
    remove_log(dir);
}

/* The log continues behind its end, as after a restored backup. */
static void test_begin_at(void **state)
{
    const char *dir = *state;
    struct record_log *l = open_log(dir);
    char *hole;

    assert_int_equal(record_log_begin_at(l, 7, NULL), 0);
    assert_int_equal(record_log_first(l), 7);
    assert_int_equal(append(l, "a\n", 1), 7);
    assert_int_equal(record_log_begin_at(l, 20, NULL), 0);
    assert_int_equal(append(l, "b\n", 1), 20);
    check_read(l, 20, "b");
    hole = read_all(l, 7);
    assert_non_null(strstr(hole, "a (http: the record with offset 8 is not"));
    free(hole);
    record_log_close(l);
    remove_log(dir);
}

/* A full log removes its oldest segments, if they may go. */
static void test_limit(void **state)
{
    const char *dir = *state;
    struct record_log *l = open_log(dir);
    struct err err = ERR_INIT;
    char *line = xmalloc(40002);
    int64_t first = 0, n = 0;
    int rc;

    memset(line, 'x', 40000);
    memcpy(line + 40000, "\n", 2);
    while ((rc = record_log_append(l, line, 40001, 1, &first, &err)) == 0)
        assert_int_equal(first, n++);
    assert_int_equal(rc, ERR_AGAIN);
    assert_non_null(strstr(err.msg, "source.http.log_bytes"));
    assert_int_equal(n, LIMIT / 40001);
    assert_int_equal(record_log_first(l), 0);
    assert_int_equal(record_log_keep_from(l, n + 1, NULL), ERR_STATE);
    assert_int_equal(record_log_keep_from(l, 10, NULL), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(append(l, line, 1), n++);
    assert_in_range(record_log_first(l), 5, 10);
    assert_int_equal(record_log_keep_from(l, 3, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "no longer in the log"));
    record_log_close(l);
    l = open_log(dir);
    assert_int_equal(record_log_end(l), n);
    record_log_close(l);
    free(line);
    remove_log(dir);
}

/* The last segment cannot be removed, so records must fit beside it. */
static void test_large_append(void **state)
{
    const char *dir = *state;
    struct record_log *l = open_log(dir);
    struct err err = ERR_INIT;
    size_t most = LIMIT / 16 * 15;
    char *line = xmalloc(most + 2);
    int64_t first = 0;

    memset(line, 'x', most);
    memcpy(line + LIMIT / 16 - 2, "\n", 2);
    append(l, line, 1); /* one byte less than a segment */
    line[LIMIT / 16 - 1] = 'x';
    line[LIMIT / 16 - 2] = 'x';
    memcpy(line + most, "\n", 2);
    assert_int_equal(record_log_append(l, line, most + 1, 1, &first, &err),
                     ERR_LIMIT);
    assert_non_null(strstr(err.msg, "source.http.log_bytes"));
    assert_non_null(strstr(err.msg, "at most 983040"));
    line[most - 1] = '\n';
    assert_int_equal(record_log_append(l, line, most, 1, &first, &err), 0);
    /* It is as large as a full log, and goes when it was learned. */
    assert_int_equal(record_log_append(l, line, most, 1, &first, &err),
                     ERR_AGAIN);
    assert_int_equal(record_log_keep_from(l, 2, NULL), 0);
    assert_int_equal(record_log_append(l, line, most, 1, &first, &err), 0);
    assert_int_equal(first, 2);
    assert_int_equal(record_log_first(l), 2);
    record_log_close(l);
    free(line);
    remove_log(dir);
}

static const char *broken;
static int (*in_call)(void); /* runs inside the broken call */

static int break_call(const char *call, const char *path)
{
    if (!broken || strcmp(call, broken) != 0 || !strstr(path, "records"))
        return 0;
    if (in_call)
        return in_call();
    return strcmp(call, "write") == 0 ? ENOSPC : EIO;
}

/* A full disk is not final; a failed sync is, until a restart. */
static void test_faults(void **state)
{
    const char *dir = *state;
    struct record_log *l = open_log(dir);
    struct err err = ERR_INIT;
    int64_t first;

    append(l, "a\n", 1);
    fileio_fault = break_call;
    broken = "write";
    assert_int_equal(record_log_append(l, "b\n", 2, 1, &first, &err), ERR_FULL);
    broken = NULL;
    assert_int_equal(append(l, "c\n", 1), 1);
    check_read(l, 0, "a c");
    broken = "fsync";
    assert_int_equal(record_log_append(l, "d\n", 2, 1, &first, &err), ERR_IO);
    broken = NULL;
    assert_int_equal(record_log_append(l, "e\n", 2, 1, &first, &err), ERR_IO);
    check_read(l, 0, "a c"); /* not the one that may not be durable */
    record_log_close(l);
    /* After a failed sync the page cache has bytes that the disk may lack, and
     * another sync would succeed. So the bytes are cut off. */
    l = open_log(dir);
    check_read(l, 0, "a c");
    record_log_close(l);
    remove_log(dir);
}

/* The lines of an append that failed are never read, also not those that a
 * reader has buffered. */
static void test_cut(void **state)
{
    const char *dir = *state;
    struct record_log *l = open_log(dir);
    struct record_log_reader *r = record_log_read_from(l, 0, 1 << 16);
    struct err err = ERR_INIT;
    struct line line;
    int64_t first;

    append(l, "a\n", 1);
    /* A reader reads while the bytes of an append are in the file. */
    append_bytes(dir, 0, "b1\nb2\nb3\n");
    assert_int_equal(record_log_read(r, &line, &err), 0);
    assert_memory_equal(line.bytes, "a", 1);
    fileio_fault = break_call;
    broken = "write";
    assert_int_equal(record_log_append(l, "b4\n", 3, 1, &first, &err),
                     ERR_FULL);
    broken = NULL;
    append(l, "c\n", 1);
    assert_int_equal(record_log_read(r, &line, &err), 0);
    assert_int_equal(line.n_bytes, 1);
    assert_memory_equal(line.bytes, "c", 1);
    record_log_reader_free(r);
    record_log_close(l);
    remove_log(dir);
}

static struct record_log *a_log;

/* The figures of the log can be read while it waits for the disk. */
static int read_figures(void)
{
    assert_int_equal(record_log_end(a_log), 1);
    assert_in_range(record_log_first(a_log), 0, 1);
    assert_int_equal(record_log_keep_from(a_log, 1, NULL), 0);
    return EIO;
}

static void test_waits_for_disk(void **state)
{
    static const char *const calls[] = {"open", "unlink", "write", "fsync"};
    const char *dir = *state;
    struct record_log *l = a_log = open_log(dir);
    struct err err = ERR_INIT;
    size_t n = LIMIT / 2 + 1; /* two of them are too large for the log */
    char *line = xmalloc(n + 1);
    int64_t first;

    memset(line, 'x', n);
    memcpy(line + n - 1, "\n", 2);
    append(l, line, 1);
    fileio_fault = break_call;
    in_call = read_figures;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        broken = calls[i];
        assert_int_equal(record_log_append(l, line, n, 1, &first, &err),
                         ERR_IO);
        assert_int_equal(record_log_end(l), 1);
        assert_int_equal(record_log_first(l), i < 2 ? 0 : 1);
    }
    broken = NULL;
    in_call = NULL;
    record_log_close(l);
    free(line);
    remove_log(dir);
}

/* --- the source --------------------------------------------------------- */

struct fixture {
    struct conf conf;
    struct queue *queue;
    struct source *source;
};

static void open_source(struct fixture *fx, const char *dir, bool reads_only)
{
    struct source_options o = {.conf = &fx->conf,
                               .data_dir = dir,
                               .store_id = "store",
                               .reads_only = reads_only};
    struct err err = ERR_INIT;

    fx->conf.source.type = CONF_SOURCE_HTTP;
    fx->conf.source.http.log_bytes = LIMIT;
    fx->conf.source.max_record_bytes = 64;
    fx->queue = o.queue = queue_create(8, 1 << 20);
    if (source_create(&o, &fx->source, &err) != 0)
        fail_msg("%s", err.msg);
}

static void close_source(struct fixture *fx)
{
    source_free(fx->source);
    queue_free(fx->queue);
}

static struct source_position at(int64_t next, const char *last)
{
    struct source_position p = {SOURCE_HTTP_TOPIC, 0, next, -1, 0};

    if (last) {
        p.last_learned = next - 1;
        p.last_hash = checksum_xxh3(last, strlen(last), 0);
    }
    return p;
}

static void expect(struct fixture *fx, int64_t epoch, int64_t offset,
                   const char *value)
{
    struct record *r;

    do {
        r = queue_pop(fx->queue, WAIT_MS);
        assert_non_null(r);
        if (r->epoch < epoch) {
            record_free(r);
            r = NULL;
        }
    } while (!r);
    assert_string_equal(r->topic, "http");
    assert_int_equal(r->partition, 0);
    assert_int_equal(r->offset, offset);
    if (value)
        assert_string_equal(r->value, value);
    else
        assert_int_equal(r->kind, RECORD_HOLE);
    record_free(r);
}

static int send(struct fixture *fx, const char *lines, int64_t n,
                int64_t *first, struct err *err)
{
    return source_append(fx->source, lines, strlen(lines), n, first, err);
}

static void test_source(void **state)
{
    struct fixture fx = {.source = NULL};
    struct source_partition *rows;
    struct source_position p;
    struct err err = ERR_INIT;
    int64_t first;

    open_source(&fx, *state, false);
    assert_int_equal(send(&fx, "a\n", 1, &first, &err), ERR_STATE);
    assert_int_equal(source_begin(fx.source, NULL, 0, 1, NULL), 0);
    assert_int_equal(send(&fx, "a\nb\n", 2, &first, &err), 0);
    assert_int_equal(first, 0);
    expect(&fx, 1, 0, "a");
    expect(&fx, 1, 1, "b");
    assert_int_equal(send(&fx, "c\n", 1, &first, &err), 0);
    expect(&fx, 1, 2, "c");
    assert_int_equal(source_get_partitions(fx.source, &rows), 1);
    assert_int_equal(rows->end, 3);
    assert_int_equal(rows->start, 0);
    free(rows);
    /* Back, in a new epoch. */
    p = at(1, "a");
    assert_int_equal(source_seek(fx.source, &p, 1, 2, NULL), 0);
    expect(&fx, 2, 1, "b");
    expect(&fx, 2, 2, "c");
    p = at(1, "other");
    assert_int_equal(source_seek(fx.source, &p, 1, 3, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "another log"));
    p = at(9, NULL);
    assert_int_equal(source_seek(fx.source, &p, 1, 3, &err), ERR_STATE);
    close_source(&fx);
    /* A restart reads on. */
    open_source(&fx, *state, false);
    p = at(2, "b");
    assert_int_equal(source_begin(fx.source, &p, 1, 1, NULL), 0);
    expect(&fx, 1, 2, "c");
    close_source(&fx);
    remove_log(*state);
}

static void expect_stopped(struct fixture *fx, const char *words)
{
    struct source_health health;

    source_get_health(fx->source, &health);
    assert_int_equal(health.state, SOURCE_STOPPED);
    assert_non_null(strstr(health.reason, words));
}

/* The log lacks records that the position needs, or has other ones. */
static void test_other_logs(void **state)
{
    struct fixture fx = {.source = NULL};
    struct source_position p = at(5, "learned");
    struct err err = ERR_INIT;
    int64_t first;

    open_source(&fx, *state, true);
    assert_int_equal(source_begin(fx.source, &p, 1, 1, NULL), 0);
    expect_stopped(&fx, "the log ends at offset 0");
    close_source(&fx);
    /* After a restored backup there is no log: it begins at the position. */
    open_source(&fx, *state, false);
    assert_int_equal(source_begin(fx.source, &p, 1, 1, NULL), 0);
    assert_int_equal(send(&fx, "a\n", 1, &first, &err), 0);
    assert_int_equal(first, 5);
    expect(&fx, 1, 5, "a");
    close_source(&fx);
    /* An older position: its records are gone. */
    p = at(2, NULL);
    open_source(&fx, *state, false);
    assert_int_equal(source_begin(fx.source, &p, 1, 1, NULL), 0);
    expect_stopped(&fx, "offset 2 to 4 are no longer in the log");
    assert_int_equal(send(&fx, "b\n", 1, &first, &err), ERR_STATE);
    close_source(&fx);
    fx.conf.source.kafka.on_gap = CONF_ON_GAP_SKIP;
    open_source(&fx, *state, false);
    assert_int_equal(source_begin(fx.source, &p, 1, 1, NULL), 0);
    expect(&fx, 1, 4, NULL); /* the hole */
    expect(&fx, 1, 5, "a");
    close_source(&fx);
    fx.conf.source.kafka.on_gap = CONF_ON_GAP_STOP;
    p = at(6, "other");
    open_source(&fx, *state, false);
    assert_int_equal(source_begin(fx.source, &p, 1, 1, NULL), 0);
    expect_stopped(&fx, "another log");
    close_source(&fx);
    remove_log(*state);
}

#define T(test)                                                                \
    cmocka_unit_test_setup_teardown(test, util_make_temp, util_remove_temp)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_log),          T(test_reads_only),
        T(test_begin_at),     T(test_limit),
        T(test_large_append), T(test_faults),
        T(test_cut),          T(test_waits_for_disk),
        T(test_source),       T(test_other_logs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of files as records: line ends, compression, restarts, rotation, seeks.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/source.h"

#define MAX_BYTES 64
#define WAIT_MS 5000

static char dir[] = "/tmp/mneme-test-XXXXXX";
static char path[128];

struct fixture {
    struct conf conf;
    struct queue *queue;
    struct source *source;
    int64_t epoch;
};

static void open_source(struct fixture *fx, const char *name, bool follow)
{
    struct source_options o = {.conf = &fx->conf, .data_dir = dir,
                               .store_id = "store"};
    struct err err = ERR_INIT;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    fx->conf.source.type = CONF_SOURCE_FILE;
    fx->conf.source.path = path;
    fx->conf.source.follow = follow;
    fx->conf.source.max_record_bytes = MAX_BYTES;
    fx->queue = o.queue = queue_create(8, 1 << 20);
    fx->epoch = 1;
    if (source_create(&o, &fx->source, &err) != 0)
        fail_msg("%s", err.msg);
}

static void close_source(struct fixture *fx)
{
    source_free(fx->source);
    queue_free(fx->queue);
}

static void begin(struct fixture *fx, const struct source_position *at)
{
    assert_int_equal(
        source_begin(fx->source, at, at ? 1 : 0, fx->epoch, NULL), 0);
}

static void put(const char *name, const void *bytes, size_t n)
{
    char *to = fileio_join(dir, name);

    assert_int_equal(fileio_write_sync(to, bytes, n, NULL), 0);
    free(to);
}

static void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

static void append_text(const char *text)
{
    FILE *f = fopen(path, "a");

    fputs(text, f);
    fclose(f);
}

/* Returns the next record. Like the trainer, it drops older epochs. */
static struct record *next_record(struct fixture *fx)
{
    for (;;) {
        struct record *r = queue_pop(fx->queue, WAIT_MS);

        assert_non_null(r);
        if (r->epoch >= fx->epoch)
            return r;
        record_free(r);
    }
}

/* Expects this line of this partition as the next record. */
static void expect(struct fixture *fx, int32_t partition, int64_t offset,
                   const char *value)
{
    struct record *r = next_record(fx);

    assert_int_equal(r->kind, RECORD_DATA);
    assert_string_equal(r->value, value);
    assert_int_equal(r->partition, partition);
    assert_int_equal(r->offset, offset);
    assert_int_equal(r->epoch, fx->epoch);
    assert_string_equal(r->topic, path);
    assert_true(r->value_hash == checksum_xxh3(value, strlen(value), 0));
    record_free(r);
}

static void expect_end(struct fixture *fx, int64_t offset)
{
    struct record *r = queue_pop(fx->queue, WAIT_MS);

    assert_non_null(r);
    assert_int_equal(r->kind, RECORD_END);
    assert_int_equal(r->offset, offset);
    record_free(r);
}

/* Waits for a state. */
static void expect_state(struct fixture *fx, enum source_state state,
                         const char *words)
{
    struct source_health h;

    for (int i = 0; i < WAIT_MS; i++) {
        source_get_health(fx->source, &h);
        if (h.state == state)
            break;
        timing_sleep_ms(1);
    }
    assert_int_equal(h.state, state);
    if (!strstr(h.reason, words))
        fail_msg("'%s' does not say '%s'", h.reason, words);
}

static struct source_position at(int32_t partition, int64_t next,
                                 const char *last)
{
    return (struct source_position){
        .topic = path,
        .partition = partition,
        .next_offset = next,
        .last_learned = last ? next - 1 : -1,
        .last_hash = last ? checksum_xxh3(last, strlen(last), 0) : 0,
    };
}

static const char three[] = "one\ntwo\r\n\nfour";

static void expect_three(struct fixture *fx)
{
    struct record *r;

    expect(fx, 0, 0, "one");
    expect(fx, 0, 1, "two");
    r = queue_pop(fx->queue, WAIT_MS);
    assert_string_equal(r->reason, "empty");
    assert_int_equal(r->offset, 2);
    record_free(r);
    expect(fx, 0, 3, "four");
    expect_end(fx, 4);
}

static void test_plain(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_partition *rows;

    (void)state;
    put_text("en.part.jsonl", three);
    open_source(&fx, "en.part.jsonl", false);
    begin(&fx, NULL);
    expect_three(&fx);
    expect_state(&fx, SOURCE_ENDED, "");
    assert_int_equal(source_get_partitions(fx.source, &rows), 1);
    assert_int_equal(rows->offset, 4);
    assert_int_equal(rows->end, 4);
    free(rows);
    close_source(&fx);
}

/* Every value that the source reports, while it reads and at the end. */
static void test_reported_values(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_partition *rows;
    struct source_health h;
    char text[400] = "{\"text\":\"a\",\"ts\":9e15}\n"; /* in the future */
    int64_t offset = 0;

    (void)state;
    for (int i = 1; i < 20; i++)
        strcat(text, "{\"text\":\"a\"}\n");
    put_text("values", text);
    open_source(&fx, "values", false);
    assert_int_equal(source_get_partitions(fx.source, &rows), 0);
    free(rows);
    begin(&fx, NULL);
    for (int i = 0; i < WAIT_MS && offset < 8; i++) { /* the queue is full */
        timing_sleep_ms(1);
        offset = source_get_partitions(fx.source, &rows) ? rows->offset : 0;
        if (offset >= 8) {
            assert_string_equal(rows->topic, path);
            assert_int_equal(rows->partition, 0);
            assert_int_equal(rows->start, 0);
            assert_int_equal(rows->offset, 8);
            assert_int_equal(rows->end, -1);
        }
        free(rows);
    }
    assert_int_equal(offset, 8);
    for (int i = 0; i < 20; i++)
        record_free(next_record(&fx));
    expect_end(&fx, 20);
    expect_state(&fx, SOURCE_ENDED, "the last line has been read");
    assert_int_equal(source_get_partitions(fx.source, &rows), 1);
    assert_int_equal(rows->offset, 20);
    assert_int_equal(rows->end, 20);
    free(rows);
    source_get_health(fx.source, &h);
    assert_int_equal(h.gaps, 0);
    assert_int_equal(h.records_read, 20);
    assert_int_equal(h.times_cut, 1);
    assert_int_equal(h.dead_lettered, 0);
    assert_int_equal(h.dead_letters_failed, 0);
    assert_int_equal(h.dead_letters_waiting, 0);
    close_source(&fx);
}

static void test_domain_is_the_name(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct record *r;

    (void)state;
    put_text("en.part.jsonl", "one\n");
    open_source(&fx, "en.part.jsonl", false);
    begin(&fx, NULL);
    r = queue_pop(fx.queue, WAIT_MS);
    assert_string_equal(r->domain, "en");
    record_free(r);
    close_source(&fx);
}

static void test_gzip_of_two_members(void **state)
{
    struct fixture fx = {.epoch = 1};
    char *name = fileio_join(dir, "a.gz");

    (void)state;
    for (int i = 0; i < 2; i++) {
        gzFile f = gzopen(name, i ? "ab" : "wb");

        gzputs(f, i ? "o\r\n\nfour" : "one\ntw");
        gzclose(f);
    }
    free(name);
    open_source(&fx, "a.gz", false);
    begin(&fx, NULL);
    expect_three(&fx);
    close_source(&fx);
}

static void test_zstd(void **state)
{
    struct fixture fx = {.epoch = 1};
    char packed[256];
    size_t n = ZSTD_compress(packed, sizeof packed, three, strlen(three), 1);

    (void)state;
    put("a.zst", packed, n);
    open_source(&fx, "a.zst", false);
    begin(&fx, NULL);
    expect_three(&fx);
    close_source(&fx);

    put("b.zst", packed, n - 3);
    open_source(&fx, "b.zst", false);
    begin(&fx, NULL);
    expect_state(&fx, SOURCE_STOPPED, "break off");
    close_source(&fx);

    memset(packed + 6, 0xff, 3); /* no valid kind of block */
    put("c.zst", packed, n);
    open_source(&fx, "c.zst", false);
    begin(&fx, NULL);
    expect_state(&fx, SOURCE_STOPPED, "zstd");
    close_source(&fx);
}

/* Lines near the length limit, and one larger than every buffer. */
static void test_long_lines(void **state)
{
    static const size_t lengths[] = {MAX_BYTES, MAX_BYTES + 1, 3 << 20, 2};
    struct fixture fx = {.epoch = 1};
    char *text = xcalloc(4 << 20, 1), *to = text;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        memset(to, 'a' + (int)i, lengths[i]);
        to += lengths[i];
        to = stpcpy(to, i % 2 ? "\n" : "\r\n");
    }
    put_text("long", text);
    free(text);
    open_source(&fx, "long", false);
    begin(&fx, NULL);
    for (int i = 0; i < 4; i++) {
        struct record *r = queue_pop(fx.queue, WAIT_MS);
        bool is_long = lengths[i] > MAX_BYTES;

        assert_int_equal(r->n_bytes, is_long ? MAX_BYTES : lengths[i]);
        assert_int_equal(r->value[r->n_bytes - 1], 'a' + i);
        assert_int_equal(r->reason != NULL, is_long);
        if (is_long)
            assert_string_equal(r->reason, "too_long");
        record_free(r);
    }
    expect_end(&fx, 4);
    close_source(&fx);
}

static void test_restart(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct record *r;

    (void)state;
    put_text("r", "one\ntwo\nthree\n");
    open_source(&fx, "r", false);
    p = at(0, 2, "two");
    begin(&fx, &p);
    expect(&fx, 0, 2, "three");
    expect_end(&fx, 3);
    close_source(&fx);

    /* A part of the record is learned, so it is read again. */
    open_source(&fx, "r", false);
    p = at(0, 2, "two");
    p.next_offset = 1;
    begin(&fx, &p);
    expect(&fx, 0, 1, "two");
    close_source(&fx);

    /* The limit is lower than when the last line was learned. */
    put_text("r", "one\nsecond\ntwo\n");
    open_source(&fx, "r", false);
    fx.conf.source.max_record_bytes = 4;
    p = at(0, 2, "second");
    begin(&fx, &p);
    expect(&fx, 0, 2, "two");
    close_source(&fx);

    /* The same, and a part of that line is learned. It is not read again. */
    open_source(&fx, "r", false);
    fx.conf.source.max_record_bytes = 4;
    p.next_offset = 1;
    begin(&fx, &p);
    r = next_record(&fx);
    assert_int_equal(r->offset, 1);
    assert_string_equal(r->reason, "too_long");
    record_free(r);
    close_source(&fx);
}

/* A line that exceeds the limit may differ from the learned one. */
static void test_another_long_line(void **state)
{
    static const size_t lengths[] = {MAX_BYTES + 1, CONF_MAX_RECORD_BYTES + 1};
    struct fixture fx = {.epoch = 1};
    char *text = xcalloc(CONF_MAX_RECORD_BYTES + 16, 1);
    struct source_position p;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char *line = stpcpy(text, "one\n");

        memset(line, 'a', lengths[i]);
        line[lengths[i]] = '\0';
        /* no limit allows so long a line */
        p = at(0, 2, i == 0 ? "two" : line);
        line[lengths[i]] = '\n';
        put_text("r", text);
        open_source(&fx, "r", false);
        p.topic = path;
        begin(&fx, &p);
        expect_state(&fx, SOURCE_STOPPED, "another file");
        close_source(&fx);
        memset(text, 0, CONF_MAX_RECORD_BYTES + 16);
    }
    free(text);
}

static void test_another_file(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct source_health h;

    (void)state;
    put_text("other", "uno\ndos\n");
    open_source(&fx, "other", false);
    p = at(0, 2, "two");
    begin(&fx, &p);
    expect_state(&fx, SOURCE_STOPPED, "another file");
    expect_state(&fx, SOURCE_STOPPED, "on_gap: skip");
    close_source(&fx);

    open_source(&fx, "other", false);
    p = at(0, 5, NULL);
    begin(&fx, &p);
    expect_state(&fx, SOURCE_STOPPED, "fewer than the 5 lines");
    close_source(&fx);

    fx.conf.source.kafka.on_gap = CONF_ON_GAP_SKIP;
    open_source(&fx, "other", false);
    p = at(0, 2, "two");
    begin(&fx, &p);
    expect(&fx, 1, 0, "uno");
    source_get_health(fx.source, &h);
    assert_int_equal(h.gaps, 1);
    close_source(&fx);
}

static void test_missing(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_options o = {.conf = &fx.conf, .data_dir = dir};
    struct err err = ERR_INIT;

    (void)state;
    fx.conf.source.type = CONF_SOURCE_FILE;
    fx.conf.source.path = "/nowhere/at/all";
    assert_int_equal(source_create(&o, &fx.source, &err), ERR_IO);
    assert_non_null(strstr(err.msg, "/nowhere/at/all"));
    fx.conf.source.path = dir;
    assert_int_equal(source_create(&o, &fx.source, &err), ERR_IO);
}

/* The file grows, is renamed, is truncated: each line is read once. */
static void test_follow(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_partition *rows;
    struct source_position p[2];
    char old[160];

    (void)state;
    put_text("log", "one\ntw");
    open_source(&fx, "log", true);
    begin(&fx, NULL);
    expect(&fx, 0, 0, "one");
    assert_null(queue_pop(fx.queue, 150)); /* the line has no end yet */
    append_text("o\n");
    expect(&fx, 0, 1, "two");
    append_text("last");
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(path, old), 0);
    expect(&fx, 0, 2, "last");
    put_text("log", "new\n");
    expect(&fx, 1, 0, "new");
    expect_state(&fx, SOURCE_RUNNING, "");
    put_text("log", "");
    timing_sleep_ms(250);
    append_text("cut\n");
    expect(&fx, 2, 0, "cut");
    /* Older partitions are listed until a version accounts for them. */
    assert_int_equal(source_get_partitions(fx.source, &rows), 3);
    assert_int_equal(rows[0].partition, 2);
    assert_int_equal(rows[1].partition, 0);
    assert_int_equal(rows[1].end, 3);
    assert_int_equal(rows[2].partition, 1);
    assert_int_equal(rows[2].end, 1);
    free(rows);
    p[0] = at(0, 3, "last");
    p[1] = at(1, 0, NULL);
    source_published(fx.source, p, 2);
    assert_int_equal(source_get_partitions(fx.source, &rows), 2);
    assert_int_equal(rows[1].partition, 1);
    free(rows);
    close_source(&fx);
}

/* A seek is refused when lines after the positions are in a renamed file. */
static void test_seek_over_a_rotation(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p[2] = {at(0, 1, "one"), at(1, 1, "new")};
    struct err err = ERR_INIT;
    char old[160];

    (void)state;
    put_text("log", "one\ntwo\n");
    open_source(&fx, "log", true);
    begin(&fx, NULL);
    expect(&fx, 0, 0, "one");
    expect(&fx, 0, 1, "two");
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(path, old), 0);
    put_text("log", "new\nnewer\n");
    expect(&fx, 1, 0, "new");
    expect(&fx, 1, 1, "newer");

    assert_int_equal(source_seek(fx.source, p, 2, 2, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "line 2 was in a file"));
    p[0] = at(0, 2, "two");
    fx.epoch = 2;
    assert_int_equal(source_seek(fx.source, p, 2, 2, &err), 0);
    expect(&fx, 1, 1, "newer");
    close_source(&fx);

    fx.epoch = 1; /* the same after a restart */
    open_source(&fx, "log", true);
    assert_int_equal(source_begin(fx.source, p, 2, 1, NULL), 0);
    expect(&fx, 1, 1, "newer");
    p[0] = at(0, 1, "one");
    assert_int_equal(source_seek(fx.source, p, 2, 2, &err), ERR_STATE);
    close_source(&fx);
}

/* After a restart, remaining lines are read from a copy, if there is one. */
static void test_rotated_while_stopped(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p[2];

    (void)state;
    put_text("log.1", "one\ntwo\nthree");
    put_text("log", "uno\ndos\n");
    open_source(&fx, "log", true);
    p[0] = at(3, 1, "one");
    begin(&fx, p);
    expect(&fx, 3, 1, "two");
    expect(&fx, 3, 2, "three");
    expect(&fx, 4, 0, "uno");
    close_source(&fx);

    put_text("log.1", "another\ntwo\n");
    put_text("log", "uno\ndos\n");
    open_source(&fx, "log", true);
    p[0] = at(0, 9, "nine");
    p[1] = at(3, 1, "one");
    assert_int_equal(source_begin(fx.source, p, 2, 1, NULL), 0);
    expect(&fx, 4, 0, "uno");
    close_source(&fx);

    open_source(&fx, "log", true);
    p[1] = at(3, 1, "uno");
    assert_int_equal(source_begin(fx.source, p, 2, 1, NULL), 0);
    expect(&fx, 3, 1, "dos");
    close_source(&fx);
}

/* Writes new text into the same inode. */
static void write_anew(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* Writes "line 0" to "line 99999", more than one read returns. */
static void write_many_lines(void)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    for (int i = 0; i < 100000; i++)
        fprintf(f, "line %d\n", i);
    assert_int_equal(fclose(f), 0);
}

static int64_t gaps_of(struct fixture *fx)
{
    struct source_health h;

    source_get_health(fx->source, &h);
    return h.gaps;
}

/* The file is rewritten between two reads, to a shorter, equal or longer one.
 * Every new line is read, and no part of a line. */
static void test_written_anew(void **state)
{
    static const char *const texts[] = {"uno\n", "uno\ndos\n",
                                        "a first line\na second line\n"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct fixture fx = {.epoch = 1};
        const char *at = texts[i], *end;

        put_text("anew", "one\ntwo\n");
        open_source(&fx, "anew", true);
        begin(&fx, NULL);
        expect(&fx, 0, 0, "one");
        expect(&fx, 0, 1, "two");
        timing_sleep_ms(50);
        write_anew(texts[i]);
        for (int line = 0; (end = strchr(at, '\n')); line++) {
            char *want = xstrndup(at, (size_t)(end - at));

            expect(&fx, 1, line, want);
            free(want);
            at = end + 1;
        }
        assert_null(queue_pop(fx.queue, 150));
        assert_int_equal(gaps_of(&fx), 0);
        close_source(&fx);
    }
}

/* logrotate's copytruncate: the copy has the lines after the last read. Without
 * a copy they are lost, which is a gap. */
static void test_copied_and_truncated(void **state)
{
    struct fixture fx = {.epoch = 1};

    (void)state;
    put_text("copied", "one\ntw");
    open_source(&fx, "copied", true);
    begin(&fx, NULL);
    expect(&fx, 0, 0, "one");
    timing_sleep_ms(50);
    put_text("copied.1", "one\ntwo\nthree\n");
    write_anew("uno\n");
    expect(&fx, 0, 1, "two");
    expect(&fx, 0, 2, "three");
    expect(&fx, 1, 0, "uno");
    assert_int_equal(gaps_of(&fx), 0);
    close_source(&fx);

    put_text("copied.1", "another one\n");
    put_text("behind", "");
    open_source(&fx, "behind", true);
    write_many_lines();
    begin(&fx, NULL);
    expect(&fx, 0, 0, "line 0");
    write_anew("uno\n");
    for (int32_t partition = 0; partition == 0;) {
        struct record *r = next_record(&fx);

        partition = r->partition;
        assert_string_equal(strncmp(r->value, "line ", 5) ? r->value : "uno",
                            "uno");
        record_free(r);
    }
    for (int i = 0; i < 500 && gaps_of(&fx) == 0; i++)
        timing_sleep_ms(10);
    assert_int_equal(gaps_of(&fx), 1);
    close_source(&fx);
}

/* Without follow, the source stops when a file changes while it is read. */
static void test_changed_while_read(void **state)
{
    struct fixture fx = {.epoch = 1};

    (void)state;
    put_text("behind", "");
    open_source(&fx, "behind", false);
    write_many_lines();
    begin(&fx, NULL);
    expect(&fx, 0, 0, "line 0");
    write_anew("uno\n");
    for (int i = 0; i < 200000; i++) {
        struct record *r = queue_pop(fx.queue, 10);
        struct source_health h;

        record_free(r);
        source_get_health(fx.source, &h);
        if (!r && h.state == SOURCE_STOPPED)
            break;
    }
    expect_state(&fx, SOURCE_STOPPED, "truncated or rewritten");
    close_source(&fx);
}

/* The writer keeps the renamed file open for a while. The test moves the clock,
 * so that a busy machine changes nothing. The thread sanitizer forbids that. */
#ifndef __SANITIZE_THREAD__
static void test_renamed_and_written(void **state)
{
    static int64_t now;
    struct fixture fx = {.epoch = 1};
    char old[160];
    FILE *f;

    (void)state;
    now = timing_mono_ms();
    timing_set_fake(&now);
    put_text("log", "one\n");
    open_source(&fx, "log", true);
    begin(&fx, NULL);
    expect(&fx, 0, 0, "one");
    f = fopen(path, "a");
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(path, old), 0);
    put_text("log", "new\n");
    for (int i = 0; i < 5; i++) {
        char value[32];

        fprintf(f, "late %d\n", i);
        fflush(f);
        snprintf(value, sizeof value, "late %d", i);
        expect(&fx, 0, 1 + i, value);
        now += 600;
    }
    for (int i = 0; i < 2000 && queue_length(fx.queue) == 0; i++) {
        timing_sleep_ms(10);
        now += 10;
    }
    expect(&fx, 1, 0, "new");
    assert_int_equal(gaps_of(&fx), 0);
    fputs("too late\n", f); /* counted as a gap */
    fclose(f);
    for (int i = 0; i < 2000 && gaps_of(&fx) == 0; i++) {
        timing_sleep_ms(10);
        now += 10;
    }
    assert_int_equal(gaps_of(&fx), 1);
    close_source(&fx);
    timing_set_fake(NULL);
}
#endif

static void put_gzip(const char *name, const char *text)
{
    char *to = fileio_join(dir, name);
    gzFile f = gzopen(to, "wb");

    assert_non_null(f);
    assert_true(gzputs(f, text) > 0);
    assert_int_equal(gzclose(f), Z_OK);
    free(to);
}

static void put_zstd(const char *name, const char *text)
{
    char packed[256];
    size_t n = ZSTD_compress(packed, sizeof packed, text, strlen(text), 1);

    assert_false(ZSTD_isError(n));
    put(name, packed, n);
}

static void remove_file(const char *name)
{
    char *to = fileio_join(dir, name);

    unlink(to);
    free(to);
}

/* The file was rotated and compressed while no source ran. Without a copy that
 * is a gap. */
static void test_packed_while_stopped(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;

    (void)state;
    for (int i = 0; i < 3; i++) {
        remove_file("log.1");
        remove_file("log.1.gz");
        remove_file("log.1.zst");
        if (i == 0)
            put_gzip("log.1.gz", "one\ntwo\nthree\n");
        if (i == 1)
            put_zstd("log.1.zst", "one\ntwo\nthree\n");
        put_text("log", "uno\ndos\n");
        open_source(&fx, "log", true);
        p = at(3, 1, "one");
        begin(&fx, &p);
        if (i < 2) {
            expect(&fx, 3, 1, "two");
            expect(&fx, 3, 2, "three");
        }
        expect(&fx, 4, 0, "uno");
        expect(&fx, 4, 1, "dos");
        assert_int_equal(gaps_of(&fx), i == 2);
        close_source(&fx);
    }
}

/* With at_end: exit, a source that cannot open its file stops. */
static void test_stops_for_good(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_options o = {.conf = &fx.conf, .data_dir = dir};
    struct source_position p;
    int saved = dup(STDIN_FILENO), folder = open(dir, O_RDONLY);

    (void)state;
    put_text("gone", "one\n");
    fx.conf.source.at_end = CONF_AT_END_EXIT;
    open_source(&fx, "gone", false);
    assert_int_equal(unlink(path), 0);
    begin(&fx, NULL);
    expect_state(&fx, SOURCE_STOPPED, "No such file");
    close_source(&fx);

    put_text("grows", "one line\ntwo line and more\n");
    open_source(&fx, "grows", false);
    p = at(0, 2, "two li");
    begin(&fx, &p);
    expect_state(&fx, SOURCE_STOPPED, "line 2 has grown since");
    close_source(&fx);

    fx.conf.source.at_end = CONF_AT_END_SERVE; /* makes no difference */
    fx.conf.source.type = CONF_SOURCE_STDIN;
    dup2(folder, STDIN_FILENO);
    fx.queue = o.queue = queue_create(8, 1 << 20);
    assert_int_equal(source_create(&o, &fx.source, NULL), 0);
    begin(&fx, NULL);
    expect_state(&fx, SOURCE_STOPPED, "a directory");
    close_source(&fx);
    dup2(saved, STDIN_FILENO);
    close(saved);
    close(folder);
}

static void test_seek(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct err err = ERR_INIT;

    (void)state;
    put_text("s", "one\ntwo\nthree\n");
    open_source(&fx, "s", false);
    begin(&fx, NULL);
    expect(&fx, 0, 0, "one");
    expect(&fx, 0, 1, "two");
    expect(&fx, 0, 2, "three");
    expect_end(&fx, 3);
    expect_state(&fx, SOURCE_ENDED, "");

    p = at(0, 1, "one"); /* after the end */
    fx.epoch = 2;
    assert_int_equal(source_seek(fx.source, &p, 1, 2, &err), 0);
    expect(&fx, 0, 1, "two");
    expect(&fx, 0, 2, "three");
    expect_end(&fx, 3);

    p = at(0, 1, "uno"); /* refused, without effect */
    assert_int_equal(source_seek(fx.source, &p, 1, 3, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "another file"));
    p = at(1, 1, "one");
    assert_int_equal(source_seek(fx.source, &p, 1, 3, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "rotated"));
    assert_null(queue_pop(fx.queue, 50));

    fx.epoch = 4; /* a position before the first record */
    assert_int_equal(source_seek(fx.source, NULL, 0, 4, &err), 0);
    expect(&fx, 0, 0, "one");
    close_source(&fx);
}

static const char thirteen[] = "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n";

/* Waits until the reading thread waits for room. */
static void fill_queue(struct fixture *fx)
{
    while (queue_length(fx->queue) < 8)
        timing_sleep_ms(1);
    timing_sleep_ms(20);
}

/* A seek while the reading thread waits for room in a full queue. */
static void test_seek_under_pressure(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;

    (void)state;
    put_text("p", thirteen);
    open_source(&fx, "p", false);
    begin(&fx, NULL);
    fill_queue(&fx);
    p = at(0, 3, "2");
    assert_int_equal(source_seek(fx.source, &p, 1, 2, NULL), 0);
    fx.epoch = 2;
    expect(&fx, 0, 3, "3");
    expect(&fx, 0, 4, "4");
    close_source(&fx);
}

static void expect_thirteen(struct fixture *fx, int32_t partition)
{
    for (int i = 0; i < 13; i++) {
        char value[16];

        snprintf(value, sizeof value, "%d", i);
        expect(fx, partition, i, value);
    }
}

/* The source reads the copy of a file that was rotated while no source ran. A
 * seek goes to that copy. */
static void test_seek_in_a_rotated_file(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct err err = ERR_INIT;
    char old[160], older[160];

    (void)state;
    put_text("log.1", thirteen);
    put_text("log", "uno\ndos\n");
    open_source(&fx, "log", true);
    p = at(3, 1, "0");
    begin(&fx, &p);
    expect(&fx, 3, 1, "1");
    fill_queue(&fx);

    p = at(3, 0, NULL); /* no line to compare */
    fx.epoch = 2;
    assert_int_equal(source_seek(fx.source, &p, 1, 2, NULL), 0);
    expect(&fx, 3, 0, "0");
    fill_queue(&fx);
    snprintf(older, sizeof older, "%s/log.2", dir);
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(old, older), 0);
    put_text("log.1", thirteen); /* the copy is replaced */
    assert_int_equal(source_seek(fx.source, &p, 1, 3, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "line 1 was in a file"));
    for (int i = 1; i < 13; i++)
        record_free(next_record(&fx));
    expect(&fx, 4, 0, "uno");
    close_source(&fx);
}

/* Renames the file to PATH.1, and writes another one to its path. */
static void replace_file(const char *name, const char *text)
{
    char old[160];

    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(path, old), 0);
    put_text(name, text);
}

/* A seek is refused when the path names another file. The source still reads
 * the renamed one to its end. */
static void test_seek_in_a_replaced_file(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct err err = ERR_INIT;

    (void)state;
    put_text("log", thirteen);
    open_source(&fx, "log", true);
    begin(&fx, NULL);
    fill_queue(&fx);
    replace_file("log", "uno\n");

    p = at(0, 0, NULL);
    assert_int_equal(source_seek(fx.source, &p, 1, 2, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "line 1 was in a file"));
    expect_thirteen(&fx, 0); /* the refused seek had no effect */
    expect(&fx, 1, 0, "uno");
    close_source(&fx);
}

/* An editor has saved the file as a new one. A seek compares the last learned
 * line. */
static void test_seek_in_a_saved_file(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct err err = ERR_INIT;

    (void)state;
    put_text("log", thirteen);
    open_source(&fx, "log", false);
    begin(&fx, NULL);
    expect_thirteen(&fx, 0);
    replace_file("log", thirteen);

    p = at(0, 2, "one");
    assert_int_equal(source_seek(fx.source, &p, 1, 2, &err), ERR_STATE);
    p = at(0, 2, "1");
    assert_int_equal(source_seek(fx.source, &p, 1, 2, &err), 0);
    fx.epoch = 2;
    expect(&fx, 0, 2, "2");
    close_source(&fx);
}

static void test_seek_in_a_truncated_file(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;
    struct err err = ERR_INIT;

    (void)state;
    put_text("log", thirteen);
    open_source(&fx, "log", true);
    begin(&fx, NULL);
    fill_queue(&fx);
    put_text("log", "uno\n"); /* keeps the inode */
    p = at(0, 0, NULL);
    assert_int_equal(source_seek(fx.source, &p, 1, 2, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, "line 1 was in a file"));
    expect_thirteen(&fx, 0);
    expect(&fx, 1, 0, "uno");
    close_source(&fx);
}

/* A seek waits until the source has opened its file. A source that has stopped
 * opens none. */
static void test_seek_at_once(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_position p;

    (void)state;
    put_text("log.1", thirteen);
    put_text("log", "uno\ndos\n");
    open_source(&fx, "log", true);
    p = at(3, 1, "0");
    begin(&fx, &p);
    p = at(3, 0, NULL);
    fx.epoch = 2;
    assert_int_equal(source_seek(fx.source, &p, 1, 2, NULL), 0);
    expect_thirteen(&fx, 3);
    expect(&fx, 4, 0, "uno");
    close_source(&fx);

    fx.epoch = 1;
    open_source(&fx, "log", false);
    p = at(0, 1, "0");
    begin(&fx, &p);
    expect_state(&fx, SOURCE_STOPPED, "another file");
    p = at(0, 1, "uno");
    fx.epoch = 2;
    assert_int_equal(source_seek(fx.source, &p, 1, 2, NULL), 0);
    expect(&fx, 0, 1, "dos");
    close_source(&fx);
}

/* Standard input is read once, and each start begins another partition. */
static void test_stdin(void **state)
{
    struct fixture fx = {.epoch = 1};
    struct source_options o = {.conf = &fx.conf, .data_dir = dir};
    struct source_position p = {.topic = path, .next_offset = 9,
                                .last_learned = 8, .partition = 2};
    int ends[2], saved = dup(STDIN_FILENO);

    (void)state;
    assert_int_equal(pipe(ends), 0);
    dup2(ends[0], STDIN_FILENO);
    fx.conf.source.type = CONF_SOURCE_STDIN;
    fx.conf.source.max_record_bytes = MAX_BYTES;
    fx.queue = o.queue = queue_create(8, 1 << 20);
    snprintf(path, sizeof path, "stdin");
    assert_int_equal(source_create(&o, &fx.source, NULL), 0);
    begin(&fx, &p);
    assert_int_equal(write(ends[1], "one\ntw", 6), 6);
    expect(&fx, 3, 0, "one");
    assert_null(queue_pop(fx.queue, 150));
    assert_int_equal(source_seek(fx.source, &p, 1, 2, NULL), ERR_STATE);
    close(ends[1]);
    expect(&fx, 3, 1, "tw");
    expect_end(&fx, 2);
    close_source(&fx);
    dup2(saved, STDIN_FILENO);
    close(saved);
    close(ends[0]);
}

static int make_dir(void **state)
{
    (void)state;
    log_configure(LOG_ERROR, LOG_TEXT);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return fileio_remove_dir(dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_reported_values),
        cmocka_unit_test(test_domain_is_the_name),
        cmocka_unit_test(test_gzip_of_two_members),
        cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_another_file),
        cmocka_unit_test(test_another_long_line),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_seek_over_a_rotation),
        cmocka_unit_test(test_rotated_while_stopped),
        cmocka_unit_test(test_written_anew),
        cmocka_unit_test(test_copied_and_truncated),
        cmocka_unit_test(test_changed_while_read),
#ifndef __SANITIZE_THREAD__
        cmocka_unit_test(test_renamed_and_written),
#endif
        cmocka_unit_test(test_packed_while_stopped),
        cmocka_unit_test(test_stops_for_good),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_seek_under_pressure),
        cmocka_unit_test(test_seek_in_a_rotated_file),
        cmocka_unit_test(test_seek_in_a_replaced_file),
        cmocka_unit_test(test_seek_in_a_saved_file),
        cmocka_unit_test(test_seek_in_a_truncated_file),
        cmocka_unit_test(test_seek_at_once),
        cmocka_unit_test(test_stdin),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

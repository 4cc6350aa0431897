/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of files as records: line ends, compression, restarts. */
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

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "tests/daemon/stream/test_source_file_util.h"

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
    assert_true(h.time_cut_ms > 0);
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
        cmocka_unit_test(test_another_long_line),
        cmocka_unit_test(test_another_file),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_stops_for_good),
        cmocka_unit_test(test_stdin),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/daemon/stream/test_source_file_util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"

char dir[] = "/tmp/mneme-test-XXXXXX";
char path[128];

void open_source(struct fixture *fx, const char *name, bool follow)
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

void close_source(struct fixture *fx)
{
    source_free(fx->source);
    queue_free(fx->queue);
}

void begin(struct fixture *fx, const struct source_position *at)
{
    assert_int_equal(
        source_begin(fx->source, at, at ? 1 : 0, fx->epoch, NULL), 0);
}

void put(const char *name, const void *bytes, size_t n)
{
    char *to = fileio_join(dir, name);

    assert_int_equal(fileio_write_sync(to, bytes, n, NULL), 0);
    free(to);
}

void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

void append_text(const char *text)
{
    FILE *f = fopen(path, "a");

    fputs(text, f);
    fclose(f);
}

/* Returns the next record. Like the trainer, it drops older epochs. */
struct record *next_record(struct fixture *fx)
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
void expect(struct fixture *fx, int32_t partition, int64_t offset,
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

void expect_end(struct fixture *fx, int64_t offset)
{
    struct record *r = queue_pop(fx->queue, WAIT_MS);

    assert_non_null(r);
    assert_int_equal(r->kind, RECORD_END);
    assert_int_equal(r->offset, offset);
    record_free(r);
}

/* Waits for a state. */
void expect_state(struct fixture *fx, enum source_state state,
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

struct source_position at(int32_t partition, int64_t next,
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

int make_dir(void **state)
{
    (void)state;
    log_configure(LOG_ERROR, LOG_TEXT);
    return mkdtemp(dir) ? 0 : -1;
}

int remove_dir(void **state)
{
    (void)state;
    return fileio_remove_dir(dir, NULL);
}

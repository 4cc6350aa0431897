/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_source_file_util.h - a file source, and the records that a test expects
 * of it. An unexpected result fails the running test.
 */
#ifndef MNEME_TESTS_DAEMON_STREAM_TEST_SOURCE_FILE_UTIL_H
#define MNEME_TESTS_DAEMON_STREAM_TEST_SOURCE_FILE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "daemon/stream/queue.h"
#include "daemon/stream/source.h"

#define MAX_BYTES 64 /* source.max_record_bytes */
#define WAIT_MS 5000

extern char dir[];     /* every file is here */
extern char path[128]; /* of the source's file */

struct fixture {
    struct conf conf;
    struct queue *queue;
    struct source *source;
    int64_t epoch;
};

/* cmocka set-up and tear-down of a group. */
int make_dir(void **state);
int remove_dir(void **state);

void open_source(struct fixture *fx, const char *name, bool follow);
void close_source(struct fixture *fx);

/* Begins at a position; NULL: at the start of the file. */
void begin(struct fixture *fx, const struct source_position *at);

/* A position in the file, after the line `last` when it is not NULL. */
struct source_position at(int32_t partition, int64_t next, const char *last);

/* Writes a whole file in dir; appends to the source's file. */
void put(const char *name, const void *bytes, size_t n);
void put_text(const char *name, const char *text);
void append_text(const char *text);

/* Returns the next record. Like the trainer, it drops older epochs. */
struct record *next_record(struct fixture *fx);

/* Expects this line of this partition as the next record. */
void expect(struct fixture *fx, int32_t partition, int64_t offset,
            const char *value);
void expect_end(struct fixture *fx, int64_t offset);

/* Waits for a state, whose reason has these words. */
void expect_state(struct fixture *fx, enum source_state state,
                  const char *words);

#endif

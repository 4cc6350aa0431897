/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills a buffer of five domains twice over, so that old rows are deleted as
 * new ones come. Then measures two things: publishing a tenth of the buffer at
 * a time as the daemon does (WAL, synchronous=FULL, deleted rows swept), and
 * sampling.
 */
#include "config.h"

#include "bench/speed.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "replay/replay.h"

#define DOMAINS 5
#define SAMPLE_ROWS 64 /* for a step */

struct buffer {
    struct sqlite3 *writer, *reader;
    struct replay *replay;
    size_t publish; /* rows in a publication */
    token_id tokens[SPEED_REPLAY_TOKENS + 1];
    int64_t offered, version;
    uint64_t step;
};

static int run_sql(struct sqlite3 *db, const char *sql, struct err *err)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return err_set(err, ERR_IO, "replay: %s", sqlite3_errmsg(db));
}

static int open_database(struct buffer *b, const char *path, struct err *err)
{
    int rc;

    if (sqlite3_open(path, &b->writer) != SQLITE_OK)
        return err_set(err, ERR_IO, "%s: %s", path, sqlite3_errmsg(b->writer));
    rc = run_sql(b->writer,
                 "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", err);
    for (size_t i = 0; rc == 0 && i < replay_schema_n; i++)
        rc = run_sql(b->writer, replay_schema[i], err);
    if (rc == 0 && sqlite3_open_v2(path, &b->reader, SQLITE_OPEN_READONLY,
                                   NULL) != SQLITE_OK)
        rc = err_set(err, ERR_IO, "%s: %s", path, sqlite3_errmsg(b->reader));
    return rc;
}

static int buffer_init(struct buffer *b, const struct speed_options *o,
                       struct err *err)
{
    char *path = fileio_join(o->dir, "replay.db");
    struct replay_options options;
    int rc;

    *b = (struct buffer){.publish = o->rows / 10 + 1};
    rc = open_database(b, path, err);
    free(path);
    replay_options_default(&options, REPLAY_ROWS);
    options.capacity = (int64_t)o->rows;
    b->replay = replay_create(&options, b->reader);
    return rc;
}

static void buffer_release(struct buffer *b)
{
    replay_free(b->replay);
    sqlite3_close(b->reader);
    sqlite3_close(b->writer);
}

static void offer(struct buffer *b)
{
    struct segment s = {.tokens = b->tokens,
                        .n_tokens = SPEED_REPLAY_TOKENS,
                        .n_bytes = SPEED_REPLAY_TOKENS,
                        .domain = (int32_t)(b->offered % DOMAINS),
                        .label = -1};
    struct segment_origin origin = {.offset = b->offered++};

    b->tokens[b->offered % SPEED_REPLAY_TOKENS] = (token_id)b->offered;
    replay_offer(b->replay, &s, &origin, 1.0);
}

/* Keeps only the rows of the newest version. */
static int write_rows(struct buffer *b, const struct replay_changes *c,
                      struct err *err)
{
    int64_t deleted;
    int rc = run_sql(b->writer, "BEGIN IMMEDIATE", err);

    if (rc == 0)
        rc = replay_db_write(b->writer, c, ++b->version, err);
    if (rc == 0)
        rc = run_sql(b->writer, "COMMIT", err);
    if (rc == 0)
        rc = run_sql(b->writer, "BEGIN IMMEDIATE", err);
    if (rc == 0)
        rc = replay_db_sweep(b->writer, &b->version, 1, INT64_MAX, &deleted,
                             err);
    return rc ? rc : run_sql(b->writer, "COMMIT", err);
}

/* Offers rows, and writes them as a publication does. */
static int put(void *arg, struct err *err)
{
    struct buffer *b = arg;
    struct tensor_list index = TENSOR_LIST_INIT;
    struct replay_changes *c;
    int rc;

    for (size_t i = 0; i < b->publish; i++)
        offer(b);
    c = replay_take_changes(b->replay, &index);
    rc = write_rows(b, c, err);
    if (rc == 0)
        replay_stored(b->replay, c);
    else
        replay_not_stored(b->replay, c);
    tensor_list_release(&index);
    return rc;
}

static int sample(void *arg, struct err *err)
{
    struct buffer *b = arg;
    struct replay_sampled *draws;
    size_t n = 0;
    int rc = replay_sample(b->replay, b->step++, SAMPLE_ROWS, true, &draws, &n,
                           err);

    if (rc == 0 && n != SAMPLE_ROWS)
        rc = err_set(err, ERR_STATE, "replay: %zu rows sampled of %d", n,
                     SAMPLE_ROWS);
    return rc;
}

static int fill(struct buffer *b, const struct speed_options *o,
                struct err *err)
{
    int rc = 0;

    while (rc == 0 && b->offered < 2 * (int64_t)o->rows) {
        rc = speed_progress(o, 0.0, err);
        if (rc == 0)
            rc = put(b, err);
    }
    return rc;
}

int speed_replay(const struct speed_options *o, struct speed_replay *r,
                 struct err *err)
{
    struct buffer b;
    int rc = buffer_init(&b, o, err);

    r->capacity_rows = o->rows;
    r->row_tokens = SPEED_REPLAY_TOKENS;
    if (rc == 0)
        rc = fill(&b, o, err);
    if (rc == 0)
        rc = speed_windows(o, put, &b, (double)b.publish, &r->rows_in, err);
    if (rc == 0)
        rc = speed_windows(o, sample, &b, SAMPLE_ROWS, &r->rows_out, err);
    buffer_release(&b);
    return rc;
}

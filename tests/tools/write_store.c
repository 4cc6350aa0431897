/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write_store DIR: a small data directory of the present schema, with versions
 * in several states and rows of every table, for tests/data (see make_store.sh
 * there). A later program has to open it.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "replay/replay.h"
#include "store/store.h"
#include "store/tags.h"
#include "tests/util/store_util.h"

static token_id tokens[] = {256, 104, 105, 32, 116, 105, 100, 101, 256};

static int write_rows(struct sqlite3 *db, int64_t version, void *arg,
                      struct err *err)
{
    return replay_db_write(db, arg, version, err);
}

static int publish(struct store *s, struct replay *r, int64_t parent,
                   int64_t seed, int64_t *version, struct err *err)
{
    const struct segment_origin origin = {
        .partition_id = 0, .offset = seed, .id = "record"};
    const struct segment segment = {
        .n_tokens = 8, .n_bytes = 7, .label = -1, .ends = true,
        .tokens = tokens};
    struct replay_changes *changes;
    struct util_version v;
    int rc;

    util_version_init(&v, parent, seed);
    replay_offer(r, &segment, &origin, 2.5);
    changes = replay_take_changes(r, &v.state);
    v.p.in_transaction = write_rows;
    v.p.arg = changes;
    rc = store_publish(s, &v.p, version, err);
    if (rc == 0)
        replay_stored(r, changes);
    util_version_release(&v);
    return rc;
}

int main(int argc, char **argv)
{
    const struct store_schema schema = {"replay", replay_schema,
                                        replay_schema_n};
    const struct store_ledger_run skipped = {1, 0, 500, 509, 10, 's'};
    const struct store_rollback rollback = {.to = 2,
                                            .mode = "skip",
                                            .reason = "a bad feed",
                                            .skipped = &skipped,
                                            .n_skipped = 1,
                                            .in_transaction =
                                                replay_db_rollback};
    struct replay_options options;
    struct replay *r = NULL;
    struct store *s = NULL;
    struct err err = ERR_INIT;
    int64_t version = 0, before;
    int rc = argc == 2 ? store_open(argv[1], &schema, 1, &s, &err) : -1;

    replay_options_default(&options, REPLAY_ROWS);
    r = replay_create(&options, NULL);
    for (int64_t i = 1; i <= 3 && rc == 0; i++) {
        rc = publish(s, r, i - 1, i, &version, &err);
        if (rc == 0)
            rc = store_verdict(s, version,
                               i < 3 ? STORE_PASSED : STORE_FAILED, "{}",
                               i == 2 ? "{\"reference\": 1}" : NULL, NULL, 0,
                               i < 3, "better", &err);
    }
    if (rc == 0)
        rc = store_pin(s, 1, true, &err);
    if (rc == 0)
        rc = tags_put(s, "release-1.0", 1, &before, &err);
    if (rc == 0)
        rc = store_rollback(s, &rollback, &err);
    replay_free(r);
    store_close(s);
    if (rc)
        fprintf(stderr, "write_store: %s\n", err.msg);
    return rc ? 1 : 0;
}

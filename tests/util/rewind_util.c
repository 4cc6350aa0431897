/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/util/rewind_util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/checksum.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/released_records.h"
#include "daemon/train/options.h"
#include "daemon/train/restore.h"
#include "daemon/train/rewind.h"
#include "learner/kernels/ops.h"
#include "store/releases.h"
#include "store/store_private.h"
#include "tests/util/store_util.h"

static void check(int rc, const struct err *err)
{
    if (rc)
        fail_msg("%s", err->msg);
}

void rewind_util_open_learner(struct train_util *u)
{
    struct err err = ERR_INIT;
    int shards = 0;

    check(restore_settings(u->store, u->conf, 1, &shards, &err), &err);
    check(learning_open(&u->learning, u->conf, 1, shards, &err), &err);
    check(restore_state(u->store, u->conf, &u->learning, &err), &err);
    for (size_t i = 0; i < u->learning.progress.n_partitions; i++) {
        const struct progress_partition *p =
            &u->learning.progress.partitions[i];

        if (strcmp(p->topic, TRAIN_UTIL_TOPIC) == 0)
            u->source.next[p->partition] = p->next_offset;
    }
    if (!u->learning.learner)
        return; /* it has to collect text for its vocabulary first */
    serving_prepare(u->serving, &u->learning.shape, u->learning.tokenizer);
    publisher_prepare(u->publisher, &u->learning.shape, u->learning.tokenizer);
    check(restore_serving(u->store, u->catalog, u->serving, &err), &err);
}

void rewind_util_open(struct train_util *u, const char *dir,
                      const char *const *sets, size_t n_sets)
{
    struct catalog_pointers pointers;
    struct err err = ERR_INIT;

    train_util_init(u, dir, sets, n_sets);
    train_util_open(u);
    rewind_util_open_learner(u);
    publisher_start(u->publisher);
    publisher_wait(u->publisher);
    check(catalog_pointers(u->catalog, &pointers, &err), &err);
    if (!pointers.head)
        rewind_util_publish(u, NULL);
}

void rewind_util_close(struct train_util *u)
{
    train_util_close(u);
    learning_close(&u->learning);
    train_util_release(u);
}

/* --- records and versions ----------------------------------------------- */

void rewind_util_add(struct train_util *u, int32_t partition, const char *value,
                     const char *id, const char *domain)
{
    int64_t offset = u->source.next[partition]++;
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;
    struct record *rec;

    if (value)
        buf_adds(&text, value);
    else
        buf_addf(&text,
                 "{\"text\": \"Ship %d-%lld lies at quay %lld.\"%s%s%s"
                 "%s%s%s}",
                 (int)partition, (long long)offset,
                 (long long)(offset * 7919 % 1000), id ? ", \"id\": \"" : "",
                 id ? id : "", id ? "\"" : "", domain ? ", \"domain\": \"" : "",
                 domain ? domain : "", domain ? "\"" : "");
    rec = record_create_data(&u->maker, text.data ? text.data : "", text.len);
    rec->topic = u->conf->source.path;
    rec->partition = partition;
    rec->offset = offset;
    rec->value_hash = checksum_xxh3(rec->value, rec->n_bytes, 0);
    rec->epoch = u->epoch;
    record_parse(&u->maker, rec, u->conf->source.format,
                 (size_t)u->conf->source.max_record_bytes, "text");
    buf_release(&text);
    check(intake_add(u->learning.intake, rec,
                     learner_steps(u->learning.learner), &err),
          &err);
}

void rewind_util_flush(struct train_util *u)
{
    struct learner_step_output result;
    struct err err = ERR_INIT;

    while (intake_tokens(u->learning.intake))
        check(learning_step(&u->learning, &result, &err), &err);
}

void rewind_util_learn(struct train_util *u, int n)
{
    for (int i = 0; i < n; i++)
        rewind_util_add(u, 0, NULL, NULL, NULL);
    rewind_util_flush(u);
}

int64_t rewind_util_publish(struct train_util *u, struct err *err)
{
    return train_util_publish(u, learning_snapshot(&u->learning), err);
}

static int release_row(struct store *s, void *arg, struct err *err)
{
    return releases_write(s, arg, 1, err);
}

void rewind_util_release(struct train_util *u, int64_t row)
{
    struct err err = ERR_INIT;

    check(publisher_run(u->publisher, release_row, &row, &err), &err);
}

void rewind_util_learn_released(struct train_util *u)
{
    int64_t from =
        progress_next_offset(&u->learning.progress, RELEASES_TOPIC, 0);
    struct releases_row *rows = NULL;
    struct err err = ERR_INIT;
    size_t n = 0;

    check(releases_read(u->catalog, from, 0, &rows, &n, &err), &err);
    for (size_t i = 0; i < n; i++)
        check(intake_add(u->learning.intake,
                         released_records_parse(&u->maker, u->conf, &rows[i]),
                         learner_steps(u->learning.learner), &err),
              &err);
    releases_free(rows, n);
    rewind_util_flush(u);
}

int64_t rewind_util_version(struct train_util *u, int n)
{
    rewind_util_learn(u, n);
    return rewind_util_publish(u, NULL);
}

void rewind_util_roll_back(struct train_util *u, int64_t version, bool skip)
{
    const struct rewind_request request = {
        .learning = &u->learning,
        .source = &u->source.base,
        .publisher = u->publisher,
        .version = version,
        .skip = skip,
        .reason = "a test",
        .epoch = &u->epoch,
    };
    struct err err = ERR_INIT;
    char detail[512];
    bool for_good;

    check(rewind_run(&request, detail, sizeof detail, &for_good, &err), &err);
}

/* --- what the store and the board hold ---------------------------------- */

struct statement {
    const char *sql;
    int64_t number;
};

static int run_sql(struct store *s, void *arg, struct err *err)
{
    struct statement *x = arg;
    sqlite3_stmt *q = NULL;

    if (sqlite3_prepare_v2(db_handle(s->db), x->sql, -1, &q, NULL) !=
            SQLITE_OK ||
        (sqlite3_step(q) == SQLITE_ERROR))
        return err_set(err, ERR_INVALID, "%s: %s", x->sql,
                       sqlite3_errmsg(db_handle(s->db)));
    x->number = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return 0;
}

int64_t rewind_util_sql(struct train_util *u, const char *sql)
{
    struct statement x = {sql, 0};
    struct err err = ERR_INIT;

    check(publisher_run(u->publisher, run_sql, &x, &err), &err);
    return x.number;
}

double rewind_util_metric(struct train_util *u, const char *name)
{
    progress_show(&u->learning.progress, &u->board, status_lock(&u->board));
    status_unlock(&u->board);
    return train_util_metric(u, name);
}

void rewind_util_damage(const char *dir, int64_t version, const char *name)
{
    char *path = util_file_of(dir, version, name);
    FILE *f = fopen(path, "r+b");

    assert_non_null(f);
    assert_int_equal(fseek(f, -1, SEEK_END), 0);
    assert_int_not_equal(fputc('#', f), EOF);
    assert_int_equal(fclose(f), 0);
    free(path);
}

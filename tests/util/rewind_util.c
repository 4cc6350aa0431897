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
#include "tests/util/store_util.h"

/* --- the source --------------------------------------------------------- */

static void source_nothing(struct source *s)
{
    (void)s;
}

static int source_seek_to(struct source *base,
                          const struct source_position *positions, size_t n,
                          int64_t epoch, struct err *err)
{
    struct rewind_source *s = (struct rewind_source *)base;

    if (s->refuse_after == 0)
        return err_set(err, ERR_STATE, "the records are gone");
    s->refuse_after -= s->refuse_after > 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(positions[i].topic, s->base.options.conf->source.path) != 0)
            continue; /* released records */
        s->next[positions[i].partition] = positions[i].next_offset;
    }
    s->epoch = epoch;
    s->n_seeks++;
    return 0;
}

static void source_ignore(struct source *s,
                          const struct source_position *positions, size_t n)
{
    (void)s;
    (void)positions;
    (void)n;
}

static size_t source_partitions(struct source *base,
                                struct source_partition **rows)
{
    const struct rewind_source *s = (const struct rewind_source *)base;

    *rows = xcalloc(1, sizeof **rows);
    **rows = (struct source_partition){s->base.options.conf->source.path, 0, 0,
                                       s->next[0], s->end ? s->end : -1};
    return 1;
}

static const struct source_ops source_ops = {
    source_nothing, source_seek_to,    source_seek_to,
    source_ignore,  source_partitions,
};

/* --- opening and closing ------------------------------------------------ */

struct conf *rewind_util_conf(const char *dir, const char *const *sets,
                              size_t n_sets)
{
    static const char *const small[] = {
        "source.type=file",
        "source.path=text", /* never opened */
        "model.preset=custom",
        "model.dim=16",
        "model.layers=1",
        "model.heads=2",
        "model.kv_heads=1",
        "model.ffn_dim=32",
        "model.context=32",
        "model.tokenizer=bytes",
        "model.max_labels=8",
        "learner.threads=1",
        "learner.shards=1",
        "learner.batch_tokens=64",
        "learner.holdout.fraction=0",
        "filter.surprise.enabled=false",
        "filter.near_duplicate.enabled=false",
        "filter.repetition.enabled=false",
        "publish.gate.enabled=false",
        "publish.keep.newest=1000",
    };
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    struct conf *conf = conf_create();

    if (conf_load(conf, NULL, small, sizeof small / sizeof *small, NULL,
                  &problems) != 0 ||
        conf_load(conf, NULL, sets, n_sets, NULL, &problems) != 0)
        fail_msg("%s", problems.items[0].text);
    conf_problems_release(&problems);
    conf_set_data_dir(conf, dir);
    return conf;
}

static void on_fatal(const struct err *err, void *arg)
{
    ((struct rewind_util *)arg)->fatal = *err;
}

static void wake(void *arg)
{
    (void)arg;
}

static void check(int rc, const struct err *err)
{
    if (rc)
        fail_msg("%s", err->msg);
}

void rewind_util_open(struct rewind_util *u, const char *dir,
                      const char *const *sets, size_t n_sets)
{
    const struct store_schema replay = {"replay", replay_schema,
                                        replay_schema_n};
    struct source_options source = {0};
    struct publisher_options publisher = {0};
    struct catalog_pointers pointers;
    struct infer_options infer;
    struct err err = ERR_INIT;
    int shards = 0;

    memset(u, 0, sizeof *u);
    ops_init();
    u->now_ms = 1700000000000;
    timing_set_fake(&u->now_ms);
    u->dir = dir;
    u->conf = rewind_util_conf(dir, sets, n_sets);
    status_board_init(&u->board);
    record_maker_init(&u->maker, false);
    check(store_open(dir, &replay, 1, &u->store, &err), &err);
    check(restore_settings(u->store, u->conf, 1, &shards, &err), &err);
    check(catalog_open(dir, &u->catalog, &err), &err);
    options_infer(u->conf, &infer);
    u->serving = serving_create(u->catalog, &infer);
    check(learning_open(&u->learning, u->conf, 1, shards, &err), &err);
    check(restore_state(u->store, u->conf, &u->learning, &err), &err);
    serving_prepare(u->serving, &u->learning.shape, u->learning.tokenizer);
    check(restore_serving(u->store, u->catalog, u->serving, &err), &err);

    source.conf = u->conf;
    source_init(&u->source.base, &source_ops, &source);
    u->source.refuse_after = -1;
    for (size_t i = 0; i < u->learning.progress.n_partitions; i++) {
        const struct progress_partition *p =
            &u->learning.progress.partitions[i];

        if (strcmp(p->topic, u->conf->source.path) == 0)
            u->source.next[p->partition] = p->next_offset;
    }
    u->control = control_create(wake, wake, NULL);
    publisher.conf = u->conf;
    publisher.store = u->store;
    publisher.catalog = u->catalog;
    publisher.serving = u->serving;
    publisher.control = u->control;
    publisher.board = &u->board;
    publisher.source = &u->source.base;
    publisher.on_fatal = on_fatal;
    publisher.wake_trainer = wake;
    publisher.arg = u;
    u->publisher = publisher_create(&publisher);
    publisher_prepare(u->publisher, &u->learning.shape, u->learning.tokenizer);
    publisher_start(u->publisher);
    publisher_wait(u->publisher);
    check(catalog_pointers(u->catalog, &pointers, &err), &err);
    if (!pointers.head)
        rewind_util_publish(u, NULL);
}

void rewind_util_close(struct rewind_util *u)
{
    publisher_stop(u->publisher);
    publisher_free(u->publisher);
    control_free(u->control);
    source_release(&u->source.base);
    learning_close(&u->learning);
    serving_free(u->serving);
    catalog_close(u->catalog);
    store_close(u->store);
    status_board_release(&u->board);
    record_maker_release(&u->maker);
    conf_free(u->conf);
    timing_set_fake(NULL);
}

/* --- records and versions ----------------------------------------------- */

void rewind_util_add(struct rewind_util *u, int32_t partition,
                     const char *value, const char *id, const char *domain)
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

void rewind_util_flush(struct rewind_util *u)
{
    struct learner_step_output result;
    struct err err = ERR_INIT;

    while (intake_tokens(u->learning.intake))
        check(learning_step(&u->learning, &result, &err), &err);
}

void rewind_util_learn(struct rewind_util *u, int n)
{
    for (int i = 0; i < n; i++)
        rewind_util_add(u, 0, NULL, NULL, NULL);
    rewind_util_flush(u);
}

int64_t rewind_util_publish(struct rewind_util *u, struct err *err)
{
    struct snapshot *s = learning_snapshot(&u->learning);
    struct err outcome = ERR_INIT;
    int64_t version = 0;

    publisher_submit(u->publisher, s);
    publisher_wait(u->publisher);
    assert_true(publisher_collect(u->publisher, &s, &version, &outcome));
    if (outcome.code == ERR_OK)
        snapshot_stored(s, u->learning.replay, u->learning.holdout);
    else
        snapshot_not_stored(s, u->learning.replay, u->learning.holdout,
                            &u->learning.progress);
    if (err)
        *err = outcome;
    else
        check(outcome.code, &outcome);
    return outcome.code == ERR_OK ? version : 0;
}

static int release_row(struct store *s, void *arg, struct err *err)
{
    return releases_write(s, arg, 1, err);
}

void rewind_util_release(struct rewind_util *u, int64_t row)
{
    struct err err = ERR_INIT;

    check(publisher_run(u->publisher, release_row, &row, &err), &err);
}

void rewind_util_learn_released(struct rewind_util *u)
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

int64_t rewind_util_version(struct rewind_util *u, int n)
{
    rewind_util_learn(u, n);
    return rewind_util_publish(u, NULL);
}

void rewind_util_roll_back(struct rewind_util *u, int64_t version, bool skip)
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

    if (sqlite3_prepare_v2(store_connection(s), x->sql, -1, &q, NULL) !=
            SQLITE_OK ||
        (sqlite3_step(q) == SQLITE_ERROR))
        return err_set(err, ERR_INVALID, "%s: %s", x->sql,
                       sqlite3_errmsg(store_connection(s)));
    x->number = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return 0;
}

int64_t rewind_util_sql(struct rewind_util *u, const char *sql)
{
    struct statement x = {sql, 0};
    struct err err = ERR_INIT;

    check(publisher_run(u->publisher, run_sql, &x, &err), &err);
    return x.number;
}

double rewind_util_metric(struct rewind_util *u, const char *name)
{
    struct buf text = BUF_INIT;
    char *line = xasprintf("\n%s ", name);
    const char *at;
    double value;

    progress_show(&u->learning.progress, &u->board, status_lock(&u->board));
    status_unlock(&u->board);
    status_to_metrics(&u->board, &text);
    at = strstr(text.data, line);
    if (!at)
        fail_msg("there is no metric %s", name);
    value = strtod(at + strlen(line), NULL);
    free(line);
    buf_release(&text);
    return value;
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

void rewind_util_pointers(struct rewind_util *u, int64_t head, int64_t serving)
{
    struct catalog_pointers p;

    assert_int_equal(catalog_pointers(u->catalog, &p, NULL), 0);
    assert_int_equal(p.head, head);
    assert_int_equal(p.serving, serving);
}

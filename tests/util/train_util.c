/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/util/train_util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "learner/kernels/ops.h"
#include "tests/util/store_util.h"

/* --- the source --------------------------------------------------------- */

static void free_nothing(struct source *s)
{
    (void)s;
}

static int seek(struct source *base, const struct source_position *positions,
                size_t n, int64_t epoch, struct err *err)
{
    struct train_source *s = (struct train_source *)base;

    if (s->refuse_after == 0)
        return err_set(err, ERR_STATE, "the records are gone");
    s->refuse_after -= s->refuse_after > 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(positions[i].topic, TRAIN_UTIL_TOPIC) == 0)
            s->next[positions[i].partition] = positions[i].next_offset;
    } /* the others are of released records */
    s->epoch = epoch;
    s->n_seeks++;
    return 0;
}

static void call_once(struct train_util *u, void (**hook)(struct train_util *))
{
    void (*f)(struct train_util *) = *hook;

    *hook = NULL;
    if (f)
        f(u);
}

static void published(struct source *base,
                      const struct source_position *positions, size_t n)
{
    struct train_source *s = (struct train_source *)base;
    struct train_util *u =
        (struct train_util *)((char *)s - offsetof(struct train_util, source));

    s->n_published++;
    s->published = n ? positions[0].next_offset : -1;
    call_once(u, &u->when_published);
}

static size_t get_partitions(struct source *base,
                             struct source_partition **rows)
{
    const struct train_source *s = (const struct train_source *)base;

    *rows = xcalloc(1, sizeof **rows);
    **rows = (struct source_partition){TRAIN_UTIL_TOPIC, 0, 0, s->next[0],
                                       s->end ? s->end : -1};
    return 1;
}

static const struct source_ops source_ops = {
    free_nothing, seek, seek, published, get_partitions, NULL};

/* --- opening and closing ------------------------------------------------ */

struct conf *train_util_conf(const char *dir, const char *const *sets,
                             size_t n_sets)
{
    static const char *const small[] = {
        "source.type=file",
        "source.path=" TRAIN_UTIL_TOPIC,
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

void train_util_init(struct train_util *u, const char *dir,
                     const char *const *sets, size_t n_sets)
{
    memset(u, 0, sizeof *u);
    ops_init();
    u->now_ms = TRAIN_UTIL_START_MS;
    timing_set_fake(&u->now_ms);
    u->dir = dir;
    u->conf = train_util_conf(dir, sets, n_sets);
}

static void on_fatal(const struct err *err, void *arg)
{
    struct train_util *u = arg;

    if (u->n_fatal == 0)
        u->fatal = *err;
    u->n_fatal++;
}

static void control_wakes_trainer(void *arg)
{
    queue_wake(((struct train_util *)arg)->queue);
}

static void publisher_wakes_trainer(void *arg)
{
    struct train_util *u = arg;

    u->n_wakes++;
    call_once(u, &u->when_durable);
    queue_wake(u->queue);
}

static void control_wakes_publisher(void *arg)
{
    publisher_wake(((struct train_util *)arg)->publisher);
}

void train_util_open(struct train_util *u)
{
    const struct store_schema replay = {"replay", replay_schema,
                                        replay_schema_n};
    struct source_options source = {.conf = u->conf};
    struct err err = ERR_INIT;

    if (store_open(u->dir, &replay, 1, &u->store, &err) != 0)
        fail_msg("%s", err.msg);
    u->catalog = util_open_catalog(u->dir);
    status_board_init(&u->board);
    record_maker_init(&u->maker, false);
    u->queue = source.queue = queue_create(1000, 1 << 20);
    memset(&u->source, 0, sizeof u->source);
    source_init(&u->source.base, &source_ops, &source);
    u->source.refuse_after = -1;
    u->serving = serving_create(u->catalog, NULL);
    u->control =
        control_create(control_wakes_trainer, control_wakes_publisher, u);
    u->publisher = publisher_create(&(struct publisher_options){
        .conf = u->conf,
        .store = u->store,
        .catalog = u->catalog,
        .serving = u->serving,
        .control = u->control,
        .board = &u->board,
        .source = &u->source.base,
        .on_fatal = on_fatal,
        .wake_trainer = publisher_wakes_trainer,
        .arg = u,
    });
}

void train_util_close(struct train_util *u)
{
    publisher_stop(u->publisher);
    publisher_free(u->publisher);
    control_free(u->control);
    queue_free(u->queue);
    source_release(&u->source.base);
    record_maker_release(&u->maker);
    serving_free(u->serving);
    status_board_release(&u->board);
    catalog_close(u->catalog);
    store_close(u->store);
}

void train_util_release(struct train_util *u)
{
    conf_free(u->conf);
    timing_set_fake(NULL);
}

/* --- versions ----------------------------------------------------------- */

int train_util_collect(struct train_util *u, int64_t *version, struct err *err)
{
    struct learning *l = &u->learning;
    struct snapshot *s = NULL;

    *err = (struct err)ERR_INIT;
    assert_true(publisher_collect(u->publisher, &s, version, err));
    assert_non_null(s);
    if (err->code == ERR_OK)
        snapshot_stored(s, l->replay, l->holdout);
    else
        snapshot_not_stored(s, l->replay, l->holdout, &l->progress);
    return err->code;
}

int64_t train_util_publish(struct train_util *u, struct snapshot *s,
                           struct err *err)
{
    struct err outcome;
    int64_t version = 0;
    int rc;

    publisher_submit(u->publisher, s);
    publisher_wait(u->publisher);
    rc = train_util_collect(u, &version, &outcome);
    assert_false(publisher_busy(u->publisher));
    if (err)
        *err = outcome;
    else if (rc)
        fail_msg("%s", outcome.msg);
    return rc ? 0 : version;
}

/* --- what the board and the store hold ---------------------------------- */

double train_util_metric(struct train_util *u, const char *name)
{
    struct buf text = BUF_INIT;
    char *line = xasprintf("\nmneme_%s ", name);
    const char *at;
    double value;

    status_to_metrics(&u->board, &text);
    at = strstr(text.data, line);
    value = at ? strtod(at + strlen(line), NULL) : NAN;
    free(line);
    buf_release(&text);
    return value;
}

void train_util_check_metric(struct train_util *u, const char *name,
                             double expected, double by)
{
    double value = train_util_metric(u, name);

    if (!(fabs(value - expected) <= by))
        fail_msg("mneme_%s is %.17g, not %.17g", name, value, expected);
}

void train_util_check_pointers(struct train_util *u, int64_t head,
                               int64_t serving)
{
    struct catalog_pointers p;

    assert_int_equal(catalog_pointers(u->catalog, &p, NULL), 0);
    assert_int_equal(p.head, head);
    assert_int_equal(p.serving, serving);
}

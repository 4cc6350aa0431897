/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each branch of the publisher, with a real store, a fake clock and a fake
 * source. The test plays the trainer: it makes snapshots by hand, of a tiny
 * model whose weights decide the verdict. Uses source_private.h for a source
 * that only records the positions it gets.
 *
 * Only the publisher's thread moves the clock, so no other thread races.
 */
#include "config.h"

#include "daemon/publish/publisher.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/rng.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/publish/verdict_memory.h"
#include "daemon/stream/source_private.h"
#include "learner/kernels/ops.h"
#include "learner/model.h"
#include "tests/util/fault_vfs.h"
#include "tests/util/store_util.h"

#define START_MS 1700000000000 /* of the fake clock */
#define RECORD_MS (START_MS - 5000)
/* Changes of the weights, by which the gate decides (limit: +2 %): */
#define WORSE 0.02f    /* +0.2 %: passes, and the reference stays */
#define TOO_MUCH 0.06f /* +3.4 % */
#define BAD 0.5f       /* +25 % */

static const struct model_shape shape = {.vocab_size = 257,
                                         .dim = 32,
                                         .layers = 1,
                                         .heads = 2,
                                         .kv_heads = 1,
                                         .head_dim = 16,
                                         .ffn_dim = 48,
                                         .context = 16,
                                         .norm_eps = 1e-5f,
                                         .rope_theta = 10000.0f,
                                         .tied = true};

static struct tokenizer *tokenizer;
static struct model *model;
static float *params;
static int64_t now_ms;

/* --- a daemon around the publisher -------------------------------------- */

struct room {
    const char *dir;
    struct conf *conf;
    struct store *store;
    struct catalog *catalog;
    struct serving *serving;
    struct control *control;
    struct status_board board;
    struct source source; /* a fake one */
    struct publisher *publisher;
    struct progress progress;
    struct replay *replay, *holdout;
    int64_t step;
    int64_t told_offset; /* the last position that the source got */
    int n_told, n_wakes;
    atomic_int fatal; /* the code of the error that ends the process */
    /* Called once, on the publisher's thread: when a version is durable and its
     * verdict is queued; and before that, while it is being published. */
    void (*when_durable)(struct room *r), (*when_told)(struct room *r);
};

static void call_once(struct room *r, void (**hook)(struct room *r))
{
    void (*f)(struct room *r) = *hook;

    *hook = NULL;
    if (f)
        f(r);
}

static void on_published(struct source *s,
                         const struct source_position *positions, size_t n)
{
    struct room *r = (struct room *)((char *)s - offsetof(struct room, source));

    r->n_told++;
    r->told_offset = n ? positions[0].next_offset : -1;
    call_once(r, &r->when_told);
}

static const struct source_ops fake_source = {.published = on_published};

static void on_wake_trainer(void *arg)
{
    struct room *r = arg;

    r->n_wakes++;
    call_once(r, &r->when_durable);
}

static void ignore_wake(void *arg)
{
    (void)arg;
}

static void on_wake_publisher(void *arg)
{
    struct room *r = arg;

    publisher_wake(r->publisher);
}

static void on_fatal(const struct err *err, void *arg)
{
    struct room *r = arg;

    if (!r->fatal)
        r->fatal = err->code;
}

static void make_publisher(struct room *r)
{
    struct publisher_options options = {
        .conf = r->conf,
        .store = r->store,
        .catalog = r->catalog,
        .serving = r->serving,
        .control = r->control,
        .board = &r->board,
        .source = &r->source,
        .on_fatal = on_fatal,
        .wake_trainer = on_wake_trainer,
        .arg = r,
    };

    r->publisher = publisher_create(&options);
    publisher_prepare(r->publisher, &shape, tokenizer);
}

/* Opens everything as a process does before publisher_start. */
static void open_room(struct room *r)
{
    struct store_schema schema = {"replay", replay_schema, replay_schema_n};
    struct catalog_pointers pointers;
    struct infer *infer;
    struct status *s;

    assert_int_equal(store_open(r->dir, &schema, 1, &r->store, NULL), 0);
    r->catalog = util_open_catalog(r->dir);
    r->serving = serving_create(r->catalog, NULL);
    serving_prepare(r->serving, &shape, tokenizer);
    assert_int_equal(catalog_pointers(r->catalog, &pointers, NULL), 0);
    if (pointers.serving) {
        assert_int_equal(
            serving_load(r->serving, pointers.serving, &infer, NULL), 0);
        serving_switch(r->serving, pointers.serving, infer);
    }
    r->control = control_create(ignore_wake, on_wake_publisher, r);
    status_board_init(&r->board);
    s = status_lock(&r->board);
    s->domains[s->n_domains++].name = status_name(&r->board, "a");
    status_unlock(&r->board);
    make_publisher(r);
}

static void close_room(struct room *r)
{
    publisher_stop(r->publisher);
    publisher_free(r->publisher);
    control_free(r->control);
    status_board_release(&r->board);
    serving_free(r->serving);
    catalog_close(r->catalog);
    store_close(r->store);
}

static void restart(struct room *r)
{
    close_room(r);
    open_room(r);
    publisher_start(r->publisher);
    publisher_wait(r->publisher);
}

static void begin(struct room *r, const char *dir)
{
    struct replay_options options;

    memset(r, 0, sizeof *r);
    now_ms = START_MS;
    timing_set_fake(&now_ms);
    r->dir = dir;
    r->source.ops = &fake_source;
    r->conf = conf_create();
    progress_init(&r->progress);
    progress_domain_id(&r->progress, "a", 10);
    progress_begin(&r->progress, "text", 0, 0);
    replay_options_default(&options, REPLAY_ROWS);
    r->replay = replay_create(&options, NULL);
    replay_options_default(&options, REPLAY_HOLDOUT);
    r->holdout = replay_create(&options, NULL);
    open_room(r);
}

static void end(struct room *r)
{
    close_room(r);
    replay_free(r->replay);
    replay_free(r->holdout);
    progress_release(&r->progress);
    conf_free(r->conf);
    fault_vfs_hook = NULL;
}

/* --- the trainer's part ------------------------------------------------- */

/* The weights of the next snapshots: those of a newborn model, all of them
 * changed at random by at most `by`. */
static void set_weights(float by)
{
    model_init_params(model, 7, params);
    for (size_t i = 0; i < model->n_params; i++)
        params[i] += by * (float)((double)(i * 2654435761u % 2048) / 1024 - 1);
}

/* n records are held out. */
static void hold_out(struct room *r, int n)
{
    for (int i = 0; i < n; i++) {
        int64_t offset = r->progress.partitions[0].next_offset;
        const struct segment_origin origin = {.offset = offset};
        uint16_t tokens[16];
        struct segment s = {.tokens = tokens, .n_tokens = 15, .n_bytes = 15,
                            .domain = 0, .label = -1};

        for (int t = 0; t < 16; t++)
            tokens[t] = (uint16_t)((offset * 31 % 251 + t * (offset % 7 + 1)) %
                                   256);
        replay_offer(r->holdout, &s, &origin, 0);
        progress_decide(&r->progress, r->step, 0, offset, 'h');
        progress_move(&r->progress, 0, offset);
    }
}

static struct snapshot *make_snapshot(struct room *r)
{
    struct snapshot *s = xcalloc(1, sizeof *s);
    const size_t n = 1;

    s->step = ++r->step;
    r->progress.tokens_seen += 1000;
    r->progress.newest_record_ms = RECORD_MS;
    progress_learned(&r->progress, 0, 1, 1000, 2000);
    s->tokens_seen = r->progress.tokens_seen;
    s->created_ms = timing_wall_ms();
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct model_tensor *t = &model->tensors[i];

        tensor_add_copy(&s->weights, t->name, TENSOR_F32, t->n_dims, t->shape,
                        params + t->offset);
    }
    tensor_add_copy(&s->state, "optim.m", TENSOR_F32, 1, &n, &(float){1});
    tensor_add_copy(&s->anchor, "ewc.fisher", TENSOR_F32, 1, &n, &(float){1});
    s->replay_changes = replay_take_changes(r->replay, &s->state);
    s->holdout_changes = replay_take_changes(r->holdout, &s->holdout);
    progress_export(&r->progress, s->step, "plain", NULL, &s->metadata);
    names_to_json(&r->progress.labels, &s->labels_json);
    s->offsets = progress_offsets(&r->progress, &s->n_offsets);
    progress_take_stage(&r->progress, &s->stage);
    return s;
}

/* Collects the outcome of a submit. Returns the error's code; *version out. */
static int collect(struct room *r, int64_t *version)
{
    struct snapshot *s = NULL;
    struct err err = ERR_INIT;

    assert_true(publisher_collect(r->publisher, &s, version, &err));
    assert_non_null(s);
    if (err.code == ERR_OK)
        snapshot_stored(s, r->replay, r->holdout);
    else
        snapshot_not_stored(s, r->replay, r->holdout, &r->progress);
    return err.code;
}

/* Publishes a version with n more records held out, and returns its number. */
static int64_t publish(struct room *r, float by, int n)
{
    int64_t version = 0;

    set_weights(by);
    hold_out(r, n);
    publisher_submit(r->publisher, make_snapshot(r));
    publisher_wait(r->publisher);
    assert_int_equal(collect(r, &version), 0);
    assert_false(publisher_busy(r->publisher));
    return version;
}

/* Runs an operation, and returns how it ended. */
static struct control_operation operate(struct room *r,
                                        enum control_kind kind,
                                        int64_t version, const char *reason)
{
    struct control_operation op;
    int64_t id;

    assert_int_equal(
        control_submit(r->control, kind, version, reason, &id, NULL), 0);
    control_start(r->control, id);
    assert_int_equal(control_wait(r->control, id, 600000, &op, NULL), 0);
    assert_true(op.state == CONTROL_DONE || op.state == CONTROL_FAILED);
    return op;
}

static int add_ms(struct store *s, void *arg, struct err *err)
{
    (void)s;
    (void)err;
    now_ms += *(const int64_t *)arg;
    return 0;
}

/* Moves the clock, and waits for the tasks that become due. */
static void pass_time(struct room *r, int64_t ms)
{
    int64_t none = 0;

    publisher_run(r->publisher, add_ms, &ms, NULL);
    publisher_run(r->publisher, add_ms, &none, NULL);
}

static int pause_learning(struct store *s, void *arg, struct err *err)
{
    (void)arg;
    return store_pause(s, "three times in an hour", err);
}

/* --- the board and the store -------------------------------------------- */

/* The value of a line of GET /metrics; NaN: there is no such line. */
static double metric(struct room *r, const char *name)
{
    struct buf text = BUF_INIT;
    char *line = xasprintf("\nmneme_%s ", name);
    const char *found;
    double x = NAN;

    status_to_metrics(&r->board, &text);
    found = strstr(text.data, line);
    if (found)
        x = strtod(found + strlen(line), NULL);
    free(line);
    buf_release(&text);
    return x;
}

/* `by`: the difference that rounding in the kernels may make. */
static void check_near(struct room *r, const char *name, double expected,
                       double by)
{
    double x = metric(r, name);

    if (!(fabs(x - expected) <= by))
        fail_msg("mneme_%s is %.17g, not %.17g", name, x, expected);
}

static void check_metric(struct room *r, const char *name, double expected)
{
    check_near(r, name, expected, 1e-9 * fmax(1, fabs(expected)));
}

/* A member of `publish` in GET /v1/status, printed as JSON. */
static void check_status(struct room *r, const char *key, const char *expected)
{
    json_t *root = status_to_json(&r->board);
    char *text = json_dumps(json_object_get(json_object_get(root, "publish"),
                                            key),
                            JSON_ENCODE_ANY | JSON_COMPACT);

    assert_non_null(text);
    if (!strstr(text, expected))
        fail_msg("publish.%s is %s, not %s", key, text, expected);
    free(text);
    json_decref(root);
}

static void check_pointers(struct room *r, int64_t head, int64_t serving)
{
    struct catalog_pointers pointers;

    assert_int_equal(catalog_pointers(r->catalog, &pointers, NULL), 0);
    assert_int_equal(pointers.head, head);
    assert_int_equal(pointers.serving, serving);
    assert_int_equal(serving_version(r->serving), serving);
    check_metric(r, "head_version", (double)head);
    check_metric(r, "serving_version", (double)serving);
}

static void check_serving_pinned(struct room *r, bool pinned)
{
    json_t *root = status_to_json(&r->board);

    assert_int_equal(json_is_true(json_object_get(root, "serving_pinned")),
                     pinned);
    json_decref(root);
}

static int64_t records_held_out(struct room *r)
{
    return util_number(r->store, "SELECT count(*) FROM holdout_rows");
}

/* --- the verdict -------------------------------------------------------- */

static void take_time(struct room *r)
{
    (void)r;
    now_ms += 1500;
}

/* The first version passes. Checks every metric of versions. */
static void test_first(void **state)
{
    struct snapshot *s;
    struct room r;
    int64_t version = 0;

    begin(&r, *state);
    publisher_start(r.publisher);
    publisher_wait(r.publisher);
    check_pointers(&r, 0, 0);
    check_metric(&r, "publishes_total", 0);
    assert_false(publisher_collect(r.publisher, &s, &version,
                                   &(struct err)ERR_INIT));

    set_weights(0);
    hold_out(&r, 40);
    s = make_snapshot(&r);
    s->cpu_ns = 3000000000000; /* of the trainer: far more than this test */
    r.when_durable = take_time;
    publisher_submit(r.publisher, s);
    assert_true(publisher_busy(r.publisher));
    publisher_wait(r.publisher);
    assert_true(publisher_busy(r.publisher)); /* its outcome waits */
    assert_int_equal(collect(&r, &version), 0);
    assert_int_equal(version, 1);
    assert_false(publisher_busy(r.publisher));
    assert_int_equal(r.n_told, 1);
    assert_int_equal(r.told_offset, 40);
    assert_int_equal(r.n_wakes, 1);
    assert_int_equal(records_held_out(&r), 40);

    check_pointers(&r, 1, 1);
    util_assert_state(r.catalog, 1, STORE_PASSED);
    check_metric(&r, "publishes_total", 1);
    check_metric(&r, "publish_failures_total", 0);
    check_metric(&r, "publish_seconds", 1.5);
    assert_true(metric(&r, "publish_cpu_seconds") >= 3000);
    assert_true(metric(&r, "publish_cpu_seconds") < 6000);
    check_metric(&r, "gate_verdicts_total{verdict=\"pass\"}", 1);
    check_metric(&r, "gate_verdicts_total{verdict=\"fail\"}", 0);
    check_metric(&r, "gate_refused_in_a_row", 0);
    check_metric(&r, "shadow_records", 0);
    check_metric(&r, "rollbacks_total", 0);
    check_metric(&r, "automatic_rollbacks_total", 0);
    check_metric(&r, "erasure_pending", 0);
    check_metric(&r, "freshness_seconds", 6.5);
    check_status(&r, "last_verdict", "\"passed\"");
    check_status(&r, "last_reason", "the first version");
    check_status(&r, "judged_version", "1");
    check_status(&r, "shadow", "null");
    check_status(&r, "last_rollback", "null");
    end(&r);
}

/* Both verdicts. Only a version that passed serves. */
static void test_verdicts(void **state)
{
    struct room r;
    double best;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    /* All bytes are equally likely: 8 bits. */
    best = metric(&r, "domain_holdout_best_bits_per_byte{domain=\"a\"}");
    check_near(&r, "domain_holdout_best_bits_per_byte{domain=\"a\"}", 8.0174,
               1e-3);
    check_metric(&r, "domain_holdout_bits_per_byte{domain=\"a\"}", best);

    publish(&r, 0, 0); /* the same weights */
    check_pointers(&r, 2, 2);
    util_assert_state(r.catalog, 2, STORE_PASSED);
    check_metric(&r, "gate_verdicts_total{verdict=\"pass\"}", 2);

    publish(&r, TOO_MUCH, 20);
    util_assert_state(r.catalog, 3, STORE_FAILED);
    check_pointers(&r, 3, 2);
    check_metric(&r, "gate_verdicts_total{verdict=\"fail\"}", 1);
    check_metric(&r, "gate_refused_in_a_row", 1);
    check_status(&r, "last_verdict", "\"failed\"");
    check_status(&r, "shadow", "\"against\":2");
    check_metric(&r, "shadow_records", 20);
    check_near(&r, "shadow_difference_ratio", 0.0378, 1e-3);
    check_near(&r, "shadow_evidence", 0.0057, 1e-3);

    publish(&r, BAD, 20);
    util_assert_state(r.catalog, 4, STORE_FAILED);
    check_pointers(&r, 4, 2);
    check_metric(&r, "gate_verdicts_total{verdict=\"fail\"}", 2);
    check_metric(&r, "gate_refused_in_a_row", 2);
    check_metric(&r, "shadow_records", 40);
    check_status(&r, "last_verdict", "\"failed\"");
    check_status(&r, "judged_version", "4");
    check_near(&r, "domain_holdout_bits_per_byte{domain=\"a\"}", 10.0182,
               1e-2);
    check_metric(&r, "domain_holdout_best_bits_per_byte{domain=\"a\"}", best);
    check_metric(&r, "publishes_total", 4);
    end(&r);
}

/* Weights that are not finite: the version fails, and the guard requests a
 * rollback. The request is found after a restart, too, until learning is
 * paused instead. */
static void test_not_finite(void **state)
{
    struct guard_request wish;
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    assert_false(publisher_take_wish(r.publisher, &wish));
    publish(&r, NAN, 0);
    util_assert_state(r.catalog, 2, STORE_FAILED);
    check_pointers(&r, 2, 1);
    check_status(&r, "last_reason", "not finite");
    assert_int_equal(r.n_wakes, 3); /* two outcomes, one request */
    restart(&r);
    assert_true(publisher_take_wish(r.publisher, &wish));
    assert_int_equal(wish.cause, GUARD_NOT_FINITE);
    assert_int_equal(wish.version, 1);
    assert_non_null(strstr(wish.reason, "version 2: "));
    assert_false(publisher_take_wish(r.publisher, &wish));

    assert_int_equal(publisher_run(r.publisher, pause_learning, NULL, NULL),
                     0);
    restart(&r);
    assert_false(publisher_take_wish(r.publisher, &wish));
    check_status(&r, "last_verdict", "\"failed\"");
    end(&r);
}

static void test_no_auto_rollback(void **state)
{
    struct guard_request wish;
    struct room r;

    begin(&r, *state);
    r.conf->publish.auto_rollback = false;
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    publish(&r, NAN, 0);
    util_assert_state(r.catalog, 2, STORE_FAILED);
    assert_false(publisher_take_wish(r.publisher, &wish));
    end(&r);
}

static void damage_head(struct room *r)
{
    struct catalog_pointers pointers;
    char *path;

    assert_int_equal(catalog_pointers(r->catalog, &pointers, NULL), 0);
    path = util_file_of(r->dir, pointers.head, "model.safetensors");
    assert_int_equal(truncate(path, 100), 0);
    free(path);
}

/* A version whose files are damaged fails. The guard requests no rollback,
 * since the live weights are not damaged. */
static void test_damaged_files(void **state)
{
    struct guard_request wish;
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    r.when_durable = damage_head;
    publish(&r, 0, 0);
    util_assert_state(r.catalog, 2, STORE_FAILED);
    check_pointers(&r, 2, 1);
    check_status(&r, "last_reason", "cannot be read back");
    assert_false(publisher_take_wish(r.publisher, &wish));
    assert_int_equal(r.fatal, 0);
    end(&r);
}

/* A version without a step of its own has the verdict of its parent. */
static void test_same_as_parent(void **state)
{
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    publish(&r, BAD, 20);
    util_assert_state(r.catalog, 2, STORE_FAILED);
    r.step--;
    publish(&r, BAD, 20);
    util_assert_state(r.catalog, 3, STORE_FAILED);
    check_pointers(&r, 3, 1);
    check_metric(&r, "gate_refused_in_a_row", 1); /* nothing counts twice */
    end(&r);
}

/* --- failures ----------------------------------------------------------- */

static enum fault_vfs_op last_op;

static void note_op(enum fault_vfs_op op, const char *path, const void *bytes,
                    int n_bytes, int64_t at)
{
    (void)path;
    (void)bytes;
    (void)n_bytes;
    (void)at;
    last_op = op;
}

/* A full disk refuses writes, but not that a file is cut. */
static enum fault_vfs disk_is_full(void)
{
    return last_op == FAULT_VFS_WRITE ? FAULT_FULL : FAULT_NONE;
}

static enum fault_vfs disk_fails(void)
{
    return FAULT_IO;
}

static void fill_disk(struct room *r)
{
    (void)r;
    fault_vfs_watch = note_op;
    fault_vfs_hook = disk_is_full;
}

/* No room for the version: the trainer gets its snapshot back, and what was
 * staged is in the next version. */
static void test_full_disk(void **state)
{
    struct room r;
    int64_t version;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    hold_out(&r, 20);
    fill_disk(&r);
    publisher_submit(r.publisher, make_snapshot(&r));
    publisher_wait(r.publisher);
    assert_true(publisher_busy(r.publisher));
    assert_int_equal(collect(&r, &version), ERR_FULL);
    assert_false(publisher_busy(r.publisher));
    check_pointers(&r, 1, 1);
    check_metric(&r, "publishes_total", 1);
    check_metric(&r, "publish_failures_total", 1);
    assert_int_equal(r.n_told, 1);
    assert_int_equal(records_held_out(&r), 40);
    fault_vfs_hook = NULL;

    version = publish(&r, 0, 0);
    assert_int_equal(records_held_out(&r), 60);
    check_pointers(&r, version, version);
    check_metric(&r, "publishes_total", 2);
    check_metric(&r, "publish_failures_total", 1);
    assert_int_equal(r.fatal, 0);
    end(&r);
}

/* A write that fails ends the process: no later version is written. */
static void test_failed_write(void **state)
{
    struct room r;
    int64_t version;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    fault_vfs_hook = disk_fails;
    publisher_submit(r.publisher, make_snapshot(&r));
    publisher_wait(r.publisher);
    assert_int_equal(collect(&r, &version), ERR_IO);
    assert_int_equal(r.fatal, ERR_IO);
    check_metric(&r, "publish_failures_total", 1);
    fault_vfs_hook = NULL;

    publisher_submit(r.publisher, make_snapshot(&r));
    publisher_wait(r.publisher);
    assert_int_equal(collect(&r, &version), ERR_IO);
    check_pointers(&r, 1, 1);
    check_metric(&r, "publishes_total", 1);
    check_metric(&r, "publish_failures_total", 1);
    end(&r);
}

/* The parent's anchor cannot be linked: the next snapshot brings its own. */
static void test_lost_anchor(void **state)
{
    struct snapshot *s;
    struct room r;
    int64_t version;
    char *path;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    s = make_snapshot(&r);
    s->anchor_unchanged = true;
    path = util_file_of(r.dir, 1, "anchor.safetensors");
    assert_int_equal(unlink(path), 0);
    free(path);
    publisher_submit(r.publisher, s);
    publisher_wait(r.publisher);
    assert_int_equal(collect(&r, &version), ERR_CORRUPT);
    assert_int_equal(r.fatal, 0);
    assert_int_equal(publish(&r, 0, 0), 2);
    end(&r);
}

/* No room for the verdict: the version stays pending, the trainer goes on, and
 * other tasks run. The verdict follows when there is room. */
static void test_full_disk_at_verdict(void **state)
{
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    r.when_durable = fill_disk;
    publish(&r, 0, 0);
    util_assert_state(r.catalog, 2, STORE_PENDING);
    check_pointers(&r, 2, 1);
    check_metric(&r, "publishes_total", 2);
    check_metric(&r, "publish_failures_total", 1);
    check_status(&r, "judged_version", "1");
    pass_time(&r, 4999); /* not due */
    check_metric(&r, "publish_failures_total", 1);
    pass_time(&r, 1); /* due, in vain */
    check_metric(&r, "publish_failures_total", 2);
    util_assert_state(r.catalog, 2, STORE_PENDING);
    fault_vfs_hook = NULL;
    assert_int_equal(operate(&r, CONTROL_PIN, 1, "").state, CONTROL_DONE);
    util_assert_state(r.catalog, 2, STORE_PENDING);
    pass_time(&r, 5000);
    check_pointers(&r, 2, 2);
    util_assert_state(r.catalog, 2, STORE_PASSED);
    check_metric(&r, "publishes_total", 2);
    check_metric(&r, "gate_verdicts_total{verdict=\"pass\"}", 2);
    assert_int_equal(r.fatal, 0);
    end(&r);
}

/* A new version is judged at once, while an older verdict waits for its retry.
 * The older version stays pending. */
static void test_verdict_overtaken(void **state)
{
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    r.when_durable = fill_disk;
    publish(&r, 0, 0);
    fault_vfs_hook = NULL;
    assert_int_equal(publish(&r, 0, 0), 3);
    check_pointers(&r, 3, 3);
    util_assert_state(r.catalog, 2, STORE_PENDING);
    pass_time(&r, 60000);
    util_assert_state(r.catalog, 2, STORE_PENDING);
    check_metric(&r, "publishes_total", 3);
    end(&r);
}

/* The process ended between a version's row and its verdict. */
static void test_restart(void **state)
{
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    r.when_durable = fill_disk;
    publish(&r, 0, 0);
    util_assert_state(r.catalog, 2, STORE_PENDING);
    fault_vfs_hook = NULL;
    restart(&r);
    check_pointers(&r, 2, 2);
    util_assert_state(r.catalog, 2, STORE_PASSED);
    check_metric(&r, "publishes_total", 0); /* by this process */
    check_metric(&r, "gate_verdicts_total{verdict=\"pass\"}", 1);
    check_metric(&r, "freshness_seconds", 5);
    end(&r);
}

/* The database file is gone: the next check of the store ends the process. */
static void test_store_lost(void **state)
{
    struct room r;
    char *path, *away;

    begin(&r, *state);
    path = fileio_join(r.dir, "mneme.db");
    away = fileio_join(r.dir, "away");
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    assert_int_equal(rename(path, away), 0);
    pass_time(&r, 0);
    assert_int_not_equal(r.fatal, 0);
    assert_int_equal(rename(away, path), 0);
    free(path);
    free(away);
    end(&r);
}

/* --- rollbacks ---------------------------------------------------------- */

static int roll_back(struct room *r, int64_t to, bool keep_serving,
                     bool automatic, struct err *err)
{
    const struct store_rollback rows = {.to = to,
                                        .mode = "skip",
                                        .reason = "worse",
                                        .keep_serving = keep_serving,
                                        .automatic = automatic};
    struct store_offset *known;
    size_t n;
    int rc;

    known = progress_offsets(&r->progress, &n);
    rc = publisher_rollback(r->publisher, &rows, known, n, err);
    free(known);
    return rc;
}

static void test_rollback(void **state)
{
    struct err err = ERR_INIT;
    struct guard_request wish;
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    publish(&r, 0, 20);
    publish(&r, NAN, 0);
    check_pointers(&r, 3, 2);
    assert_int_equal(roll_back(&r, 7, false, false, &err), ERR_NOTFOUND);
    assert_non_null(strstr(err.msg, "7"));
    check_pointers(&r, 3, 2);
    check_metric(&r, "rollbacks_total", 0);

    assert_int_equal(roll_back(&r, 1, true, true, &err), 0);
    check_pointers(&r, 1, 2);
    util_assert_state(r.catalog, 3, STORE_ROLLED_BACK);
    assert_false(publisher_take_wish(r.publisher, &wish)); /* dropped */
    check_metric(&r, "rollbacks_total", 1);
    check_metric(&r, "automatic_rollbacks_total", 1);
    check_status(&r, "last_rollback", "worse");
    check_status(&r, "judged_version", "1");
    check_metric(&r, "gate_refused_in_a_row", 0);

    assert_int_equal(roll_back(&r, 1, false, false, &err), 0);
    check_pointers(&r, 1, 1);
    check_metric(&r, "rollbacks_total", 2);
    check_metric(&r, "automatic_rollbacks_total", 1);
    assert_int_equal(publish(&r, 0, 0), 4); /* no number is used twice */
    check_pointers(&r, 4, 4);
    end(&r);
}

/* A damaged version never serves, and a rollback that the disk has no room for
 * changes nothing. */
static void test_failed_rollback(void **state)
{
    struct err err = ERR_INIT;
    struct guard_request wish;
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    publish(&r, NAN, 0);
    fill_disk(&r);
    assert_int_equal(roll_back(&r, 1, false, false, &err), ERR_FULL);
    fault_vfs_hook = NULL;
    check_pointers(&r, 2, 1);
    assert_int_equal(roll_back(&r, 2, false, false, &err), ERR_CORRUPT);
    check_pointers(&r, 2, 1);
    assert_true(publisher_take_wish(r.publisher, &wish));
    check_metric(&r, "rollbacks_total", 0);
    assert_int_equal(r.fatal, 0);
    end(&r);
}

/* --- operations --------------------------------------------------------- */

static void check_pinned(struct room *r, int64_t version, bool pinned)
{
    struct catalog_version v;

    assert_int_equal(catalog_get(r->catalog, version, &v, NULL), 0);
    assert_int_equal(v.pinned, pinned);
    catalog_version_release(&v);
}

static void test_pin(void **state)
{
    struct control_operation op;
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    op = operate(&r, CONTROL_PIN, 1, "");
    assert_string_equal(op.detail, "version 1 pinned");
    check_pinned(&r, 1, true);
    op = operate(&r, CONTROL_UNPIN, 1, "");
    assert_string_equal(op.detail, "version 1 unpinned");
    check_pinned(&r, 1, false);
    op = operate(&r, CONTROL_PIN, 9, "");
    assert_int_equal(op.state, CONTROL_FAILED);
    assert_int_equal(op.err.code, ERR_NOTFOUND);
    assert_int_equal(publisher_choices(r.publisher), 0);
    end(&r);
}

/* Until `promote latest`, the chosen version serves, whatever passes. */
static void test_promote(void **state)
{
    struct control_operation op;
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    op = operate(&r, CONTROL_PROMOTE_LATEST, 0, "");
    assert_int_equal(op.err.code, ERR_STATE);
    publish(&r, 0, 40);
    publish(&r, 0, 0);
    op = operate(&r, CONTROL_PROMOTE, 1, "I like it");
    assert_string_equal(op.detail,
                        "serving version 1 until `promote latest`");
    check_pointers(&r, 2, 1);
    check_serving_pinned(&r, true);
    assert_int_equal(publisher_choices(r.publisher), 1);
    publish(&r, 0, 0);
    check_pointers(&r, 3, 1);
    util_assert_state(r.catalog, 3, STORE_PASSED);
    op = operate(&r, CONTROL_ROLLBACK_KEEP, 2, "");
    assert_int_equal(op.state, CONTROL_DONE);
    check_pointers(&r, 3, 2);
    op = operate(&r, CONTROL_PROMOTE, 9, "");
    assert_int_equal(op.err.code, ERR_NOTFOUND);
    check_pointers(&r, 3, 2);
    op = operate(&r, CONTROL_PROMOTE_LATEST, 0, "");
    assert_string_equal(op.detail, "serving version 3, then each that passes");
    check_pointers(&r, 3, 3);
    check_serving_pinned(&r, false);
    assert_int_equal(publisher_choices(r.publisher), 3);
    publish(&r, 0, 0);
    check_pointers(&r, 4, 4);
    end(&r);
}

/* A version that an operator chose serves before its operation is carried out,
 * also after a verdict in between; when the operation fails, what the store
 * says serves again. */
static void test_choice(void **state)
{
    struct control_operation op;
    struct room r;
    int64_t id;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    publish(&r, 0, 0);
    assert_int_equal(control_submit(r.control, CONTROL_ROLLBACK_REWIND, 1, "",
                                    &id, NULL),
                     0);
    assert_int_equal(serving_choose(r.serving, 1, NULL), 0);
    control_start(r.control, id);
    publish(&r, 0, 0);
    assert_int_equal(serving_version(r.serving), 1);
    check_metric(&r, "serving_version", 1);
    assert_true(control_take(r.control, true, &op)); /* by the trainer */
    publisher_serve_as_stored(r.publisher, id);
    control_finish(r.control, id, &(struct err){ERR_STATE, "no"}, "");
    check_pointers(&r, 3, 3);
    end(&r);
}

/* A skipped range is released once it exists. */
static void test_release_range(void **state)
{
    struct store_ledger_run run = {.step = 1, .last_offset = 9, .count = 10,
                                   .kind = 's'};
    struct store_rollback rows = {.to = 1, .mode = "skip", .reason = "",
                                  .skipped = &run, .n_skipped = 1};
    struct control_operation op;
    struct store_offset *known;
    struct room r;
    size_t n;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    op = operate(&r, CONTROL_RELEASE_RANGE, 1, "");
    assert_int_equal(op.err.code, ERR_NOTFOUND);
    known = progress_offsets(&r.progress, &n);
    assert_int_equal(
        publisher_rollback(r.publisher, &rows, known, n, NULL), 0);
    free(known);
    op = operate(&r, CONTROL_RELEASE_RANGE,
                 util_number(r.store, "SELECT max(id) FROM control_log"), "");
    assert_int_equal(op.state, CONTROL_DONE);
    assert_non_null(strstr(op.detail, "is learned when it is read again"));
    assert_false(publisher_released(r.publisher));
    end(&r);
}

/* A record that was refused by mistake is released, and another one cannot
 * be. */
static void test_release(void **state)
{
    const struct store_quarantine_row good = {
        .offset = 40, .reason = "surprise", .bytes = "{\"text\":\"fine\"}",
        .n_bytes = 15, .domain = "a"};
    const struct store_quarantine_row empty = {
        .offset = 41, .reason = "empty", .bytes = "{\"text\":\"\"}",
        .n_bytes = 11};
    struct control_operation op;
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    progress_quarantine(&r.progress, &good, 100);
    progress_quarantine(&r.progress, &empty, 100);
    publish(&r, 0, 40);
    op = operate(&r, CONTROL_RELEASE, 2, "");
    assert_int_equal(op.err.code, ERR_STATE);
    assert_false(publisher_released(r.publisher));
    op = operate(&r, CONTROL_RELEASE, 1, "");
    assert_int_equal(op.state, CONTROL_DONE);
    assert_int_equal(util_number(r.store, "SELECT count(*) FROM releases"), 1);
    assert_true(publisher_released(r.publisher));
    assert_false(publisher_released(r.publisher));
    end(&r);
}

/* --- the queue ---------------------------------------------------------- */

/* States that the publisher's thread reads for the test. */
static struct order {
    struct room *r;
    int64_t first, second; /* operations */
    enum control_state first_then, second_then;
} order;

static enum control_state state_of(struct room *r, int64_t id)
{
    struct control_operation op = {.state = CONTROL_FAILED};

    control_get(r->control, id, &op, NULL);
    return op.state;
}

/* Runs on the publisher's thread, so the tasks that it queues have to wait. */
static int queue_tasks(struct store *s, void *arg, struct err *err)
{
    (void)s;
    (void)arg;
    control_submit(order.r->control, CONTROL_PIN, 1, "", &order.first, NULL);
    control_start(order.r->control, order.first);
    publisher_submit(order.r->publisher, make_snapshot(order.r));
    return err_set(err, ERR_STATE, "an errand's error");
}

/* The version is durable, and its verdict is not queued yet. The verdict comes
 * before this operation, which promotes the newest version that passed. */
static void queue_promote(struct room *r)
{
    order.first_then = state_of(r, order.first);
    control_submit(r->control, CONTROL_PROMOTE_LATEST, 0, "", &order.second,
                   NULL);
    control_start(r->control, order.second);
}

static int read_second(struct store *s, void *arg, struct err *err)
{
    (void)s;
    (void)arg;
    (void)err;
    order.second_then = state_of(order.r, order.second);
    return 0;
}

static void test_order(void **state)
{
    struct control_operation op;
    struct err err = ERR_INIT;
    struct room r;
    int64_t version;

    begin(&r, *state);
    order = (struct order){.r = &r};
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    operate(&r, CONTROL_PROMOTE, 1, "");
    set_weights(0);
    r.when_told = queue_promote;
    assert_int_equal(publisher_run(r.publisher, queue_tasks, NULL, &err),
                     ERR_STATE);
    assert_string_equal(err.msg, "an errand's error");
    publisher_wait(r.publisher);
    publisher_run(r.publisher, read_second, NULL, NULL);
    assert_int_equal(order.first_then, CONTROL_DONE);
    assert_int_equal(order.second_then, CONTROL_DONE);
    assert_int_equal(collect(&r, &version), 0);
    assert_int_equal(version, 2);
    assert_int_equal(control_get(r.control, order.second, &op, NULL), 0);
    assert_string_equal(op.detail, "serving version 2, then each that passes");
    check_pointers(&r, 2, 2);
    end(&r);
}

/* A stop carries out the tasks that are queued. */
static void test_stop(void **state)
{
    struct room r;
    int64_t version, id;

    begin(&r, *state);
    set_weights(0);
    publisher_submit(r.publisher, make_snapshot(&r));
    control_submit(r.control, CONTROL_PIN, 1, "", &id, NULL);
    control_start(r.control, id);
    publisher_start(r.publisher);
    publisher_stop(r.publisher);
    assert_int_equal(collect(&r, &version), 0);
    util_assert_state(r.catalog, 1, STORE_PASSED);
    assert_int_equal(state_of(&r, id), CONTROL_DONE);
    end(&r);
}

/* --- retention and erased bytes ----------------------------------------- */

/* Old versions are removed, and the holdout rows that only they had; the
 * reference version stays. */
static void test_retention(void **state)
{
    struct catalog_version v;
    struct room r;

    begin(&r, *state);
    r.conf->publish.keep.newest = 2;
    r.conf->publish.keep.hourly = r.conf->publish.keep.daily = 0;
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    publish(&r, WORSE, 10);
    for (int i = 3; i <= 6; i++)
        publish(&r, TOO_MUCH, 10);
    check_pointers(&r, 6, 2);
    assert_int_equal(catalog_get(r.catalog, 1, &v, NULL), 0);
    catalog_version_release(&v);
    assert_int_equal(catalog_get(r.catalog, 3, &v, NULL), ERR_NOTFOUND);
    assert_int_equal(catalog_get(r.catalog, 5, &v, NULL), 0);
    catalog_version_release(&v);
    end(&r);
}

static int forget_bytes(struct store *s, void *arg, struct err *err)
{
    (void)arg;
    return store_setting_put(s, "scrub", "1", err);
}

/* While erased bytes may be in the database file, the publisher tries every
 * minute to write it anew. */
static void test_scrub(void **state)
{
    struct room r;

    begin(&r, *state);
    publisher_start(r.publisher);
    publish(&r, 0, 40);
    publisher_run(r.publisher, forget_bytes, NULL, NULL);
    pass_time(&r, 59999);
    check_metric(&r, "erasure_pending", 1);
    pass_time(&r, 1);
    check_metric(&r, "erasure_pending", 0);
    assert_int_equal(
        util_number(r.store, "SELECT count(*) FROM settings "
                             "WHERE key = 'scrub'"),
        0);
    end(&r);
}

static int set_up(void **state)
{
    (void)state;
    ops_init();
    fault_vfs_install();
    tokenizer = tokenizer_create_bytes();
    if (model_create(&shape, &model, NULL) != 0)
        return -1;
    params = xfloats(model->n_params);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    model_free(model);
    free(params);
    return 0;
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)
    const struct CMUnitTest tests[] = {
        T(test_first),
        T(test_verdicts),
        T(test_not_finite),
        T(test_no_auto_rollback),
        T(test_damaged_files),
        T(test_same_as_parent),
        T(test_full_disk),
        T(test_failed_write),
        T(test_lost_anchor),
        T(test_full_disk_at_verdict),
        T(test_verdict_overtaken),
        T(test_restart),
        T(test_store_lost),
        T(test_rollback),
        T(test_failed_rollback),
        T(test_pin),
        T(test_promote),
        T(test_choice),
        T(test_release_range),
        T(test_release),
        T(test_order),
        T(test_stop),
        T(test_retention),
        T(test_scrub),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

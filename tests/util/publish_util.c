/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/util/publish_util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "learner/kernels/ops.h"
#include "learner/model.h"
#include "tests/util/fault_vfs.h"
#include "tests/util/store_util.h"

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

int publish_util_set_up(void **state)
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

int publish_util_tear_down(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    model_free(model);
    free(params);
    return 0;
}

/* --- opening and closing ------------------------------------------------ */

/* Opens everything as a process does before publisher_start. */
static void open_all(struct train_util *u)
{
    struct catalog_pointers pointers;
    struct infer *infer;
    struct status *s;

    train_util_open(u);
    serving_prepare(u->serving, &shape, tokenizer);
    assert_int_equal(catalog_pointers(u->catalog, &pointers, NULL), 0);
    if (pointers.serving) {
        assert_int_equal(
            serving_load(u->serving, pointers.serving, &infer, NULL), 0);
        serving_switch(u->serving, pointers.serving, infer);
    }
    s = status_lock(&u->board);
    s->domains[s->n_domains++].name = status_name(&u->board, "a");
    status_unlock(&u->board);
    publisher_prepare(u->publisher, &shape, tokenizer);
}

void publish_util_restart(struct train_util *u)
{
    train_util_close(u);
    open_all(u);
    publisher_start(u->publisher);
    publisher_wait(u->publisher);
}

void publish_util_begin(struct train_util *u, const char *dir)
{
    static const char *const sets[] = {"learner.holdout.fraction=0.1",
                                       "publish.gate.enabled=true"};
    struct learning *l = &u->learning;
    struct replay_options options;

    train_util_init(u, dir, sets, sizeof sets / sizeof *sets);
    progress_init(&l->progress);
    progress_domain_id(&l->progress, "a", 10);
    progress_begin(&l->progress, "text", 0, 0);
    replay_options_default(&options, REPLAY_ROWS);
    l->replay = replay_create(&options, NULL);
    replay_options_default(&options, REPLAY_HOLDOUT);
    l->holdout = replay_create(&options, NULL);
    open_all(u);
}

void publish_util_end(struct train_util *u)
{
    train_util_close(u);
    replay_free(u->learning.replay);
    replay_free(u->learning.holdout);
    progress_release(&u->learning.progress);
    train_util_release(u);
    fault_vfs_hook = NULL;
}

/* --- the trainer's part ------------------------------------------------- */

/* The weights of the next snapshots: those of a newborn model, all of them
 * changed at random by at most `by`. */
void publish_util_set_weights(float by)
{
    model_init_params(model, 7, params);
    for (size_t i = 0; i < model->n_params; i++)
        params[i] += by * (float)((double)(i * 2654435761u % 2048) / 1024 - 1);
}

/* n records are held out. */
void publish_util_hold_out(struct train_util *u, int n)
{
    for (int i = 0; i < n; i++) {
        int64_t offset = u->learning.progress.partitions[0].next_offset;
        const struct segment_origin origin = {.offset = offset};
        token_id tokens[16];
        struct segment s = {.tokens = tokens,
                            .n_tokens = 15,
                            .n_bytes = 15,
                            .domain = 0,
                            .label = -1};

        for (int t = 0; t < 16; t++)
            tokens[t] =
                (token_id)((offset * 31 % 251 + t * (offset % 7 + 1)) % 256);
        replay_offer(u->learning.holdout, &s, &origin, 0);
        progress_decide(&u->learning.progress, u->step, 0, offset, 'h');
        progress_move(&u->learning.progress, 0, offset);
    }
}

struct snapshot *publish_util_make_snapshot(struct train_util *u)
{
    struct snapshot *s = xcalloc(1, sizeof *s);
    const size_t n = 1;

    s->step = ++u->step;
    u->learning.progress.tokens_seen += 1000;
    u->learning.progress.newest_record_ms = TRAIN_UTIL_START_MS - 5000;
    progress_learned(&u->learning.progress, 0, 1, 1000, 2000);
    s->tokens_seen = u->learning.progress.tokens_seen;
    s->created_ms = timing_wall_ms();
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct model_tensor *t = &model->tensors[i];

        tensor_add_copy(&s->weights, t->name, TENSOR_F32, t->n_dims, t->shape,
                        params + t->offset);
    }
    tensor_add_copy(&s->state, "optim.m", TENSOR_F32, 1, &n, &(float){1});
    tensor_add_copy(&s->anchor, "ewc.fisher", TENSOR_F32, 1, &n, &(float){1});
    s->replay_changes = replay_take_changes(u->learning.replay, &s->state);
    s->holdout_changes = replay_take_changes(u->learning.holdout, &s->holdout);
    progress_export(&u->learning.progress, s->step, "plain", NULL,
                    &s->metadata);
    names_to_json(&u->learning.progress.labels, &s->labels_json);
    s->offsets = progress_offsets(&u->learning.progress, &s->n_offsets);
    progress_take_stage(&u->learning.progress, &s->stage);
    return s;
}

int publish_util_collect(struct train_util *u, int64_t *version)
{
    struct err err;

    return train_util_collect(u, version, &err);
}

/* Publishes a version with n more records held out, and returns its number. */
int64_t publish_util_publish(struct train_util *u, float by, int n)
{
    publish_util_set_weights(by);
    publish_util_hold_out(u, n);
    return train_util_publish(u, publish_util_make_snapshot(u), NULL);
}

/* Runs an operation, and returns how it ended. */
struct control_operation publish_util_operate(struct train_util *u,
                                              enum control_kind kind,
                                              int64_t version,
                                              const char *reason)
{
    struct control_operation op;
    int64_t id;

    assert_int_equal(
        control_submit(u->control, kind, version, reason, &id, NULL), 0);
    control_start(u->control, id);
    assert_int_equal(control_wait(u->control, id, 600000, &op, NULL), 0);
    assert_true(op.state == CONTROL_DONE || op.state == CONTROL_FAILED);
    return op;
}

struct clock {
    _Atomic int64_t *now_ms;
    int64_t by;
};

static int add_ms(struct store *s, void *arg, struct err *err)
{
    struct clock *c = arg;

    (void)s;
    (void)err;
    *c->now_ms += c->by;
    return 0;
}

/* The publisher's thread moves the clock, so that no other thread races. The
 * second errand ends after the tasks that have become due. */
void publish_util_pass_time(struct train_util *u, int64_t ms)
{
    struct clock c = {&u->now_ms, ms};

    publisher_run(u->publisher, add_ms, &c, NULL);
    c.by = 0;
    publisher_run(u->publisher, add_ms, &c, NULL);
}

/* --- the board and the store -------------------------------------------- */

void publish_util_check_metric(struct train_util *u, const char *name,
                               double expected)
{
    train_util_check_metric(u, name, expected, 1e-9 * fmax(1, fabs(expected)));
}

/* A member of `publish` in GET /v1/status, printed as JSON. */
void publish_util_check_status(struct train_util *u, const char *key,
                               const char *expected)
{
    json_t *root = status_to_json(&u->board);
    char *text =
        json_dumps(json_object_get(json_object_get(root, "publish"), key),
                   JSON_ENCODE_ANY | JSON_COMPACT);

    assert_non_null(text);
    if (!strstr(text, expected))
        fail_msg("publish.%s is %s, not %s", key, text, expected);
    free(text);
    json_decref(root);
}

void publish_util_check_pointers(struct train_util *u, int64_t head,
                                 int64_t serving)
{
    train_util_check_pointers(u, head, serving);
    assert_int_equal(serving_version(u->serving), serving);
    publish_util_check_metric(u, "head_version", (double)head);
    publish_util_check_metric(u, "serving_version", (double)serving);
}

void publish_util_check_serving_pinned(struct train_util *u, bool pinned)
{
    json_t *root = status_to_json(&u->board);

    assert_int_equal(json_is_true(json_object_get(root, "serving_pinned")),
                     pinned);
    json_decref(root);
}

int64_t publish_util_records_held_out(struct train_util *u)
{
    return util_number(u->store, "SELECT count(*) FROM holdout_rows");
}

int publish_util_roll_back(struct train_util *u, int64_t to, bool keep_serving,
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

    known = progress_offsets(&u->learning.progress, &n);
    rc = publisher_rollback(u->publisher, &rows, known, n, err);
    free(known);
    return rc;
}

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

void publish_util_fill_disk(struct train_util *u)
{
    (void)u;
    fault_vfs_watch = note_op;
    fault_vfs_hook = disk_is_full;
}

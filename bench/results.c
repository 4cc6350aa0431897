/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "bench/results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "bench/scratch.h"
#include "learner/kernels/ops.h"

const char *const results_share_names[SPENT_PARTS + 1] = {
    [SPENT_PRODUCTS] = "products", [SPENT_ATTENTION] = "attention",
    [SPENT_NORMS] = "norms",       [SPENT_LOSS] = "loss",
    [SPENT_OPTIMIZER] = "optimizer", [SPENT_EWC] = "ewc",
    [SPENT_SUM] = "gradient_sum",  [SPENT_PARTS] = "rest",
};

/* --- measuring ---------------------------------------------------------- */

/* A part that writes gets a directory for it. */
static int run_on_disk(struct results *r, enum part_kind kind,
                       const struct speed_options *o, struct err *err)
{
    struct speed_options with_dir = *o;
    char *dir = NULL;
    int rc = scratch_make(&dir, err);

    with_dir.dir = dir;
    if (rc == 0 && kind == PART_REPLAY)
        rc = speed_replay(&with_dir, &r->replay, err);
    else if (rc == 0)
        rc = speed_publish(&with_dir, &r->publish, err);
    scratch_remove(dir);
    return rc;
}

static int run(struct results *r, const struct part *p,
               const struct speed_options *o, struct err *err)
{
    struct shape s;

    if (p->kind == PART_PRESET)
        shape_preset(p->index, &s);
    else
        shape_comparison(p->index, &s);
    switch (p->kind) {
    case PART_MACHINE:
        return speed_machine(o, &r->machine, err);
    case PART_TRAIN:
        return speed_train(o, &s, &r->train[p->index], err);
    case PART_PRESET:
        return speed_train(o, &s, &r->presets[p->index], err);
    case PART_SCORE:
        return speed_score(o, &s, &r->score[p->index], err);
    case PART_GENERATE:
        return speed_generate(o, &s, &r->generate[p->index], err);
    case PART_QUANTIZE:
        return speed_quantize(o, &s, &r->quantize, err);
    default:
        return run_on_disk(r, p->kind, o, err);
    }
}

int results_run(struct results *r, struct part *part,
                const struct speed_options *o, struct err *err)
{
    struct err why = ERR_INIT;
    int rc = run(r, part, o, &why);

    part->done = rc == 0;
    if (rc == ERR_LIMIT) { /* too large for this machine: the others are not */
        snprintf(part->left_out, sizeof part->left_out, "%s", why.msg);
        return 0;
    }
    return rc ? err_set(err, why.code, "%s: %s", part->name, why.msg) : 0;
}

/* --- what follows from it ----------------------------------------------- */

const struct part *results_done(const struct results *r, enum part_kind kind,
                                size_t index)
{
    for (size_t i = 0; i < PARTS_N; i++)
        if (r->parts[i].kind == kind && r->parts[i].index == index)
            return r->parts[i].done ? &r->parts[i] : NULL;
    return NULL;
}

double results_gflops(const struct speed_train *t)
{
    return figure_median(&t->rate) * t->flop_a_token * 1e-9;
}

double results_peak_share(const struct results *r,
                          const struct speed_train *t)
{
    return results_gflops(t) / figure_median(&r->machine.fma.all);
}

double results_score_ratio(const struct results *r, size_t shape)
{
    return figure_median(&r->score[shape].rate) /
           figure_median(&r->train[shape].rate);
}

double results_int8_loss(const struct results *r)
{
    return 100.0 * (r->quantize.int8_bits_per_byte /
                        r->quantize.bits_per_byte - 1.0);
}

/* --- JSON --------------------------------------------------------------- */

/* Four digits are more than a figure is good for. NaN is left out. */
static void put_real(json_t *to, const char *key, const char *more,
                     double value)
{
    char *name = xasprintf("%s%s", key, more), text[32];

    snprintf(text, sizeof text, "%.5g", value);
    if (isfinite(value))
        json_object_set_new(to, name, json_real(strtod(text, NULL)));
    free(name);
}

static void put_figure(json_t *to, const char *key, const struct figure *f)
{
    put_real(to, key, "", figure_median(f));
    put_real(to, key, "_least", figure_least(f));
    put_real(to, key, "_most", figure_most(f));
}

static void put_pair(json_t *to, const char *key, const struct speed_pair *p)
{
    char *one = xasprintf("%s_one_thread", key);

    put_figure(to, key, &p->all);
    put_figure(to, one, &p->one);
    free(one);
}

static json_t *machine_json(const struct results *r)
{
    json_t *m = json_object();

    json_object_set_new(m, "fma_kind", json_string(r->machine.fma_kind));
    put_pair(m, "fma_peak_gflops", &r->machine.fma);
    put_pair(m, "sgemm_gflops", &r->machine.sgemm);
    put_pair(m, "triad_gb_per_second", &r->machine.triad);
    return m;
}

static json_t *train_json(const struct results *r,
                          const struct speed_train *t)
{
    json_t *j = json_object(), *shares = json_object();

    put_figure(j, "tokens_per_second", &t->rate);
    put_real(j, "model_gflops", "", results_gflops(t));
    put_real(j, "peak_share", "", results_peak_share(r, t));
    json_object_set_new(j, "parameters", json_integer((json_int_t)t->n_params));
    json_object_set_new(j, "step_tokens",
                        json_integer((json_int_t)t->step_tokens));
    json_object_set_new(j, "flop_per_token", json_real(t->flop_a_token));
    json_object_set_new(j, "skipped_steps",
                        json_integer((json_int_t)t->skipped));
    for (int i = 0; i <= SPENT_PARTS; i++)
        json_object_set_new(shares, results_share_names[i],
                            json_real(t->shares[i]));
    json_object_set_new(j, "shares", shares);
    return j;
}

static void put_answers(json_t *to, const struct speed_answers *a)
{
    put_figure(to, "tokens_per_second", &a->rate);
    put_figure(to, "int8_tokens_per_second", &a->int8_rate);
}

static json_t *score_json(const struct results *r, size_t shape)
{
    json_t *j = json_object();

    put_answers(j, &r->score[shape]);
    put_real(j, "ratio_to_training", "", results_score_ratio(r, shape));
    return j;
}

static json_t *generate_json(const struct results *r, size_t shape)
{
    json_t *j = json_object();
    struct shape s;

    shape_comparison(shape, &s);
    put_answers(j, &r->generate[shape]);
    json_object_set_new(j, "prompt_tokens", json_integer(SHAPE_PROMPT_TOKENS));
    json_object_set_new(j, "new_tokens",
                        json_integer((json_int_t)s.new_tokens));
    return j;
}

static json_t *quantize_json(const struct results *r)
{
    const struct speed_quantize *q = &r->quantize;
    json_t *j = json_object();

    json_object_set_new(j, "shape",
                        json_string(shape_comparison_name(PARTS_QUANTIZE)));
    json_object_set_new(j, "trained_tokens",
                        json_integer((json_int_t)q->trained_tokens));
    put_real(j, "bits_per_byte_float", "", q->bits_per_byte);
    put_real(j, "bits_per_byte_int8", "", q->int8_bits_per_byte);
    put_real(j, "loss_percent", "", results_int8_loss(r));
    json_object_set_new(j, "scored_chunks",
                        json_integer((json_int_t)q->chunks));
    json_object_set_new(j, "scored_bytes",
                        json_integer((json_int_t)q->bytes));
    return j;
}

static json_t *replay_json(const struct results *r)
{
    json_t *j = json_object();

    put_figure(j, "rows_in_per_second", &r->replay.rows_in);
    put_figure(j, "rows_out_per_second", &r->replay.rows_out);
    json_object_set_new(j, "capacity_rows", json_integer((json_int_t)r->rows));
    json_object_set_new(j, "row_tokens", json_integer(SPEED_REPLAY_TOKENS));
    return j;
}

static json_t *publish_json(const struct results *r)
{
    json_t *j = json_object();

    put_figure(j, "seconds", &r->publish.seconds);
    put_figure(j, "stop_seconds", &r->publish.stop);
    put_real(j, "longest_stop_seconds", "", figure_most(&r->publish.stop));
    return j;
}

static json_t *part_json(const struct results *r, const struct part *p)
{
    switch (p->kind) {
    case PART_MACHINE:
        return machine_json(r);
    case PART_TRAIN:
        return train_json(r, &r->train[p->index]);
    case PART_PRESET:
        return train_json(r, &r->presets[p->index]);
    case PART_SCORE:
        return score_json(r, p->index);
    case PART_GENERATE:
        return generate_json(r, p->index);
    case PART_QUANTIZE:
        return quantize_json(r);
    case PART_REPLAY:
        return replay_json(r);
    default:
        return publish_json(r);
    }
}

/* The object under key, made when it is not there. */
static json_t *group(json_t *root, const char *key)
{
    json_t *j = json_object_get(root, key);

    if (!j) {
        j = json_object();
        json_object_set_new(root, key, j);
    }
    return j;
}

static void put_part(json_t *root, const struct results *r,
                     const struct part *p)
{
    static const char *const groups[] = {
        [PART_TRAIN] = "train",
        [PART_SCORE] = "score",
        [PART_GENERATE] = "generate",
        [PART_PRESET] = "presets",
    };
    bool in_group = p->kind >= PART_TRAIN && p->kind <= PART_PRESET;

    if (p->left_out[0])
        json_object_set_new(group(root, "left_out"), p->name,
                            json_string(p->left_out));
    else if (p->done && !in_group)
        json_object_set_new(root, p->name, part_json(r, p));
    else if (p->done)
        json_object_set_new(group(root, groups[p->kind]),
                            p->kind == PART_PRESET
                                ? shape_preset_name(p->index)
                                : shape_comparison_name(p->index),
                            part_json(r, p));
}

json_t *results_json(const struct results *r)
{
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:i, s:I, s:f, s:{s:s, s:I}}", "mneme",
        PACKAGE_VERSION, "cpu", r->cpu, "kernels", ops_kernels(), "threads",
        r->threads, "windows", (json_int_t)r->windows, "window_seconds",
        r->seconds, "text", "from", r->text_from, "bytes",
        (json_int_t)r->text_bytes);

    for (size_t i = 0; i < PARTS_N; i++)
        put_part(root, r, &r->parts[i]);
    return root;
}

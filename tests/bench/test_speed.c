/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measurements of `mneme bench`: figures, shapes and their operations,
 * timed operations, parts, and results as JSON. The models are small, and no
 * test depends on their speed.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/timing.h"
#include "bench/results.h"
#include "bench/scratch.h"
#include "bench/timed_ops.h"
#include "learner/kernels/ops.h"

static struct buf text;

static const struct shape toy = {
    .name = "toy",
    .model = {.vocab_size = 256,
              .dim = 32,
              .layers = 2,
              .heads = 2,
              .kv_heads = 1,
              .head_dim = 16,
              .ffn_dim = 48,
              .context = 32,
              .norm_eps = 1e-5f,
              .rope_theta = 10000.0f,
              .tied = true},
    .sequence = 16,
    .batch = 5,
    .new_tokens = 8,
};

static struct speed_options quick(void)
{
    return (struct speed_options){
        .threads = 2,
        .windows = 5,
        .seconds = 0.001,
        .rows = 1000,
        .corpus = corpus_create(text.data, text.len),
    };
}

static int make_text(void **state)
{
    (void)state;
    for (int i = 0; text.len < CORPUS_LEAST_BYTES; i++)
        buf_addf(&text, "Line %d says that %d and %d are %d.\n", i, i * 7,
                 i * i, i * 7 + i * i);
    return 0;
}

static int free_text(void **state)
{
    (void)state;
    buf_release(&text);
    return 0;
}

/* --- figures ------------------------------------------------------------ */

static void test_figure(void **state)
{
    struct figure f = {.n = 0};

    (void)state;
    assert_true(isnan(figure_median(&f)) && isnan(figure_least(&f)) &&
                isnan(figure_most(&f)));
    figure_add(&f, 5.0);
    assert_true(figure_median(&f) == 5.0);
    figure_add(&f, 1.0);
    assert_true(figure_median(&f) == 3.0);
    figure_add(&f, 100.0);
    figure_add(&f, 4.0);
    figure_add(&f, 2.0);
    assert_true(figure_median(&f) == 4.0); /* of 1 2 4 5 100 */
    assert_true(figure_least(&f) == 1.0 && figure_most(&f) == 100.0);
}

/* --- shapes ------------------------------------------------------------- */

static double step_flop(const struct shape *s)
{
    struct err err = ERR_INIT;
    struct model *m;
    double flop;

    if (model_create(&s->model, &m, &err))
        fail_msg("%s", err.msg);
    flop = shape_step_flop(m, s->sequence, s->batch);
    model_free(m);
    return flop;
}

static void test_shapes(void **state)
{
    static const int ffn[SHAPES_N] = {344, 688, 1024, 2048};
    struct shape s;

    (void)state;
    for (size_t i = 0; i < SHAPES_N; i++) {
        struct err err = ERR_INIT;

        shape_comparison(i, &s);
        assert_string_equal(s.name, shape_comparison_name(i));
        assert_int_equal(s.model.ffn_dim, ffn[i]);
        assert_int_equal(s.model.head_dim * s.model.heads, s.model.dim);
        assert_int_equal(model_shape_check(&s.model, &err), 0);
        assert_true(SHAPE_PROMPT_TOKENS + s.new_tokens <= s.sequence);
    }
    for (size_t i = 0; i < SHAPES_PRESETS_N; i++) {
        shape_preset(i, &s);
        assert_int_equal(s.model.vocab_size, 4096);
        assert_true(s.sequence <= (size_t)s.model.context);
        assert_int_equal(s.sequence * s.batch, 512);
    }
}

/* Shape tiny, computed by hand. Each of four layers has 3 x 128 x 128 (q, k,
 * v), 128 x 128 (o) and 3 x 344 x 128 weights; the output has 256 x 128. A step
 * has 1,024 tokens, and 4 x 256 x 257 / 2 pairs in 4 layers of 4 heads of
 * 32. */
static void test_flop(void **state)
{
    double weights = 4.0 * (4 * 128 * 128 + 3 * 344 * 128) + 256 * 128;
    struct shape s;

    (void)state;
    shape_comparison(0, &s);
    assert_true(step_flop(&s) == 6.0 * weights * 1024 +
                                     12.0 * 131584 * 4 * 4 * 32);
    s.model.tied = false; /* the embedding is a lookup, the output a product */
    assert_true(step_flop(&s) == 6.0 * weights * 1024 +
                                     12.0 * 131584 * 4 * 4 * 32);
    s.model.tied = true;
    s.model.kv_heads = 2; /* fewer weights, the same number of scores */
    weights -= 4.0 * 2 * 64 * 128;
    assert_true(step_flop(&s) == 6.0 * weights * 1024 +
                                     12.0 * 131584 * 4 * 4 * 32);
}

/* --- text --------------------------------------------------------------- */

static void test_corpus(void **state)
{
    struct corpus *c = corpus_create(text.data, text.len);
    const struct tokenizer *t;
    struct err err = ERR_INIT;
    struct segment s[3], far[1];
    size_t n;

    (void)state;
    assert_int_equal(corpus_segments(c, 256, 100, 0, 3, s, &err), 0);
    for (int i = 0; i < 300; i++)
        assert_int_equal(s[i / 100].tokens[i % 100],
                         (unsigned char)text.data[i]);
    assert_true(s[0].tokens + 100 == s[1].tokens);
    assert_int_equal(
        corpus_segments(c, 300, 100, (size_t)1 << 40, 1, far, &err), 0);
    for (int i = 0; i <= 100; i++)
        assert_true(far->tokens[i] < 300);
    assert_int_equal(corpus_tokenizer(c, 300, &t, &err), 0);
    assert_int_equal(tokenizer_vocab_size(t), 300);
    assert_int_equal(corpus_count(c, 256, 100, &n, &err), 0);
    assert_int_equal(n, (text.len - 1) / 100);
    assert_int_equal(corpus_segments(c, 256, 100, n - 1, 1, far, &err), 0);
    assert_true(far->tokens == s[0].tokens + (n - 1) * 100);
    assert_int_equal(corpus_segments(c, 256, text.len, 0, 1, s, &err),
                     ERR_LIMIT);
    corpus_free(c);
}

/* --- where time goes ---------------------------------------------------- */

static void test_timed_ops(void **state)
{
    const struct ops *before = ops_fast;
    float x[6] = {1, 2, 3, 4, 5, 6}, w[3] = {7, 8, 9}, y[2];
    struct spent spent;

    (void)state;
    assert_int_equal(spent_begin(), 0); /* off */
    timed_ops_on(&spent);
    assert_ptr_not_equal(ops_fast, before);
    assert_ptr_equal(ops_fast->swiglu, before->swiglu);
    ops_fast->linear(y, x, w, 2, 3, 1, 0);
    assert_true(y[0] == 50.0f && y[1] == 122.0f);
    assert_true(spent.ns[SPENT_PRODUCTS] > 0);
    assert_int_equal(spent.ns[SPENT_ATTENTION], 0);
    timed_ops_off();
    assert_ptr_equal(ops_fast, before);
    assert_null(spent_to);
}

static double sum(const double *shares)
{
    double all = 0.0;

    for (int i = 0; i <= SPENT_PARTS; i++)
        all += shares[i];
    return all;
}

static void test_shares(void **state)
{
    double shares[SPENT_PARTS + 1];
    struct spent spent = {{0}};

    (void)state;
    spent.ns[SPENT_PRODUCTS] = 1000000000;
    spent.ns[SPENT_EWC] = 250000000;
    speed_shares(&spent, 2, 1.0, shares); /* two threads for a second */
    assert_true(shares[SPENT_PRODUCTS] == 0.5);
    assert_true(shares[SPENT_EWC] == 0.125);
    assert_true(fabs(shares[SPENT_PARTS] - 0.375) < 1e-12);
    assert_true(fabs(sum(shares) - 1.0) < 1e-12);
}

static void check_figure(const struct figure *f, size_t n)
{
    assert_int_equal(f->n, n);
    assert_true(figure_least(f) > 0.0 && isfinite(figure_most(f)));
}

static void test_train(void **state)
{
    struct speed_options o = quick();
    struct err err = ERR_INIT;
    struct speed_train t;

    (void)state;
    if (speed_train(&o, &toy, &t, &err))
        fail_msg("%s", err.msg);
    check_figure(&t.rate, 5);
    assert_int_equal(t.step_tokens, 80);
    assert_true(t.flop_a_token * 80.0 == step_flop(&toy));
    assert_int_equal(t.skipped, 0);
    for (int i = 0; i < SPENT_PARTS; i++)
        assert_true(t.shares[i] > 0.0);
    assert_true(fabs(sum(t.shares) - 1.0) < 1e-9);
    assert_null(spent_to);
    corpus_free(o.corpus);
}

static void test_answers(void **state)
{
    static struct speed_answers score, generate;
    struct speed_options o = quick();
    struct err err = ERR_INIT;

    (void)state;
    o.threads = 3; /* some threads have an empty share of the batch */
    if (speed_score(&o, &toy, &score, &err) ||
        speed_generate(&o, &toy, &generate, &err))
        fail_msg("%s", err.msg);
    check_figure(&score.rate, 5);
    check_figure(&score.int8_rate, 5);
    check_figure(&generate.rate, 5);
    check_figure(&generate.int8_rate, 5);
    corpus_free(o.corpus);
}

/* One letter for each call: a warm-up or a window. */
static char called[16];

static int call_a(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    strcat(called, "a");
    timing_sleep_ms(2);
    return 0;
}

static int call_b(void *arg, struct err *err)
{
    (void)err;
    strcat(called, "b");
    timing_sleep_ms(2);
    return *(bool *)arg ? 0 : ERR_IO;
}

static void test_turns(void **state)
{
    struct figure a = {.n = 0}, b = {.n = 0};
    bool good = true;
    const struct speed_turn turns[] = {{call_a, NULL, 1.0, &a},
                                       {call_b, &good, 1000.0, &b}};
    struct speed_options o = quick();
    struct err err = ERR_INIT;

    (void)state;
    o.windows = 3;
    assert_int_equal(speed_turns(&o, turns, 2, &err), 0);
    assert_string_equal(called, "abababab"); /* the first two warm up */
    check_figure(&a, 3);
    check_figure(&b, 3);
    assert_true(figure_most(&a) < 501.0 && figure_most(&b) > 501.0);
    good = false;
    called[0] = '\0';
    assert_int_equal(speed_turns(&o, turns, 2, &err), ERR_IO);
    assert_string_equal(called, "ab");
    corpus_free(o.corpus);
}

/* --- the loss that int8 adds -------------------------------------------- */

static struct speed_quantize quantize(int threads)
{
    struct speed_options o = quick();
    struct err err = ERR_INIT;
    struct speed_quantize q;

    o.threads = threads;
    o.seconds = 0.05; /* it learns a tenth */
    if (speed_quantize(&o, &toy, &q, &err))
        fail_msg("%s", err.msg);
    corpus_free(o.corpus);
    return q;
}

/* 65,536 bytes are 4,095 sequences of 16, of which one in 42 is held out. An
 * untrained model has 8 bits per byte; the bytes' frequencies give 4.6. */
static void test_quantize(void **state)
{
    struct speed_quantize one = quantize(1), two = quantize(2);

    (void)state;
    assert_in_range(one.trained_tokens, SPEED_QUANTIZE_TOKENS / 10,
                    SPEED_QUANTIZE_TOKENS / 10 + 80);
    assert_in_range(one.chunks, 96, 98);
    assert_int_equal(one.bytes, one.chunks * toy.sequence);
    assert_true(one.bits_per_byte > 0.0 && one.bits_per_byte < 4.0);
    assert_true(one.int8_bits_per_byte != one.bits_per_byte);
    assert_true(fabs(one.int8_bits_per_byte / one.bits_per_byte - 1.0) < 0.02);
    assert_true(one.bits_per_byte == two.bits_per_byte);
    assert_true(one.int8_bits_per_byte == two.int8_bits_per_byte);
}

static void test_stop(void **state)
{
    static const atomic_bool stop = true;
    struct speed_options o = quick();
    struct err err = ERR_INIT;
    struct speed_quantize q;
    struct speed_train t;

    (void)state;
    o.stop = &stop;
    assert_int_equal(speed_train(&o, &toy, &t, &err), ERR_AGAIN);
    assert_int_equal(speed_quantize(&o, &toy, &q, &err), ERR_AGAIN);
    corpus_free(o.corpus);
}

/* --- parts -------------------------------------------------------------- */

/* wanted: the names of the chosen parts, each after a space. */
static void check_chosen(const char *only, const char *wanted)
{
    struct results *r = calloc(1, sizeof *r);
    struct buf got = BUF_INIT;
    struct err err = ERR_INIT;

    assert_non_null(r);
    results_list(r);
    assert_int_equal(results_choose(r, only, &err), 0);
    buf_adds(&got, "");
    for (size_t i = 0; i < RESULTS_PARTS; i++)
        if (r->parts[i].chosen)
            buf_addf(&got, " %s", r->parts[i].name);
    assert_string_equal(got.data, wanted);
    buf_release(&got);
    free(r);
}

static void test_parts(void **state)
{
    struct results *r = calloc(1, sizeof *r);
    struct err err = ERR_INIT;

    (void)state;
    assert_non_null(r);
    check_chosen("tiny,machine",
                 " machine train.tiny score.tiny generate.tiny");
    check_chosen("preset-small, publish", " presets.small publish");
    check_chosen("train.gpt2,presets.nano", " train.gpt2 presets.nano");
    check_chosen("generate", " generate.tiny generate.small generate.medium "
                             "generate.gpt2");
    check_chosen("quantize", " quantize");
    check_chosen("", "");
    results_list(r);
    assert_int_equal(results_choose(r, NULL, &err), 0);
    for (size_t i = 0; i < RESULTS_PARTS; i++)
        assert_true(r->parts[i].chosen && r->parts[i].weight > 0.0);
    assert_int_equal(results_choose(r, "tiny,tin", &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "tin;"));
    assert_int_equal(results_choose(r, "preset-", &err), ERR_INVALID);
    assert_int_equal(results_choose(r, "nano", &err), ERR_INVALID);
    free(r);
}

/* --- results ------------------------------------------------------------ */

static void test_disk(void **state)
{
    struct speed_options o = quick();
    struct results *r = calloc(1, sizeof *r);
    struct part replay = {.kind = PART_REPLAY},
                publish = {.kind = PART_PUBLISH};
    struct err err = ERR_INIT;

    (void)state;
    assert_non_null(r);
    o.windows = 2;
    if (results_run(r, &replay, &o, &err) || results_run(r, &publish, &o, &err))
        fail_msg("%s", err.msg);
    assert_true(replay.done && publish.done);
    check_figure(&replay.u.replay.rows_in, 2);
    check_figure(&replay.u.replay.rows_out, 2);
    assert_int_equal(replay.u.replay.capacity_rows, 1000);
    check_figure(&publish.u.publish.seconds, 2);
    check_figure(&publish.u.publish.stop, 3);
    assert_true(publish.u.publish.longest_stop ==
                figure_most(&publish.u.publish.stop));
    free(r);
    corpus_free(o.corpus);
}

static void test_scratch(void **state)
{
    struct err err = ERR_INIT;
    char *dir, *below, *copy;

    (void)state;
    assert_int_equal(scratch_make("mneme-test", &dir, &err), 0);
    copy = strdup(dir);
    below = fileio_join(dir, "a/b");
    assert_int_equal(fileio_mkdirs(below, &err), 0);
    scratch_remove(dir);
    assert_false(fileio_exists(copy));
    scratch_remove(NULL);
    free(below);
    free(copy);
}

/* Returns the number at a path of keys with dots. */
static double number_at(const json_t *root, const char *path)
{
    char *copy = strdup(path), *rest = NULL;
    const json_t *j = root;

    for (char *key = strtok_r(copy, ".", &rest); key;
         key = strtok_r(NULL, ".", &rest))
        j = json_object_get(j, key);
    free(copy);
    if (!json_is_number(j))
        fail_msg("%s is no number", path);
    return json_number_value(j);
}

static void figure_around(struct figure *f, double value)
{
    for (int i = -2; i <= 2; i++)
        figure_add(f, value + i);
}

static struct part *part_named(struct results *r, const char *name)
{
    for (size_t i = 0; i < RESULTS_PARTS; i++)
        if (!strcmp(r->parts[i].name, name))
            return &r->parts[i];
    fail_msg("there is no part %s", name);
    return NULL;
}

static void fill(struct results *r)
{
    struct part *machine, *train, *score, *generate, *quantize, *preset,
        *replay, *publish;

    results_list(r);
    for (size_t i = 0; i < RESULTS_PARTS; i++)
        r->parts[i].done = true;
    part_named(r, "train.tiny")->done = false;
    strcpy(part_named(r, "train.tiny")->left_out, "too large");
    r->text_from = "here";
    machine = part_named(r, "machine");
    machine->u.machine.fma_kind = "none";
    figure_around(&machine->u.machine.fma.all, 200);
    train = part_named(r, "train.small");
    figure_around(&train->u.train.rate, 100);
    train->u.train.flop_a_token = 1e9;
    train->u.train.gflops = 100;
    train->u.train.peak_share = (double)NAN;
    train->u.train.shares[SPENT_EWC] = 0.25;
    score = part_named(r, "score.small");
    figure_around(&score->u.answers.rate, 300);
    figure_around(&score->u.answers.int8_rate, 350);
    score->u.answers.ratio_to_training = 3;
    generate = part_named(r, "generate.small");
    figure_around(&generate->u.answers.rate, 400);
    figure_around(&generate->u.answers.int8_rate, 450);
    generate->u.answers.new_tokens = 224;
    quantize = part_named(r, "quantize");
    quantize->u.quantize = (struct speed_quantize){.shape = "tiny",
                                                   .trained_tokens = 1000,
                                                   .chunks = 10,
                                                   .bytes = 2560,
                                                   .bits_per_byte = 2.0,
                                                   .int8_bits_per_byte = 2.01,
                                                   .loss_percent = 0.5};
    preset = part_named(r, "presets.small");
    figure_around(&preset->u.train.rate, 500);
    replay = part_named(r, "replay");
    figure_around(&replay->u.replay.rows_in, 600);
    figure_around(&replay->u.replay.rows_out, 700);
    publish = part_named(r, "publish");
    figure_around(&publish->u.publish.seconds, 800);
    figure_around(&publish->u.publish.stop, 900);
    publish->u.publish.longest_stop = 902;
}

/* peak_share and ratio_to_training need the medians of other parts. */
static void test_ratios(void **state)
{
    static const char *const order[] = {"machine", "train.tiny",
                                        "score.tiny"};
    struct results *r = calloc(1, sizeof *r);
    struct speed_options o = quick();
    struct err err = ERR_INIT;
    const struct part *p[3];

    (void)state;
    assert_non_null(r);
    results_list(r);
    for (size_t i = 0; i < 3; i++) {
        struct part *part = part_named(r, order[i]);

        if (results_run(r, part, &o, &err))
            fail_msg("%s", err.msg);
        assert_true(part->done);
        p[i] = part;
    }
    assert_true(p[1]->u.train.gflops ==
                figure_median(&p[1]->u.train.rate) *
                    p[1]->u.train.flop_a_token * 1e-9);
    assert_true(p[1]->u.train.peak_share ==
                p[1]->u.train.gflops /
                    figure_median(&p[0]->u.machine.fma.all));
    assert_true(p[2]->u.answers.ratio_to_training ==
                figure_median(&p[2]->u.answers.rate) /
                    figure_median(&p[1]->u.train.rate));
    free(r);
    corpus_free(o.corpus);
}

static void test_json(void **state)
{
    static const struct {
        const char *path;
        double value;
    } wanted[] = {
        {"threads", 2},
        {"machine.fma_peak_gflops", 200},
        {"train.small.tokens_per_second", 100},
        {"train.small.tokens_per_second_least", 98},
        {"train.small.tokens_per_second_most", 102},
        {"train.small.model_gflops", 100},
        {"train.small.shares.ewc", 0.25},
        {"train.small.shares.gradient_sum", 0},
        {"score.small.tokens_per_second", 300},
        {"score.small.ratio_to_training", 3},
        {"score.small.int8_tokens_per_second", 350},
        {"score.small.int8_tokens_per_second_least", 348},
        {"generate.small.tokens_per_second", 400},
        {"generate.small.int8_tokens_per_second", 450},
        {"generate.small.int8_tokens_per_second_most", 452},
        {"generate.small.new_tokens", 224},
        {"quantize.trained_tokens", 1000},
        {"quantize.scored_chunks", 10},
        {"quantize.scored_bytes", 2560},
        {"quantize.bits_per_byte_float", 2.0},
        {"quantize.bits_per_byte_int8", 2.01},
        {"quantize.loss_percent", 0.5},
        {"presets.small.tokens_per_second", 500},
        {"replay.rows_in_per_second", 600},
        {"replay.rows_out_per_second", 700},
        {"publish.seconds", 800},
        {"publish.stop_seconds", 900},
        {"publish.longest_stop_seconds", 902},
    };
    struct results *r = calloc(1, sizeof *r);
    struct speed_options o = {.threads = 2, .windows = 5, .seconds = 0.5};
    json_t *j;

    (void)state;
    assert_non_null(r);
    fill(r);
    j = results_json(r, &o);
    assert_non_null(j);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (number_at(j, wanted[i].path) != wanted[i].value)
            fail_msg("%s is %g", wanted[i].path,
                     number_at(j, wanted[i].path));
    assert_null(json_object_get(json_object_get(j, "train"), "tiny"));
    assert_null(json_object_get(
        json_object_get(json_object_get(j, "train"), "small"), "peak_share"));
    assert_string_equal(json_string_value(json_object_get(
                            json_object_get(j, "left_out"), "train.tiny")),
                        "too large");
    json_decref(j);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figure),    cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_flop),      cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_timed_ops), cmocka_unit_test(test_shares),
        cmocka_unit_test(test_train),     cmocka_unit_test(test_answers),
        cmocka_unit_test(test_stop),      cmocka_unit_test(test_parts),
        cmocka_unit_test(test_disk),      cmocka_unit_test(test_scratch),
        cmocka_unit_test(test_json),      cmocka_unit_test(test_turns),
        cmocka_unit_test(test_quantize),  cmocka_unit_test(test_ratios),
    };

    return cmocka_run_group_tests_name("speed", tests, make_text, free_text);
}

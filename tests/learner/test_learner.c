/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The learner: the same bytes with any number of threads, losses, the filter,
 * consolidations, the state, and errors.
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
#include "base/xalloc.h"
#include "learner/tokenizer/cut.h"
#include "learner/learner.h"

#define CONTEXT 24
#define RECORD_BYTES 57
#define MAX_LABELS 8

/* A small shape, with odd sizes where allowed. */
static const struct model_shape shape = {
    .vocab_size = 257,
    .dim = 20,
    .layers = 2,
    .heads = 3,
    .kv_heads = 1,
    .head_dim = 6,
    .ffn_dim = 27,
    .context = CONTEXT,
    .norm_eps = 1e-5f,
    .rope_theta = 10000.0f,
    .tied = true,
};

/* --- a corpus: the licence of mneme ------------------------------------- */

static struct {
    struct tokenizer *tokenizer;
    struct buf text;
    struct cut *cuts;
    size_t n_cuts;
    struct segment *segments;
    size_t n;
} corpus;

/* The corpus as records; every third has a label. */
static int make_corpus(void **state)
{
    struct err err = ERR_INIT;

    (void)state;
    if (fileio_read(TOP_SRCDIR "/LICENSE", 1 << 20, &corpus.text, &err)) {
        print_error("%s\n", err.msg);
        return -1;
    }
    corpus.tokenizer = tokenizer_create_bytes();
    corpus.n_cuts = corpus.text.len / RECORD_BYTES;
    corpus.cuts = xcalloc(corpus.n_cuts, sizeof *corpus.cuts);
    corpus.segments = xcalloc(4 * corpus.n_cuts, sizeof *corpus.segments);
    for (size_t i = 0; i < corpus.n_cuts; i++) {
        struct cut *c = &corpus.cuts[i];
        int32_t label = i % 3 ? -1 : (int32_t)(i / 3 % 5);

        cut_record(c, corpus.tokenizer, CONTEXT, NULL, 0,
                   corpus.text.data + i * RECORD_BYTES, RECORD_BYTES, 0,
                   label);
        for (size_t k = 0; k < c->n_segments; k++)
            corpus.segments[corpus.n++] = c->segments[k];
    }
    return 0;
}

static int free_corpus(void **state)
{
    (void)state;
    for (size_t i = 0; i < corpus.n_cuts; i++)
        cut_release(&corpus.cuts[i]);
    free(corpus.cuts);
    free(corpus.segments);
    buf_release(&corpus.text);
    tokenizer_free(corpus.tokenizer);
    return 0;
}

static struct learner_options small_options(void)
{
    struct learner_options o;

    learner_options_default(&o);
    o.shape = &shape;
    o.tokenizer = corpus.tokenizer;
    o.threads = 2;
    o.shards = 3;
    o.optim.warmup_steps = 4;
    o.ewc.consolidate = EWC_EVERY;
    o.ewc.every_steps = 30;
    o.ngram = (struct ngram_options){.enabled = true, .mib = 1};
    o.head.gram_dim = 8;
    o.head.gram_slots = 512;
    o.head.max_labels = MAX_LABELS;
    return o;
}

static struct learner *create(const struct learner_options *o)
{
    struct learner *l = NULL;

    assert_int_equal(learner_create(o, &l, NULL), 0);
    return l;
}

/* Makes step i: six fresh segments, and four that were fresh before. The corpus
 * begins again at its end. */
static struct learner_step_output take_step(struct learner *l, size_t i)
{
    size_t at = i % (corpus.n / 6);
    struct learner_step_input in = {
        .fresh = corpus.segments + 6 * at,
        .n_fresh = 6,
        .replayed = corpus.segments + 3 * at,
        .n_replayed = i ? 4 : 0,
    };
    struct learner_step_output out = {0};

    assert_int_equal(learner_step(l, &in, &out, NULL), 0);
    return out;
}

/* --- comparing whole learners ------------------------------------------- */

struct exported {
    struct tensor_list weights, state, anchor, head, ngram;
};

static struct exported export_all(const struct learner *l)
{
    struct exported e = {0};

    learner_export(l, &e.weights, &e.state, &e.anchor, &e.head, NULL);
    learner_export_ngram(l, &e.ngram);
    return e;
}

static void release_all(struct exported *e)
{
    tensor_list_release(&e->weights);
    tensor_list_release(&e->state);
    tensor_list_release(&e->anchor);
    tensor_list_release(&e->head);
    tensor_list_release(&e->ngram);
}

static void assert_same_tensors(const struct tensor_list *a,
                                const struct tensor_list *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_string_equal(a->items[i].name, b->items[i].name);
        assert_int_equal(tensor_bytes(&a->items[i]),
                         tensor_bytes(&b->items[i]));
        if (memcmp(a->items[i].data, b->items[i].data,
                   tensor_bytes(&a->items[i])))
            fail_msg("%s differs", a->items[i].name);
    }
}

static void assert_same(const struct learner *a, const struct learner *b)
{
    struct exported x = export_all(a), y = export_all(b);

    assert_same_tensors(&x.weights, &y.weights);
    assert_same_tensors(&x.state, &y.state);
    assert_same_tensors(&x.anchor, &y.anchor);
    assert_same_tensors(&x.head, &y.head);
    assert_same_tensors(&x.ngram, &y.ngram);
    release_all(&x);
    release_all(&y);
}

static int import_all(struct learner *l, const struct exported *e,
                      struct err *err)
{
    int rc = learner_import(l, &e->weights, &e->state, &e->anchor, &e->head,
                            err);

    return rc ? rc : learner_import_ngram(l, &e->ngram, err);
}

/* --- what is learned ---------------------------------------------------- */

static void threads_change_nothing(void **state)
{
    enum { STEPS = 80 }; /* two consolidations */
    struct learner *l[3];

    (void)state;
    for (int t = 0; t < 3; t++) {
        struct learner_options o = small_options();

        o.threads = t + 1;
        l[t] = create(&o);
        for (size_t i = 0; i < STEPS; i++)
            take_step(l[t], i);
    }
    assert_true(learner_ewc(l[0])->consolidations >= 2);
    assert_same(l[0], l[1]);
    assert_same(l[0], l[2]);
    for (int t = 0; t < 3; t++)
        learner_free(l[t]);
}

static void shards_change_only_the_rounding(void **state)
{
    double loss[4], norm[4];

    (void)state;
    for (int s = 0; s < 4; s++) {
        struct learner_options o = small_options();
        struct learner_step_output out;
        struct learner *l;

        o.shards = 1 + 4 * s; /* finally more threads than segments */
        l = create(&o);
        take_step(l, 0);
        out = take_step(l, 1);
        loss[s] = out.mean_loss;
        norm[s] = out.grad_norm;
        learner_free(l);
    }
    for (int s = 1; s < 4; s++) {
        assert_true(fabs(loss[s] / loss[0] - 1) < 1e-5);
        assert_true(fabs(norm[s] / norm[0] - 1) < 1e-4);
    }
}

static void the_loss_falls(void **state)
{
    struct learner_options o = small_options();
    double first = 0, last = 0;
    struct learner *l;

    (void)state;
    o.optim.lr = 1e-2f;
    l = create(&o);
    for (size_t i = 0; i < 120; i++) {
        double loss = take_step(l, i).mean_loss;

        first += i < 10 ? loss : 0;
        last += i >= 110 ? loss : 0;
    }
    print_message("# nats a byte: %.3f, then %.3f\n", first / 10, last / 10);
    assert_true(last < 0.65 * first);
    learner_free(l);
}

static void losses_are_by_segment(void **state)
{
    struct learner_options o = small_options();
    struct cut c = CUT_INIT;
    struct learner_step_input in = {0};
    double nats[8], text_nats[8], sum = 0;
    struct learner_step_output out = {.nats = nats, .text_nats = text_nats};
    struct learner *l = create(&o);

    (void)state;
    /* 10 masked tokens, 30 counted, and end-of-text: segments of 24 and 17. */
    cut_record(&c, corpus.tokenizer, CONTEXT, "0123456789", 10,
               "The quick brown fox jumps over", 30, 0, -1);
    assert_int_equal(c.n_segments, 2);
    in.fresh = c.segments;
    in.n_fresh = 2;
    assert_int_equal(learner_step(l, &in, &out, NULL), 0);
    assert_int_equal(out.counted_tokens, 31);
    for (int i = 0; i < 2; i++)
        sum += nats[i];
    assert_true(fabs(sum / 31 - out.mean_loss) < 1e-9);
    /* Initially each of the 257 tokens is about equally likely. */
    assert_true(fabs(nats[0] / 14 - log(257)) < 0.3);
    assert_true(text_nats[0] == nats[0]);
    assert_true(fabs(nats[1] - text_nats[1] - log(257)) < 0.3);
    cut_release(&c);
    learner_free(l);
}

static void labels_are_learned_with_the_text(void **state)
{
    struct learner_options o = small_options();
    float logits[6][MAX_LABELS];
    uint8_t right[6];
    struct learner_step_output out = {.logits = logits[0], .right = right};
    struct learner_step_input in = {.fresh = corpus.segments, .n_fresh = 6};
    struct learner *l = create(&o);
    double first = 0;

    (void)state;
    for (int i = 0; i < 60; i++) {
        assert_int_equal(learner_step(l, &in, &out, NULL), 0);
        if (i == 1)
            first = out.class_loss;
    }
    /* Records 0 and 1 have three segments each; only 0 has a label. */
    assert_int_equal(out.n_labelled, 3);
    assert_int_equal(out.n_labels, 1);
    assert_true(right[0] && right[1] && right[2] && !right[3]);
    in.n_fresh = 12; /* with record 3, which has another label */
    out.logits = NULL;
    out.right = NULL;
    for (int i = 0; i < 60; i++)
        assert_int_equal(learner_step(l, &in, &out, NULL), 0);
    assert_int_equal(out.n_labels, 2);
    assert_true(first < 1e-6 && out.class_loss < 0.1);
    learner_free(l);
}

/* A skipped step is counted, and its norm is remembered. Nothing else changes,
 * neither in the model nor in the class head. */
static void a_skipped_step_teaches_nothing(void **state)
{
    struct learner_options o = small_options();
    struct learner_step_output out;
    struct exported was, is;
    struct learner *l;
    size_t i;

    (void)state;
    o.optim.skip_medians = 1e-6f; /* every step exceeds this, once there is a
                                     median */
    l = create(&o);
    for (i = 0; i < OPTIM_NORMS_NEEDED; i++)
        assert_false(take_step(l, i).skipped);
    was = export_all(l);
    for (size_t k = 0; k < 3; k++) {
        out = take_step(l, i + k);
        assert_true(out.skipped && !out.consolidated);
        assert_int_equal(out.n_labelled, 0);
    }
    is = export_all(l);
    assert_int_equal(learner_steps(l), (int64_t)i + 3);
    assert_same_tensors(&was.weights, &is.weights);
    assert_same_tensors(&was.head, &is.head);
    assert_same_tensors(&was.anchor, &is.anchor);
    for (i = 0; i < was.state.n; i++) {
        const struct tensor *a = &was.state.items[i];

        if (strcmp(a->name, "learner.counters") == 0 ||
            strcmp(a->name, "optim.counters") == 0 ||
            strcmp(a->name, "optim.norms") == 0)
            continue;
        if (memcmp(a->data, is.state.items[i].data, tensor_bytes(a)))
            fail_msg("%s differs", a->name);
    }
    release_all(&was);
    release_all(&is);
    learner_free(l);
}

/* Refuses segments by a table, and records that the losses were known. */
struct verdict {
    const uint8_t *refused;
    size_t n;
    double nats;
};

static void refuse(void *arg, const double *text_nats, uint8_t *refused)
{
    struct verdict *v = arg;

    v->nats = 0;
    for (size_t i = 0; i < v->n; i++) {
        v->nats += text_nats[i];
        assert_int_equal(refused[i], 0);
    }
    memcpy(refused, v->refused, v->n);
}

/* A refused segment is scored. Apart from that, the step equals one without the
 * segment. */
static void what_the_judge_refuses_is_not_learned(void **state)
{
    static const uint8_t no_third[6] = {0, 0, 1, 0, 0, 0};
    struct learner_options o = small_options();
    struct verdict v = {no_third, 6, 0};
    double nats[6], text_nats[6], sum = 0;
    struct segment rest[5];
    struct learner_step_output with = {.nats = nats, .text_nats = text_nats};
    struct learner_step_output without = {0};
    struct learner_step_input in = {.fresh = corpus.segments,
                                    .n_fresh = 6,
                                    .filter = refuse,
                                    .filter_arg = &v};
    struct learner *a, *b;

    (void)state;
    o.shards = 1;
    a = create(&o);
    b = create(&o);
    memcpy(rest, corpus.segments, 2 * sizeof *rest);
    memcpy(rest + 2, corpus.segments + 3, 3 * sizeof *rest);
    assert_true(corpus.segments[2].label >= 0); /* a labelled segment */
    assert_int_equal(learner_step(a, &in, &with, NULL), 0);
    for (int i = 0; i < 6; i++)
        sum += text_nats[i];
    assert_true(sum == v.nats && nats[2] > 1);
    assert_int_equal(with.n_refused, 1);
    in = (struct learner_step_input){.fresh = rest, .n_fresh = 5};
    assert_int_equal(learner_step(b, &in, &without, NULL), 0);
    assert_int_equal(with.counted_tokens, without.counted_tokens);
    assert_int_equal(with.n_labelled, without.n_labelled);
    assert_true(fabs(with.mean_loss / without.mean_loss - 1) < 1e-5);
    assert_true(fabs(with.grad_norm / without.grad_norm - 1) < 1e-4);
    assert_true(fabs(with.class_loss - without.class_loss) < 1e-5);
    learner_free(a);
    learner_free(b);
}

/* If all fresh segments are refused, not even replay is learned, and no weight
 * decays. */
static void a_step_of_refused_segments_teaches_nothing(void **state)
{
    static const uint8_t all[6] = {1, 1, 1, 1, 1, 1};
    struct learner_options o = small_options();
    struct verdict v = {all, 6, 0};
    struct learner_step_input in = {
        .fresh = corpus.segments,
        .n_fresh = 6,
        .replayed = corpus.segments + 6,
        .n_replayed = 3,
        .filter = refuse,
        .filter_arg = &v,
    };
    struct learner_step_output out = {0};
    struct learner *l = create(&o);
    struct exported was, is;

    (void)state;
    for (size_t i = 0; i < 10; i++)
        take_step(l, i);
    was = export_all(l);
    assert_int_equal(learner_step(l, &in, &out, NULL), 0);
    assert_int_equal(out.n_refused, 6);
    assert_int_equal(out.n_labelled, 0);
    assert_int_equal(learner_steps(l), 11);
    is = export_all(l);
    assert_same_tensors(&was.weights, &is.weights);
    assert_same_tensors(&was.head, &is.head);
    assert_same_tensors(&was.ngram, &is.ngram);
    for (size_t i = 0; i < was.state.n; i++)
        if (strcmp(was.state.items[i].name, "learner.counters") != 0)
            assert_memory_equal(was.state.items[i].data,
                                is.state.items[i].data,
                                tensor_bytes(&was.state.items[i]));
    release_all(&was);
    release_all(&is);
    learner_free(l);
}

static void linear_learns_labels_alone(void **state)
{
    static const char *const texts[] = {"rain and wind", "goal and team",
                                        "wind and sun", "team and ball"};
    struct learner_options o = small_options();
    struct segment s[4];
    uint8_t right[4];
    double nats[4];
    struct learner_step_input in = {.fresh = s, .n_fresh = 4};
    struct learner_step_output out = {.right = right, .nats = nats};
    struct learner *l;

    (void)state;
    o.shape = NULL;
    o.tokenizer = NULL;
    l = create(&o);
    for (int i = 0; i < 4; i++)
        s[i] = (struct segment){.text = texts[i],
                                .text_bytes = (uint32_t)strlen(texts[i]),
                                .label = i % 2};
    for (int i = 0; i < 20; i++)
        assert_int_equal(learner_step(l, &in, &out, NULL), 0);
    assert_true(right[0] && right[1] && right[2] && right[3]);
    assert_true(nats[0] == 0.0 && out.counted_tokens == 0);
    assert_int_equal(learner_steps(l), 20);
    assert_int_equal(learner_params(l), 0);
    learner_free(l);
}

/* --- consolidation ------------------------------------------------------ */

static void the_penalty_begins_with_the_first_anchor(void **state)
{
    struct learner_options o = small_options();
    bool consolidated = false;
    struct learner *l;

    (void)state;
    o.ewc.lambda = 100.0f;
    l = create(&o);
    for (size_t i = 0; i < 60; i++) {
        struct learner_step_output out = take_step(l, i);

        assert_true(out.consolidated == (i == 30));
        consolidated = consolidated || out.consolidated;
        assert_true(consolidated == (out.ewc_penalty > 0.0));
        assert_true(consolidated == (out.ewc_share > 0.0));
    }
    assert_true(consolidated);
    learner_free(l);
}

static void a_new_domain_moves_the_anchor_to_the_average(void **state)
{
    struct learner_options o = small_options();
    struct learner_step_input in = {.n_fresh = 2};
    struct learner_step_output out = {0};
    struct segment fresh[2];
    struct learner *l;
    struct exported e;
    size_t n = 0;

    (void)state;
    o.ewc.consolidate = EWC_AUTO;
    l = create(&o);
    for (size_t i = 0; i < 20; i++)
        assert_false(take_step(l, i).consolidated);
    e = export_all(l);
    memcpy(fresh, corpus.segments, sizeof fresh);
    fresh[0].domain = fresh[1].domain = 100;
    in.fresh = fresh;
    assert_int_equal(learner_step(l, &in, &out, NULL), 0);
    assert_true(out.consolidated);
    for (size_t i = 0; i < e.weights.n; i++) {
        const struct tensor *t = &e.weights.items[i];

        assert_memory_equal(learner_ewc(l)->anchor + n, t->data,
                            tensor_count(t) * sizeof(float));
        n += tensor_count(t);
    }
    assert_int_equal(n, learner_params(l));
    assert_int_equal(learner_step(l, &in, &out, NULL), 0);
    assert_false(out.consolidated);
    release_all(&e);
    learner_free(l);
}

/* --- state -------------------------------------------------------------- */

static void continues_as_if_never_stopped(void **state)
{
    struct learner_options o = small_options();
    struct learner *a = create(&o), *b;
    struct exported e;

    (void)state;
    /* The state is taken between two consolidations. */
    for (size_t i = 0; i < 50; i++)
        take_step(a, i);
    assert_int_equal(learner_ewc(a)->consolidations, 1);
    e = export_all(a);
    b = create(&o);
    take_step(b, 7); /* whatever its state was */
    assert_int_equal(import_all(b, &e, NULL), 0);
    assert_same(a, b);
    for (size_t i = 50; i < 90; i++) {
        take_step(a, i);
        take_step(b, i);
    }
    assert_int_equal(learner_ewc(a)->consolidations, 2);
    assert_same(a, b);
    release_all(&e);
    learner_free(a);
    learner_free(b);
}

static void an_anchor_goes_out_when_it_changes(void **state)
{
    struct learner_options o = small_options();
    struct learner *l = create(&o);
    struct tensor_list anchor = TENSOR_LIST_INIT;
    int64_t generation = 0;

    (void)state;
    learner_export(l, NULL, NULL, &anchor, NULL, &generation);
    assert_int_equal(anchor.n, 0);
    for (size_t i = 0; i < 40; i++)
        take_step(l, i);
    learner_export(l, NULL, NULL, &anchor, NULL, &generation);
    assert_int_equal(generation, 1);
    assert_int_equal(anchor.n, 2);
    tensor_list_release(&anchor);
    learner_export(l, NULL, NULL, &anchor, NULL, &generation);
    assert_int_equal(anchor.n, 0);
    learner_free(l);
}

/* Imports e with one tensor of list l damaged. The learner must not change. */
static void try_damaged(struct learner *l, const struct learner *same,
                        struct exported *e, struct tensor_list *list,
                        size_t i)
{
    struct err err = ERR_INIT;
    char *name = list->items[i].name;

    list->items[i].name = xstrdup("something.else");
    assert_int_equal(import_all(l, e, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, name));
    free(list->items[i].name);
    list->items[i].name = name;
    assert_same(l, same);
}

static void a_damaged_import_changes_nothing(void **state)
{
    struct learner_options o = small_options();
    struct learner *a = create(&o), *b = create(&o), *same = create(&o);
    struct exported e;
    int64_t *counters, steps;

    (void)state;
    for (size_t i = 0; i < 40; i++)
        take_step(a, i);
    take_step(b, 0);
    take_step(same, 0);
    e = export_all(a);
    for (size_t i = 0; i < e.weights.n; i++)
        try_damaged(b, same, &e, &e.weights, i);
    for (size_t i = 0; i < e.state.n; i++) {
        /* Without them, it is the state of a learner without an average, or
         * without EWC. */
        if (strcmp(e.state.items[i].name, "live.weights") == 0 ||
            strcmp(e.state.items[i].name, "ewc.counts") == 0)
            continue;
        try_damaged(b, same, &e, &e.state, i);
    }
    for (size_t i = 0; i < e.anchor.n; i++)
        try_damaged(b, same, &e, &e.anchor, i);
    for (size_t i = 0; i < e.head.n; i++)
        try_damaged(b, same, &e, &e.head, i);
    counters = tensor_find(&e.state, "learner.counters")->data;
    steps = counters[0];
    counters[0] = INT64_MAX;
    assert_int_equal(import_all(b, &e, NULL), ERR_CORRUPT);
    counters[0] = steps;
    ((float *)e.weights.items[3].data)[0] = INFINITY;
    assert_int_equal(import_all(b, &e, NULL), ERR_CORRUPT);
    ((float *)e.weights.items[3].data)[0] = 0.0f;
    ((float *)tensor_find(&e.state, "live.weights")->data)[0] = INFINITY;
    assert_int_equal(import_all(b, &e, NULL), ERR_CORRUPT);
    assert_same(b, same);
    release_all(&e);
    learner_free(a);
    learner_free(b);
    learner_free(same);
}

/* Fails unless the live weights of `with` are the weights of `weights`. */
static void assert_live(const struct exported *with,
                        const struct exported *weights)
{
    const struct tensor *t = tensor_find(&with->state, "live.weights");
    const float *live = t->data;

    for (size_t i = 0; i < weights->weights.n; i++) {
        const struct tensor *w = &weights->weights.items[i];

        if (memcmp(live, w->data, tensor_bytes(w)))
            fail_msg("%s differs", w->name);
        live += tensor_count(w);
    }
    assert_ptr_equal(live, (const float *)t->data + tensor_count(t));
}

static void starts_from_anothers_weights(void **state)
{
    struct learner_options o = small_options();
    struct learner *a = create(&o), *b;
    struct exported e, f;

    (void)state;
    for (size_t i = 0; i < 5; i++)
        take_step(a, i);
    o.seed++;
    b = create(&o);
    take_step(b, 0);
    e = export_all(a);
    assert_int_equal(learner_import_weights(b, &e.weights, NULL), 0);
    f = export_all(b);
    assert_same_tensors(&e.weights, &f.weights);
    assert_int_equal(learner_optim(b)->step, 0);
    assert_true(learner_optim(b)->v[0] == 0.0f);
    assert_live(&f, &e);
    release_all(&e);
    release_all(&f);
    learner_free(a);
    learner_free(b);
}

/* --- the moving average ------------------------------------------------- */

static void the_average_changes_nothing_that_is_learned(void **state)
{
    struct learner_options o = small_options();
    struct learner *with, *without;
    struct exported e, f;
    struct tensor_list alone = TENSOR_LIST_INIT;
    const struct tensor *live;
    size_t at = 0, different = 0;

    (void)state;
    o.ewc.enabled = false; /* its anchor is the average */
    with = create(&o);
    o.average.enabled = false;
    without = create(&o);
    for (size_t i = 0; i < 60; i++) {
        take_step(with, i);
        take_step(without, i);
    }
    e = export_all(with);
    f = export_all(without);
    live = tensor_find(&e.state, "live.weights");
    assert_null(tensor_find(&f.state, "live.weights"));
    assert_int_equal(e.state.n, f.state.n + 1);
    assert_live(&e, &f);
    assert_same_tensors(&e.anchor, &f.anchor);
    assert_same_tensors(&e.head, &f.head);
    for (size_t i = 0; i < e.weights.n; i++) {
        size_t n = tensor_count(&e.weights.items[i]);

        different += memcmp((const float *)live->data + at,
                            e.weights.items[i].data, 4 * n) != 0;
        at += n;
    }
    assert_int_equal(different, e.weights.n);
    learner_export_live(with, &alone);
    assert_same_tensors(&alone, &f.weights);
    tensor_list_release(&alone);
    release_all(&e);
    release_all(&f);
    learner_free(with);
    learner_free(without);
}

/* The average of what a learner without one had after each step. */
static void the_average_is_that_of_the_formula(void **state)
{
    struct learner_options o = small_options();
    struct learner *with, *without;
    double *plain;
    struct exported e;

    (void)state;
    o.ewc.enabled = false; /* its anchor is the average */
    with = create(&o);
    o.average.enabled = false;
    without = create(&o);
    plain = xcalloc(learner_params(with), sizeof *plain);
    for (size_t i = 0; i <= 40; i++) {
        double t = (double)i - 1, d = i ? fmin(0.99, (1 + t) / (10 + t)) : 0;
        size_t at = 0;

        e = export_all(without);
        for (size_t k = 0; k < e.weights.n; k++) {
            const float *w = e.weights.items[k].data;
            size_t count = tensor_count(&e.weights.items[k]);

            for (size_t j = 0; j < count; j++, at++)
                plain[at] += (1 - d) * ((double)w[j] - plain[at]);
        }
        release_all(&e);
        if (i == 40)
            break;
        take_step(with, i);
        take_step(without, i);
    }
    e = export_all(with);
    for (size_t k = 0, at = 0; k < e.weights.n; k++) {
        const float *w = e.weights.items[k].data;

        for (size_t j = 0; j < tensor_count(&e.weights.items[k]); j++, at++)
            assert_true(fabs(plain[at] - (double)w[j]) < 1e-6);
    }
    release_all(&e);
    free(plain);
    learner_free(with);
    learner_free(without);
}

static void decay_0_serves_the_live_weights(void **state)
{
    struct learner_options o = small_options();
    struct learner *l;
    struct exported e;

    (void)state;
    o.average.decay = 0.0f;
    l = create(&o);
    for (size_t i = 0; i < 20; i++)
        take_step(l, i);
    e = export_all(l);
    assert_live(&e, &e);
    release_all(&e);
    learner_free(l);
}

static void an_average_begins_at_the_weights_of_an_old_state(void **state)
{
    struct learner_options o = small_options();
    struct learner *old, *l;
    struct exported e, f;

    (void)state;
    o.ewc.enabled = false; /* it pulls towards the average */
    l = create(&o);
    take_step(l, 9); /* whatever its average was */
    o.average.enabled = false;
    old = create(&o);
    for (size_t i = 0; i < 20; i++)
        take_step(old, i);
    e = export_all(old);
    assert_int_equal(import_all(l, &e, NULL), 0);
    f = export_all(l);
    assert_same_tensors(&e.weights, &f.weights);
    assert_live(&f, &e);
    release_all(&f);
    /* Both learn the same from here on. */
    take_step(l, 20);
    take_step(old, 20);
    release_all(&e);
    e = export_all(old);
    f = export_all(l);
    assert_live(&f, &e);
    release_all(&e);
    release_all(&f);
    learner_free(l);
    learner_free(old);
}

static void without_an_average_the_live_weights_go_on(void **state)
{
    struct learner_options o = small_options();
    struct learner *with = create(&o), *l;
    struct exported e, f;

    (void)state;
    for (size_t i = 0; i < 20; i++)
        take_step(with, i);
    e = export_all(with);
    o.average.enabled = false;
    l = create(&o);
    assert_int_equal(import_all(l, &e, NULL), 0);
    f = export_all(l);
    assert_null(tensor_find(&f.state, "live.weights"));
    assert_live(&e, &f);
    release_all(&e);
    release_all(&f);
    learner_free(with);
    learner_free(l);
}

/* One fresh segment in sixteen, by the average as it was before the step. */
static void the_average_scores_a_share_before_it_learns(void **state)
{
    enum { STEPS = 200 };
    struct learner_options o = small_options();
    struct learner *l, *other;
    size_t scored = 0, n = 6 * STEPS;

    (void)state;
    o.ngram.enabled = false; /* so that the losses are the average's own */
    l = create(&o);
    o.threads = 1;
    other = create(&o);
    for (size_t i = 0; i < STEPS; i++) {
        double nats[6], again[6], text_nats[6];
        struct learner_step_input in = {
            .fresh = corpus.segments + 6 * (i % (corpus.n / 6)), .n_fresh = 6};
        struct learner_step_output out = {.average_nats = nats,
                                          .text_nats = text_nats};

        assert_int_equal(learner_step(l, &in, &out, NULL), 0);
        out = (struct learner_step_output){.average_nats = again};
        assert_int_equal(learner_step(other, &in, &out, NULL), 0);
        for (size_t k = 0; k < 6; k++) {
            assert_int_equal(isnan(nats[k]), isnan(again[k]));
            if (isnan(nats[k]))
                continue;
            scored++;
            assert_true(nats[k] == again[k]);
            if (i == 0) /* both are the initial weights */
                assert_true(fabs(nats[k] / text_nats[k] - 1) < 1e-5);
        }
    }
    assert_in_range(scored, n / 16 - n / 64, n / 16 + n / 64);
    assert_same(l, other);
    learner_free(l);
    learner_free(other);
}

static void scoring_changes_nothing(void **state)
{
    struct learner_options o = small_options();
    struct learner *a = create(&o), *b = create(&o);
    double nats[6];

    (void)state;
    for (size_t i = 0; i < 40; i++) {
        struct learner_step_input in = {.fresh = corpus.segments + 6 * i,
                                        .n_fresh = 6};
        struct learner_step_output out = {.average_nats = nats}, plain = {0};

        assert_int_equal(learner_step(a, &in, &out, NULL), 0);
        assert_int_equal(learner_step(b, &in, &plain, NULL), 0);
    }
    assert_same(a, b);
    learner_free(a);
    learner_free(b);
}

/* --- the n-gram memory -------------------------------------------------- */

/* The losses of a memory that learns the same segments in the same order, beside
 * a learner without one, whose losses are the Transformer's. */
static void the_memory_learns_after_it_has_scored(void **state)
{
    struct learner_options o = small_options();
    struct learner *with = create(&o), *without;
    double alone = 0.0, mixed = 0.0;

    (void)state;
    o.ngram.enabled = false;
    without = create(&o);
    for (size_t i = 0; i < 60; i++) {
        double text[6], mixed_text[6], plain[6], average[6];
        struct learner_step_input in = {
            .fresh = corpus.segments + 6 * (i % (corpus.n / 6)), .n_fresh = 6};
        struct learner_step_output out = {.text_nats = text,
                                          .mixed_nats = mixed_text,
                                          .average_nats = average};

        assert_int_equal(learner_step(with, &in, &out, NULL), 0);
        for (size_t k = 0; k < 6; k++) {
            alone += text[k];
            mixed += mixed_text[k];
            if (i == 0 && k == 0 && !isnan(average[0]))
                assert_true(fabs(average[0] / mixed_text[0] - 1) < 1e-5);
        }
        out = (struct learner_step_output){.text_nats = plain,
                                           .mixed_nats = mixed_text};
        assert_int_equal(learner_step(without, &in, &out, NULL), 0);
        /* The memory does not change what the Transformer learns. */
        assert_memory_equal(text, plain, sizeof text);
        assert_memory_equal(text, mixed_text, sizeof text);
    }
    assert_true(mixed < 0.9 * alone);
    learner_free(with);
    learner_free(without);
}

static void only_learned_segments_are_remembered(void **state)
{
    static const uint8_t no_third[6] = {0, 0, 1, 0, 0, 0};
    struct learner_options o = small_options();
    struct verdict v = {no_third, 6, 0};
    struct segment rest[5];
    double text[6], mixed[6];
    struct learner_step_input in = {.fresh = corpus.segments,
                                    .n_fresh = 6,
                                    .filter = refuse,
                                    .filter_arg = &v};
    struct learner_step_output out = {.text_nats = text, .mixed_nats = mixed};
    struct tensor_list a = TENSOR_LIST_INIT, b = TENSOR_LIST_INIT;
    struct learner *l, *other;

    (void)state;
    o.shards = 1;
    l = create(&o);
    other = create(&o);
    assert_int_equal(learner_step(l, &in, &out, NULL), 0);
    assert_true(mixed[2] == text[2] && mixed[3] != text[3]);
    memcpy(rest, corpus.segments, 2 * sizeof *rest);
    memcpy(rest + 2, corpus.segments + 3, 3 * sizeof *rest);
    in = (struct learner_step_input){.fresh = rest,
                                     .n_fresh = 5,
                                     .replayed = corpus.segments + 30,
                                     .n_replayed = 2};
    out = (struct learner_step_output){0};
    assert_int_equal(learner_step(other, &in, &out, NULL), 0);
    learner_export_ngram(l, &a);
    learner_export_ngram(other, &b);
    assert_memory_equal(tensor_find(&a, "ngram.slots")->data,
                        tensor_find(&b, "ngram.slots")->data, 1 << 20);
    assert_memory_equal(tensor_find(&a, "ngram.counts")->data,
                        tensor_find(&b, "ngram.counts")->data, 257 * 8);
    tensor_list_release(&a);
    tensor_list_release(&b);
    learner_free(l);
    learner_free(other);
}

/* A version without a memory: it begins empty. With the setting off, none is
 * kept. */
static void a_memory_begins_empty_or_is_not_kept(void **state)
{
    struct learner_options o = small_options();
    struct learner *l = create(&o), *fresh = create(&o), *off;
    struct exported was, is, none;

    (void)state;
    for (size_t i = 0; i < 5; i++)
        take_step(l, i);
    was = export_all(l);
    is = export_all(fresh);
    assert_int_equal(learner_import_ngram(l, &(struct tensor_list){0}, NULL),
                     0);
    none = export_all(l);
    assert_same_tensors(&none.ngram, &is.ngram);
    release_all(&none);
    o.ngram.enabled = false;
    off = create(&o);
    assert_int_equal(import_all(off, &was, NULL), 0);
    none = export_all(off);
    assert_int_equal(none.ngram.n, 0);
    release_all(&none);
    release_all(&was);
    release_all(&is);
    learner_free(l);
    learner_free(fresh);
    learner_free(off);
}

/* --- errors ------------------------------------------------------------- */

static void says_when_weights_are_lost(void **state)
{
    struct learner_options o = small_options();
    struct learner_step_input in = {.fresh = corpus.segments, .n_fresh = 3};
    struct learner_step_output out = {0};
    struct err err = ERR_INIT;
    struct learner *l;

    (void)state;
    o.optim.lr = 3e38f;
    o.optim.warmup_steps = 0;
    o.optim.weight_decay = 100.0f;
    l = create(&o);
    assert_int_equal(learner_step(l, &in, &out, &err), ERR_DIVERGED);
    assert_non_null(strstr(err.msg, "not finite"));
    learner_free(l);
}

static void refuses_impossible_options(void **state)
{
    struct learner_options o = small_options();
    struct model_shape bad = shape;
    struct learner *l = NULL;

    (void)state;
    o.shards = 0;
    assert_int_equal(learner_create(&o, &l, NULL), ERR_INVALID);
    o.shards = 1;
    o.threads = 0;
    assert_int_equal(learner_create(&o, &l, NULL), ERR_INVALID);
    o.threads = 1;
    bad.kv_heads = 2;
    o.shape = &bad;
    assert_int_equal(learner_create(&o, &l, NULL), ERR_INVALID);
    assert_null(l);
}

static void says_how_much_memory(void **state)
{
    struct learner_options o = small_options();
    size_t with = learner_bytes(&o, 500), without;

    (void)state;
    o.ewc.enabled = false;
    without = learner_bytes(&o, 500);
    /* EWC adds two blocks of Fisher, and the anchor. */
    assert_true(with - without > 3 * 4 * 5000);
    assert_true(learner_bytes(&o, 5000) > without);
    with = without;
    o.average.enabled = false;
    without = learner_bytes(&o, 500);
    assert_true(with - without > 4 * 5000);
    with = without;
    o.ngram.enabled = false;
    without = learner_bytes(&o, 500);
    assert_true(with - without > 1 << 20);
    o.shape = NULL;
    assert_true(learner_bytes(&o, 500) < without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(shards_change_only_the_rounding),
        cmocka_unit_test(the_loss_falls),
        cmocka_unit_test(losses_are_by_segment),
        cmocka_unit_test(labels_are_learned_with_the_text),
        cmocka_unit_test(a_skipped_step_teaches_nothing),
        cmocka_unit_test(what_the_judge_refuses_is_not_learned),
        cmocka_unit_test(a_step_of_refused_segments_teaches_nothing),
        cmocka_unit_test(linear_learns_labels_alone),
        cmocka_unit_test(the_penalty_begins_with_the_first_anchor),
        cmocka_unit_test(a_new_domain_moves_the_anchor_to_the_average),
        cmocka_unit_test(continues_as_if_never_stopped),
        cmocka_unit_test(an_anchor_goes_out_when_it_changes),
        cmocka_unit_test(a_damaged_import_changes_nothing),
        cmocka_unit_test(starts_from_anothers_weights),
        cmocka_unit_test(the_average_changes_nothing_that_is_learned),
        cmocka_unit_test(the_average_is_that_of_the_formula),
        cmocka_unit_test(decay_0_serves_the_live_weights),
        cmocka_unit_test(an_average_begins_at_the_weights_of_an_old_state),
        cmocka_unit_test(without_an_average_the_live_weights_go_on),
        cmocka_unit_test(the_average_scores_a_share_before_it_learns),
        cmocka_unit_test(scoring_changes_nothing),
        cmocka_unit_test(the_memory_learns_after_it_has_scored),
        cmocka_unit_test(only_learned_segments_are_remembered),
        cmocka_unit_test(a_memory_begins_empty_or_is_not_kept),
        cmocka_unit_test(says_when_weights_are_lost),
        cmocka_unit_test(refuses_impossible_options),
        cmocka_unit_test(says_how_much_memory),
    };

    return cmocka_run_group_tests(tests, make_corpus, free_corpus);
}

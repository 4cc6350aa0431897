/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The class head: n-grams, learning new labels, gradients and state. Uses
 * head_private.h to compare sums over the n-gram table with sums row by row.
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

#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/tokenizer/grams.h"
#include "learner/head.h"
#include "learner/head_private.h"
#include "learner/kernels/ops.h"

static struct head_options small_options(int dim)
{
    struct head_options o;

    head_options_default(&o);
    o.dim = dim;
    o.gram_dim = 8;
    o.gram_slots = 1024;
    o.max_labels = 64;
    return o;
}

/* --- n-grams ------------------------------------------------------------ */

static size_t count_grams(const char *text, struct gram_list *l)
{
    l->n = 0;
    gram_list_add_text(l, text, strlen(text));
    return l->n;
}

static void grams_are_words_and_pairs(void **state)
{
    struct gram_list a = GRAM_LIST_INIT, b = GRAM_LIST_INIT;

    (void)state;
    assert_int_equal(count_grams("", &a), 0);
    assert_int_equal(count_grams("   \n\t", &a), 0);
    assert_int_equal(count_grams("one", &a), 1);
    assert_int_equal(count_grams("one two  three", &a), 5);
    assert_int_equal(count_grams("wow!", &a), 3);
    assert_int_equal(count_grams("na\xc3\xafve", &a), 1);
    /* Two characters of three bytes and one of four are words without
     * spaces. */
    assert_int_equal(count_grams("\xe4\xb8\xad\xe6\x96\x87\xf0\x9f\x98\x80",
                                 &a), 5);
    assert_int_equal(count_grams("One TWO three", &a), 5);
    count_grams("one two three", &b);
    assert_memory_equal(a.items, b.items, 5 * sizeof *a.items);
    count_grams("two one three", &b);
    assert_int_not_equal(a.items[2], b.items[2]);
    gram_list_release(&a);
    gram_list_release(&b);
}

/* Three letters as the header defines them, hashed as stored heads need it. */
static uint32_t hash_three(const char *letters)
{
    uint64_t x = UINT64_C(0x1000000);

    for (int i = 0; i < 3; i++)
        x += (uint64_t)(unsigned char)letters[i] << (16 - 8 * i);
    x *= UINT64_C(0x100000001b3);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(x >> 32);
}

static void letters_are_runs_of_three(void **state)
{
    static const char *const want[] = {"<te", "tea",       "ea>",
                                       "<5>", "<\xc3\xa9", "\xc3\xa9>"};
    struct gram_list l = GRAM_LIST_INIT;
    char bytes[256];

    (void)state;
    /* Characters of three and four bytes have none, whole or cut off. */
    gram_list_add_letters(
        &l, "Tea, 5% \xe4\xb8\xad\xf0\x9f\x98\x80 \xc3\xa9 \xe4\xb8", 22);
    assert_int_equal(l.n, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(l.items[i], hash_three(want[i]));
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    for (size_t from = 0; from < 256; from++) {
        l.n = 0;
        gram_list_add_letters(&l, bytes + from, 256 - from);
    }
    gram_list_add_letters(&l, "", 0);
    gram_list_release(&l);
}

static void grams_of_any_bytes(void **state)
{
    struct gram_list l = GRAM_LIST_INIT;
    char bytes[256];

    (void)state;
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    for (size_t from = 0; from < 256; from++) {
        l.n = 0;
        gram_list_add_text(&l, bytes + from, 256 - from);
    }
    gram_list_add_text(&l, "\xe4", 1);
    gram_list_add_text(&l, "\xf0\x9f", 2);
    gram_list_release(&l);
}

/* Sums in registers equal those of adding row by row. */
static void wide_sums_are_plain_sums(void **state)
{
    struct head_options o = small_options(0);
    struct head *h;
    uint32_t hashes[100];
    float sum[32], plain[32] = {0};

    (void)state;
    o.gram_dim = 32;
    h = head_create(&o);
    head_need_grams(h);
    for (size_t i = 0; i < 100; i++)
        hashes[i] = (uint32_t)rng_u64(1, RNG_INIT, 2, i);
    for (size_t n = 0; n <= 100; n++) {
        head_sum_grams(h, hashes, n, 100, sum);
        assert_memory_equal(sum, plain, sizeof sum);
        for (size_t j = 0; n < 100 && j < 32; j++)
            plain[j] += h->grams[(size_t)head_slot(h, hashes[n]) * 32 + j];
    }
    head_free(h);
}

/* --- generated texts ---------------------------------------------------- */

/* Writes a text of a class: eight words, half of them of that class alone. */
static char *make_text(int label, uint64_t i)
{
    char text[256];
    int n = 0;

    for (uint64_t k = 0; k < 8; k++) {
        uint64_t own = rng_below(2, 5, RNG_INIT, i, 2 * k);
        uint64_t word = rng_below(12, 5, RNG_INIT, i, 2 * k + 1);

        n += snprintf(text + n, sizeof text - (size_t)n, "%c%llu ",
                      own ? 'a' + label : 'z', (unsigned long long)word);
    }
    return xstrdup(text);
}

struct world {
    struct head_example *examples;
    size_t n;
};

/* Makes n texts of the classes from, ..., to - 1, in random order. */
static struct world make_world(size_t n, int from, int to, uint64_t seed)
{
    struct world w = {xcalloc(n, sizeof *w.examples), n};

    for (size_t i = 0; i < n; i++) {
        struct head_example *e = &w.examples[i];
        uint64_t id = seed * 1000000 + i;

        e->label = from + (int)rng_below((uint64_t)(to - from), 6, RNG_INIT,
                                         id, 0);
        e->text = make_text(e->label, id);
        e->n_bytes = strlen(e->text);
    }
    return w;
}

static void free_world(struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        free((char *)w->examples[i].text);
    free(w->examples);
}

/* An example with hashes is learned like one without. */
static void given_grams_are_the_texts(void **state)
{
    struct head_options o = small_options(0);
    struct head *a = head_create(&o), *b = head_create(&o);
    struct world w = make_world(60, 0, 4, 7);
    struct gram_list lists[60] = {GRAM_LIST_INIT};
    float x[4], y[4];

    (void)state;
    head_step(a, w.examples, w.n);
    for (size_t i = 0; i < w.n; i++) {
        gram_list_add_text(&lists[i], w.examples[i].text,
                           w.examples[i].n_bytes);
        w.examples[i].grams = lists[i].items;
        w.examples[i].n_grams = lists[i].n;
    }
    head_step(b, w.examples, w.n);
    head_scores(a, "a1 b2 z3", 8, NULL, 0, x);
    head_scores(b, "a1 b2 z3", 8, NULL, 0, y);
    assert_memory_equal(x, y, sizeof x);
    for (size_t i = 0; i < w.n; i++)
        gram_list_release(&lists[i]);
    free_world(&w);
    head_free(a);
    head_free(b);
}

static double accuracy(const struct head *h, const struct world *w)
{
    float *scores = xfloats(64);
    size_t right = 0;

    for (size_t i = 0; i < w->n; i++) {
        const struct head_example *e = &w->examples[i];
        size_t best = 0;

        head_scores(h, e->text, e->n_bytes, NULL, 0, scores);
        for (size_t c = 1; c < head_labels(h); c++)
            if (scores[c] > scores[best])
                best = c;
        right += best == (size_t)e->label;
    }
    free(scores);
    return (double)right / (double)w->n;
}

static void learns_separable_texts(void **state)
{
    struct head_options options = small_options(0);
    struct world train = make_world(600, 0, 4, 1);
    struct world test = make_world(200, 0, 4, 2);
    struct head *h;
    double loss[2] = {0, 0};

    (void)state;
    options.gram_slots = 4096;
    h = head_create(&options);
    for (size_t i = 0; i < train.n; i += 20)
        head_step(h, train.examples + i, 20);
    for (size_t i = 0; i < train.n; i++)
        loss[i >= train.n / 2] += (double)train.examples[i].loss;
    assert_int_equal(head_labels(h), 4);
    assert_true(loss[1] < 0.6 * loss[0]);
    assert_true(accuracy(h, &test) > 0.95);
    head_free(h);
    free_world(&train);
    free_world(&test);
}

static void a_new_label_is_tested_before_it_is_known(void **state)
{
    struct head_options options = small_options(0);
    struct head *h = head_create(&options);
    struct head_example e = {.text = "hello there", .n_bytes = 11};
    float scores[64];

    (void)state;
    head_step(h, &e, 1);
    assert_false(e.correct);
    assert_true(e.loss == 0.0f); /* ln 1: there is only one label */
    head_step(h, &e, 1);
    assert_true(e.correct);
    e.label = 3; /* 1 and 2 have rows, but have never been seen */
    head_step(h, &e, 1);
    assert_false(e.correct);
    assert_true(fabsf(e.loss - logf(2.0f)) < 1e-6f);
    assert_int_equal(head_labels(h), 4);
    head_scores(h, e.text, e.n_bytes, NULL, 0, scores);
    assert_true(scores[1] == 0.0f && scores[2] == 0.0f);
    assert_true(fabsf(scores[0] + scores[3] - 1.0f) < 1e-6f);
    head_free(h);
}

static void texts_without_words_do_no_harm(void **state)
{
    struct head_options options = small_options(0);
    struct head *h = head_create(&options);
    struct head_example e[2] = {{.text = "", .label = 0},
                                {.text = "word", .n_bytes = 4, .label = 1}};
    float scores[64];

    (void)state;
    for (int i = 0; i < 5; i++)
        head_step(h, e, 2);
    head_scores(h, "", 0, NULL, 0, scores);
    assert_true(isfinite(scores[0]) && isfinite(scores[1]));
    head_scores(h, "word", 4, NULL, 0, scores);
    assert_true(scores[1] > 0.9f);
    head_free(h);
}

#define STORE 60
#define BATCH 20
#define LOGITS 64

/* A reservoir of learned examples, with their logits at that time. */
struct store {
    struct head_example rows[STORE];
    float logits[STORE][LOGITS];
    size_t n, seen;
};

static void offer(struct store *s, const struct head_example *e,
                  size_t n_labels)
{
    size_t at = s->seen++;

    if (at >= STORE)
        at = rng_below(s->seen, 1, RNG_RESERVOIR, s->seen, 0);
    if (at >= STORE)
        return;
    s->rows[at] = *e;
    memcpy(s->logits[at], e->logits, n_labels * sizeof(float));
    s->rows[at].logits = NULL;
    s->rows[at].replayed = true;
    s->rows[at].old_logits = s->logits[at];
    s->rows[at].n_old = n_labels;
    if (s->n < STORE)
        s->n++;
}

/* Learns a batch and, if wanted, as many examples of the reservoir. */
static void learn_batch(struct head *h, struct store *s,
                        const struct head_example *examples, bool replay)
{
    static float logits[BATCH][LOGITS];
    struct head_example batch[2 * BATCH];
    size_t n = BATCH;

    memcpy(batch, examples, BATCH * sizeof *batch);
    for (size_t k = 0; k < BATCH; k++)
        batch[k].logits = logits[k];
    for (size_t k = 0; replay && s->n && k < BATCH; k++)
        batch[n++] = s->rows[rng_below(s->n, 1, RNG_REPLAY, s->seen, k)];
    head_step(h, batch, n);
    for (size_t k = 0; k < BATCH; k++)
        offer(s, &batch[k], head_labels(h));
}

/* Learns six classes, one after another. Returns the accuracy on the first
 * two. */
static double class_incremental(bool replay)
{
    struct head_options options = small_options(0);
    struct world test = make_world(200, 0, 2, 9), parts[6];
    struct store *store = xcalloc(1, sizeof *store);
    struct head *h;
    double result;

    options.gram_slots = 4096;
    h = head_create(&options);
    for (int part = 0; part < 6; part++) {
        parts[part] = make_world(200, part, part + 1, (uint64_t)part + 3);
        for (size_t i = 0; i < parts[part].n; i += BATCH)
            learn_batch(h, store, parts[part].examples + i, replay);
    }
    result = accuracy(h, &test);
    head_free(h);
    free(store);
    for (int part = 0; part < 6; part++)
        free_world(&parts[part]);
    free_world(&test);
    return result;
}

static void replay_keeps_old_classes(void **state)
{
    double with = class_incremental(true), without = class_incremental(false);

    (void)state;
    print_message("# first two: %.3f with replay, %.3f without\n", with,
                  without);
    assert_true(with > without);
    assert_true(with > 0.85);
}

/* --- gradients ---------------------------------------------------------- */

#define DIM 6
#define N_STATES 5
#define EXAMPLES 3

static void fill(float *x, size_t n, uint64_t stream)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(8, RNG_INIT, stream, i);
}

/* Makes a head with four labels. head_step changes a head, so each measurement
 * makes a new one. */
struct known {
    struct tensor_list head, state;
};

static const char *const texts[EXAMPLES] = {"red green", "blue", "green sky"};

static struct known make_known(const struct head_options *options)
{
    struct known k = {TENSOR_LIST_INIT, TENSOR_LIST_INIT};
    struct head *h = head_create(options);
    struct head_example e = {.text = "red sky", .n_bytes = 7};
    float states[N_STATES * DIM];

    for (int32_t label = 0; label < 4; label++) {
        fill(states, N_STATES * DIM, (uint64_t)label + 50);
        e.states = states;
        e.n_states = N_STATES;
        e.label = label;
        head_step(h, &e, 1);
    }
    head_export(h, &k.head, &k.state);
    head_free(h);
    return k;
}

/* The loss of the balanced softmax. Labels 0 to n_new - 1 have one new example
 * each. The other examples are replayed, and shared by the four labels. */
static double balanced_loss(const float logits[4], int label, int n_new)
{
    double share = (EXAMPLES - n_new) / 4.0, sum = 0, own = 0;

    for (int c = 0; c < 4; c++) {
        double x = (share + (c < n_new)) * exp((double)logits[c]);

        sum += x;
        own = c == label ? x : own;
    }
    return -log(own / sum);
}

/* Returns the loss that the gradient belongs to, for these states. Examples 0
 * to n_new - 1 are new, the others are replayed. */
static double total_loss(const struct head_options *options,
                         const struct known *k, int n_new, const float *states,
                         const float *old, float *dstates)
{
    struct head *h = head_create(options);
    struct head_example e[EXAMPLES];
    float logits[EXAMPLES][64];
    double sum = 0;

    assert_int_equal(head_import(h, &k->head, &k->state, NULL), 0);
    for (int i = 0; i < EXAMPLES; i++) {
        e[i] = (struct head_example){
            .text = texts[i],
            .n_bytes = strlen(texts[i]),
            .states = states + i * N_STATES * DIM,
            .n_states = N_STATES,
            .dstates = dstates ? dstates + i * N_STATES * DIM : NULL,
            .label = i,
            .replayed = i >= n_new,
            .logits = logits[i],
            .old_logits = i == 2 ? old : NULL,
            .n_old = i == 2 ? 3 : 0,
        };
    }
    if (dstates)
        head_backward(h, e, EXAMPLES, 0.5f);
    head_step(h, e, EXAMPLES);
    for (int i = 0; i < EXAMPLES; i++)
        sum += balanced_loss(logits[i], i, n_new);
    /* Without new examples, the balanced softmax is the plain one. */
    for (int i = 0; n_new == 0 && i < EXAMPLES; i++)
        assert_true(fabs((double)e[i].loss - balanced_loss(logits[i], i, 0)) <
                    1e-5);
    for (int c = 0; n_new < 3 && c < 3; c++)
        sum += (double)options->replay_logits / 3 *
               pow((double)(logits[2][c] - old[c]), 2);
    head_free(h);
    return 0.5 * sum / EXAMPLES;
}

static void check_gradients(int n_new)
{
    enum { N = EXAMPLES * N_STATES * DIM };
    struct head_options options = small_options(DIM);
    struct known k = make_known(&options);
    float states[N], d[N], old[3] = {1.0f, -2.0f, 0.5f};
    const float h = 2e-2f;

    fill(states, N, 99);
    total_loss(&options, &k, n_new, states, old, d);
    for (size_t i = 0; i < N; i++) {
        float was = states[i];
        double up, down, want;

        states[i] = was + h;
        up = total_loss(&options, &k, n_new, states, old, NULL);
        states[i] = was - h;
        down = total_loss(&options, &k, n_new, states, old, NULL);
        states[i] = was;
        want = (up - down) / (2.0 * (double)h);
        assert_true(fabs((double)d[i] - want) < 2e-4 + 0.01 * fabs(want));
    }
    tensor_list_release(&k.head);
    tensor_list_release(&k.state);
}

static void gradients_match_central_differences(void **state)
{
    (void)state;
    check_gradients(0);
    check_gradients(2);
    check_gradients(EXAMPLES);
}

static void assert_same_tensors(const struct tensor_list *a,
                                const struct tensor_list *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_string_equal(a->items[i].name, b->items[i].name);
        assert_int_equal(tensor_bytes(&a->items[i]),
                         tensor_bytes(&b->items[i]));
        assert_memory_equal(a->items[i].data, b->items[i].data,
                            tensor_bytes(&a->items[i]));
    }
}

/* The gradient of the states is computed before the step may be refused. */
static void asking_for_the_states_gradient_changes_nothing(void **state)
{
    struct head_options options = small_options(DIM);
    struct known k = make_known(&options);
    struct head *h = head_create(&options);
    struct tensor_list head = TENSOR_LIST_INIT, rest = TENSOR_LIST_INIT;
    float states[N_STATES * DIM], d[3][N_STATES * DIM];
    struct head_example e[3];

    (void)state;
    fill(states, N_STATES * DIM, 98);
    for (int32_t i = 0; i < 3; i++)
        e[i] = (struct head_example){
            .text = texts[i],
            .n_bytes = strlen(texts[i]),
            .states = states,
            .n_states = N_STATES,
            .dstates = d[i],
            .label = i == 2 ? 7 : i, /* 7 has no row */
        };
    head_backward(h, e, 3, 1.0f); /* this head has no rows at all */
    for (int i = 0; i < N_STATES * DIM; i++)
        assert_true(d[0][i] == 0.0f && d[2][i] == 0.0f);
    assert_int_equal(head_labels(h), 0);
    assert_int_equal(head_import(h, &k.head, &k.state, NULL), 0);
    head_backward(h, e, 3, 1.0f);
    assert_true(d[0][0] != 0.0f && d[1][0] != 0.0f);
    for (int i = 0; i < N_STATES * DIM; i++)
        assert_true(d[2][i] == 0.0f);
    head_export(h, &head, &rest);
    assert_same_tensors(&head, &k.head);
    assert_same_tensors(&rest, &k.state);
    tensor_list_release(&head);
    tensor_list_release(&rest);
    tensor_list_release(&k.head);
    tensor_list_release(&k.state);
    head_free(h);
}


/* --- state -------------------------------------------------------------- */

static void assert_same_heads(const struct head *a, const struct head *b)
{
    struct tensor_list ha = TENSOR_LIST_INIT, sa = TENSOR_LIST_INIT;
    struct tensor_list hb = TENSOR_LIST_INIT, sb = TENSOR_LIST_INIT;

    head_export(a, &ha, &sa);
    head_export(b, &hb, &sb);
    assert_same_tensors(&ha, &hb);
    assert_same_tensors(&sa, &sb);
    tensor_list_release(&ha);
    tensor_list_release(&sa);
    tensor_list_release(&hb);
    tensor_list_release(&sb);
}

static void state_is_exact(void **state)
{
    struct head_options options = small_options(0);
    struct world w = make_world(200, 0, 20, 4);
    struct head *a = head_create(&options), *b = head_create(&options);
    struct tensor_list head = TENSOR_LIST_INIT, rest = TENSOR_LIST_INIT;

    (void)state;
    head_export(a, &head, &rest);
    assert_int_equal(head.n + rest.n, 0);
    assert_int_equal(head_import(b, &head, &rest, NULL), 0);
    head_step(a, w.examples, 30);
    head_export(a, &head, &rest);
    assert_int_equal(head_import(b, &head, &rest, NULL), 0);
    for (size_t i = 30; i < w.n; i += 17) {
        size_t n = w.n - i < 17 ? w.n - i : 17;

        head_step(a, w.examples + i, n);
        head_step(b, w.examples + i, n);
    }
    assert_same_heads(a, b);
    tensor_list_release(&head);
    tensor_list_release(&rest);
    head_free(a);
    head_free(b);
    free_world(&w);
}

static void serves_from_what_is_stored(void **state)
{
    struct head_options options = small_options(0), any = {0};
    struct world w = make_world(100, 0, 5, 4);
    struct head *a = head_create(&options), *b = head_create(&any);
    struct tensor_list head = TENSOR_LIST_INIT;
    float x[64], y[64];

    (void)state;
    head_step(a, w.examples, w.n);
    head_export(a, &head, NULL);
    assert_int_equal(head_import(b, &head, NULL, NULL), 0);
    assert_int_equal(head_labels(b), 5);
    head_scores(a, w.examples[0].text, w.examples[0].n_bytes, NULL, 0, x);
    head_scores(b, w.examples[0].text, w.examples[0].n_bytes, NULL, 0, y);
    assert_memory_equal(x, y, 5 * sizeof *x);
    tensor_list_release(&head);
    head_free(a);
    head_free(b);
    free_world(&w);
}

/* A head of an older program keeps its features, without letters, and the scale
 * of its logits. */
static void an_older_head_has_no_letters(void **state)
{
    struct head_options options = small_options(0);
    struct world w = make_world(100, 0, 5, 4);
    struct head *a = head_create(&options), *b = head_create(&options);
    struct tensor_list head = TENSOR_LIST_INIT, again = TENSOR_LIST_INIT;
    float x[64], y[64];
    int best = 0;

    (void)state;
    head_step(a, w.examples, w.n);
    head_export(a, &head, NULL);
    assert_int_equal(head.n, 4);
    assert_string_equal(head.items[3].name, "head.letters");
    head.n = 3; /* as the older program wrote it */
    assert_int_equal(head_import(b, &head, NULL, NULL), 0);
    head_export(b, &again, NULL);
    assert_same_tensors(&head, &again);
    head_scores(a, "a1 a2", 5, NULL, 0, x);
    head_scores(b, "a1 a2", 5, NULL, 0, y);
    assert_memory_not_equal(x, y, 5 * sizeof *x);
    /* Without words there are no letters. The older head has the same cosines,
     * but its logits are 10 times them, not 7: it is surer of the best label. */
    head_scores(a, "\xe4\xb8\xad", 3, NULL, 0, x);
    head_scores(b, "\xe4\xb8\xad", 3, NULL, 0, y);
    for (int c = 1; c < 5; c++)
        if (x[c] > x[best])
            best = c;
    for (int c = 0; c < 5; c++)
        assert_true(c == best ? y[c] > x[c] : y[c] < y[best]);
    head.n = 4;
    *(int64_t *)head.items[3].data = 4;
    assert_int_equal(head_import(b, &head, NULL, NULL), ERR_CORRUPT);
    *(int64_t *)head.items[3].data = 3;
    assert_int_equal(head_import(b, &head, NULL, NULL), 0);
    tensor_list_release(&head);
    tensor_list_release(&again);
    head_free(a);
    head_free(b);
    free_world(&w);
}

static void refuses_a_damaged_state(void **state)
{
    struct head_options options = small_options(0), other;
    struct world w = make_world(100, 0, 5, 4);
    struct head *a = head_create(&options), *b;
    struct tensor_list head = TENSOR_LIST_INIT, rest = TENSOR_LIST_INIT;
    struct err err = ERR_INIT;

    (void)state;
    head_step(a, w.examples, w.n);
    head_export(a, &head, &rest);
    other = options;
    other.gram_slots *= 2;
    b = head_create(&other);
    assert_int_equal(head_import(b, &head, &rest, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "gram_slots"));
    head_free(b);
    other = options;
    other.max_labels = 4;
    b = head_create(&other);
    assert_int_equal(head_import(b, &head, &rest, &err), ERR_LIMIT);
    head_free(b);
    ((float *)head.items[1].data)[7] = NAN;
    assert_int_equal(head_import(a, &head, &rest, &err), ERR_CORRUPT);
    ((float *)head.items[1].data)[7] = 0.0f;
    ((float *)rest.items[1].data)[7] = -1.0f;
    assert_int_equal(head_import(a, &head, &rest, &err), ERR_CORRUPT);
    ((float *)rest.items[1].data)[7] = 0.0f;
    head.items[0].shape[1]++;
    assert_int_equal(head_import(a, &head, &rest, &err), ERR_CORRUPT);
    assert_int_equal(head_labels(a), 5);
    tensor_list_release(&head);
    tensor_list_release(&rest);
    head_free(a);
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grams_are_words_and_pairs),
        cmocka_unit_test(grams_of_any_bytes),
        cmocka_unit_test(letters_are_runs_of_three),
        cmocka_unit_test(wide_sums_are_plain_sums),
        cmocka_unit_test(given_grams_are_the_texts),
        cmocka_unit_test(learns_separable_texts),
        cmocka_unit_test(a_new_label_is_tested_before_it_is_known),
        cmocka_unit_test(texts_without_words_do_no_harm),
        cmocka_unit_test(replay_keeps_old_classes),
        cmocka_unit_test(gradients_match_central_differences),
        cmocka_unit_test(asking_for_the_states_gradient_changes_nothing),
        cmocka_unit_test(state_is_exact),
        cmocka_unit_test(serves_from_what_is_stored),
        cmocka_unit_test(an_older_head_has_no_letters),
        cmocka_unit_test(refuses_a_damaged_state),
    };

    ops_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

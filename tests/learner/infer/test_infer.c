/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of infer_create: refused weights and shapes, two threads at once, and
 * cancelled calls.
 */
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "learner/infer/infer.h"
#include "learner/model.h"
#include "tests/util/infer_util.h"

/* --- two threads at once ------------------------------------------------ */

struct answers {
    double nats;
    float scores[3];
    float embedding[32];
    char *written;
};

static void ask(struct answers *a)
{
    struct infer_sampling s = util_greedy(60);
    struct infer_completion c;
    struct infer_score score;
    token_id prompt[] = {'a', 'b', 'c'};

    s.temperature = 1.0f;
    s.seed = 21;
    if (infer_score(infer_fix.infer, util_text, strlen(util_text), true, NULL,
                    &score, NULL) ||
        infer_classify(infer_fix.infer, util_text, strlen(util_text), NULL,
                       a->scores, NULL) ||
        infer_embed(infer_fix.infer, prompt, 3, NULL, a->embedding, NULL) ||
        infer_complete(infer_fix.infer, prompt, 3, &s, NULL, &c, NULL))
        abort();
    a->nats = score.nats;
    a->written = xstrdup(c.text.data);
    infer_score_release(&score);
    infer_completion_release(&c);
}

#define ROUNDS 8

static void *ask_often(void *arg)
{
    struct answers *a = arg;

    for (int i = 0; i < ROUNDS; i++)
        ask(&a[i]);
    return NULL;
}

static void test_threads(void **state)
{
    enum { THREADS = 6 }; /* more than the pool keeps */
    struct answers one, a[THREADS][ROUNDS];
    pthread_t threads[THREADS];

    (void)state;
    ask(&one);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, a[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS * ROUNDS; i++) {
        struct answers *b = &a[i / ROUNDS][i % ROUNDS];

        assert_true(b->nats == one.nats);
        assert_memory_equal(b->scores, one.scores, sizeof one.scores);
        assert_memory_equal(b->embedding, one.embedding, sizeof one.embedding);
        assert_string_equal(b->written, one.written);
        free(b->written);
    }
    free(one.written);
}

/* --- refused tensors ---------------------------------------------------- */

static int create(const struct tensor_list *w, const struct tensor_list *h,
                  const struct names *n, struct err *err)
{
    struct infer *f = NULL;
    int rc = infer_create(&infer_util_shape, infer_fix.tokenizer, w, h, n, NULL,
                          &f, err);

    infer_free(f);
    return rc;
}

static void test_weights_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < infer_fix.model->n_tensors; i++) {
        const struct model_tensor *t = &infer_fix.model->tensors[i];
        size_t turned[2] = {t->shape[1], t->shape[0]};
        struct tensor_list l = TENSOR_LIST_INIT;
        struct tensor *mine;
        struct err err = ERR_INIT;
        float keep = infer_fix.params[t->offset + t->count / 2];

        util_lend_weights(&l);
        mine = &l.items[i];
        mine->name[0] ^= 1;
        assert_int_equal(create(&l, &infer_fix.head, &infer_fix.labels, &err),
                         ERR_CORRUPT);
        assert_non_null(strstr(err.msg, t->name));
        mine->name[0] ^= 1;
        mine->type = TENSOR_U8;
        assert_int_equal(create(&l, &infer_fix.head, &infer_fix.labels, &err),
                         ERR_CORRUPT);
        mine->type = TENSOR_F32;
        if (t->n_dims == 2 && turned[0] != turned[1]) {
            memcpy(mine->shape, turned, sizeof turned);
            assert_int_equal(
                create(&l, &infer_fix.head, &infer_fix.labels, &err),
                ERR_CORRUPT);
            assert_non_null(strstr(err.msg, t->name));
            memcpy(mine->shape, t->shape, sizeof t->shape);
        }
        infer_fix.params[t->offset + t->count / 2] = i % 2 ? NAN : -INFINITY;
        assert_int_equal(create(&l, &infer_fix.head, &infer_fix.labels, &err),
                         ERR_CORRUPT);
        assert_non_null(strstr(err.msg, t->name));
        infer_fix.params[t->offset + t->count / 2] = keep;
        assert_int_equal(create(&l, &infer_fix.head, &infer_fix.labels, &err),
                         0);
        tensor_list_release(&l);
    }
}

static void test_head_refused(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    struct err err = ERR_INIT;
    float *rows, keep;

    (void)state;
    util_make_head(16, &l); /* the weights of another model */
    assert_int_equal(create(&infer_fix.weights, &l, &infer_fix.labels, &err),
                     ERR_CORRUPT);
    tensor_list_release(&l);
    assert_int_equal(
        create(&infer_fix.weights, &infer_fix.head, &infer_fix.no_labels, &err),
        ERR_CORRUPT);
    rows = tensor_find(&infer_fix.head, "head.rows")->data;
    keep = rows[1];
    rows[1] = NAN;
    assert_int_equal(
        create(&infer_fix.weights, &infer_fix.head, &infer_fix.labels, &err),
        ERR_CORRUPT);
    rows[1] = keep;
    assert_int_equal(
        create(&infer_fix.weights, &infer_fix.head, &infer_fix.labels, &err),
        0);
}

static void test_shape_refused(void **state)
{
    struct model_shape other = infer_util_shape;
    struct infer *f;

    (void)state;
    other.vocab_size = UTIL_V + 1; /* not the tokenizer's vocabulary */
    assert_int_equal(infer_create(&other, infer_fix.tokenizer,
                                  &infer_fix.weights, &infer_fix.head,
                                  &infer_fix.labels, NULL, &f, NULL),
                     ERR_CORRUPT);
    other = infer_util_shape;
    other.heads = 3;
    assert_int_equal(infer_create(&other, infer_fix.tokenizer,
                                  &infer_fix.weights, &infer_fix.head,
                                  &infer_fix.labels, NULL, &f, NULL),
                     ERR_CORRUPT);
    other.heads = 0;
    assert_int_equal(infer_create(&other, infer_fix.tokenizer,
                                  &infer_fix.weights, &infer_fix.head,
                                  &infer_fix.labels, NULL, &f, NULL),
                     ERR_INVALID);
}

/* The weights are finite, but the outputs are not. */
static void test_not_finite(void **state)
{
    struct infer_sampling s = util_greedy(4);
    struct infer_completion c;
    struct infer_score score;
    struct infer *f;
    float p[2];
    token_id ids[] = {1, 2};

    (void)state;
    for (size_t j = 0; j < (size_t)infer_util_shape.dim; j++)
        infer_fix.params[infer_fix.model->norm + j] = 1e38f;
    for (size_t j = 0; j < UTIL_V * (size_t)infer_util_shape.dim; j++)
        infer_fix.params[infer_fix.model->lm_head + j] *= 1e30f;
    assert_int_equal(infer_create(&infer_util_shape, infer_fix.tokenizer,
                                  &infer_fix.weights, &infer_fix.head,
                                  &infer_fix.labels, NULL, &f, NULL),
                     0);
    util_randomise(0.2f);
    assert_int_equal(
        infer_score(f, util_text, strlen(util_text), false, NULL, &score, NULL),
        ERR_DIVERGED);
    assert_int_equal(infer_complete(f, ids, 2, &s, NULL, &c, NULL),
                     ERR_DIVERGED);
    assert_int_equal(infer_prompt_logprobs(f, ids, 2, 0, NULL, p, NULL, NULL),
                     ERR_DIVERGED);
    infer_free(f);
}

/* --- cancelled calls ---------------------------------------------------- */

struct patience {
    int asked, most; /* number of checks; the check after `most` cancels */
};

static int run_out(void *arg, struct err *err)
{
    struct patience *p = arg;

    return ++p->asked > p->most ? err_set(err, ERR_AGAIN, "enough") : 0;
}

/* Runs every function on a long text. Returns the error that all of them
 * gave. */
static int work_until(struct patience *p, int kind)
{
    enum { BYTES = 70000 };
    struct cancel cancel = {run_out, p};
    struct infer_listener listener = {NULL, NULL, &cancel};
    struct infer_sampling s = util_greedy(50);
    struct infer_completion c = {0};
    struct infer_score score = {0};
    struct err err = ERR_INIT;
    char *text = xcalloc(BYTES + 1, 1);
    token_id *ids = xcalloc(BYTES, sizeof *ids);
    float *out = xfloats(BYTES);
    int rc = 0;

    p->asked = 0;
    memset(text, 'a', BYTES);
    for (int i = 0; i < BYTES; i++) {
        ids[i] = 'a';
        text[i] = i % 7 ? 'a' : ' ';
    }
    if (kind == 0)
        rc = infer_score(infer_fix.infer, text, BYTES, false, &cancel, &score,
                         &err);
    else if (kind == 1)
        rc = infer_classify(infer_fix.infer, text, BYTES, &cancel, out, &err);
    else if (kind == 2)
        rc = infer_embed(infer_fix.infer, ids, BYTES, &cancel, out, &err);
    else if (kind == 3)
        rc = infer_prompt_logprobs(infer_fix.infer, ids, BYTES, 0, &cancel, out,
                                   NULL, &err);
    else
        rc = infer_complete(infer_fix.infer, ids, 1, &s, &listener, &c, &err);
    if (rc)
        assert_string_equal(err.msg, "enough");
    infer_score_release(&score);
    infer_completion_release(&c);
    free(text);
    free(ids);
    free(out);
    return rc;
}

/* Every function checks often, and ends at the first check that cancels. */
static void test_cancelled(void **state)
{
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        struct patience p = {0, 1000000};

        assert_int_equal(work_until(&p, kind), 0);
        assert_true(p.asked >= (kind == 4 ? 50 : 70000 / 512));
        for (int most = 0; most < 4; most++) {
            p.most = most;
            assert_int_equal(work_until(&p, kind), ERR_AGAIN);
            assert_int_equal(p.asked, most + 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_weights_refused),
        cmocka_unit_test(test_head_refused),
        cmocka_unit_test(test_shape_refused),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_cancelled),
    };

    return cmocka_run_group_tests(tests, util_setup, util_teardown);
}

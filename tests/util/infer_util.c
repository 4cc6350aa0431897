/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/head.h"
#include "learner/infer/infer.h"
#include "learner/model.h"
#include "learner/ngram.h"
#include "learner/kernels/ops.h"
#include "learner/tokenizer/cut.h"
#include "tests/util/infer_util.h"

const struct model_shape infer_util_shape = {.vocab_size = UTIL_V,
                                             .dim = 32,
                                             .layers = 2,
                                             .heads = 2,
                                             .kv_heads = 1,
                                             .head_dim = 16,
                                             .ffn_dim = 48,
                                             .context = UTIL_CONTEXT,
                                             .norm_eps = 1e-5f,
                                             .rope_theta = 10000.0f,
                                             .tied = false,
                                             .qk_norm = false};

struct infer_fixture infer_fix;

void util_randomise(float scale)
{
    model_init_params(infer_fix.model, 1, infer_fix.params);
    for (size_t i = 0; i < infer_fix.model->n_tensors; i++) {
        const struct model_tensor *t = &infer_fix.model->tensors[i];

        for (size_t j = 0; t->decays && j < t->count; j++)
            infer_fix.params[t->offset + j] =
                scale * (float)rng_normal(7, RNG_INIT, i, j);
    }
}

void util_lend_weights(struct tensor_list *l)
{
    for (size_t i = 0; i < infer_fix.model->n_tensors; i++) {
        const struct model_tensor *t = &infer_fix.model->tensors[i];

        tensor_add_borrowed(l, t->name, TENSOR_F32, t->n_dims, t->shape,
                            infer_fix.params + t->offset);
    }
}

void util_make_head(int dim, struct tensor_list *out)
{
    struct head_options o;
    struct head *h;
    float states[32];

    head_options_default(&o);
    o.dim = dim;
    o.gram_slots = 256;
    h = head_create(&o);
    for (int i = 0; i < 20; i++) {
        struct head_example e = {
            .text = i % 2 ? "blue sea and blue sky" : "red rose and red wine",
            .n_bytes = 21,
            .states = dim ? states : NULL,
            .n_states = 1,
            .label = i % 2,
        };

        for (int j = 0; j < dim; j++)
            states[j] =
                (float)rng_normal(9, RNG_INIT, (uint64_t)i, (uint64_t)j);
        head_step(h, &e, 1);
    }
    head_export(h, out, NULL);
    head_free(h);
}

int util_setup(void **state)
{
    (void)state;
    ops_init();
    infer_fix.tokenizer = tokenizer_create_bytes();
    assert_int_equal(model_create(&infer_util_shape, &infer_fix.model, NULL),
                     0);
    infer_fix.params = xfloats(infer_fix.model->n_params);
    util_randomise(0.2f);
    util_lend_weights(&infer_fix.weights);
    util_make_head(infer_util_shape.dim, &infer_fix.head);
    names_add(&infer_fix.labels, "red");
    names_add(&infer_fix.labels, "blue");
    names_add(&infer_fix.labels, "never seen");
    return infer_create(&infer_util_shape, infer_fix.tokenizer,
                        &infer_fix.weights, &infer_fix.head, &infer_fix.labels,
                        NULL, &infer_fix.infer, NULL);
}

int util_teardown(void **state)
{
    (void)state;
    infer_free(infer_fix.infer);
    names_release(&infer_fix.labels);
    tensor_list_release(&infer_fix.weights);
    tensor_list_release(&infer_fix.head);
    free(infer_fix.params);
    model_free(infer_fix.model);
    tokenizer_free(infer_fix.tokenizer);
    return 0;
}

void util_forward_one(const struct segment *s, float *loss)
{
    struct batch b = {0};
    struct model_work *w = model_work_create(infer_fix.model, s->n_tokens);

    batch_add(&b, s);
    model_forward(infer_fix.model, infer_fix.params, &b, w, loss);
    model_work_free(w);
    batch_release(&b);
}

void util_make_memory(struct tensor_list *out)
{
    struct ngram *memory = ngram_create(UTIL_V, 1);
    struct cut c = CUT_INIT;
    float loss[UTIL_CONTEXT];

    cut_record(&c, infer_fix.tokenizer, UTIL_CONTEXT, NULL, 0, util_text,
               strlen(util_text), -1, -1);
    for (size_t i = 0; i < c.n_segments; i++) {
        util_forward_one(&c.segments[i], loss);
        ngram_learn(memory, &c.segments[i], loss, loss);
    }
    cut_release(&c);
    ngram_export(memory, out);
    ngram_free(memory);
}

void util_logits_after(const token_id *ids, size_t n, float *logits)
{
    token_id tokens[UTIL_CONTEXT + 1] = {0};
    struct segment s = {.tokens = tokens, .n_tokens = (uint32_t)n};
    struct batch b = {0};
    struct model_work *w = model_work_create(infer_fix.model, n);

    assert_true(n >= 1 && n <= UTIL_CONTEXT);
    memcpy(tokens, ids, n * sizeof *ids);
    batch_add(&b, &s);
    model_forward(infer_fix.model, infer_fix.params, &b, w, NULL);
    ops_ref.linear(logits,
                   model_states(w) + (n - 1) * (size_t)infer_util_shape.dim,
                   infer_fix.params + infer_fix.model->lm_head, 1,
                   (size_t)infer_util_shape.dim, UTIL_V, 0);
    model_work_free(w);
    batch_release(&b);
}

token_id util_most_likely(const float *logits)
{
    size_t best = 0;

    for (size_t i = 1; i < UTIL_V; i++)
        if (logits[i] > logits[best])
            best = i;
    return (token_id)best;
}

double util_logprob(const float *logits, size_t id)
{
    double sum = 0.0;

    for (size_t i = 0; i < UTIL_V; i++)
        sum += exp((double)logits[i] - (double)logits[id]);
    return -log(sum);
}

void util_prompt_of(const char *s, size_t n, struct token_list *l)
{
    tokenizer_encode(infer_fix.tokenizer, s, n, l);
}

void util_complete(const struct infer *f, const char *prompt,
                   const struct infer_sampling *s, struct infer_completion *c)
{
    struct token_list ids = TOKEN_LIST_INIT;
    struct err err = ERR_INIT;

    util_prompt_of(prompt, strlen(prompt), &ids);
    if (infer_complete(f, ids.items, ids.n, s, NULL, c, &err))
        fail_msg("%s", err.msg);
    token_list_release(&ids);
}

struct infer_sampling util_greedy(int max_tokens)
{
    struct infer_sampling s;

    infer_sampling_default(&s);
    s.temperature = 0.0f;
    s.max_tokens = max_tokens;
    return s;
}

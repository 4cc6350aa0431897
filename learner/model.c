/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The presets, the limits, and the layout of the parameter block.
 *
 * Tensors follow each other without a gap, so that q, k, v and gate, up are
 * each one matrix:
 *
 *     embed | layer 0: norm, q, k, v, (their biases), (q_norm, k_norm),
 *                      o, (its bias), norm, gate, up, down
 *           | layer 1 ... | norm | (lm_head)
 */
#include "config.h"

#include "learner/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/xalloc.h"
#include "learner/kernels/block.h"
#include "learner/kernels/ops.h"

#define MAX_FFN_DIM (8 * MODEL_MAX_DIM)
#define MAX_PARAMS ((size_t)1 << 31) /* 8 GiB a block, of which there are 6 */
#define LAYER_TENSORS 15             /* with qk_norm and all biases */

static const struct {
    const char *name;
    int dim, layers, heads, kv_heads, head_dim, ffn_dim, context;
} presets[] = {
    {"nano", 96, 3, 3, 3, 32, 256, 128},
    {"tiny", 128, 5, 4, 2, 32, 384, 256},
    {"small", 256, 4, 4, 2, 64, 640, 256},
    {"base", 320, 6, 5, 5, 64, 896, 256},
    {"large", 512, 8, 8, 4, 64, 1536, 512},
};

int model_preset(const char *name, struct model_shape *shape, struct err *err)
{
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (strcmp(name, presets[i].name) != 0)
            continue;
        shape->dim = presets[i].dim;
        shape->layers = presets[i].layers;
        shape->heads = presets[i].heads;
        shape->kv_heads = presets[i].kv_heads;
        shape->head_dim = presets[i].head_dim;
        shape->ffn_dim = presets[i].ffn_dim;
        shape->context = presets[i].context;
        shape->norm_eps = 1e-5f;
        shape->rope_theta = 10000.0f;
        shape->tied = true;
        shape->qk_norm = false;
        shape->bias = MODEL_BIAS_NONE;
        shape->rope = (struct rope_scaling){.kind = ROPE_PLAIN};
        return 0;
    }
    return err_set(err, ERR_INVALID,
                   "no preset '%s': nano, tiny, small, base or large", name);
}

/* Counts the floats of one layer. */
static size_t layer_count(const struct model_shape *s)
{
    size_t c = (size_t)s->dim, hd = (size_t)s->head_dim;
    size_t q = (size_t)s->heads * hd, kv = (size_t)s->kv_heads * hd;

    return 2 * c + 2 * c * (q + kv) + 3 * c * (size_t)s->ffn_dim +
           (s->qk_norm ? 2 * hd : 0) +
           (s->bias != MODEL_BIAS_NONE ? q + 2 * kv : 0) +
           (s->bias == MODEL_BIAS_ALL ? c : 0);
}

/* If every field is within its limit, the result is far below 2^63. */
static size_t param_count(const struct model_shape *s)
{
    size_t c = (size_t)s->dim, embed = (size_t)s->vocab_size * c;

    return embed + (size_t)s->layers * layer_count(s) + c +
           (s->tied ? 0 : embed);
}

static int check_range(const char *what, int value, int least, int most,
                       struct err *err)
{
    if (value >= least && value <= most)
        return 0;
    return err_set(err, ERR_INVALID, "model shape: %s is %d, not in %d..%d",
                   what, value, least, most);
}

static int check_floats(const struct model_shape *s, struct err *err)
{
    if (!(s->norm_eps > 0.0f && s->norm_eps < 1.0f))
        return err_set(err, ERR_INVALID,
                       "model shape: norm_eps is %g, not between 0 and 1",
                       (double)s->norm_eps);
    if (!(s->rope_theta >= 1.0f && isfinite(s->rope_theta)))
        return err_set(err, ERR_INVALID,
                       "model shape: rope_theta is %g, not 1 or more",
                       (double)s->rope_theta);
    return 0;
}

static int check_rope(const struct rope_scaling *r, struct err *err)
{
    if (r->kind == ROPE_PLAIN)
        return 0;
    if (!(r->factor >= 1.0f && isfinite(r->factor)))
        return err_set(err, ERR_INVALID,
                       "model shape: the rope scaling factor is %g, not 1 or "
                       "more",
                       (double)r->factor);
    if (r->kind == ROPE_LLAMA3 &&
        !(r->low_factor > 0.0f && r->low_factor < r->high_factor &&
          isfinite(r->high_factor) && r->original_context > 0))
        return err_set(err, ERR_INVALID,
                       "model shape: rope scaling llama3 with the factors %g "
                       "and %g and a first context of %d",
                       (double)r->low_factor, (double)r->high_factor,
                       r->original_context);
    return 0;
}

static int check_kinds(const struct model_shape *s, struct err *err)
{
    if (s->bias != MODEL_BIAS_NONE && s->bias != MODEL_BIAS_QKV &&
        s->bias != MODEL_BIAS_ALL)
        return err_set(err, ERR_INVALID, "model shape: no such biases");
    if (s->qk_norm && s->bias == MODEL_BIAS_QKV) /* no family has both */
        return err_set(err, ERR_INVALID,
                       "model shape: norms and biases of q and k need a bias "
                       "of o");
    return check_rope(&s->rope, err);
}

int model_shape_check(const struct model_shape *s, struct err *err)
{
    int rc;

    if ((rc = check_range("vocab_size", s->vocab_size, 2, MODEL_MAX_VOCAB,
                          err)) ||
        (rc = check_range("dim", s->dim, 1, MODEL_MAX_DIM, err)) ||
        (rc = check_range("layers", s->layers, 1, MODEL_MAX_LAYERS, err)) ||
        (rc = check_range("heads", s->heads, 1, MODEL_MAX_DIM, err)) ||
        (rc = check_range("kv_heads", s->kv_heads, 1, s->heads, err)) ||
        (rc = check_range("head_dim", s->head_dim, 2, MODEL_MAX_DIM / s->heads,
                          err)) ||
        (rc = check_range("ffn_dim", s->ffn_dim, 1, MAX_FFN_DIM, err)) ||
        (rc = check_range("context", s->context, 1, MODEL_MAX_CONTEXT, err)))
        return rc;
    if (s->heads % s->kv_heads != 0)
        return err_set(err, ERR_INVALID,
                       "model shape: kv_heads %d does not divide heads %d",
                       s->kv_heads, s->heads);
    if (s->head_dim % 2 != 0)
        return err_set(err, ERR_INVALID, "model shape: head_dim %d is odd",
                       s->head_dim);
    if ((rc = check_floats(s, err)) || (rc = check_kinds(s, err)))
        return rc;
    if (param_count(s) > MAX_PARAMS)
        return err_set(err, ERR_LIMIT,
                       "model shape: %zu parameters, more than %zu",
                       param_count(s), MAX_PARAMS);
    return 0;
}

/* Appends a tensor to the block and returns its offset. `name` has .weight or
 * .bias. columns 0 makes a vector: a norm or a bias. */
static size_t add_tensor(struct model *m, int layer, const char *name,
                         size_t rows, size_t columns)
{
    struct model_tensor *t = &m->tensors[m->n_tensors++];

    if (layer < 0)
        snprintf(t->name, sizeof t->name, "%s", name);
    else
        snprintf(t->name, sizeof t->name, "model.layers.%d.%s", layer, name);
    t->n_dims = columns ? 2 : 1;
    t->shape[0] = rows;
    t->shape[1] = columns;
    t->offset = m->n_params;
    t->count = rows * (columns ? columns : 1);
    t->decays = columns != 0;
    m->n_params += t->count;
    return t->offset;
}

static void add_layer(struct model *m, int i)
{
    const struct model_shape *s = &m->shape;
    struct model_layer *l = &m->layers[i];
    size_t c = (size_t)s->dim, f = (size_t)s->ffn_dim;
    size_t hd = (size_t)s->head_dim;
    size_t q = (size_t)s->heads * hd, kv = (size_t)s->kv_heads * hd;

    l->attn_norm = add_tensor(m, i, "input_layernorm.weight", c, 0);
    l->q = add_tensor(m, i, "self_attn.q_proj.weight", q, c);
    l->k = add_tensor(m, i, "self_attn.k_proj.weight", kv, c);
    l->v = add_tensor(m, i, "self_attn.v_proj.weight", kv, c);
    if (s->bias != MODEL_BIAS_NONE) {
        l->q_bias = add_tensor(m, i, "self_attn.q_proj.bias", q, 0);
        l->k_bias = add_tensor(m, i, "self_attn.k_proj.bias", kv, 0);
        l->v_bias = add_tensor(m, i, "self_attn.v_proj.bias", kv, 0);
    }
    if (s->qk_norm) {
        l->q_norm = add_tensor(m, i, "self_attn.q_norm.weight", hd, 0);
        l->k_norm = add_tensor(m, i, "self_attn.k_norm.weight", hd, 0);
    }
    l->o = add_tensor(m, i, "self_attn.o_proj.weight", c, q);
    if (s->bias == MODEL_BIAS_ALL)
        l->o_bias = add_tensor(m, i, "self_attn.o_proj.bias", c, 0);
    l->ffn_norm = add_tensor(m, i, "post_attention_layernorm.weight", c, 0);
    l->gate = add_tensor(m, i, "mlp.gate_proj.weight", f, c);
    l->up = add_tensor(m, i, "mlp.up_proj.weight", f, c);
    l->down = add_tensor(m, i, "mlp.down_proj.weight", c, f);
}

static void lay_out_tensors(struct model *m)
{
    const struct model_shape *s = &m->shape;
    size_t v = (size_t)s->vocab_size, c = (size_t)s->dim;

    m->embed = add_tensor(m, -1, "model.embed_tokens.weight", v, c);
    for (int i = 0; i < s->layers; i++)
        add_layer(m, i);
    m->norm = add_tensor(m, -1, "model.norm.weight", c, 0);
    m->lm_head = s->tied ? m->embed : add_tensor(m, -1, "lm_head.weight", v, c);
    BUG_ON(m->n_params != param_count(s));
}

/* table[position][pair] = cos, sin of position * theta^(-2 pair / head_dim),
 * stretched */
static float *rope_table(const struct model_shape *s)
{
    size_t half = (size_t)s->head_dim / 2, context = (size_t)s->context;
    float *table = xfloats(context * half * 2);

    for (size_t p = 0; p < context; p++) {
        for (size_t j = 0; j < half; j++) {
            double plain = pow(s->rope_theta, -(double)j / (double)half);
            double angle = (double)p * rope_scaling_frequency(&s->rope, plain);

            table[2 * (p * half + j)] = (float)cos(angle);
            table[2 * (p * half + j) + 1] = (float)sin(angle);
        }
    }
    return table;
}

int model_create(const struct model_shape *shape, struct model **model,
                 struct err *err)
{
    size_t layers;
    struct model *m;
    int rc = model_shape_check(shape, err);

    if (rc)
        return rc;
    layers = (size_t)shape->layers;
    m = xcalloc(1, sizeof *m);
    m->shape = *shape;
    m->tensors = xcalloc(layers * LAYER_TENSORS + 3, sizeof *m->tensors);
    m->layers = xcalloc(layers, sizeof *m->layers);
    lay_out_tensors(m);
    m->rope = rope_table(shape);
    *model = m;
    return 0;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    free(m->tensors);
    free(m->layers);
    free(m->rope);
    free(m);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && strcmp(s + n - k, end) == 0;
}

/* Output projections start at zero, so that each layer starts as the
 * identity. So do biases. */
static bool starts_at_zero(const struct model_tensor *t)
{
    return ends_with(t->name, "o_proj.weight") ||
           ends_with(t->name, "down_proj.weight") ||
           ends_with(t->name, ".bias");
}

void model_init_params(const struct model *m, uint64_t seed, float *params)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];
        float *x = params + t->offset;

        for (size_t j = 0; j < t->count; j++) {
            if (starts_at_zero(t))
                x[j] = 0.0f;
            else if (t->n_dims == 1)
                x[j] = 1.0f;
            else
                x[j] = (float)(0.02 * rng_normal(seed, RNG_INIT, i, j));
        }
    }
}

int model_expect(const struct model_tensor *m, const struct tensor_list *l,
                 const struct tensor **t, struct err *err)
{
    int rc = block_expect(l, m->name, m->count, t, err);

    if (rc)
        return rc;
    if ((*t)->n_dims != m->n_dims ||
        memcmp((*t)->shape, m->shape,
               (size_t)m->n_dims * sizeof *m->shape) != 0)
        return err_set(err, ERR_CORRUPT,
                       "tensor %s does not have the shape of this model",
                       m->name);
    return 0;
}

const char *model_kernels(void)
{
    return ops_kernels();
}

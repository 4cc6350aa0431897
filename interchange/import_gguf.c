/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shape comes from the keys and from which tensors there are: without
 * `output` the embedding is the output layer, and biases are where they are.
 * The scaling llama3 is not in the keys: there is a tensor rope_freqs, with the
 * divisor of each frequency.
 */
#include "config.h"

#include "interchange/import_gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "interchange/gguf_names.h"
#include "store/hf.h"

#define ROPE_FREQS "rope_freqs.weight"

/* What Llama 3 has, besides a factor and a original context. */
#define LOW_FACTOR 1.0f
#define HIGH_FACTOR 4.0f
#define LARGEST_ORIGINAL_CONTEXT (1 << 20)
#define FREQS_DIFFER 1e-4

static const struct architecture {
    const char *name;
    bool qk_norm, qkv_bias;
    bool pairs; /* the rows of q and k are in the order of pairs */
} architectures[] = {
    {"llama", false, false, true},
    {"qwen2", false, true, false},
    {"qwen3", true, false, false},
};

static int get_architecture(const struct gguf *g, const struct architecture **a,
                            struct err *err)
{
    struct gguf_string name;

    if (!gguf_get_string(gguf_find(g, "general.architecture"), &name))
        return err_set(err, ERR_INVALID, "general.architecture is missing");
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        *a = &architectures[i];
        if (gguf_is(&name, architectures[i].name))
            return 0;
    }
    return err_set(err, ERR_INVALID,
                   "general.architecture is %.*s; only llama, qwen2 and qwen3 "
                   "are read",
                   name.n > 40 ? 40 : (int)name.n, name.bytes);
}

/* --- keys --------------------------------------------------------------- */

struct reader {
    const struct gguf *g;
    const struct architecture *a;
    struct err *err;
    char name[128]; /* of the last key */
    int rc;         /* the first error */
};

static const struct gguf_key *find(struct reader *r, const char *key)
{
    snprintf(r->name, sizeof r->name, "%s.%s", r->a->name, key);
    return gguf_find(r->g, r->name);
}

/* Reads a whole number from 1 to max. An absent key gives `fallback`, or an
 * error when that is 0. */
static int get_int(struct reader *r, const char *key, int max, int fallback)
{
    const struct gguf_key *found = find(r, key);
    int64_t value;

    if (r->rc || (!found && fallback > 0))
        return fallback;
    if (gguf_get_int(found, &value) && value >= 1 && value <= max)
        return (int)value;
    r->rc = err_set(r->err, ERR_INVALID,
                    found ? "%s is not a whole number from 1 to %d"
                          : "%s is missing",
                    r->name, max);
    return 1;
}

static float get_float(struct reader *r, const char *key, double fallback)
{
    const struct gguf_key *found = find(r, key);
    double value = fallback;

    if (r->rc || (!found && fallback > 0))
        return (float)fallback;
    if (gguf_get_float(found, &value) && value > 0 && isfinite((float)value) &&
        (float)value > 0.0f)
        return (float)value;
    r->rc =
        err_set(r->err, ERR_INVALID, "%s is missing or not above 0", r->name);
    return 1.0f;
}

/* As llama.cpp: a factor without a type is linear, old files have another key
 * for it, and a factor of 0 or 1 scales nothing. */
static void get_rope(struct reader *r, struct model_shape *s)
{
    const struct gguf_key *kind = find(r, "rope.scaling.type");
    const struct gguf_key *factor = find(r, "rope.scaling.factor");
    struct gguf_string type = {"linear", 6};
    double value = -1.0;

    if (!factor)
        factor = find(r, "rope.scale_linear");
    if (r->rc || (!kind && !factor))
        return;
    if (kind && (!gguf_get_string(kind, &type) ||
                 (!gguf_is(&type, "none") && !gguf_is(&type, "linear")))) {
        r->rc = err_set(r->err, ERR_INVALID,
                        "%s.rope.scaling.type is known as none and linear only",
                        r->a->name);
        return;
    }
    if (gguf_is(&type, "none"))
        return;
    gguf_get_float(factor, &value);
    if (value == 0.0 || value == 1.0)
        return;
    if (!(value > 1.0 && isfinite((float)value))) {
        r->rc =
            err_set(r->err, ERR_INVALID,
                    "%s.rope.scaling.factor is missing or below 1", r->a->name);
        return;
    }
    s->rope.kind = ROPE_LINEAR;
    s->rope.factor = (float)value;
}

/* Keys that may have one value only. */
static void check_fixed(struct reader *r, const struct model_shape *s)
{
    const char *const head_dims[] = {"attention.value_length",
                                     "rope.dimension_count"};
    int64_t value;

    for (size_t i = 0; i < 2 && !r->rc; i++)
        if (get_int(r, head_dims[i], INT32_MAX, s->head_dim) != s->head_dim &&
            !r->rc)
            r->rc = err_set(r->err, ERR_INVALID,
                            "%s differs from attention.key_length", r->name);
    if (!r->rc && gguf_get_int(find(r, "expert_count"), &value) && value > 0)
        r->rc = err_set(r->err, ERR_INVALID,
                        "%s: a mixture of experts is not read", r->name);
}

static void get_sizes(struct reader *r, struct model_shape *s)
{
    int window;

    s->dim = get_int(r, "embedding_length", MODEL_MAX_DIM, 0);
    s->layers = get_int(r, "block_count", MODEL_MAX_LAYERS, 0);
    s->heads = get_int(r, "attention.head_count", MODEL_MAX_DIM, 0);
    s->kv_heads =
        get_int(r, "attention.head_count_kv", MODEL_MAX_DIM, s->heads);
    s->head_dim = get_int(r, "attention.key_length", MODEL_MAX_DIM,
                          r->rc ? 1 : s->dim / s->heads);
    s->ffn_dim = get_int(r, "feed_forward_length", 8 * MODEL_MAX_DIM, 0);
    s->context = get_int(r, "context_length", INT32_MAX, 0);
    window = get_int(r, "attention.sliding_window", INT32_MAX, INT32_MAX);
    if (s->context > window) /* store/hf.h: a window bounds the context */
        s->context = window;
    if (s->context > MODEL_MAX_CONTEXT)
        s->context = MODEL_MAX_CONTEXT;
    s->norm_eps = get_float(r, "attention.layer_norm_rms_epsilon", 0);
    s->rope_theta = get_float(r, "rope.freq_base", 10000.0);
    get_rope(r, s);
    check_fixed(r, s);
    if (!r->rc && (s->heads % s->kv_heads != 0 || s->head_dim % 2 != 0))
        r->rc = err_set(r->err, ERR_INVALID,
                        "%d heads, %d heads of keys and values and a head of "
                        "%d channels do not fit together",
                        s->heads, s->kv_heads, s->head_dim);
}

/* --- tensors ------------------------------------------------------------ */

static const struct gguf_tensor *find_tensor(const struct gguf *g,
                                             const char *name)
{
    size_t n;
    const struct gguf_tensor *t = gguf_tensors(g, &n);

    for (size_t i = 0; i < n; i++)
        if (strcmp(t[i].name, name) == 0)
            return &t[i];
    return NULL;
}

/* Adds each tensor, under Hugging Face's name and without its numbers. */
static int list_tensors(const struct gguf *g, struct tensor_list *l,
                        struct err *err)
{
    char name[GGUF_NAMES_BYTES];
    size_t n;
    const struct gguf_tensor *t = gguf_tensors(g, &n);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(t[i].name, ROPE_FREQS) == 0)
            continue;
        if (!gguf_names_to_hf(t[i].name, name))
            return err_set(err, ERR_INVALID, "tensor %s is not expected",
                           t[i].name);
        tensor_add_borrowed(l, name, TENSOR_F32, t[i].n_dims, t[i].shape, NULL);
    }
    return 0;
}

static int check_tensors(const struct gguf *g, const struct model_shape *s,
                         struct err *err)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    int rc = list_tensors(g, &l, err);

    if (rc == 0)
        rc = hf_check_weights(s, &l, err);
    tensor_list_release(&l);
    return rc;
}

/* The parts of a split file have this key, and no other but the first part. */
static int check_whole(const struct gguf *g, struct err *err)
{
    int64_t parts;

    if (gguf_get_int(gguf_find(g, "split.count"), &parts) && parts > 1)
        return err_set(err, ERR_INVALID,
                       "one of the %" PRId64 " parts of a model: join the "
                       "parts with llama-gguf-split --merge",
                       parts);
    return 0;
}

int import_gguf_shape(const struct gguf *g, struct model_shape *shape,
                      struct err *err)
{
    struct reader r = {.g = g, .err = err};
    const struct gguf_tensor *embedding;
    struct model_shape s = {0};

    r.rc = check_whole(g, err);
    if (r.rc == 0)
        r.rc = get_architecture(g, &r.a, err);
    if (r.rc)
        return r.rc;
    get_sizes(&r, &s);
    if (r.rc)
        return r.rc;
    embedding = find_tensor(g, "token_embd.weight");
    if (!embedding || embedding->n_dims != 2)
        return err_set(err, ERR_INVALID,
                       "tensor token_embd.weight is missing, or no matrix");
    if (embedding->shape[0] > MODEL_MAX_VOCAB)
        return err_set(err, ERR_INVALID,
                       "tensor token_embd.weight has %zu rows, more than %d",
                       embedding->shape[0], MODEL_MAX_VOCAB);
    s.vocab_size = (int)embedding->shape[0];
    s.tied = !find_tensor(g, "output.weight");
    s.qk_norm = r.a->qk_norm;
    if (find_tensor(g, "blk.0.attn_output.bias"))
        s.bias = MODEL_BIAS_ALL;
    else if (r.a->qkv_bias || find_tensor(g, "blk.0.attn_q.bias"))
        s.bias = MODEL_BIAS_QKV;
    if (s.qk_norm && s.bias == MODEL_BIAS_QKV)
        return err_set(err, ERR_INVALID,
                       "tensor blk.0.attn_q.bias is not expected");
    r.rc = check_tensors(g, &s, err);
    if (r.rc == 0)
        *shape = s;
    return r.rc;
}

/* --- numbers ------------------------------------------------------------ */

static bool fits_divisors(const struct model_shape *s, const float *divisors)
{
    size_t half = (size_t)s->head_dim / 2;

    for (size_t i = 0; i < half; i++) {
        double plain = pow((double)s->rope_theta, -(double)i / (double)half);
        double want = plain / rope_scaling_frequency(&s->rope, plain);

        if (!(fabs((double)divisors[i] - want) <= FREQS_DIFFER * want))
            return false;
    }
    return true;
}

/*
 * Finds the factor and the original context of llama3 from the divisors of the
 * frequencies. The lowest frequency has the whole factor; the original context
 * is a power of two. Which of two contexts it is does not matter if all
 * divisors fit.
 */
static int read_rope_freqs(struct gguf *g, struct model_shape *s,
                           struct err *err)
{
    const struct gguf_tensor *t = find_tensor(g, ROPE_FREQS);
    size_t half = (size_t)s->head_dim / 2;
    float *divisors;
    int rc;

    if (!t)
        return 0;
    if (t->n_dims != 1 || t->count != half || s->rope.kind != ROPE_PLAIN)
        return err_set(err, ERR_INVALID,
                       "tensor " ROPE_FREQS " is not expected");
    divisors = xfloats(half);
    rc = gguf_load(g, t, divisors, err);
    s->rope = (struct rope_scaling){ROPE_LLAMA3, divisors[half - 1], LOW_FACTOR,
                                    HIGH_FACTOR, 1};
    if (rc == 0 && !(s->rope.factor >= 1.0f && isfinite(s->rope.factor)))
        s->rope.original_context = LARGEST_ORIGINAL_CONTEXT;
    while (rc == 0 && !fits_divisors(s, divisors)) {
        s->rope.original_context *= 2;
        if (s->rope.original_context > LARGEST_ORIGINAL_CONTEXT)
            rc = err_set(err, ERR_INVALID,
                         "tensor " ROPE_FREQS ": only the scaling of Llama 3 "
                         "is read");
    }
    free(divisors);
    return rc;
}

/* Puts the rows of q or k into the order of Hugging Face. */
static void unpair(float *numbers, const struct gguf_tensor *t, size_t head_dim)
{
    size_t rows = t->shape[0], columns = t->count / rows;
    float *as_read = xmemdup(numbers, t->count * sizeof *numbers);

    for (size_t r = 0; r < rows; r++)
        memcpy(numbers + gguf_names_row(r, head_dim) * columns,
               as_read + r * columns, columns * sizeof *numbers);
    free(as_read);
}

static int load_tensor(struct gguf *g, const struct gguf_tensor *t, bool pairs,
                       size_t head_dim, struct tensor_list *l, struct err *err)
{
    float *numbers = xalloc_aligned(t->count * sizeof *numbers);
    char name[GGUF_NAMES_BYTES];
    int rc;

    if (!numbers)
        return err_set(err, ERR_NOMEM, "no memory for tensor %s", t->name);
    BUG_ON(!gguf_names_to_hf(t->name, name));
    tensor_add_borrowed(l, name, TENSOR_F32, t->n_dims, t->shape, numbers);
    l->items[l->n - 1].owned = true;
    rc = gguf_load(g, t, numbers, err);
    if (rc == 0 && pairs && gguf_names_has_pairs(t->name))
        unpair(numbers, t, head_dim);
    return rc;
}

static int load_tensors(struct gguf *g, struct import_model *m, bool pairs,
                        struct err *err)
{
    size_t n;
    const struct gguf_tensor *t = gguf_tensors(g, &n);
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++)
        if (strcmp(t[i].name, ROPE_FREQS) != 0)
            rc = load_tensor(g, &t[i], pairs, (size_t)m->shape.head_dim,
                             &m->weights, err);
    if (rc == 0)
        rc = hf_check_weights(&m->shape, &m->weights, err);
    return rc;
}

static int get_end_of_text(const struct gguf *g, struct import_model *m,
                           struct err *err)
{
    const struct gguf_key *key = gguf_find(g, "tokenizer.ggml.eos_token_id");

    if (key && (!gguf_get_int(key, &m->end_of_text) || m->end_of_text < 0 ||
                m->end_of_text >= m->shape.vocab_size))
        return err_set(err, ERR_INVALID,
                       "tokenizer.ggml.eos_token_id is not a token's id");
    return 0;
}

int import_gguf_read(const char *path, struct import_model *m, bool all,
                     struct err *err)
{
    const struct architecture *a;
    struct gguf *g = NULL;
    int rc = gguf_open(path, &g, err);

    if (rc)
        return rc;
    m->is_gguf = true;
    rc = import_gguf_shape(g, &m->shape, err);
    if (rc == 0)
        rc = read_rope_freqs(g, &m->shape, err);
    if (rc == 0)
        rc = get_end_of_text(g, m, err);
    if (rc == 0 && all)
        rc = import_gguf_tokenizer(g, (size_t)m->shape.vocab_size,
                                   &m->tokenizer_json, err);
    if (rc == 0 && all && get_architecture(g, &a, err) == 0)
        rc = load_tensors(g, m, a->pairs, err);
    if (rc && err && strncmp(err->msg, path, strlen(path)) != 0)
        err_prefix(err, "%s", path);
    gguf_close(g);
    return rc;
}

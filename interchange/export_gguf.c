/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each tensor is rounded row by row, in the order of GGUF's rows, and decoded
 * back into its place.
 */
#include "config.h"

#include "interchange/export_private.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "interchange/gguf_names.h"
#include "interchange/gguf_tokenizer.h"
#include "interchange/gguf_writer.h"

/* --- keys --------------------------------------------------------------- */

/* general.file_type of llama.cpp: what most tensors have. */
static uint32_t file_type(enum gguf_type type)
{
    switch (type) {
    case GGUF_F32:
        return 0;
    case GGUF_F16:
        return 1;
    case GGUF_Q4_0:
        return 2;
    case GGUF_Q8_0:
        return 7;
    case GGUF_BF16:
        return 32;
    }
    BUG("gguf: type %d", (int)type);
}

static const char *architecture(const struct model_shape *s)
{
    if (s->qk_norm)
        return "qwen3";
    return s->bias == MODEL_BIAS_QKV ? "qwen2" : "llama";
}

/* True if the rows of q and k are in the order of pairs. */
static bool has_pairs(const struct model_shape *s)
{
    return !s->qk_norm && s->bias != MODEL_BIAS_QKV;
}

/* Refuses what llama.cpp would leave out without a word. */
static int check_shape(const struct model_shape *s, struct err *err)
{
    if (s->qk_norm && s->bias != MODEL_BIAS_NONE)
        return err_set(err, ERR_INVALID,
                       "llama.cpp knows no biases of attention in qwen3");
    if (s->bias == MODEL_BIAS_QKV && s->heads * s->head_dim != s->dim)
        return err_set(err, ERR_INVALID,
                       "llama.cpp knows qwen2 only with heads that have %d "
                       "channels together, not %d",
                       s->dim, s->heads * s->head_dim);
    if (!has_pairs(s) && s->rope.kind == ROPE_LLAMA3)
        return err_set(err, ERR_INVALID,
                       "llama.cpp knows the rope scaling of Llama 3 in llama "
                       "only");
    return 0;
}

static void add_u32(struct gguf_writer *w, const char *arch, const char *key,
                    int value)
{
    char *name = xasprintf("%s.%s", arch, key);

    gguf_writer_u32(w, name, (uint32_t)value);
    free(name);
}

static void add_float(struct gguf_writer *w, const char *arch, const char *key,
                      float value)
{
    char *name = xasprintf("%s.%s", arch, key);

    gguf_writer_float(w, name, value);
    free(name);
}

static void add_shape(struct gguf_writer *w, const struct model_shape *s)
{
    const char *arch = architecture(s);

    add_u32(w, arch, "vocab_size", s->vocab_size);
    add_u32(w, arch, "context_length", s->context);
    add_u32(w, arch, "embedding_length", s->dim);
    add_u32(w, arch, "block_count", s->layers);
    add_u32(w, arch, "feed_forward_length", s->ffn_dim);
    add_u32(w, arch, "attention.head_count", s->heads);
    add_u32(w, arch, "attention.head_count_kv", s->kv_heads);
    add_u32(w, arch, "attention.key_length", s->head_dim);
    add_u32(w, arch, "attention.value_length", s->head_dim);
    add_float(w, arch, "attention.layer_norm_rms_epsilon", s->norm_eps);
    add_u32(w, arch, "rope.dimension_count", s->head_dim);
    add_float(w, arch, "rope.freq_base", s->rope_theta);
    if (s->rope.kind == ROPE_LINEAR) {
        char *name = xasprintf("%s.rope.scaling.type", arch);

        gguf_writer_text(w, name, "linear");
        add_float(w, arch, "rope.scaling.factor", s->rope.factor);
        free(name);
    }
}

/* An id of config.json, or the first one of a list; -1: none. */
static json_int_t id_of(const json_t *config, const char *key)
{
    const json_t *id = json_object_get(config, key);

    if (json_is_array(id))
        id = json_array_get(id, 0);
    return json_is_integer(id) ? json_integer_value(id) : -1;
}

/* mneme puts the beginning token before every text, so llama.cpp must, too. */
static int add_ends(struct gguf_writer *w, const struct export_model *m,
                    struct err *err)
{
    json_t *config =
        json_loadb(m->config_json.data, m->config_json.len, 0, NULL);
    json_int_t bos = id_of(config, "bos_token_id");
    json_int_t eos = id_of(config, "eos_token_id");

    json_decref(config);
    if (eos < 0 || eos >= m->shape.vocab_size || bos >= m->shape.vocab_size)
        return err_set(err, ERR_CORRUPT,
                       "config.json: eos_token_id or bos_token_id is no id of "
                       "the vocabulary");
    if (bos >= 0)
        gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
    gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)eos);
    gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", bos >= 0);
    gguf_writer_bool(w, "tokenizer.ggml.add_eos_token", false);
    gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix", false);
    return 0;
}

static void add_chat_template(struct gguf_writer *w,
                              const struct export_model *m)
{
    json_t *config = json_loadb(m->tokenizer_config_json.data,
                                m->tokenizer_config_json.len, 0, NULL);
    const char *text =
        json_string_value(json_object_get(config, "chat_template"));

    if (text)
        gguf_writer_text(w, "tokenizer.chat_template", text);
    json_decref(config);
}

static int add_keys(struct gguf_writer *w, const struct export_model *m,
                    enum gguf_type type, struct err *err)
{
    int rc;

    gguf_writer_text(w, "general.architecture", architecture(&m->shape));
    gguf_writer_text(w, "general.type", "model");
    gguf_writer_text(w, "general.name", m->name);
    gguf_writer_u32(w, "general.file_type", file_type(type));
    if (type == GGUF_Q8_0 || type == GGUF_Q4_0)
        gguf_writer_u32(w, "general.quantization_version", 2);
    gguf_writer_text(w, "mneme.program", "mneme " PACKAGE_VERSION);
    gguf_writer_text(w, "mneme.weights_sha256", m->sha256);
    add_shape(w, &m->shape);
    rc = gguf_tokenizer_add(w, m->tokenizer_json.data, m->tokenizer_json.len,
                            (size_t)m->shape.vocab_size, err);
    if (rc == 0)
        rc = add_ends(w, m, err);
    if (rc == 0)
        add_chat_template(w, m);
    return rc;
}

/* --- tensors ------------------------------------------------------------ */

static enum gguf_type type_of(const struct tensor *t, enum gguf_type type)
{
    if (t->n_dims < 2)
        return GGUF_F32;
    return gguf_row_bytes(type, t->shape[t->n_dims - 1]) ? type : GGUF_F16;
}

/* The divisor of each rotation, for the scaling of Llama 3. */
static int write_rope_freqs(struct gguf_writer *w, const struct model_shape *s,
                            struct err *err)
{
    size_t half = (size_t)s->head_dim / 2;
    float *divisors;
    int rc;

    if (s->rope.kind != ROPE_LLAMA3)
        return 0;
    divisors = xfloats(half);
    for (size_t i = 0; i < half; i++) {
        double plain = pow((double)s->rope_theta, -(double)i / (double)half);

        divisors[i] =
            (float)(plain / rope_scaling_frequency(&s->rope, plain));
    }
    rc = gguf_writer_row(w, divisors, half * sizeof *divisors, err);
    free(divisors);
    return rc;
}

static int declare(struct gguf_writer *w, const struct export_model *m,
                   enum gguf_type type, struct export_report *report,
                   struct err *err)
{
    size_t half = (size_t)m->shape.head_dim / 2;

    if (m->shape.rope.kind == ROPE_LLAMA3)
        gguf_writer_tensor(w, "rope_freqs.weight", GGUF_F32, 1, &half);
    for (size_t i = 0; i < m->weights.n; i++) {
        const struct tensor *t = &m->weights.items[i];
        enum gguf_type own = type_of(t, type);
        char name[GGUF_NAMES_BYTES];

        if (!gguf_names_from_hf(t->name, name) || t->type != TENSOR_F32 ||
            t->n_dims < 1 || t->n_dims > 2 || tensor_count(t) == 0)
            return err_set(err, ERR_INVALID,
                           "tensor %.80s: GGUF has no such tensor", t->name);
        report->n_made_f16 += t->n_dims > 1 && own != type;
        gguf_writer_tensor(w, name, own, t->n_dims, t->shape);
    }
    return 0;
}

/* Writes a tensor and rounds it. */
static int write_tensor(struct gguf_writer *w, const struct export_model *m,
                        struct tensor *t, enum gguf_type type, struct err *err)
{
    bool pairs = false;
    char name[GGUF_NAMES_BYTES];
    size_t rows = t->shape[0], columns = t->n_dims > 1 ? t->shape[1] : 1;
    size_t n_bytes = gguf_row_bytes(type, columns);
    void *bytes = xmalloc(n_bytes);
    float *data = t->data;
    int rc = 0;

    if (has_pairs(&m->shape) && gguf_names_from_hf(t->name, name))
        pairs = gguf_names_has_pairs(name);
    BUG_ON(pairs && rows % (size_t)m->shape.head_dim != 0);
    for (size_t r = 0; r < rows && rc == 0; r++) {
        size_t from =
            pairs ? gguf_names_row(r, (size_t)m->shape.head_dim) : r;
        float *x = data + from * columns;

        if (!gguf_encode(type, x, columns, bytes)) {
            rc = export_unfit(t, type, err);
            break;
        }
        rc = gguf_writer_row(w, bytes, n_bytes, err);
        gguf_decode(type, bytes, columns, x);
    }
    free(bytes);
    return rc;
}

/* Adds everything that stands before the numbers. */
static int add_header(struct gguf_writer *w, const struct export_model *m,
                      enum gguf_type type, struct export_report *report,
                      struct err *err)
{
    int rc = check_shape(&m->shape, err);

    if (rc == 0)
        rc = add_keys(w, m, type, err);
    if (rc == 0)
        rc = declare(w, m, type, report, err);
    return rc;
}

int export_gguf_check(const struct export_model *m, enum gguf_type type,
                      struct err *err)
{
    struct export_report report = {0};
    struct gguf_writer w;
    int rc;

    gguf_writer_init(&w);
    rc = add_header(&w, m, type, &report, err);
    gguf_writer_release(&w);
    return rc;
}

int export_gguf(struct export_model *m, enum gguf_type type, const char *dir,
                struct export_report *report, struct err *err)
{
    char *path = fileio_join(dir, "model.gguf");
    struct gguf_writer w;
    int rc;

    gguf_writer_init(&w);
    rc = add_header(&w, m, type, report, err);
    if (rc == 0)
        rc = gguf_writer_open(&w, path, err);
    if (rc == 0)
        rc = write_rope_freqs(&w, &m->shape, err);
    for (size_t i = 0; i < m->weights.n && rc == 0; i++) {
        struct tensor *t = &m->weights.items[i];

        rc = write_tensor(&w, m, t, type_of(t, type), err);
    }
    if (rc == 0)
        rc = gguf_writer_close(&w, err);
    report->bytes += w.bytes;
    gguf_writer_release(&w);
    free(path);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three files are written without a JSON library, so that the same shape
 * gives the same bytes. A reader of config.json finds three kinds of settings:
 * those of struct model_shape; those for which this model has only one value;
 * and those that change no result, which it ignores.
 */
#include "config.h"

#include "store/hf.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/xalloc.h"

#define FEWEST_BYTES 2 /* of an element: F16 and BF16 */

/* --- families ----------------------------------------------------------- */

/* The model types that are read, with transformers' values of settings that
 * their config.json may leave out. A version is written as the first one that
 * has its norms and biases. */
static const struct family {
    const char *type, *class;
    bool qk_norm;
    enum model_bias bias; /* without attention_bias */
    bool has_bias_setting;
    int kv_heads; /* 0: as many as heads */
    int head_dim; /* 0: hidden_size / heads */
    int context;
    bool windows;          /* sliding_window applies */
    bool window_is_chosen; /* only with use_sliding_window */
} families[] = {
    {.type = "llama", .class = "Llama", .has_bias_setting = true,
     .context = 2048},
    {.type = "qwen2", .class = "Qwen2", .bias = MODEL_BIAS_QKV, .kv_heads = 32,
     .context = 32768, .windows = true, .window_is_chosen = true},
    {.type = "qwen3", .class = "Qwen3", .qk_norm = true,
     .has_bias_setting = true, .kv_heads = 32, .head_dim = 128,
     .context = 32768, .windows = true, .window_is_chosen = true},
    {.type = "mistral", .class = "Mistral", .kv_heads = 8, .context = 131072,
     .windows = true},
};

#define N_FAMILIES (sizeof families / sizeof *families)
#define WINDOW 4096 /* the value of an absent sliding_window */

static const struct family *family_of(const struct model_shape *s)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const struct family *f = &families[i];

        if (f->qk_norm == s->qk_norm &&
            (f->bias == s->bias ||
             (f->has_bias_setting && s->bias == MODEL_BIAS_ALL)))
            return f;
    }
    BUG("model_shape_check accepts no other");
}

/* --- writing ------------------------------------------------------------ */

/* Appends the shortest decimal that is read as the same float: 1e-06, not
 * 9.99999997e-07. Whole numbers are like 10000.0. */
static void add_float(struct buf *out, float value)
{
    char text[32];

    if (value < 1e7f && value == floorf(value)) {
        buf_addf(out, "%.1f", (double)value);
        return;
    }
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    buf_adds(out, text);
}

static void add_line(struct buf *out, const char *key, int value)
{
    buf_addf(out, "  \"%s\": %d,\n", key, value);
}

static void add_flag(struct buf *out, const char *key, bool value)
{
    buf_addf(out, "  \"%s\": %s,\n", key, value ? "true" : "false");
}

static void add_rope(struct buf *out, const struct rope_scaling *r)
{
    if (r->kind == ROPE_PLAIN)
        return;
    buf_adds(out, ",\n  \"rope_scaling\": {\"factor\": ");
    add_float(out, r->factor);
    if (r->kind == ROPE_LLAMA3) {
        buf_adds(out, ", \"low_freq_factor\": ");
        add_float(out, r->low_factor);
        buf_adds(out, ", \"high_freq_factor\": ");
        add_float(out, r->high_factor);
        buf_addf(out, ", \"original_max_position_embeddings\": %d",
                 r->original_context);
    }
    buf_addf(out, ", \"rope_type\": \"%s\"}",
             r->kind == ROPE_LINEAR ? "linear" : "llama3");
}

void hf_config_json(const struct model_shape *s, const struct hf_text *text,
                    struct buf *out)
{
    const struct family *f = family_of(s);

    buf_addf(out, "{\n  \"architectures\": [\"%sForCausalLM\"],\n", f->class);
    buf_addf(out, "  \"model_type\": \"%s\",\n", f->type);
    add_line(out, "hidden_size", s->dim);
    add_line(out, "intermediate_size", s->ffn_dim);
    add_line(out, "num_hidden_layers", s->layers);
    add_line(out, "num_attention_heads", s->heads);
    add_line(out, "num_key_value_heads", s->kv_heads);
    add_line(out, "head_dim", s->head_dim);
    add_line(out, "max_position_embeddings", s->context);
    add_line(out, "vocab_size", s->vocab_size);
    buf_adds(out, "  \"rms_norm_eps\": ");
    add_float(out, s->norm_eps);
    buf_adds(out, ",\n  \"rope_theta\": ");
    add_float(out, s->rope_theta);
    add_rope(out, &s->rope);
    buf_addf(out, ",\n  \"tie_word_embeddings\": %s,\n",
             s->tied ? "true" : "false");
    buf_addf(out,
             "  \"bos_token_id\": %" PRIu32 ",\n  \"eos_token_id\": %" PRIu32
             ",\n",
             text->begin, text->end);
    buf_adds(out, "  \"hidden_act\": \"silu\",\n");
    if (s->bias != MODEL_BIAS_QKV) /* Qwen2 has no such setting */
        add_flag(out, "attention_bias", s->bias == MODEL_BIAS_ALL);
    buf_adds(out, "  \"attention_dropout\": 0.0,\n"
                  "  \"mlp_bias\": false,\n"
                  "  \"use_cache\": true,\n"
                  "  \"torch_dtype\": \"float32\"\n}\n");
}

void hf_generation_config_json(const struct hf_text *text, struct buf *out)
{
    buf_addf(out,
             "{\n  \"bos_token_id\": %" PRIu32 ",\n  \"eos_token_id\": %" PRIu32
             ",\n  \"pad_token_id\": %" PRIu32 "\n}\n",
             text->begin, text->end, text->end);
}

/* Appends a line with a text, which may have any characters. */
static void add_text(struct buf *out, const char *key, const char *text)
{
    json_t *string = json_string(text);
    char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;

    buf_addf(out, "  \"%s\": %s,\n", key, quoted ? quoted : "null");
    json_decref(string);
    free(quoted);
}

void hf_tokenizer_config_json(const struct model_shape *shape,
                              const struct hf_text *text, struct buf *out)
{
    buf_adds(out, "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n"
                  "  \"add_prefix_space\": false,\n");
    add_flag(out, "add_bos_token", text->adds_begin);
    add_text(out, "bos_token", text->begin_name);
    add_flag(out, "clean_up_tokenization_spaces", false);
    add_text(out, "eos_token", text->end_name);
    buf_adds(out, "  \"model_input_names\": [\"input_ids\", "
                  "\"attention_mask\"],\n");
    add_text(out, "pre", text->pre);
    add_flag(out, "split_special_tokens", text->splits_special);
    buf_addf(out, "  \"model_max_length\": %d\n}\n", shape->context);
}

/* --- reading config.json ------------------------------------------------ */

/* Reads a whole number from 1 to max. An absent key gives `fallback`, or an
 * error when fallback is 0. */
static int get_int(const json_t *config, const char *key, int max, int fallback,
                   int *out, struct err *err)
{
    const json_t *value = json_object_get(config, key);

    if ((!value || json_is_null(value)) && fallback > 0) {
        *out = fallback;
        return 0;
    }
    if (!value)
        return err_set(err, ERR_INVALID, "config.json: %s is missing", key);
    if (!json_is_integer(value) || json_integer_value(value) < 1 ||
        json_integer_value(value) > max)
        return err_set(err, ERR_INVALID,
                       "config.json: %s is not a whole number from 1 to %d",
                       key, max);
    *out = (int)json_integer_value(value);
    return 0;
}

static int get_float(const json_t *config, const char *key, double fallback,
                     float *out, struct err *err)
{
    const json_t *value = json_object_get(config, key);
    double number =
        value && !json_is_null(value) ? json_number_value(value) : fallback;

    if (!(number > 0) || !isfinite((float)number) || (float)number <= 0.0f)
        return err_set(err, ERR_INVALID,
                       "config.json: %s is not a number above 0", key);
    *out = (float)number;
    return 0;
}

/* Checks the settings for which this model has only one value. They may also be
 * absent or null. */
static int check_fixed(const json_t *config, struct err *err)
{
    static const struct {
        const char *key, *only; /* as JSON */
    } fixed[] = {
        {"hidden_act", "\"silu\""},
        {"mlp_bias", "false"},
        {"quantization_config", "null"},
        {"rope_interleaved", "false"},
        {"partial_rotary_factor", "1.0"},
    };

    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        const json_t *value = json_object_get(config, fixed[i].key);
        json_t *only;
        int same;

        if (!value || json_is_null(value))
            continue;
        only = json_loads(fixed[i].only, JSON_DECODE_ANY, NULL);
        same = json_equal(value, only);
        json_decref(only);
        if (!same)
            return err_set(err, ERR_INVALID,
                           "config.json: %s has a value that this model "
                           "cannot have; only %s is known",
                           fixed[i].key, fixed[i].only);
    }
    return 0;
}

static int get_family(const json_t *config, const struct family **family,
                      struct err *err)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));

    if (!type)
        return err_set(err, ERR_INVALID, "config.json: model_type is missing");
    for (size_t i = 0; i < N_FAMILIES; i++) {
        *family = &families[i];
        if (strcmp(type, families[i].type) == 0)
            return 0;
    }
    return err_set(err, ERR_INVALID,
                   "config.json: model_type is %.40s; only llama, mistral, "
                   "qwen2 and qwen3 are known",
                   type);
}

static int get_architecture(const json_t *config, const struct family *f,
                            struct model_shape *s, struct err *err)
{
    const json_t *bias = json_object_get(config, "attention_bias");

    s->qk_norm = f->qk_norm;
    s->bias = f->bias;
    if (bias && !json_is_null(bias) && !json_is_false(bias)) {
        if (!f->has_bias_setting || !json_is_true(bias))
            return err_set(err, ERR_INVALID,
                           "config.json: attention_bias has a value that %s "
                           "cannot have",
                           f->type);
        s->bias = MODEL_BIAS_ALL;
    }
    s->tied = json_is_true(json_object_get(config, "tie_word_embeddings"));
    return 0;
}

static int get_llama3(const json_t *rope, struct rope_scaling *r,
                      struct err *err)
{
    int rc = get_float(rope, "low_freq_factor", 0, &r->low_factor, err);

    if (rc == 0)
        rc = get_float(rope, "high_freq_factor", 0, &r->high_factor, err);
    if (rc == 0)
        rc = get_int(rope, "original_max_position_embeddings", INT32_MAX, 0,
                     &r->original_context, err);
    if (rc == 0 && r->low_factor >= r->high_factor)
        rc = err_set(err, ERR_INVALID,
                     "config.json: low_freq_factor is not below "
                     "high_freq_factor");
    return rc;
}

/* Reads rope_scaling, or rope_parameters of newer programs: an object with the
 * kind of scaling, which may be absent or null. */
static int get_scaling(const json_t *rope, struct rope_scaling *r,
                       struct err *err)
{
    const json_t *kind = json_object_get(rope, "rope_type");
    const char *type;
    int rc = 0;

    if (!rope || json_is_null(rope))
        return 0;
    kind = kind ? kind : json_object_get(rope, "type");
    type = json_string_value(kind);
    if (json_is_object(rope) && kind && type && strcmp(type, "default") == 0)
        return 0;
    if (!type)
        return err_set(err, ERR_INVALID,
                       "config.json: rope_scaling has no rope_type");
    if (strcmp(type, "linear") == 0)
        r->kind = ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0)
        r->kind = ROPE_LLAMA3;
    else
        return err_set(err, ERR_INVALID,
                       "config.json: rope_scaling is %.40s; only linear and "
                       "llama3 are known",
                       type);
    rc = get_float(rope, "factor", 0, &r->factor, err);
    if (rc == 0 && r->factor < 1.0f)
        rc = err_set(err, ERR_INVALID,
                     "config.json: factor of rope_scaling is below 1");
    if (rc == 0 && r->kind == ROPE_LLAMA3)
        rc = get_llama3(rope, r, err);
    return rc;
}

/* Newer transformers keep all rotary settings in an object of their own. */
static int get_rope(const json_t *config, struct model_shape *s,
                    struct err *err)
{
    const json_t *rope = json_object_get(config, "rope_parameters");
    int rc = get_scaling(json_object_get(config, "rope_scaling"), &s->rope,
                         err);

    if (rc == 0 && json_is_object(rope) &&
        (json_object_get(rope, "rope_type") || json_object_get(rope, "type")))
        rc = get_scaling(rope, &s->rope, err);
    if (rc)
        return rc;
    if (json_object_get(rope, "rope_theta"))
        config = rope;
    return get_float(config, "rope_theta", 10000.0, &s->rope_theta, err);
}

/* A token sees only the last tokens of a sliding window. A segment that is no
 * longer than the window is not affected, so the window bounds the context. */
static int limit_to_window(const json_t *config, const struct family *f,
                           int *context, struct err *err)
{
    const json_t *window = json_object_get(config, "sliding_window");
    int tokens, rc;

    if (!f->windows || json_is_null(window) ||
        (f->window_is_chosen &&
         !json_is_true(json_object_get(config, "use_sliding_window"))))
        return 0;
    rc = get_int(config, "sliding_window", INT32_MAX, WINDOW, &tokens, err);
    if (rc == 0 && tokens < *context)
        *context = tokens;
    return rc;
}

/* Uses the defaults of transformers for absent settings. */
static int get_sizes(const json_t *config, const struct family *f,
                     struct model_shape *s, struct err *err)
{
    int rc;

    rc = get_int(config, "vocab_size", MODEL_MAX_VOCAB, 0, &s->vocab_size, err);
    if (rc == 0)
        rc = get_int(config, "hidden_size", MODEL_MAX_DIM, 0, &s->dim, err);
    if (rc == 0)
        rc = get_int(config, "intermediate_size", 8 * MODEL_MAX_DIM, 0,
                     &s->ffn_dim, err);
    if (rc == 0)
        rc = get_int(config, "num_hidden_layers", MODEL_MAX_LAYERS, 0,
                     &s->layers, err);
    if (rc == 0)
        rc = get_int(config, "num_attention_heads", MODEL_MAX_DIM, 0, &s->heads,
                     err);
    if (rc == 0)
        rc = get_int(config, "num_key_value_heads", MODEL_MAX_DIM,
                     f->kv_heads ? f->kv_heads : s->heads, &s->kv_heads, err);
    if (rc == 0)
        rc = get_int(config, "head_dim", MODEL_MAX_DIM,
                     f->head_dim ? f->head_dim : s->dim / s->heads,
                     &s->head_dim, err);
    if (rc == 0)
        rc = get_int(config, "max_position_embeddings", INT32_MAX, f->context,
                     &s->context, err);
    if (rc == 0)
        rc = limit_to_window(config, f, &s->context, err);
    if (s->context > MODEL_MAX_CONTEXT)
        s->context = MODEL_MAX_CONTEXT;
    if (rc == 0)
        rc = get_float(config, "rms_norm_eps", 1e-6, &s->norm_eps, err);
    return rc;
}

static int check_sizes(const struct model_shape *s, struct err *err)
{
    if (s->heads % s->kv_heads != 0)
        return err_set(err, ERR_INVALID,
                       "config.json: %d query heads cannot share %d "
                       "key/value heads",
                       s->heads, s->kv_heads);
    if (s->head_dim % 2 != 0)
        return err_set(err, ERR_INVALID,
                       "config.json: head_dim is %d; rotary positions need "
                       "an even one",
                       s->head_dim);
    return 0;
}

/* eos_token_id is a number, a list of numbers, or absent. */
static int get_end_of_text(const json_t *config, int vocab_size,
                           int64_t *end_of_text, struct err *err)
{
    const json_t *value = json_object_get(config, "eos_token_id");

    if (json_is_array(value))
        value = json_array_get(value, 0);
    *end_of_text = -1;
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) >= vocab_size)
        return err_set(err, ERR_INVALID,
                       "config.json: eos_token_id is not a token's id");
    *end_of_text = json_integer_value(value);
    return 0;
}

int hf_parse_config(const char *json, size_t n_bytes, struct model_shape *shape,
                    int64_t *end_of_text, struct err *err)
{
    const struct family *family;
    struct model_shape s = {0};
    json_error_t why;
    json_t *config = json_loadb(json, n_bytes, JSON_REJECT_DUPLICATES, &why);
    int rc;

    if (!json_is_object(config)) {
        rc = err_set(err, ERR_CORRUPT, "config.json: %s",
                     config ? "not an object" : why.text);
        goto out;
    }
    rc = get_family(config, &family, err);
    if (rc == 0)
        rc = get_architecture(config, family, &s, err);
    if (rc == 0)
        rc = check_fixed(config, err);
    if (rc == 0)
        rc = get_sizes(config, family, &s, err);
    if (rc == 0)
        rc = get_rope(config, &s, err);
    if (rc == 0)
        rc = check_sizes(&s, err);
    if (rc == 0)
        rc = get_end_of_text(config, s.vocab_size, end_of_text, err);
    if (rc == 0)
        *shape = s;
out:
    json_decref(config);
    return rc;
}

/* --- the tensors -------------------------------------------------------- */

/* The state of comparing a list with the table; rc is the first error. */
struct check {
    const struct tensor_list *list;
    size_t found;
    int rc;
    struct err *err;
};

static const struct tensor *expect(struct check *c, const char *name, int rows,
                                   int columns)
{
    const struct tensor *t;
    int n_dims = columns ? 2 : 1;

    if (c->rc)
        return NULL;
    t = tensor_find(c->list, name);
    if (!t)
        c->rc = err_set(c->err, ERR_INVALID, "tensor %s is missing", name);
    else if (t->type != TENSOR_F32)
        c->rc =
            err_set(c->err, ERR_INVALID, "tensor %s is not of floats", name);
    else if (t->n_dims != n_dims || t->shape[0] != (size_t)rows ||
             (columns && t->shape[1] != (size_t)columns))
        c->rc = err_set(c->err, ERR_INVALID,
                        columns ? "tensor %s is not (%d, %d)"
                                : "tensor %s is not (%d)",
                        name, rows, columns);
    c->found++;
    return t;
}

static void expect_layer(struct check *c, int layer, const char *name, int rows,
                         int columns)
{
    char *full = xasprintf("model.layers.%d.%s", layer, name);

    expect(c, full, rows, columns);
    free(full);
}

static void expect_layers(struct check *c, const struct model_shape *s)
{
    int q = s->heads * s->head_dim;
    int kv = s->kv_heads * s->head_dim;

    for (int i = 0; i < s->layers; i++) {
        expect_layer(c, i, "input_layernorm.weight", s->dim, 0);
        expect_layer(c, i, "self_attn.q_proj.weight", q, s->dim);
        expect_layer(c, i, "self_attn.k_proj.weight", kv, s->dim);
        expect_layer(c, i, "self_attn.v_proj.weight", kv, s->dim);
        expect_layer(c, i, "self_attn.o_proj.weight", s->dim, q);
        if (s->bias != MODEL_BIAS_NONE) {
            expect_layer(c, i, "self_attn.q_proj.bias", q, 0);
            expect_layer(c, i, "self_attn.k_proj.bias", kv, 0);
            expect_layer(c, i, "self_attn.v_proj.bias", kv, 0);
        }
        if (s->bias == MODEL_BIAS_ALL)
            expect_layer(c, i, "self_attn.o_proj.bias", s->dim, 0);
        if (s->qk_norm) {
            expect_layer(c, i, "self_attn.q_norm.weight", s->head_dim, 0);
            expect_layer(c, i, "self_attn.k_norm.weight", s->head_dim, 0);
        }
        expect_layer(c, i, "post_attention_layernorm.weight", s->dim, 0);
        expect_layer(c, i, "mlp.gate_proj.weight", s->ffn_dim, s->dim);
        expect_layer(c, i, "mlp.up_proj.weight", s->ffn_dim, s->dim);
        expect_layer(c, i, "mlp.down_proj.weight", s->dim, s->ffn_dim);
    }
}

/* Checks the output matrix. Some tools also write a tied one. */
static void expect_output(struct check *c, const struct model_shape *s,
                          const struct tensor *embedding)
{
    const struct tensor *output;

    if (s->tied && !tensor_find(c->list, "lm_head.weight"))
        return;
    output = expect(c, "lm_head.weight", s->vocab_size, s->dim);
    if (s->tied && c->rc == 0 && output->data && embedding->data &&
        memcmp(output->data, embedding->data, tensor_bytes(output)) != 0)
        c->rc = err_set(c->err, ERR_INVALID,
                        "tensor lm_head.weight differs from the embedding "
                        "that it is tied to");
}

/* The parts of a layer; the last ones only with norms and with biases. */
static bool is_layer_part(const char *part, const struct model_shape *s)
{
    static const char *const parts[] = {
        "input_layernorm.weight",  "self_attn.q_proj.weight",
        "self_attn.k_proj.weight", "self_attn.v_proj.weight",
        "self_attn.o_proj.weight", "post_attention_layernorm.weight",
        "mlp.gate_proj.weight",    "mlp.up_proj.weight",
        "mlp.down_proj.weight",
    };

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(part, parts[i]) == 0)
            return true;
    if (strcmp(part, "self_attn.q_norm.weight") == 0 ||
        strcmp(part, "self_attn.k_norm.weight") == 0)
        return s->qk_norm;
    if (strcmp(part, "self_attn.q_proj.bias") == 0 ||
        strcmp(part, "self_attn.k_proj.bias") == 0 ||
        strcmp(part, "self_attn.v_proj.bias") == 0)
        return s->bias != MODEL_BIAS_NONE;
    return strcmp(part, "self_attn.o_proj.bias") == 0 &&
           s->bias == MODEL_BIAS_ALL;
}

static bool is_expected(const char *name, const struct model_shape *s)
{
    static const char layers[] = "model.layers.";
    char *end;
    long layer;

    if (strncmp(name, layers, strlen(layers)) == 0) {
        layer = strtol(name + strlen(layers), &end, 10);
        return layer >= 0 && layer < s->layers && *end == '.' &&
               is_layer_part(end + 1, s);
    }
    return strcmp(name, "model.embed_tokens.weight") == 0 ||
           strcmp(name, "model.norm.weight") == 0 ||
           strcmp(name, "lm_head.weight") == 0;
}

int hf_check_weights(const struct model_shape *shape,
                     const struct tensor_list *weights, struct err *err)
{
    struct check c = {weights, 0, 0, err};
    const struct tensor *embedding =
        expect(&c, "model.embed_tokens.weight", shape->vocab_size, shape->dim);

    expect_layers(&c, shape);
    expect(&c, "model.norm.weight", shape->dim, 0);
    expect_output(&c, shape, embedding);
    if (c.rc || c.found == weights->n)
        return c.rc;
    for (size_t i = 0; i < weights->n; i++)
        if (!is_expected(weights->items[i].name, shape))
            return err_set(err, ERR_INVALID, "tensor %s is not expected",
                           weights->items[i].name);
    return err_set(err, ERR_INVALID, "two tensors have the same name");
}

/* --- the size of the weights -------------------------------------------- */

/* Counts the elements in the tensors of a shape. With every field within its
 * limit, the result is far below 2^63. */
static uint64_t count_elements(const struct model_shape *s)
{
    uint64_t c = (uint64_t)s->dim, hd = (uint64_t)s->head_dim;
    uint64_t q = (uint64_t)s->heads * hd, kv = (uint64_t)s->kv_heads * hd;
    uint64_t embed = (uint64_t)s->vocab_size * c;
    uint64_t layer = 2 * c + 2 * c * (q + kv) +
                     3 * c * (uint64_t)s->ffn_dim +
                     (s->qk_norm ? 2 * hd : 0) +
                     (s->bias != MODEL_BIAS_NONE ? q + 2 * kv : 0) +
                     (s->bias == MODEL_BIAS_ALL ? c : 0);

    return embed + (uint64_t)s->layers * layer + c + (s->tied ? 0 : embed);
}

int hf_check_size(const char *path, const struct model_shape *shape,
                  struct err *err)
{
    uint64_t least = FEWEST_BYTES * count_elements(shape);
    struct stat st;

    if (stat(path, &st) != 0)
        return err_set_errno(
            err, errno == ENOENT || errno == ENOTDIR ? ERR_NOTFOUND : ERR_IO,
            errno, "%s: cannot open", path);
    if ((uint64_t)st.st_size >= least)
        return 0;
    return err_set(err, ERR_CORRUPT,
                   "%s: %" PRIu64 " bytes, but the model of config.json "
                   "needs at least %" PRIu64,
                   path, (uint64_t)st.st_size, least);
}

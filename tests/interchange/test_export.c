/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports of a small model, read back by plain loops; targets that are refused;
 * and a disk that fails at each call.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/half.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "interchange/export.h"
#include "interchange/import.h"
#include "interchange/gguf_names.h"
#include "learner/tokenizer/tokenizer.h"
#include "store/hf.h"
#include "store/safetensors.h"
#include "tests/util/base_util.h"

#define V 270

static const struct model_shape small = {
    .vocab_size = V,
    .dim = 32,
    .layers = 2,
    .heads = 2,
    .kv_heads = 1,
    .head_dim = 8,
    .ffn_dim = 48, /* no multiple of 32 */
    .context = 64,
    .norm_eps = 1e-5f,
    .rope_theta = 10000.0f,
    .tied = true,
};

static const struct hf_text text_256 = HF_TEXT_OWN(256);

/* --- a model ------------------------------------------------------------ */

static void add(struct tensor_list *l, const char *name, int rows, int columns)
{
    float *x = tensor_add_copy(l, name, TENSOR_F32, columns ? 2 : 1,
                               (size_t[]){(size_t)rows, (size_t)columns}, NULL);

    for (size_t i = 0; i < tensor_count(&l->items[l->n - 1]); i++)
        x[i] = (float)rng_normal(7, RNG_INIT, l->n, i);
}

static void add_layer(struct tensor_list *l, const struct model_shape *s, int i)
{
    int q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const struct {
        const char *name;
        int rows, columns;
    } all[] = {
        {"input_layernorm", s->dim, 0},
        {"self_attn.q_proj", q, s->dim},
        {"self_attn.k_proj", kv, s->dim},
        {"self_attn.v_proj", kv, s->dim},
        {"self_attn.o_proj", s->dim, q},
        {"self_attn.q_norm", s->head_dim, 0},
        {"self_attn.k_norm", s->head_dim, 0},
        {"post_attention_layernorm", s->dim, 0},
        {"mlp.gate_proj", s->ffn_dim, s->dim},
        {"mlp.up_proj", s->ffn_dim, s->dim},
        {"mlp.down_proj", s->dim, s->ffn_dim},
    };

    for (size_t j = 0; j < sizeof all / sizeof *all; j++) {
        char *name =
            xasprintf("model.layers.%d.%s.weight", i, all[j].name);

        if (s->qk_norm || !strstr(name, "_norm.w"))
            add(l, name, all[j].rows, all[j].columns);
        free(name);
    }
}

static void make_model(struct export_model *m, bool qk_norm)
{
    struct tokenizer *t = tokenizer_create_builtin(V);

    *m = (struct export_model){
        .name = "a model", .sha256 = "0123", .shape = small};
    m->shape.qk_norm = qk_norm;
    m->shape.tied = !qk_norm;
    add(&m->weights, "model.embed_tokens.weight", V, small.dim);
    for (int i = 0; i < small.layers; i++)
        add_layer(&m->weights, &m->shape, i);
    add(&m->weights, "model.norm.weight", small.dim, 0);
    if (!m->shape.tied)
        add(&m->weights, "lm_head.weight", V, small.dim);
    hf_config_json(&m->shape, &text_256, &m->config_json);
    hf_generation_config_json(&text_256, &m->generation_config_json);
    hf_tokenizer_config_json(&m->shape, &text_256, &m->tokenizer_config_json);
    tokenizer_to_json(t, &m->tokenizer_json);
    tokenizer_free(t);
}

/* --- a plain reader of GGUF ---------------------------------------------- */

struct reader {
    struct buf file;
    size_t at;
};

static uint64_t number(struct reader *r, size_t n_bytes)
{
    uint64_t value = 0;

    assert_true(n_bytes <= r->file.len - r->at);
    memcpy(&value, r->file.data + r->at, n_bytes);
    r->at += n_bytes;
    return value;
}

static char *text(struct reader *r)
{
    size_t n = (size_t)number(r, 8);
    char *s = xstrndup(r->file.data + r->at, n);

    r->at += n;
    return s;
}

static const size_t value_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* Reads a value, as text: a tab is behind each element. */
static void value(struct reader *r, uint64_t type, struct buf *out)
{
    if (type == GGUF_STRING) {
        char *s = text(r);

        buf_addf(out, "%s\t", s);
        free(s);
    } else if (type == GGUF_ARRAY) {
        uint64_t of = number(r, 4), n = number(r, 8);

        for (uint64_t i = 0; i < n; i++)
            value(r, of, out);
    } else if (type == GGUF_FLOAT) {
        uint32_t bits = (uint32_t)number(r, 4);
        float f;

        memcpy(&f, &bits, 4);
        buf_addf(out, "%g\t", (double)f);
    } else {
        buf_addf(out, "%llu\t",
                 (unsigned long long)number(r, value_bytes[type]));
    }
}

struct found {
    struct buf keys; /* "\nkey=value\tvalue\t" of all keys */
    struct {
        char name[GGUF_NAMES_BYTES];
        uint64_t n_dims, dims[4], type, offset;
    } tensors[64];
    size_t n_tensors;
    struct reader r; /* at the data */
};

static void read_gguf(const char *dir, struct found *f)
{
    char *path = fileio_join(dir, "model.gguf"), *name;
    uint64_t n_keys;
    struct reader *r = &f->r;

    *f = (struct found){0};
    assert_int_equal(fileio_read(path, 1 << 24, &r->file, NULL), 0);
    free(path);
    assert_memory_equal(r->file.data, "GGUF", 4);
    r->at = 4;
    assert_int_equal(number(r, 4), 3);
    f->n_tensors = (size_t)number(r, 8);
    n_keys = number(r, 8);
    for (uint64_t i = 0; i < n_keys; i++) {
        name = text(r);
        buf_addf(&f->keys, "\n%s=", name);
        free(name);
        value(r, number(r, 4), &f->keys);
    }
    buf_addc(&f->keys, '\n');
    assert_true(f->n_tensors <= 64);
    for (size_t i = 0; i < f->n_tensors; i++) {
        name = text(r);
        snprintf(f->tensors[i].name, GGUF_NAMES_BYTES, "%s", name);
        free(name);
        f->tensors[i].n_dims = number(r, 4);
        for (uint64_t d = 0; d < f->tensors[i].n_dims; d++)
            f->tensors[i].dims[d] = number(r, 8);
        f->tensors[i].type = number(r, 4);
        f->tensors[i].offset = number(r, 8);
    }
    r->at = (r->at + 31) / 32 * 32;
}

static void found_release(struct found *f)
{
    buf_release(&f->keys);
    buf_release(&f->r.file);
}

/* In the line, `|` stands for a tab. */
static void has_key(const struct found *f, const char *line)
{
    char *with_ends = xasprintf("\n%s\n", line);

    for (char *c = with_ends; (c = strchr(c, '|')); c++)
        *c = '\t';

    if (!strstr(f->keys.data, with_ends))
        fail_msg("%s is not in %.2000s", line, f->keys.data);
    free(with_ends);
}

/* Row r of a tensor, decoded. Returns its type. */
static enum gguf_type row_of(const struct found *f, const char *name, size_t r,
                             float *x)
{
    for (size_t i = 0; i < f->n_tensors; i++) {
        size_t n = (size_t)f->tensors[i].dims[0];
        enum gguf_type type = (enum gguf_type)f->tensors[i].type;

        if (strcmp(f->tensors[i].name, name) != 0)
            continue;
        assert_int_equal(f->tensors[i].offset % 32, 0);
        gguf_decode(type,
                    f->r.file.data + f->r.at + f->tensors[i].offset +
                        r * gguf_row_bytes(type, n),
                    n, x);
        return type;
    }
    fail_msg("no tensor %s", name);
    return GGUF_F32;
}

/* --- tests -------------------------------------------------------------- */

static const float *weights(const struct export_model *m, const char *name)
{
    const struct tensor *t = tensor_find(&m->weights, name);

    assert_non_null(t);
    return t->data;
}

static void same_row(const float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(x[i] == y[i]);
}

static void gguf_has_keys_and_tensors(void **state)
{
    struct export_model m;
    struct export_report report;
    struct found f;
    struct stat st;
    char *dir = fileio_join(*state, "gguf");
    char *file = fileio_join(dir, "model.gguf");
    float x[64];

    make_model(&m, false);
    assert_int_equal(
        export_write(&m, EXPORT_GGUF, GGUF_Q8_0, dir, &report, NULL), 0);
    read_gguf(dir, &f);
    has_key(&f, "general.architecture=llama|");
    has_key(&f, "general.file_type=7|");
    has_key(&f, "llama.vocab_size=270|");
    has_key(&f, "llama.context_length=64|");
    has_key(&f, "llama.embedding_length=32|");
    has_key(&f, "llama.block_count=2|");
    has_key(&f, "llama.feed_forward_length=48|");
    has_key(&f, "llama.attention.head_count=2|");
    has_key(&f, "llama.attention.head_count_kv=1|");
    has_key(&f, "llama.attention.key_length=8|");
    has_key(&f, "llama.rope.dimension_count=8|");
    has_key(&f, "llama.rope.freq_base=10000|");
    has_key(&f, "llama.attention.layer_norm_rms_epsilon=1e-05|");
    has_key(&f, "tokenizer.ggml.model=gpt2|");
    has_key(&f, "tokenizer.ggml.pre=smollm|");
    has_key(&f, "tokenizer.ggml.bos_token_id=256|");
    has_key(&f, "tokenizer.ggml.eos_token_id=256|");
    has_key(&f, "tokenizer.ggml.add_bos_token=1|");
    assert_int_equal(f.n_tensors, 2 + 2 * 9); /* tied: no output.weight */
    assert_int_equal(row_of(&f, "blk.1.attn_norm.weight", 0, x), GGUF_F32);
    assert_int_equal(row_of(&f, "blk.1.ffn_up.weight", 47, x), GGUF_Q8_0);
    same_row(x, weights(&m, "model.layers.1.mlp.up_proj.weight") + 47 * 32,
             32);
    /* Rows of 48 and of 16 numbers are no whole blocks. */
    assert_int_equal(row_of(&f, "blk.0.ffn_down.weight", 5, x), GGUF_F16);
    same_row(x, weights(&m, "model.layers.0.mlp.down_proj.weight") + 5 * 48,
             48);
    assert_int_equal(row_of(&f, "blk.0.attn_output.weight", 5, x), GGUF_F16);
    assert_int_equal(report.n_made_f16, 4);
    /* Row 11 of q: the second half's second row of head 1. */
    row_of(&f, "blk.0.attn_q.weight", 11, x);
    same_row(x, weights(&m, "model.layers.0.self_attn.q_proj.weight") + 13 * 32,
             32);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_size, report.bytes);
    found_release(&f);
    export_model_release(&m);
    free(file);
    free(dir);
}

static void qwen3_keeps_the_order_of_rows(void **state)
{
    struct export_model m;
    struct export_report report;
    struct found f;
    char *dir = fileio_join(*state, "qwen3");
    float x[64];

    make_model(&m, true);
    assert_int_equal(
        export_write(&m, EXPORT_GGUF, GGUF_F32, dir, &report, NULL), 0);
    read_gguf(dir, &f);
    has_key(&f, "general.architecture=qwen3|");
    has_key(&f, "qwen3.attention.key_length=8|");
    row_of(&f, "blk.1.attn_q.weight", 11, x);
    same_row(x, weights(&m, "model.layers.1.self_attn.q_proj.weight") + 11 * 32,
             32);
    row_of(&f, "blk.1.attn_k_norm.weight", 0, x);
    same_row(x, weights(&m, "model.layers.1.self_attn.k_norm.weight"), 8);
    row_of(&f, "output.weight", 269, x);
    same_row(x, weights(&m, "lm_head.weight") + 269 * 32, 32);
    found_release(&f);
    export_model_release(&m);
    free(dir);
}

/* Checks element i of a key. */
static void check_element(const struct found *f, const char *key, int i,
                          const char *expected)
{
    char *with_ends = xasprintf("\n%s=", key);
    const char *at = strstr(f->keys.data, with_ends);
    size_t n = strlen(expected);

    assert_non_null(at);
    at += strlen(with_ends);
    while (i-- > 0)
        at = strchr(at, '\t') + 1;
    if (strncmp(at, expected, n) || at[n] != '\t')
        fail_msg("%s: %.20s", key, at);
    free(with_ends);
}

static void gguf_has_the_tokenizer(void **state)
{
    struct export_model m;
    struct export_report report;
    struct found f;
    char *dir = fileio_join(*state, "tokenizer");

    make_model(&m, false);
    assert_int_equal(
        export_write(&m, EXPORT_GGUF, GGUF_F16, dir, &report, NULL), 0);
    read_gguf(dir, &f);
    check_element(&f, "tokenizer.ggml.tokens", 'a', "a");
    check_element(&f, "tokenizer.ggml.tokens", ' ', "\xc4\xa0");
    check_element(&f, "tokenizer.ggml.tokens", 256, "<|endoftext|>");
    check_element(&f, "tokenizer.ggml.tokens", 257, "\xc4\xa0\xc4\xa0");
    check_element(&f, "tokenizer.ggml.merges", 0, "\xc4\xa0 \xc4\xa0");
    check_element(&f, "tokenizer.ggml.token_type", 'a', "1");
    check_element(&f, "tokenizer.ggml.token_type", 256, "3");
    check_element(&f, "tokenizer.ggml.token_type", 269, "1");
    found_release(&f);
    export_model_release(&m);
    free(dir);
}

/* The kind `bytes` has no merges. llama.cpp wants the key all the same. */
static void bytes_have_an_empty_list_of_merges(void **state)
{
    struct export_model m;
    struct export_report report;
    struct tokenizer *t = tokenizer_create_bytes();
    struct found f;
    char *dir = fileio_join(*state, "bytes");

    make_model(&m, false);
    buf_clear(&m.tokenizer_json);
    tokenizer_to_json(t, &m.tokenizer_json);
    assert_int_equal(
        export_write(&m, EXPORT_GGUF, GGUF_F16, dir, &report, NULL), 0);
    read_gguf(dir, &f);
    has_key(&f, "tokenizer.ggml.merges=");
    /* The embedding has more rows than there are ids. */
    check_element(&f, "tokenizer.ggml.tokens", 257, "[PAD257]");
    check_element(&f, "tokenizer.ggml.token_type", 257, "5");
    found_release(&f);
    export_model_release(&m);
    tokenizer_free(t);
    free(dir);
}

static void a_chat_template_goes_along(void **state)
{
    struct export_model m;
    struct export_report report;
    struct found f;
    char *dir = fileio_join(*state, "chat");

    make_model(&m, false);
    buf_clear(&m.tokenizer_config_json);
    buf_adds(&m.tokenizer_config_json, "{\"chat_template\": \"{{ x }}\"}");
    assert_int_equal(
        export_write(&m, EXPORT_GGUF, GGUF_F16, dir, &report, NULL), 0);
    read_gguf(dir, &f);
    has_key(&f, "tokenizer.chat_template={{ x }}|");
    found_release(&f);
    export_model_release(&m);
    free(dir);
}

static void pre_tokenizers_have_names(void **state)
{
#define SPLIT(numbers) SPLIT_AS("\"Isolated\"", numbers)
#define SPLIT_AS(behavior, numbers)                                            \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","           \
    "\"behavior\":" behavior ",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|"    \
    "'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" numbers "| ?"        \
    "[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+"        \
    "(?!\\\\S)|\\\\s+\"}},{\"type\":\"ByteLevel\",\"use_regex\":false}]}"
    static const struct {
        const char *json, *name;
        bool ignores_merges;
    } known[] = {
        {"{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "gpt-2",
         false},
        {"{\"type\":\"ByteLevel\"}", NULL, true},
        {SPLIT("\\\\p{N}"), "qwen2", false},
        {SPLIT("\\\\p{N}{1,3}"), "llama-bpe", true},
        {SPLIT("\\\\p{N}{1,3}"), NULL, false},
        {SPLIT_AS("\"Removed\",\"invert\":true", "\\\\p{N}"), "qwen2", false},
        {SPLIT_AS("\"Removed\"", "\\\\p{N}"), NULL, false},
        {"{\"type\":\"Whitespace\"}", NULL, false},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},"
         "{\"type\":\"ByteLevel\"}]}",
         NULL, false},
        {"null", NULL, false},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct export_model m;
        struct export_report report;
        char *dir = xasprintf("%s/pre%zu", (char *)*state, i);
        struct err err = ERR_INIT;
        int rc;

        make_model(&m, false);
        buf_clear(&m.tokenizer_json);
        buf_addf(&m.tokenizer_json,
                 "{\"pre_tokenizer\":%s,\"model\":{\"type\":\"BPE\",\"vocab\":"
                 "{\"a\":0},\"merges\":[[\"a\",\"b\"]],\"ignore_merges\":%s}}",
                 known[i].json, known[i].ignores_merges ? "true" : "false");
        rc = export_write(&m, EXPORT_GGUF, GGUF_F16, dir, &report, &err);
        assert_int_equal(rc, known[i].name ? 0 : ERR_INVALID);
        if (known[i].name) {
            char *line = xasprintf("tokenizer.ggml.pre=%s|", known[i].name);
            struct found f;

            read_gguf(dir, &f);
            has_key(&f, line);
            has_key(&f, "tokenizer.ggml.merges=a b|");
            found_release(&f);
            free(line);
        } else {
            assert_false(fileio_exists(dir));
        }
        export_model_release(&m);
        free(dir);
    }
}

static void gguf_has_no_byte_fallback(void **state)
{
    struct export_model m;
    struct err err = ERR_INIT;

    (void)state;
    make_model(&m, false);
    assert_int_equal(export_check(&m, EXPORT_GGUF, GGUF_Q8_0, &err), 0);
    buf_clear(&m.tokenizer_json);
    buf_adds(&m.tokenizer_json,
             "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true}}");
    assert_int_equal(export_check(&m, EXPORT_HF, GGUF_F16, &err), 0);
    assert_int_equal(export_check(&m, EXPORT_GGUF, GGUF_F16, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.msg, "byte_fallback"));
    export_model_release(&m);
}

static void check_hf(const char *temp, enum gguf_type type, const char *dtype)
{
    struct export_model m, plain;
    struct export_report report;
    char *dir = xasprintf("%s/hf-%d", temp, (int)type);
    struct import_model back = IMPORT_MODEL_INIT;
    struct buf config = BUF_INIT;
    char *path = fileio_join(dir, "config.json");

    make_model(&m, true);
    make_model(&plain, true);
    assert_int_equal(export_write(&m, EXPORT_HF, type, dir, &report, NULL), 0);
    assert_int_equal(import_read(dir, &back, NULL), 0);
    assert_memory_equal(&back.shape, &m.shape, sizeof back.shape);
    assert_int_equal(back.end_of_text, 256);
    assert_string_equal(back.tokenizer_json.data, m.tokenizer_json.data);
    assert_int_equal(fileio_read(path, 1 << 20, &config, NULL), 0);
    assert_non_null(strstr(config.data, dtype));
    assert_int_equal(back.weights.n, m.weights.n);
    for (size_t i = 0; i < back.weights.n; i++) {
        const float *x = plain.weights.items[i].data;
        const float *y = back.weights.items[i].data;
        size_t n = tensor_count(&back.weights.items[i]);

        same_row(y, m.weights.items[i].data, n);
        for (size_t j = 0; j < n; j++)
            assert_true(type == GGUF_F32   ? y[j] == x[j]
                        : type == GGUF_F16 ? y[j] == half_to_float(
                                                         half_from_float(x[j]))
                                           : y[j] == half_bf16_to_float(
                                                 half_bf16_from_float(x[j])));
    }
    export_model_release(&m);
    export_model_release(&plain);
    import_release(&back);
    buf_release(&config);
    free(path);
    free(dir);
}

static void hf_is_read_back(void **state)
{
    check_hf(*state, GGUF_F32, "\"float32\"");
    check_hf(*state, GGUF_F16, "\"float16\"");
    check_hf(*state, GGUF_BF16, "\"bfloat16\"");
}

static int write_to(const char *dir, enum gguf_type type, struct err *err)
{
    struct export_model m;
    struct export_report report;
    int rc;

    make_model(&m, false);
    rc = export_write(&m, EXPORT_HF, type, dir, &report, err);
    export_model_release(&m);
    return rc;
}

static void targets_are_new_or_empty(void **state)
{
    char *dir = fileio_join(*state, "new"), *slash = xasprintf("%s//", dir);
    char *file = fileio_join(dir, "config.json");
    char *gone = fileio_join(*state, "a/b");
    char *aside = xasprintf("%s.exporting", dir);
    struct err err = ERR_INIT;

    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(write_to(slash, GGUF_F32, NULL), 0);
    assert_true(fileio_exists(file));
    assert_false(fileio_exists(aside));
    assert_int_equal(write_to(dir, GGUF_F32, &err), ERR_STATE);
    err = (struct err)ERR_INIT;
    assert_int_equal(write_to(file, GGUF_F32, &err), ERR_STATE);
    err = (struct err)ERR_INIT;
    assert_int_equal(write_to(gone, GGUF_F32, &err), ERR_IO);
    err = (struct err)ERR_INIT;
    assert_int_equal(fileio_remove_dir(dir, NULL), 0);
    assert_int_equal(mkdir(aside, 0700), 0);
    assert_int_equal(write_to(dir, GGUF_F32, &err), ERR_STATE);
    assert_non_null(strstr(err.msg, aside));
    assert_int_equal(rmdir(aside), 0);
    err = (struct err)ERR_INIT;
    assert_int_equal(write_to(dir, GGUF_Q8_0, &err), ERR_INVALID);
    assert_false(fileio_exists(dir));
    free(dir);
    free(slash);
    free(file);
    free(gone);
    free(aside);
}

static void numbers_that_do_not_fit_are_refused(void **state)
{
    struct export_model m;
    struct export_report report;
    struct err err = ERR_INIT;
    char *dir = fileio_join(*state, "large");

    for (int format = 0; format < 2; format++) {
        make_model(&m, false);
        ((float *)m.weights.items[0].data)[3] = 1e6f;
        assert_int_equal(export_write(&m, (enum export_format)format, GGUF_F16,
                                      dir, &report, &err),
                         ERR_INVALID);
        assert_non_null(strstr(err.msg, "model.embed_tokens.weight"));
        assert_false(fileio_exists(dir));
        export_model_release(&m);
        err = (struct err)ERR_INIT;
    }
    free(dir);
}

static void weights_of_another_shape_are_refused(void **state)
{
    struct export_model m;
    struct export_report report;
    struct err err = ERR_INIT;
    char *dir = fileio_join(*state, "shape");

    make_model(&m, false);
    m.shape.head_dim = 6;
    assert_int_equal(
        export_write(&m, EXPORT_GGUF, GGUF_F16, dir, &report, &err),
        ERR_INVALID);
    assert_false(fileio_exists(dir));
    export_model_release(&m);
    free(dir);
}

static int calls_left;

static int fail_later(const char *operation, const char *path)
{
    (void)path;
    if (strcmp(operation, "unlink") == 0 || strcmp(operation, "rmdir") == 0)
        return 0;
    return calls_left-- == 0 ? EIO : 0;
}

static void a_failing_disk_leaves_nothing(void **state)
{
    char *dir = fileio_join(*state, "faults");
    char *aside = xasprintf("%s.exporting", dir);
    int n = 0;

    for (int format = 0; format < 2; format++) {
        for (n = 0;; n++) {
            struct export_model m;
            struct export_report report;
            struct err err = ERR_INIT;
            int rc;

            make_model(&m, false);
            calls_left = n;
            fileio_fault = fail_later;
            rc = export_write(&m, (enum export_format)format, GGUF_F16, dir,
                              &report, &err);
            fileio_fault = NULL;
            export_model_release(&m);
            assert_false(fileio_exists(aside));
            if (rc == 0)
                break;
            assert_int_equal(rc, ERR_IO);
            if (fileio_exists(dir)) /* only the last sync came too late */
                assert_int_equal(fileio_remove_dir(dir, NULL), 0);
        }
        assert_true(n > 5);
        assert_int_equal(fileio_remove_dir(dir, NULL), 0);
    }
    free(dir);
    free(aside);
}

/* base_remove_temp removes no folders. */
static int remove_all(void **state)
{
    DIR *d = opendir(*state);

    for (struct dirent *e; d && (e = readdir(d));) {
        char *path = fileio_join(*state, e->d_name);

        if (e->d_name[0] != '.')
            fileio_remove_dir(path, NULL);
        free(path);
    }
    if (d)
        closedir(d);
    return base_remove_temp(state);
}

#define TEST(f)                                                                \
    cmocka_unit_test_setup_teardown(f, base_make_temp, remove_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gguf_has_keys_and_tensors),
        TEST(qwen3_keeps_the_order_of_rows),
        TEST(gguf_has_the_tokenizer),
        TEST(bytes_have_an_empty_list_of_merges),
        TEST(a_chat_template_goes_along),
        TEST(pre_tokenizers_have_names),
        TEST(gguf_has_no_byte_fallback),
        TEST(hf_is_read_back),
        TEST(targets_are_new_or_empty),
        TEST(numbers_that_do_not_fit_are_refused),
        TEST(weights_of_another_shape_are_refused),
        TEST(a_failing_disk_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

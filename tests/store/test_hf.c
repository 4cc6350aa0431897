/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model directory: its JSON files byte for byte, other tools' config.json,
 * and tensors that do not fit.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/hf.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct model_shape llama = {
    .vocab_size = 300,
    .dim = 12,
    .layers = 2,
    .heads = 4,
    .kv_heads = 2,
    .head_dim = 6,
    .ffn_dim = 20,
    .context = 64,
    .norm_eps = 1e-6f,
    .rope_theta = 10000.0f,
    .tied = true,
};

static const struct hf_text text_256 = HF_TEXT_OWN(256);

static struct model_shape qwen3(void)
{
    struct model_shape s = llama;

    s.qk_norm = true;
    s.tied = false;
    s.norm_eps = 1.5e-5f;
    s.rope_theta = 1234567.0f;
    return s;
}

/* --- config.json -------------------------------------------------------- */

static void test_written(void **state)
{
    static const char expected[] =
        "{\n"
        "  \"architectures\": [\"LlamaForCausalLM\"],\n"
        "  \"model_type\": \"llama\",\n"
        "  \"hidden_size\": 12,\n"
        "  \"intermediate_size\": 20,\n"
        "  \"num_hidden_layers\": 2,\n"
        "  \"num_attention_heads\": 4,\n"
        "  \"num_key_value_heads\": 2,\n"
        "  \"head_dim\": 6,\n"
        "  \"max_position_embeddings\": 64,\n"
        "  \"vocab_size\": 300,\n"
        "  \"rms_norm_eps\": 1e-06,\n"
        "  \"rope_theta\": 10000.0,\n"
        "  \"tie_word_embeddings\": true,\n"
        "  \"bos_token_id\": 256,\n"
        "  \"eos_token_id\": 256,\n"
        "  \"hidden_act\": \"silu\",\n"
        "  \"attention_bias\": false,\n"
        "  \"attention_dropout\": 0.0,\n"
        "  \"mlp_bias\": false,\n"
        "  \"use_cache\": true,\n"
        "  \"torch_dtype\": \"float32\"\n"
        "}\n";
    struct buf out = BUF_INIT;

    (void)state;
    hf_config_json(&llama, &text_256, &out);
    assert_string_equal(out.data, expected);
    buf_clear(&out);
    hf_generation_config_json(&text_256, &out);
    assert_string_equal(out.data, "{\n"
                                  "  \"bos_token_id\": 256,\n"
                                  "  \"eos_token_id\": 256,\n"
                                  "  \"pad_token_id\": 256\n"
                                  "}\n");
    buf_clear(&out);
    hf_tokenizer_config_json(&llama, &text_256, &out);
    assert_non_null(
        strstr(out.data, "\"clean_up_tokenization_spaces\": false"));
    assert_non_null(strstr(out.data, "\"eos_token\": \"<|endoftext|>\""));
    assert_non_null(strstr(out.data, "\"model_max_length\": 64"));
    buf_release(&out);
}

static void assert_round_trip(const struct model_shape *s)
{
    const struct hf_text seven = HF_TEXT_OWN(7);
    struct buf out = BUF_INIT;
    struct model_shape back;
    int64_t eot;

    hf_config_json(s, &seven, &out);
    assert_int_equal(hf_parse_config(out.data, out.len, &back, &eot, NULL), 0);
    assert_int_equal(eot, 7);
    assert_int_equal(back.vocab_size, s->vocab_size);
    assert_int_equal(back.dim, s->dim);
    assert_int_equal(back.layers, s->layers);
    assert_int_equal(back.heads, s->heads);
    assert_int_equal(back.kv_heads, s->kv_heads);
    assert_int_equal(back.head_dim, s->head_dim);
    assert_int_equal(back.ffn_dim, s->ffn_dim);
    assert_int_equal(back.context, s->context);
    assert_true(back.norm_eps == s->norm_eps);
    assert_true(back.rope_theta == s->rope_theta);
    assert_int_equal(back.tied, s->tied);
    assert_int_equal(back.qk_norm, s->qk_norm);
    assert_int_equal(back.bias, s->bias);
    assert_int_equal(back.rope.kind, s->rope.kind);
    assert_true(back.rope.factor == s->rope.factor);
    assert_true(back.rope.low_factor == s->rope.low_factor);
    assert_true(back.rope.high_factor == s->rope.high_factor);
    assert_int_equal(back.rope.original_context, s->rope.original_context);
    buf_release(&out);
}

static void test_read_back(void **state)
{
    struct model_shape s = qwen3();

    (void)state;
    assert_round_trip(&llama);
    assert_round_trip(&s);
    s.bias = MODEL_BIAS_ALL;
    s.rope = (struct rope_scaling){.kind = ROPE_LINEAR, .factor = 2.5f};
    assert_round_trip(&s);
    s.qk_norm = false;
    s.rope = (struct rope_scaling){ROPE_LLAMA3, 8.0f, 1.0f, 4.0f, 8192};
    assert_round_trip(&s);
    s.bias = MODEL_BIAS_QKV;
    assert_round_trip(&s);
    for (int i = 1; i < 500; i++) {
        s.norm_eps = 1.0f / (float)(i * 9973);
        s.rope_theta = (float)i * 1000.1f;
        assert_round_trip(&s);
    }
}

#define SIZES                                                                  \
    "\"vocab_size\":100,\"hidden_size\":64,\"intermediate_size\":128,"         \
    "\"num_hidden_layers\":3,\"num_attention_heads\":4"

/* What transformers takes for an absent setting. */
static void test_defaults(void **state)
{
    static const char l[] = "{\"model_type\":\"llama\"," SIZES "}";
    static const char q[] =
        "{\"model_type\":\"qwen3\"," SIZES ",\"num_key_value_heads\":2,"
        "\"max_position_embeddings\":131072,\"eos_token_id\":[3,4],"
        "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":5e5},"
        "\"rope_scaling\":null,\"unknown\":{}}";
    struct model_shape s;
    int64_t eot;

    (void)state;
    assert_int_equal(hf_parse_config(l, strlen(l), &s, &eot, NULL), 0);
    assert_int_equal(s.kv_heads, 4);
    assert_int_equal(s.head_dim, 16);
    assert_int_equal(s.context, 2048);
    assert_true(s.norm_eps == 1e-6f && s.rope_theta == 10000.0f);
    assert_false(s.tied || s.qk_norm);
    assert_int_equal(eot, -1);
    assert_int_equal(hf_parse_config(q, strlen(q), &s, &eot, NULL), 0);
    assert_int_equal(s.head_dim, 128);
    assert_int_equal(s.context, MODEL_MAX_CONTEXT);
    assert_true(s.qk_norm && s.rope_theta == 5e5f);
    assert_int_equal(eot, 3);
}

static struct model_shape parsed(const char *json)
{
    struct err err = ERR_INIT;
    struct model_shape s;
    int64_t eot;

    if (hf_parse_config(json, strlen(json), &s, &eot, &err) != 0)
        fail_msg("%s: %s", json, err.msg);
    return s;
}

/* Settings as published models have them. */
static void test_families(void **state)
{
    struct model_shape s;

    (void)state;
    s = parsed("{\"model_type\":\"qwen2\"," SIZES ",\"num_key_value_heads\":2,"
               "\"max_position_embeddings\":32768,\"max_window_layers\":24,"
               "\"sliding_window\":512,\"use_sliding_window\":false}");
    assert_true(s.bias == MODEL_BIAS_QKV && !s.qk_norm);
    assert_int_equal(s.context, MODEL_MAX_CONTEXT);
    s = parsed("{\"model_type\":\"qwen2\"," SIZES ",\"num_key_value_heads\":2,"
               "\"sliding_window\":512,\"use_sliding_window\":true}");
    assert_int_equal(s.context, 512);
    s = parsed("{\"model_type\":\"mistral\"," SIZES ","
               "\"num_key_value_heads\":2}");
    assert_true(s.bias == MODEL_BIAS_NONE && !s.qk_norm);
    assert_int_equal(s.context, 4096);
    s = parsed("{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":null,"
               "\"num_key_value_heads\":2,\"max_position_embeddings\":6000}");
    assert_int_equal(s.context, 6000);
    s = parsed("{\"model_type\":\"llama\"," SIZES ",\"attention_bias\":true,"
               "\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}}");
    assert_int_equal(s.bias, MODEL_BIAS_ALL);
    assert_true(s.rope.kind == ROPE_LINEAR && s.rope.factor == 4.0f);
    s = parsed("{\"model_type\":\"llama\"," SIZES ",\"rope_parameters\":{"
               "\"rope_type\":\"llama3\",\"factor\":32.0,"
               "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
               "\"original_max_position_embeddings\":8192,"
               "\"rope_theta\":500000.0}}");
    assert_true(s.rope.kind == ROPE_LLAMA3 && s.rope.factor == 32.0f &&
                s.rope.low_factor == 1.0f && s.rope.high_factor == 4.0f &&
                s.rope.original_context == 8192 && s.rope_theta == 500000.0f);
}

#define LLAMA "{\"model_type\":\"llama\"," SIZES

static const struct {
    const char *json;
    int code;
    const char *names; /* what the message must name */
} refused[] = {
    {"", ERR_CORRUPT, ""},
    {"[]", ERR_CORRUPT, "object"},
    {"{", ERR_CORRUPT, ""},
    {"{\"a\":1,\"a\":1}", ERR_CORRUPT, "duplicate"},
    {"{}", ERR_INVALID, "model_type"},
    {"{\"model_type\":\"gpt2\"}", ERR_INVALID, "gpt2"},
    {"{\"model_type\":\"llama\"}", ERR_INVALID, "vocab_size"},
    {LLAMA ",\"hidden_act\":\"gelu\"}", ERR_INVALID, "hidden_act"},
    {LLAMA ",\"attention_bias\":1}", ERR_INVALID, "attention_bias"},
    {"{\"model_type\":\"qwen2\"," SIZES ",\"attention_bias\":true}",
     ERR_INVALID, "attention_bias"},
    {LLAMA ",\"mlp_bias\":true}", ERR_INVALID, "mlp_bias"},
    {LLAMA ",\"rope_scaling\":{\"factor\":8.0}}", ERR_INVALID, "rope_scaling"},
    {LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":8.0}}",
     ERR_INVALID, "dynamic"},
    {LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}}",
     ERR_INVALID, "factor"},
    {LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0}}",
     ERR_INVALID, "low_freq_factor"},
    {LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
           "\"low_freq_factor\":4,\"high_freq_factor\":4,"
           "\"original_max_position_embeddings\":9}}",
     ERR_INVALID, "high_freq_factor"},
    {LLAMA ",\"rope_interleaved\":true}", ERR_INVALID, "rope_interleaved"},
    {"{\"model_type\":\"mistral\"," SIZES ",\"num_key_value_heads\":2,"
     "\"sliding_window\":0}",
     ERR_INVALID, "sliding_window"},
    {LLAMA ",\"rope_parameters\":{\"rope_type\":\"yarn\"}}", ERR_INVALID,
     "yarn"},
    {LLAMA ",\"quantization_config\":{}}", ERR_INVALID, "quantization"},
    {LLAMA ",\"num_key_value_heads\":3}", ERR_INVALID, "heads"},
    {LLAMA ",\"num_key_value_heads\":0}", ERR_INVALID, "num_key_value"},
    {LLAMA ",\"head_dim\":7}", ERR_INVALID, "head_dim"},
    {LLAMA ",\"head_dim\":\"x\"}", ERR_INVALID, "head_dim"},
    {LLAMA ",\"rms_norm_eps\":0}", ERR_INVALID, "rms_norm_eps"},
    {LLAMA ",\"rope_theta\":1e300}", ERR_INVALID, "rope_theta"},
    {LLAMA ",\"rope_theta\":-1}", ERR_INVALID, "rope_theta"},
    {LLAMA ",\"eos_token_id\":100}", ERR_INVALID, "eos_token_id"},
    {LLAMA ",\"eos_token_id\":\"a\"}", ERR_INVALID, "eos_token_id"},
    {"{\"model_type\":\"llama\",\"vocab_size\":262145}", ERR_INVALID,
     "vocab_size"},
    {"{\"model_type\":\"llama\",\"vocab_size\":-5}", ERR_INVALID, "vocab_size"},
    {"{\"model_type\":\"llama\",\"vocab_size\":1e3}", ERR_INVALID,
     "vocab_size"},
    {"{\"model_type\":\"llama\",\"vocab_size\":9,\"hidden_size\":99999}",
     ERR_INVALID, "hidden_size"},
};

static void test_refused(void **state)
{
    struct model_shape s;
    int64_t eot;

    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++) {
        struct err err = ERR_INIT;
        int rc = hf_parse_config(refused[i].json, strlen(refused[i].json), &s,
                                 &eot, &err);

        if (rc != refused[i].code || !strstr(err.msg, refused[i].names) ||
            strncmp(err.msg, "config.json: ", 13) != 0)
            fail_msg("%s: code %d: %s", refused[i].json, rc, err.msg);
    }
}

/* --- tensors ------------------------------------------------------------ */

static void add(struct tensor_list *l, const char *name, int rows, int columns)
{
    float *f = tensor_add_copy(l, name, TENSOR_F32, columns ? 2 : 1,
                               (size_t[]){(size_t)rows, (size_t)columns}, NULL);

    f[0] = (float)l->n;
}

static void add_layer(struct tensor_list *l, int i, const char *name, int rows,
                      int columns)
{
    char *full = xasprintf("model.layers.%d.%s", i, name);

    add(l, full, rows, columns);
    free(full);
}

static void make_weights(struct tensor_list *l, const struct model_shape *s)
{
    int q = s->heads * s->head_dim;
    int kv = s->kv_heads * s->head_dim;

    add(l, "model.embed_tokens.weight", s->vocab_size, s->dim);
    for (int i = 0; i < s->layers; i++) {
        add_layer(l, i, "input_layernorm.weight", s->dim, 0);
        add_layer(l, i, "self_attn.q_proj.weight", q, s->dim);
        add_layer(l, i, "self_attn.k_proj.weight", kv, s->dim);
        add_layer(l, i, "self_attn.v_proj.weight", kv, s->dim);
        add_layer(l, i, "self_attn.o_proj.weight", s->dim, q);
        if (s->bias != MODEL_BIAS_NONE) {
            add_layer(l, i, "self_attn.q_proj.bias", q, 0);
            add_layer(l, i, "self_attn.k_proj.bias", kv, 0);
            add_layer(l, i, "self_attn.v_proj.bias", kv, 0);
        }
        if (s->bias == MODEL_BIAS_ALL)
            add_layer(l, i, "self_attn.o_proj.bias", s->dim, 0);
        if (s->qk_norm) {
            add_layer(l, i, "self_attn.q_norm.weight", s->head_dim, 0);
            add_layer(l, i, "self_attn.k_norm.weight", s->head_dim, 0);
        }
        add_layer(l, i, "post_attention_layernorm.weight", s->dim, 0);
        add_layer(l, i, "mlp.gate_proj.weight", s->ffn_dim, s->dim);
        add_layer(l, i, "mlp.up_proj.weight", s->ffn_dim, s->dim);
        add_layer(l, i, "mlp.down_proj.weight", s->dim, s->ffn_dim);
    }
    add(l, "model.norm.weight", s->dim, 0);
    if (!s->tied)
        add(l, "lm_head.weight", s->vocab_size, s->dim);
}

static void assert_refused(const struct model_shape *s,
                           const struct tensor_list *l, const char *words)
{
    struct err err = ERR_INIT;

    assert_int_equal(hf_check_weights(s, l, &err), ERR_INVALID);
    if (!strstr(err.msg, words))
        fail_msg("%s does not name %s", err.msg, words);
}

static void test_weights(void **state)
{
    struct model_shape s = qwen3();
    struct tensor_list l = TENSOR_LIST_INIT;

    (void)state;
    make_weights(&l, &llama);
    assert_int_equal(hf_check_weights(&llama, &l, NULL), 0);
    assert_refused(&s, &l, "q_norm");
    /* Each one missing in turn, and of another shape or type. */
    for (size_t i = 0; i < l.n; i++) {
        struct tensor *t = &l.items[i];
        char *name = t->name;

        t->name = "other";
        assert_refused(&llama, &l, name);
        t->name = name;
        t->shape[t->n_dims - 1]++;
        assert_refused(&llama, &l, name);
        t->shape[t->n_dims - 1]--;
        t->type = TENSOR_F64;
        assert_refused(&llama, &l, name);
        t->type = TENSOR_F32;
    }
    add(&l, "model.layers.2.input_layernorm.weight", llama.dim, 0);
    assert_refused(&llama, &l, "model.layers.2");
    tensor_list_release(&l);
    make_weights(&l, &s);
    assert_int_equal(hf_check_weights(&s, &l, NULL), 0);
    assert_refused(&llama, &l, "lm_head");
    tensor_list_release(&l);
    s.bias = MODEL_BIAS_ALL;
    make_weights(&l, &s);
    assert_int_equal(hf_check_weights(&s, &l, NULL), 0);
    s.bias = MODEL_BIAS_NONE;
    assert_refused(&s, &l, "q_proj.bias");
    tensor_list_release(&l);
}

/* The tied output matrix a second time: the same numbers, or not. */
static void test_tied(void **state)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    float *output;

    (void)state;
    make_weights(&l, &llama);
    output = tensor_add_copy(&l, "lm_head.weight", TENSOR_F32, 2,
                             l.items[0].shape, l.items[0].data);
    assert_int_equal(hf_check_weights(&llama, &l, NULL), 0);
    output[5] = 1.0f;
    assert_refused(&llama, &l, "lm_head.weight");
    tensor_list_release(&l);
}

static void test_tokenizer_config(void **state)
{
    struct buf text = BUF_INIT;

    (void)state;
    hf_tokenizer_config_json(&llama, &text_256, &text);
    assert_non_null(strstr(text.data, "\"add_bos_token\": true"));
    assert_non_null(strstr(text.data, "\"bos_token\": \"<|endoftext|>\""));
    assert_non_null(strstr(text.data, "\"split_special_tokens\": true"));
    assert_non_null(strstr(text.data, "\"pre\": \"smollm\""));
    /* Otherwise generate() of transformers refuses the token_type_ids. */
    assert_non_null(strstr(text.data, "\"model_input_names\": [\"input_ids\", "
                                      "\"attention_mask\"]"));
    buf_release(&text);
}

/* Within each field's limit, and far beyond the weights that are there. */
static void test_absurd_config(void **state)
{
    const char *source = getenv("srcdir");
    char *path = fileio_join(source ? source : ".",
                             "tests/data/saved_again/model.safetensors");
    struct model_shape shape = llama;
    struct err err = ERR_INIT;

    (void)state;
    shape = (struct model_shape){.vocab_size = 257,
                                 .dim = 8,
                                 .layers = 1,
                                 .heads = 2,
                                 .kv_heads = 1,
                                 .head_dim = 4,
                                 .ffn_dim = 8,
                                 .context = 16,
                                 .tied = true};
    assert_int_equal(hf_check_size(path, &shape, &err), 0);
    shape.dim = MODEL_MAX_DIM;
    shape.layers = MODEL_MAX_LAYERS;
    shape.vocab_size = MODEL_MAX_VOCAB;
    assert_int_equal(hf_check_size(path, &shape, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "config.json"));
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written),   cmocka_unit_test(test_read_back),
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_weights),   cmocka_unit_test(test_tied),
        cmocka_unit_test(test_tokenizer_config),
        cmocka_unit_test(test_absurd_config),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

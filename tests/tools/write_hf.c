/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write_hf DIR [qwen3 | qwen2 | llama3] [wide] - publishes one version with small
 * random weights into the data directory DIR, for compat_hf.py and
 * compat_gguf.py: DIR/versions/000001 is what they load. wide: rows have a
 * multiple of 32 numbers.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/tokenizer/tokenizer.h"
#include "store/store.h"

static struct model_shape shape = {
    .vocab_size = 300,
    .dim = 24,
    .layers = 2,
    .heads = 4,
    .kv_heads = 2,
    .head_dim = 6,
    .ffn_dim = 40,
    .context = 64,
    .norm_eps = 1e-6f,
    .rope_theta = 10000.0f,
    .tied = true,
};

/* A number in [-0.5, 0.5) that depends on its place alone. */
static float number(size_t tensor, size_t i)
{
    uint32_t x = (uint32_t)(tensor * 1000003 + i) * 2654435761u;

    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (float)(x >> 8) / 16777216.0f - 0.5f;
}

static void add(struct tensor_list *l, const char *name, int rows, int columns)
{
    size_t n = (size_t)rows * (size_t)(columns ? columns : 1);
    float *f = tensor_add_copy(l, name, TENSOR_F32, columns ? 2 : 1,
                               (size_t[]){(size_t)rows, (size_t)columns}, NULL);

    for (size_t i = 0; i < n; i++)
        f[i] = (columns ? 0.0f : 1.0f) + number(l->n, i);
}

static void add_layer(struct tensor_list *l, int layer, const char *name,
                      int rows, int columns)
{
    char *full = xasprintf("model.layers.%d.%s", layer, name);

    add(l, full, rows, columns);
    free(full);
}

static void make_weights(struct tensor_list *l)
{
    int q = shape.heads * shape.head_dim;
    int kv = shape.kv_heads * shape.head_dim;

    add(l, "model.embed_tokens.weight", shape.vocab_size, shape.dim);
    for (int i = 0; i < shape.layers; i++) {
        add_layer(l, i, "input_layernorm.weight", shape.dim, 0);
        add_layer(l, i, "self_attn.q_proj.weight", q, shape.dim);
        add_layer(l, i, "self_attn.k_proj.weight", kv, shape.dim);
        add_layer(l, i, "self_attn.v_proj.weight", kv, shape.dim);
        add_layer(l, i, "self_attn.o_proj.weight", shape.dim, q);
        if (shape.bias != MODEL_BIAS_NONE) {
            add_layer(l, i, "self_attn.q_proj.bias", q, 0);
            add_layer(l, i, "self_attn.k_proj.bias", kv, 0);
            add_layer(l, i, "self_attn.v_proj.bias", kv, 0);
        }
        if (shape.qk_norm) {
            add_layer(l, i, "self_attn.q_norm.weight", shape.head_dim, 0);
            add_layer(l, i, "self_attn.k_norm.weight", shape.head_dim, 0);
        }
        add_layer(l, i, "post_attention_layernorm.weight", shape.dim, 0);
        add_layer(l, i, "mlp.gate_proj.weight", shape.ffn_dim, shape.dim);
        add_layer(l, i, "mlp.up_proj.weight", shape.ffn_dim, shape.dim);
        add_layer(l, i, "mlp.down_proj.weight", shape.dim, shape.ffn_dim);
    }
    add(l, "model.norm.weight", shape.dim, 0);
    if (!shape.tied)
        add(l, "lm_head.weight", shape.vocab_size, shape.dim);
}

int main(int argc, char **argv)
{
    struct tokenizer *tokenizer = tokenizer_create_builtin(shape.vocab_size);
    struct buf tokenizer_json = BUF_INIT;
    struct tensor_list weights = TENSOR_LIST_INIT;
    struct tensor_list state = TENSOR_LIST_INIT;
    struct store_publication p = {
        .shape = &shape,
        .weights = &weights,
        .state = &state,
        .end_of_text = 256,
        .labels_json = "[]",
    };
    struct store *s = NULL;
    struct err err = ERR_INIT;
    int64_t version;
    int rc;

    if (argc < 2)
        return 2;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "qwen3") == 0) {
            shape.qk_norm = true;
            shape.tied = false;
        } else if (strcmp(argv[i], "qwen2") == 0) {
            shape.bias = MODEL_BIAS_QKV;
        } else if (strcmp(argv[i], "llama3") == 0) {
            shape.rope =
                (struct rope_scaling){ROPE_LLAMA3, 8.0f, 1.0f, 4.0f, 16};
        } else if (strcmp(argv[i], "wide") == 0) {
            shape.dim = 64;
            shape.head_dim = shape.bias == MODEL_BIAS_QKV ? 16 : 24;
            shape.ffn_dim = 96;
        }
    }
    tokenizer_to_json(tokenizer, &tokenizer_json);
    p.tokenizer_json = tokenizer_json.data;
    p.tokenizer_json_bytes = tokenizer_json.len;
    make_weights(&weights);
    rc = store_open(argv[1], NULL, 0, &s, &err);
    if (rc == 0)
        rc = store_publish(s, &p, &version, &err);
    if (rc)
        fprintf(stderr, "%s\n", err.msg);
    store_close(s);
    tokenizer_free(tokenizer);
    buf_release(&tokenizer_json);
    tensor_list_release(&weights);
    tensor_list_release(&state);
    return err_exit_status(rc);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "interchange/gguf_names.h"

#include <stdio.h>
#include <string.h>

struct name {
    const char *gguf, *hf;
};

static const struct name whole[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};

static const struct name of_layer[] = {
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

#define GGUF_LAYER "blk."
#define HF_LAYER "model.layers."
#define MOST_DIGITS 6
#define N(array) (sizeof(array) / sizeof *(array))

/* Splits "PREFIX N.STEM.END"; layer has N, or is empty for a tensor of the
 * whole model. */
struct parts {
    char layer[MOST_DIGITS + 1];
    const char *stem;
    size_t n_stem;
    const char *end; /* ".weight" or ".bias" */
};

static bool split(const char *name, const char *prefix, struct parts *p)
{
    p->end = strrchr(name, '.');
    if (!p->end || (strcmp(p->end, ".weight") && strcmp(p->end, ".bias")))
        return false;
    p->layer[0] = '\0';
    p->stem = name;
    if (strncmp(name, prefix, strlen(prefix)) == 0) {
        const char *number = name + strlen(prefix);
        size_t n = strspn(number, "0123456789");

        if (n < 1 || n > MOST_DIGITS || number[n] != '.' ||
            number + n == p->end)
            return false;
        memcpy(p->layer, number, n);
        p->layer[n] = '\0';
        p->stem = number + n + 1;
    }
    p->n_stem = (size_t)(p->end - p->stem);
    return true;
}

static bool is(const struct parts *p, const char *stem)
{
    return strlen(stem) == p->n_stem && memcmp(stem, p->stem, p->n_stem) == 0;
}

/* Finds the row of a name that split() has cut. */
static const struct name *find(const struct parts *p, bool from_hf)
{
    const struct name *table = p->layer[0] ? of_layer : whole;
    size_t n = p->layer[0] ? N(of_layer) : N(whole);

    for (size_t i = 0; i < n; i++)
        if (is(p, from_hf ? table[i].hf : table[i].gguf))
            return &table[i];
    return NULL;
}

static bool translate(const char *name, bool from_hf,
                      char to[GGUF_NAMES_BYTES])
{
    const char *prefix = from_hf ? GGUF_LAYER : HF_LAYER;
    const struct name *row;
    struct parts p;
    int n;

    if (!split(name, from_hf ? HF_LAYER : GGUF_LAYER, &p))
        return false;
    row = find(&p, from_hf);
    if (!row)
        return false;
    n = snprintf(to, GGUF_NAMES_BYTES, "%s%s%s%s%s", p.layer[0] ? prefix : "",
                 p.layer, p.layer[0] ? "." : "",
                 from_hf ? row->gguf : row->hf, p.end);
    return n > 0 && n < GGUF_NAMES_BYTES;
}

bool gguf_names_from_hf(const char *hf, char gguf[GGUF_NAMES_BYTES])
{
    return translate(hf, true, gguf);
}

bool gguf_names_to_hf(const char *gguf, char hf[GGUF_NAMES_BYTES])
{
    return translate(gguf, false, hf);
}

bool gguf_names_has_pairs(const char *gguf)
{
    struct parts p;

    return split(gguf, GGUF_LAYER, &p) && p.layer[0] &&
           (is(&p, "attn_q") || is(&p, "attn_k"));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf_names.h - the tensors of a Transformer in GGUF and in Hugging Face's
 * files: their names, and the order of their rows.
 *
 *     token_embd                   model.embed_tokens
 *     output_norm                  model.norm
 *     output                       lm_head
 *     blk.N.attn_{q,k,v}           model.layers.N.self_attn.{q,k,v}_proj
 *     blk.N.attn_output            model.layers.N.self_attn.o_proj
 *     blk.N.attn_{q,k}_norm        model.layers.N.self_attn.{q,k}_norm
 *     blk.N.attn_norm              model.layers.N.input_layernorm
 *     blk.N.ffn_norm               model.layers.N.post_attention_layernorm
 *     blk.N.ffn_{gate,up,down}     model.layers.N.mlp.{gate,up,down}_proj
 *
 * each followed by .weight or .bias.
 *
 * Rotary positions turn pairs of a head's outputs. In Hugging Face's files a
 * pair is (i, i + head_dim / 2). In GGUF's architecture `llama` it is
 * (2i, 2i + 1), so the rows of q and k have another order; in `qwen2` and
 * `qwen3` they have the same.
 *
 * Threads: any
 */
#ifndef MNEME_INTERCHANGE_GGUF_NAMES_H
#define MNEME_INTERCHANGE_GGUF_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#define GGUF_NAMES_BYTES 96 /* the longest name, with its end */

/* Translate a name. False: it is not in the table, or N has more than six
 * digits. */
bool gguf_names_from_hf(const char *hf, char gguf[GGUF_NAMES_BYTES]);
bool gguf_names_to_hf(const char *gguf, char hf[GGUF_NAMES_BYTES]);

/* True for the weights and biases of q and k, by their GGUF name: their rows
 * have the order of `llama` there. */
bool gguf_names_has_pairs(const char *gguf);

/* Returns the row of Hugging Face's tensor that is row r of GGUF's `llama`.
 *   head_dim  even */
static inline size_t gguf_names_row(size_t r, size_t head_dim)
{
    size_t in_head = r % head_dim;

    return r - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
}

#endif

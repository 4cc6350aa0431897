/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf.h - the model directory that Hugging Face transformers loads: its JSON
 * files from a shape, and a shape from its JSON files.
 *
 * Without norms on queries and keys the layout is LlamaForCausalLM, with them
 * Qwen3ForCausalLM. Tensors, all float32, (rows out, columns in):
 *
 *     model.embed_tokens.weight                       (V, C)
 *     model.layers.N.input_layernorm.weight           (C)
 *     model.layers.N.self_attn.{q,k,v}_proj.weight    (heads * head_dim, C)
 *     model.layers.N.self_attn.o_proj.weight          (C, heads * head_dim)
 *     model.layers.N.self_attn.{q,k}_norm.weight      (head_dim), Qwen3
 *     model.layers.N.post_attention_layernorm.weight  (C)
 *     model.layers.N.mlp.{gate,up}_proj.weight        (F, C)
 *     model.layers.N.mlp.down_proj.weight             (C, F)
 *     model.norm.weight                               (C)
 *     lm_head.weight                                  (V, C) unless tied
 *
 * Threads: any
 */
#ifndef MNEME_STORE_HF_H
#define MNEME_STORE_HF_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/model_shape.h"
#include "base/tensor.h"

/*
 * config.json, generation_config.json and tokenizer_config.json, appended to
 * out. end_of_text: the id of <|endoftext|>, which begins and ends a text.
 *
 * tokenizer_config.json describes what mneme does: <|endoftext|> goes before
 * every text (add_bos_token), and its name within a text is ordinary text
 * (split_special_tokens). `pre` is GGUF's name of the pre-tokenizer, for
 * tokenizer.ggml.pre.
 */
void hf_config_json(const struct model_shape *shape, uint32_t end_of_text,
                    struct buf *out);
void hf_generation_config_json(uint32_t end_of_text, struct buf *out);
void hf_tokenizer_config_json(const struct model_shape *shape, struct buf *out);

/*
 * The shape in a config.json, ours or another tool's.
 *   shape         context is max_position_embeddings, at most
 *                 MODEL_MAX_CONTEXT
 *   *end_of_text  eos_token_id, the first of several, or -1
 * ERR_CORRUPT: not JSON; ERR_INVALID names the setting that this model cannot
 * have (another architecture, biases, scaled rotary positions, a vocabulary
 * above MODEL_MAX_VOCAB, ...).
 */
int hf_parse_config(const char *json, size_t n_bytes, struct model_shape *shape,
                    int64_t *end_of_text, struct err *err);

/* Are these exactly the tensors of the table above? ERR_INVALID names the
 * first that is missing, of another shape or type, or not expected. An
 * lm_head.weight beside a tied embedding is allowed when it is the same
 * numbers. */
int hf_check_weights(const struct model_shape *shape,
                     const struct tensor_list *weights, struct err *err);

/* Checks that the file at path is large enough for the weights of this shape,
 * before memory is allocated for them: a config.json may come from anybody.
 * ERR_CORRUPT: it is too small. */
int hf_check_size(const char *path, const struct model_shape *shape,
                  struct err *err);

/* A whole directory: config.json, model.safetensors (one file) and
 * tokenizer.json (appended as it is), checked against each other. */
int hf_read_dir(const char *dir, struct model_shape *shape,
                int64_t *end_of_text, struct tensor_list *weights,
                struct buf *tokenizer_json, struct err *err);

#endif

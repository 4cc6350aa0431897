/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf.h - writes and reads the files of a model directory that Hugging Face
 * transformers loads.
 *
 * The layout is LlamaForCausalLM, or Qwen3ForCausalLM when queries and keys
 * have norms. The tensors are float32, with the shapes (outputs, inputs):
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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/model_shape.h"
#include "base/tensor.h"

/* The tokens that begin and end a text. */
struct hf_tokens {
    uint32_t begin, end;
    const char *begin_name, *end_name;
    const char *pre;     /* GGUF's name of the pre-tokenizer, for
                            tokenizer.ggml.pre */
    bool adds_begin;     /* tokenizer.json puts `begin` before a text */
    bool splits_special; /* the name of a special token is ordinary text */
};

/* Those of mneme's own vocabularies. */
#define HF_OWN_TOKENS                                                          \
    {                                                                          \
        256, 256, "<|endoftext|>", "<|endoftext|>", "smollm", true, true,      \
    }

/* Append config.json, generation_config.json and tokenizer_config.json to
 * out. */
void hf_config_json(const struct model_shape *shape,
                    const struct hf_tokens *tokens, struct buf *out);
void hf_generation_config_json(const struct hf_tokens *tokens, struct buf *out);
void hf_tokenizer_config_json(const struct model_shape *shape,
                              const struct hf_tokens *tokens, struct buf *out);

/*
 * Reads the shape in a config.json of mneme or of another tool.
 *   shape         context is max_position_embeddings, at most
 *                 MODEL_MAX_CONTEXT
 *   *end_of_text  eos_token_id (the first one of a list), or -1
 * ERR_CORRUPT: not JSON; ERR_INVALID names the setting that this model cannot
 * have (another architecture, biases, scaled rotary positions, a vocabulary
 * above MODEL_MAX_VOCAB, ...).
 */
int hf_parse_config(const char *json, size_t n_bytes, struct model_shape *shape,
                    int64_t *end_of_text, struct err *err);

/* Checks that the list has exactly the tensors of the table above. ERR_INVALID
 * names the first tensor that is missing, has another shape or type, or is not
 * expected. lm_head.weight may exist beside a tied embedding if it has the same
 * numbers. */
int hf_check_weights(const struct model_shape *shape,
                     const struct tensor_list *weights, struct err *err);

/* Checks that the file at path is large enough for the weights of this shape,
 * before memory is allocated for them: a config.json may come from anybody.
 * ERR_CORRUPT: it is too small. */
int hf_check_size(const char *path, const struct model_shape *shape,
                  struct err *err);

/* Reads a directory: config.json, model.safetensors (one file) and
 * tokenizer.json (appended unchanged). Checks the tensors against the shape. */
int hf_read_dir(const char *dir, struct model_shape *shape,
                int64_t *end_of_text, struct tensor_list *weights,
                struct buf *tokenizer_json, struct err *err);

#endif

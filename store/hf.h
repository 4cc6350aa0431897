/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf.h - writes and reads the files of a model directory that Hugging Face
 * transformers loads.
 *
 * The layout is LlamaForCausalLM; Qwen3ForCausalLM when queries and keys have
 * norms; Qwen2ForCausalLM when queries, keys and values have biases. The
 * tensors are float32, with the shapes (outputs, inputs):
 *
 *     model.embed_tokens.weight                       (V, C)
 *     model.layers.N.input_layernorm.weight           (C)
 *     model.layers.N.self_attn.{q,k,v}_proj.weight    (heads * head_dim, C)
 *     model.layers.N.self_attn.o_proj.weight          (C, heads * head_dim)
 *     model.layers.N.self_attn.{q,k,v}_proj.bias      Qwen2, attention_bias
 *     model.layers.N.self_attn.o_proj.bias            (C), attention_bias
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

/* What other programs are told about the tokenizer: which tokens begin and end
 * a text, and how special tokens are treated. */
struct hf_text {
    uint32_t begin, end; /* ids of the tokens that begin and end a text */
    const char *begin_name, *end_name;
    const char *pre;     /* GGUF's name of the pre-tokenizer */
    bool adds_begin;     /* tokenizer.json puts `begin` before a text */
    bool splits_special; /* the name of a special token is ordinary text */
};

/* Of mneme's own vocabularies: <|endoftext|> begins and ends a text. */
#define HF_TEXT_OWN(id)                                                        \
    {                                                                          \
        .begin = (id), .end = (id), .begin_name = "<|endoftext|>",             \
        .end_name = "<|endoftext|>", .pre = "smollm", .adds_begin = true,      \
        .splits_special = true                                                 \
    }

/*
 * Append config.json, generation_config.json and tokenizer_config.json to out.
 * tokenizer_config.json describes what tokenizer.json does. With mneme's own
 * vocabularies, the token that begins a text goes before every text
 * (add_bos_token), and its name within a text is ordinary text
 * (split_special_tokens). `pre` is for tokenizer.ggml.pre.
 */
void hf_config_json(const struct model_shape *shape, const struct hf_text *text,
                    struct buf *out);
void hf_generation_config_json(const struct hf_text *text, struct buf *out);
void hf_tokenizer_config_json(const struct model_shape *shape,
                              const struct hf_text *text, struct buf *out);

/*
 * Reads the shape in a config.json of mneme or of another tool.
 *   shape         context is max_position_embeddings, at most
 *                 MODEL_MAX_CONTEXT and a sliding window, so that a window
 *                 changes nothing
 *   *end_of_text  eos_token_id (the first one of a list), or -1
 * ERR_CORRUPT: not JSON; ERR_INVALID names the setting that this model cannot
 * have (another architecture, a kind of rope scaling, biases of the
 * feed-forward, a vocabulary above MODEL_MAX_VOCAB, ...).
 */
int hf_parse_config(const char *json, size_t n_bytes, struct model_shape *shape,
                    int64_t *end_of_text, struct err *err);

/* Checks that the list has exactly the tensors of the table above. ERR_INVALID
 * names the first tensor that is missing, has another shape or type, or is not
 * expected. lm_head.weight may exist beside a tied embedding if it has the same
 * numbers; tensors without numbers (data NULL) are not compared. */
int hf_check_weights(const struct model_shape *shape,
                     const struct tensor_list *weights, struct err *err);

/* Checks that the file at path is large enough for the weights of this shape,
 * before memory is allocated for them: a config.json may come from anybody.
 * ERR_CORRUPT: it is too small. */
int hf_check_size(const char *path, const struct model_shape *shape,
                  struct err *err);

#endif

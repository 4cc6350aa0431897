/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import.h - reads a published model: one that another program wrote.
 *
 * It is one of:
 *
 *     a folder of Hugging Face     config.json, tokenizer.json and either
 *                                  model.safetensors or several files with
 *                                  model.safetensors.index.json; numbers are
 *                                  F32, F16 or BF16
 *     a file of GGUF               F32, F16, BF16, Q8_0, Q4_0; architecture
 *                                  llama, qwen2 or qwen3; tokenizer gpt2
 *
 * Settings, names, shapes and types are checked before memory is taken for the
 * weights. What cannot be read is refused by its name. Tensors that change no
 * result (rotary_emb.inv_freq) are left out.
 *
 * Owner:   the caller owns a struct import_model; import_release frees it
 * Threads: any
 */
#ifndef MNEME_INTERCHANGE_IMPORT_H
#define MNEME_INTERCHANGE_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/model_shape.h"
#include "base/tensor.h"

struct import_model {
    struct model_shape shape;   /* context: of the model, at most
                                   MODEL_MAX_CONTEXT */
    int64_t end_of_text;        /* the id that ends a text; -1: not said */
    struct tensor_list weights; /* float32, as the table of store/hf.h */
    struct buf tokenizer_json;
    bool is_gguf; /* tokenizer_json was made from the keys of a GGUF file */
};

#define IMPORT_MODEL_INIT                                                      \
    {                                                                          \
        .end_of_text = -1                                                      \
    }

/*
 * Reads a published model. `m` is as IMPORT_MODEL_INIT, and is so after a
 * failure.
 * ERR_NOTFOUND, ERR_INVALID (names what this program does not read),
 * ERR_CORRUPT, ERR_LIMIT, ERR_IO, ERR_NOMEM. Messages begin with a path.
 */
int import_read(const char *source, struct import_model *m, struct err *err);

/* Reads only the shape, to announce the memory that the model takes. */
int import_read_shape(const char *source, struct model_shape *shape,
                      struct err *err);

/*
 * Parses model.safetensors.index.json.
 *   map  out: an object of tensor names and names of files in the folder; the
 *        caller calls json_decref
 */
int import_parse_index(const char *json, size_t n_bytes, json_t **map,
                       struct err *err);

void import_release(struct import_model *m);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export.h - writes a version's Transformer as another program's model.
 *
 *     EXPORT_HF     config.json, generation_config.json, tokenizer.json,
 *                   tokenizer_config.json, model.safetensors: transformers
 *     EXPORT_GGUF   model.gguf: llama.cpp; architecture qwen3 if the shape has
 *                   norms of queries and keys, qwen2 if they and values have
 *                   biases, else llama
 *
 * Numbers are rounded to a type. EXPORT_HF rounds every tensor. EXPORT_GGUF
 * keeps norms and biases in F32; a matrix whose rows do not consist of whole
 * blocks becomes F16.
 *
 * Owner:   the caller
 * Threads: any
 */
#ifndef MNEME_INTERCHANGE_EXPORT_H
#define MNEME_INTERCHANGE_EXPORT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/model_shape.h"
#include "base/tensor.h"
#include "interchange/gguf_format.h"

enum export_format { EXPORT_HF, EXPORT_GGUF };

/* A version's files; store.h reads them. */
struct export_model {
    const char *name; /* for people: "mneme version 12" */
    const char *sha256; /* of the version's weights, for lineage */
    struct model_shape shape;
    struct tensor_list weights; /* float32, under Hugging Face's names */
    struct buf config_json, generation_config_json;
    struct buf tokenizer_json, tokenizer_config_json;
};

void export_model_release(struct export_model *m);

/* Checks that an export can be written to dir: the name is free, or it is an
 * empty folder. ERR_STATE. */
int export_check_target(const char *dir, struct err *err);

/* Is the type one of the format? ERR_INVALID names the types. */
int export_check_type(enum export_format format, enum gguf_type type,
                      struct err *err);

/* Checks that the format can hold the model, its tokenizer and its settings.
 * export_write checks the same; a caller asks before long work. ERR_INVALID,
 * ERR_CORRUPT. */
int export_check(const struct export_model *m, enum export_format format,
                 enum gguf_type type, struct err *err);

struct export_report {
    uint64_t bytes;    /* of all files */
    size_t n_made_f16; /* matrices that became F16 instead of the type */
};

/*
 * Writes the folder: first under the name "dir.exporting", which is synced and
 * then renamed. After an error nothing is left.
 *   m       m->weights are rounded in place: they become the numbers that the
 *           other program reads
 *   dir     as for export_check_target
 * ERR_STATE: the target is used; ERR_INVALID: the weights do not fit the shape,
 * a number does not fit the type, or GGUF cannot have such a tokenizer; ERR_IO,
 * ERR_FULL.
 */
int export_write(struct export_model *m, enum export_format format,
                 enum gguf_type type, const char *dir,
                 struct export_report *report, struct err *err);

#endif

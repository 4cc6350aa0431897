/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import_gguf.h - reads a model from a GGUF file.
 *
 * Threads: any
 */
#ifndef MNEME_INTERCHANGE_IMPORT_GGUF_H
#define MNEME_INTERCHANGE_IMPORT_GGUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "interchange/gguf_reader.h"
#include "interchange/import.h"

/* As import_read, of a file; without `all` only the shape and end_of_text. */
int import_gguf_read(const char *path, struct import_model *m, bool all,
                     struct err *err);

/* Reads the shape, and checks names and shapes of all tensors against it. */
int import_gguf_shape(const struct gguf *g, struct model_shape *shape,
                      struct err *err);

/* Appends the tokenizer as Hugging Face's tokenizer.json. ERR_INVALID: it is no
 * byte-level BPE, or has a pre-tokenizer that mneme does not know. */
int import_gguf_tokenizer(const struct gguf *g, size_t vocab_size,
                          struct buf *json, struct err *err);

#endif

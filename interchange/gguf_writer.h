/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf_writer.h - writes a GGUF file: keys, then tensors.
 *
 *     struct gguf_writer w;
 *     gguf_writer_init(&w);
 *     gguf_writer_text(&w, "general.architecture", "llama");
 *     gguf_writer_tensor(&w, "output_norm.weight", GGUF_F32, 1, &n);   each
 *     gguf_writer_open(&w, path, err);
 *     gguf_writer_row(&w, bytes, n_bytes, err);     all rows, in that order
 *     gguf_writer_close(&w, err);
 *     gguf_writer_release(&w);
 *
 * Owner:   the caller
 * Threads: one at a time
 */
#ifndef MNEME_INTERCHANGE_GGUF_WRITER_H
#define MNEME_INTERCHANGE_GGUF_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "interchange/gguf_format.h"

struct gguf_writer {
    struct buf keys, tensors; /* as in the file */
    uint64_t n_keys, n_tensors;
    uint64_t *sizes; /* bytes of each tensor */
    size_t cap_sizes;
    uint64_t data_bytes; /* of all tensors, with padding */
    struct buf piece;    /* data that is not written yet */
    char *path;
    int fd;
    uint64_t tensor, done; /* the tensor that is written, and its bytes */
    uint64_t bytes;        /* of the file so far */
};

void gguf_writer_init(struct gguf_writer *w);

/* --- keys: each name once ------------------------------------------------ */

void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_writer_float(struct gguf_writer *w, const char *key, float value);
void gguf_writer_bool(struct gguf_writer *w, const char *key, bool value);
void gguf_writer_text(struct gguf_writer *w, const char *key,
                      const char *value);

/* Begins an array of n elements; each is then added once. */
void gguf_writer_array(struct gguf_writer *w, const char *key,
                       enum gguf_value type, uint64_t n);
void gguf_writer_add_text(struct gguf_writer *w, const char *value);
void gguf_writer_add_i32(struct gguf_writer *w, int32_t value);

/* --- tensors ------------------------------------------------------------- */

/* Declares a tensor. The last dimension of shape is a row, as in struct
 * tensor; it is a multiple of the type's block. */
void gguf_writer_tensor(struct gguf_writer *w, const char *name,
                        enum gguf_type type, int n_dims, const size_t *shape);

/* Creates the file, which must not exist, and writes keys and tensor table.
 * ERR_IO, ERR_FULL, also from the functions below. */
int gguf_writer_open(struct gguf_writer *w, const char *path, struct err *err);

/* Appends data of the tensors, in the order of their declaration. Data may be
 * cut anywhere but between two tensors. */
int gguf_writer_row(struct gguf_writer *w, const void *bytes, size_t n_bytes,
                    struct err *err);

/* Syncs and closes the file; all data has been appended. w->bytes is its
 * size. */
int gguf_writer_close(struct gguf_writer *w, struct err *err);

/* Frees the memory. A file that was not closed is deleted. */
void gguf_writer_release(struct gguf_writer *w);

#endif

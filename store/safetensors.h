/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors.h - tensor files in and out.
 *
 *     u64  length of the header in bytes, little-endian
 *     JSON {"__metadata__": {string: string},
 *           name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
 *          padded with spaces, so that the data starts at a multiple of 8
 *     data, row-major, little-endian; offsets count from here
 *
 * The data has no holes and no overlaps and ends with the file. Everything is
 * checked before memory is taken: the header's length against the file's, each
 * tensor's bytes against its shape and type, the offsets against each other.
 *
 * Written in the order of the list, with a running SHA-256 and no second copy.
 * Read into owned copies: F32, F64, I64, U16, U8 as they are; F16 and BF16
 * become F32.
 *
 * Owner:   what is read belongs to the list
 * Threads: any
 */
#ifndef MNEME_STORE_SAFETENSORS_H
#define MNEME_STORE_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/checksum.h"
#include "base/err.h"
#include "base/tensor.h"

/* The format allows 100 MB; a header of ours is a few hundred kilobytes. */
#define SAFETENSORS_MAX_HEADER_BYTES (4u << 20)

/* An entry of __metadata__. */
struct safetensors_pair {
    const char *key, *value;
};

/* Size and digest of a file as it was written. */
struct safetensors_file {
    uint64_t bytes;
    char sha256[SHA256_HEX];
};

/*
 * Writes and syncs path, which must not exist; an unfinished one is removed.
 * Names must differ and may not be "__metadata__" (BUG).
 *   metadata  "format": "pt" is written first, without being asked for
 *   *written  may be NULL
 * ERR_IO, ERR_FULL.
 */
int safetensors_write(const char *path, const struct tensor_list *tensors,
                      const struct safetensors_pair *metadata,
                      size_t n_metadata, struct safetensors_file *written,
                      struct err *err);

/*
 * Reads a whole file; out is empty before, and after a failure.
 *   sha256         what the file's digest must be, or NULL: not looked at
 *   limit_bytes    of the file: ERR_LIMIT above it
 *   metadata_json  __metadata__ as a JSON object is appended; may be NULL
 * ERR_CORRUPT, ERR_LIMIT (too many dimensions too), ERR_INVALID (a type that
 * is not known here), ERR_NOTFOUND, ERR_IO, ERR_NOMEM; each names the file.
 */
int safetensors_read(const char *path, const char *sha256, uint64_t limit_bytes,
                     struct tensor_list *out, struct buf *metadata_json,
                     struct err *err);

/* The same from memory; `name` stands for the path in messages. */
int safetensors_parse(const char *name, const void *bytes, size_t n_bytes,
                      struct tensor_list *out, struct buf *metadata_json,
                      struct err *err);

/* The header of a file alone: appends __metadata__ as a JSON object. The errors
 * of safetensors_read. */
int safetensors_read_metadata(const char *path, uint64_t limit_bytes,
                              struct buf *metadata_json, struct err *err);

#endif

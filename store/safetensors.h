/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors.h - reads and writes tensor files.
 *
 *     u64  length of the header in bytes, little-endian
 *     JSON {"__metadata__": {string: string},
 *           name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
 *          padded with spaces, so that the data starts at a multiple of 8
 *     data, row-major, little-endian; offsets count from here
 *
 * The data has no holes and no overlaps and ends with the file. A reader checks
 * the header before it allocates memory for the data: the length of the header
 * against that of the file, each tensor's bytes against its shape and type, and
 * the offsets against each other.
 *
 * Tensors are written in the order of the list, without a second copy, while
 * the SHA-256 is computed. Tensors of the types F32, F64, I64, U16 and U8 are
 * read unchanged; F16 and BF16 become F32 when they are read.
 *
 * Owner:   the list owns the tensors that are read
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

/* The format allows 100 MB; mneme writes a few hundred kilobytes. */
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
 * Writes and syncs the file at path, which must not exist. After an error the
 * file is deleted. Names must differ and may not be "__metadata__" (BUG).
 *   metadata  "format": "pt" is always written before these pairs
 *   *written  may be NULL
 * ERR_IO, ERR_FULL.
 */
int safetensors_write(const char *path, const struct tensor_list *tensors,
                      const struct safetensors_pair *metadata,
                      size_t n_metadata, struct safetensors_file *written,
                      struct err *err);

/*
 * Reads a file. out must be empty, and is empty after a failure.
 *   sha256         the expected digest of the file; NULL: not checked
 *   limit_bytes    ERR_LIMIT when the file is larger
 *   metadata_json  __metadata__ is appended as a JSON object; may be NULL
 * ERR_CORRUPT, ERR_LIMIT (also for too many dimensions), ERR_INVALID (an
 * unknown type), ERR_NOTFOUND, ERR_IO, ERR_NOMEM; each message names the file.
 */
int safetensors_read(const char *path, const char *sha256, uint64_t limit_bytes,
                     struct tensor_list *out, struct buf *metadata_json,
                     struct err *err);

/* Reads only the header of a file: lists the tensors that safetensors_read
 * would give, without their numbers (data is NULL). Errors as in
 * safetensors_read. */
int safetensors_read_shapes(const char *path, uint64_t limit_bytes,
                            struct tensor_list *out, struct err *err);

/* Reads only the header of a file: appends __metadata__ as a JSON object.
 * Errors as in safetensors_read. */
int safetensors_read_metadata(const char *path, uint64_t limit_bytes,
                              struct buf *metadata_json, struct err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors_header.h - the header of a tensor file: names, types, shapes and
 * offsets of its tensors.
 *
 *     struct safetensors_header h = {0};
 *     rc = safetensors_header_parse(name, json, n, data_bytes, &h, err);
 *     ... h.spans[0 .. h.n - 1], in the order of their offsets ...
 *     safetensors_header_release(&h);
 *
 * Owner:   a header owns its JSON and spans; release it after a failure, too
 * Threads: any
 */
#ifndef MNEME_STORE_SAFETENSORS_HEADER_H
#define MNEME_STORE_SAFETENSORS_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/tensor.h"
#include "store/safetensors.h"

/* A type of the format, and the type of the tensor that is read. */
struct safetensors_kind {
    const char *dtype;
    size_t size; /* of an element in the file */
    enum tensor_type type;
    bool half; /* a 16-bit float, which becomes F32 */
};

struct safetensors_span {
    const char *name; /* points into the JSON */
    const struct safetensors_kind *kind;
    int n_dims;
    size_t shape[TENSOR_MAX_DIMS];
    size_t count; /* elements */
    uint64_t begin, end;
    void *data; /* of the tensor in the list */
};

struct safetensors_header {
    json_t *root;
    struct safetensors_span *spans;
    size_t n;
};

/* Appends the length and the JSON, padded so that the data is aligned. Names
 * must differ and may not be "__metadata__" (BUG). */
void safetensors_header_make(const struct tensor_list *l,
                             const struct safetensors_pair *metadata,
                             size_t n_metadata, struct buf *out);

/*
 * Parses the n bytes of JSON. The spans then cover the data exactly.
 *   file        the name of the file, for messages
 *   data_bytes  the number of bytes after the header
 *   h           zeroed by the caller
 * ERR_CORRUPT, ERR_LIMIT (too many dimensions), ERR_INVALID (an unknown type).
 */
int safetensors_header_parse(const char *file, const char *json, size_t n,
                             uint64_t data_bytes, struct safetensors_header *h,
                             struct err *err);

/* Appends __metadata__ as a JSON object. */
void safetensors_header_metadata(const struct safetensors_header *h,
                                 struct buf *out);

void safetensors_header_release(struct safetensors_header *h);

#endif

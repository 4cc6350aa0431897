/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf_reader.h - reads a GGUF file: its keys, and the numbers of its tensors
 * (gguf_format.h has the layout).
 *
 *     rc = gguf_open(path, &g, err);
 *     key = gguf_find(g, "llama.block_count");
 *     rc = gguf_load(g, &gguf_tensors(g)[0], numbers, err);
 *     gguf_close(g);
 *
 * The header is checked as a whole when the file is opened: every count and
 * length against the bytes that the file has, and the place of each tensor's
 * data. Memory is taken for the bytes of the header alone, up to
 * GGUF_MAX_HEADER.
 *
 * Owner:   strings and keys point into the reader, until gguf_close
 * Threads: one at a time
 */
#ifndef MNEME_INTERCHANGE_GGUF_READER_H
#define MNEME_INTERCHANGE_GGUF_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "interchange/gguf_format.h"

#define GGUF_MAX_HEADER ((size_t)256 << 20)
#define GGUF_MAX_KEYS 65536
#define GGUF_MAX_TENSORS 65536
#define GGUF_MAX_NAME 127 /* bytes of a tensor's name */

struct gguf; /* fields are in gguf_reader.c */

struct gguf_string {
    const char *bytes; /* no NUL at the end, and any bytes */
    size_t n;
};

struct gguf_key {
    struct gguf_string name;
    uint32_t type;    /* enum gguf_value */
    uint32_t of;      /* GGUF_ARRAY: type of the elements */
    uint64_t n;       /* GGUF_ARRAY: their number */
    const char *data; /* the value, or the first element */
};

struct gguf_tensor {
    char name[GGUF_MAX_NAME + 1];
    int n_dims;                  /* 1 to GGUF_MAX_DIMS */
    size_t shape[GGUF_MAX_DIMS]; /* the slowest dimension first, as in
                                    base/tensor.h */
    size_t count;                /* numbers */
    enum gguf_type type;
    uint64_t at; /* in the file */
};

/* ERR_CORRUPT; ERR_INVALID: another version, or a tensor of another type, which
 * the message names; ERR_LIMIT; ERR_NOTFOUND, ERR_IO. Messages begin with the
 * path. */
int gguf_open(const char *path, struct gguf **g, struct err *err);
void gguf_close(struct gguf *g);

/*
 * Parses the first n bytes of a file that has file_bytes bytes. A message
 * begins with `path`.
 *   more  out: true if the header is longer than n; the result is then
 *         ERR_LIMIT
 *   g     out: its strings point into bytes
 */
int gguf_parse(const char *path, const char *bytes, size_t n,
               uint64_t file_bytes, bool *more, struct gguf **g,
               struct err *err);

const struct gguf_tensor *gguf_tensors(const struct gguf *g, size_t *n);

/* NULL: there is no such key. */
const struct gguf_key *gguf_find(const struct gguf *g, const char *name);

/* Read a key's value; false if the key is NULL or has another type. A whole
 * number may be of any of the types for it. */
bool gguf_get_int(const struct gguf_key *key, int64_t *value);
bool gguf_get_float(const struct gguf_key *key, double *value);
bool gguf_get_bool(const struct gguf_key *key, bool *value);
bool gguf_get_string(const struct gguf_key *key, struct gguf_string *value);

/* True if the string is the text. */
bool gguf_is(const struct gguf_string *s, const char *text);

/* Go through an array of strings: *at begins as key->data. Call it at most
 * key->n times. */
struct gguf_string gguf_next_string(const char **at);

/* Reads the numbers of a tensor: float[t->count]. */
int gguf_load(struct gguf *g, const struct gguf_tensor *t, float *numbers,
              struct err *err);

#endif

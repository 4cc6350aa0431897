/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The offsets of the tensors follow from their sizes, so the whole table is
 * known before any data.
 */
#include "config.h"

#include "interchange/gguf_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/xalloc.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "GGUF files are little-endian");

#define PIECE_BYTES ((size_t)1 << 20)

void gguf_writer_init(struct gguf_writer *w)
{
    *w = (struct gguf_writer){.fd = -1};
}

/* --- keys --------------------------------------------------------------- */

static void add_u32(struct buf *b, uint32_t value)
{
    buf_add(b, &value, sizeof value);
}

static void add_u64(struct buf *b, uint64_t value)
{
    buf_add(b, &value, sizeof value);
}

static void add_text(struct buf *b, const char *text)
{
    size_t n = strlen(text);

    add_u64(b, n);
    buf_add(b, text, n);
}

static void add_key(struct gguf_writer *w, const char *key,
                    enum gguf_value type)
{
    add_text(&w->keys, key);
    add_u32(&w->keys, type);
    w->n_keys++;
}

void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
    add_key(w, key, GGUF_U32);
    add_u32(&w->keys, value);
}

void gguf_writer_float(struct gguf_writer *w, const char *key, float value)
{
    add_key(w, key, GGUF_FLOAT);
    buf_add(&w->keys, &value, sizeof value);
}

void gguf_writer_bool(struct gguf_writer *w, const char *key, bool value)
{
    add_key(w, key, GGUF_BOOL);
    buf_addc(&w->keys, value ? 1 : 0);
}

void gguf_writer_text(struct gguf_writer *w, const char *key, const char *value)
{
    add_key(w, key, GGUF_STRING);
    add_text(&w->keys, value);
}

void gguf_writer_array(struct gguf_writer *w, const char *key,
                       enum gguf_value type, uint64_t n)
{
    add_key(w, key, GGUF_ARRAY);
    add_u32(&w->keys, type);
    add_u64(&w->keys, n);
}

void gguf_writer_add_text(struct gguf_writer *w, const char *value)
{
    add_text(&w->keys, value);
}

void gguf_writer_add_i32(struct gguf_writer *w, int32_t value)
{
    buf_add(&w->keys, &value, sizeof value);
}

/* --- tensors ------------------------------------------------------------ */

static size_t padding(uint64_t n)
{
    return (size_t)(-n % GGUF_ALIGNMENT);
}

void gguf_writer_tensor(struct gguf_writer *w, const char *name,
                        enum gguf_type type, int n_dims, const size_t *shape)
{
    uint64_t size = gguf_row_bytes(type, shape[n_dims - 1]);

    BUG_ON(n_dims < 1 || n_dims > GGUF_MAX_DIMS || size == 0);
    add_text(&w->tensors, name);
    add_u32(&w->tensors, (uint32_t)n_dims);
    for (int i = n_dims; i-- > 0;)
        add_u64(&w->tensors, shape[i]);
    add_u32(&w->tensors, type);
    add_u64(&w->tensors, w->data_bytes);
    for (int i = 0; i + 1 < n_dims; i++)
        BUG_ON(__builtin_mul_overflow(size, shape[i], &size));
    XGROW(w->sizes, w->n_tensors, w->cap_sizes);
    w->sizes[w->n_tensors++] = size;
    w->data_bytes += size + padding(size);
}

static int write_piece(struct gguf_writer *w, struct err *err)
{
    int rc = fileio_write_all(w->fd, w->piece.data, w->piece.len, w->path, err);

    buf_clear(&w->piece);
    return rc;
}

static void add_zeros(struct gguf_writer *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_addc(&w->piece, 0);
    w->bytes += n;
}

int gguf_writer_open(struct gguf_writer *w, const char *path, struct err *err)
{
    int rc = fileio_create(path, &w->fd, err);

    if (rc)
        return rc;
    w->path = xstrdup(path);
    buf_add(&w->piece, GGUF_MAGIC, 4);
    add_u32(&w->piece, GGUF_VERSION);
    add_u64(&w->piece, w->n_tensors);
    add_u64(&w->piece, w->n_keys);
    buf_add(&w->piece, w->keys.data, w->keys.len);
    buf_add(&w->piece, w->tensors.data, w->tensors.len);
    w->bytes = w->piece.len;
    add_zeros(w, padding(w->bytes));
    return write_piece(w, err);
}

int gguf_writer_row(struct gguf_writer *w, const void *bytes, size_t n_bytes,
                    struct err *err)
{
    BUG_ON(w->tensor == w->n_tensors ||
           n_bytes > w->sizes[w->tensor] - w->done);
    buf_add(&w->piece, bytes, n_bytes);
    w->bytes += n_bytes;
    w->done += n_bytes;
    if (w->done == w->sizes[w->tensor]) {
        add_zeros(w, padding(w->done));
        w->tensor++;
        w->done = 0;
    }
    return w->piece.len < PIECE_BYTES ? 0 : write_piece(w, err);
}

int gguf_writer_close(struct gguf_writer *w, struct err *err)
{
    int rc;

    BUG_ON(w->tensor != w->n_tensors);
    rc = write_piece(w, err);
    if (rc == 0)
        rc = fileio_fsync(w->fd, w->path, err);
    if (close(w->fd) != 0 && rc == 0)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot close", w->path);
    w->fd = -1;
    if (rc)
        unlink(w->path);
    return rc;
}

void gguf_writer_release(struct gguf_writer *w)
{
    if (w->fd >= 0) {
        close(w->fd);
        unlink(w->path);
    }
    free(w->path);
    free(w->sizes);
    buf_release(&w->keys);
    buf_release(&w->tensors);
    buf_release(&w->piece);
    gguf_writer_init(w);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader first reads and checks the whole header (safetensors_header.c). Then
 * it allocates memory and reads the data from begin to end, while it computes
 * the digest.
 *
 * Numbers in the file are little-endian, as on all machines on which this
 * compiles. So blocks are written and read without conversion.
 */
#include "config.h"

#include "store/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/half.h"
#include "base/xalloc.h"
#include "store/safetensors_header.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tensor files are little-endian");

#define PIECE_BYTES ((size_t)1 << 20)

/* --- writing ------------------------------------------------------------ */

/* Writes in pieces, so that the digest reads them from the cache. */
static int write_block(int fd, const char *bytes, size_t n_bytes,
                       const char *path, struct checksum_stream *digest,
                       struct safetensors_file *written, struct err *err)
{
    int rc = 0;

    while (n_bytes && rc == 0) {
        size_t n = n_bytes < PIECE_BYTES ? n_bytes : PIECE_BYTES;

        checksum_stream_add(digest, bytes, n);
        rc = fileio_write_all(fd, bytes, n, path, err);
        written->bytes += n;
        bytes += n;
        n_bytes -= n;
    }
    return rc;
}

int safetensors_write(const char *path, const struct tensor_list *tensors,
                      const struct safetensors_pair *metadata,
                      size_t n_metadata, struct safetensors_file *written,
                      struct err *err)
{
    struct checksum_stream *digest = NULL;
    struct safetensors_file file = {0};
    struct buf header = BUF_INIT;
    int fd = -1;
    int rc;

    safetensors_header_make(tensors, metadata, n_metadata, &header);
    rc = fileio_create(path, &fd, err);
    if (rc)
        goto out;
    digest = checksum_stream_create();
    rc = write_block(fd, header.data, header.len, path, digest, &file, err);
    for (size_t i = 0; i < tensors->n && rc == 0; i++)
        rc = write_block(fd, tensors->items[i].data,
                         tensor_bytes(&tensors->items[i]), path, digest, &file,
                         err);
    if (rc == 0)
        rc = fileio_fsync(fd, path, err);
    if (close(fd) != 0 && rc == 0)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot close", path);
    if (rc)
        unlink(path);
out:
    checksum_stream_finish(digest, rc ? NULL : file.sha256);
    buf_release(&header);
    if (rc == 0 && written)
        *written = file;
    return rc;
}

/* --- input -------------------------------------------------------------- */

struct input {
    const char *name; /* for messages */
    int fd;
    uint64_t size;                  /* of the file */
    struct checksum_stream *digest; /* NULL: not computed */
};

/* Reads the next n_bytes; ERR_CORRUPT when the file has fewer. */
static int read_bytes(struct input *in, void *to, size_t n_bytes,
                      struct err *err)
{
    char *p = to;
    size_t left = n_bytes;

    for (size_t n; left; left -= n, p += n) {
        if (fileio_read_piece(in->fd, p, left, &n, in->name, err) != 0)
            return ERR_IO;
        if (n == 0)
            return err_set(err, ERR_CORRUPT, "%s: the file is cut off",
                           in->name);
    }
    if (in->digest)
        checksum_stream_add(in->digest, to, n_bytes);
    return 0;
}

/* --- the data ----------------------------------------------------------- */

/* Reads 16-bit floats in pieces, and converts them. */
static int read_half(struct input *in, const struct safetensors_span *s,
                     struct err *err)
{
    bool bfloat = strcmp(s->kind->dtype, "BF16") == 0;
    float *to = s->data;
    size_t left = s->count;
    uint16_t piece[4096];
    int rc = 0;

    BUG_ON(!to);
    while (left && rc == 0) {
        size_t n = sizeof piece / sizeof *piece;

        n = left < n ? left : n;
        rc = read_bytes(in, piece, n * sizeof *piece, err);
        for (size_t i = 0; i < n && rc == 0; i++)
            *to++ = bfloat ? half_bf16_to_float(piece[i])
                           : half_to_float(piece[i]);
        left -= n;
    }
    return rc;
}

static int read_span(struct input *in, const struct safetensors_span *s,
                     struct err *err)
{
    char *to = s->data;
    size_t left = (size_t)(s->end - s->begin);
    int rc = 0;

    if (s->kind->half)
        return read_half(in, s, err);
    while (left && rc == 0) {
        size_t n = left < PIECE_BYTES ? left : PIECE_BYTES;

        rc = read_bytes(in, to, n, err);
        to += n;
        left -= n;
    }
    return rc;
}

/* Allocates memory for every tensor, in the order of the data. */
static int add_tensors(const struct input *in, struct safetensors_header *h,
                       struct tensor_list *out, struct err *err)
{
    for (size_t i = 0; i < h->n; i++) {
        struct safetensors_span *s = &h->spans[i];
        struct tensor *t;
        size_t n_bytes = s->count * tensor_type_size(s->kind->type);

        s->data = xalloc_aligned(n_bytes);
        if (!s->data)
            return err_set(err, ERR_NOMEM,
                           "%s: no memory for the %zu bytes of tensor %s",
                           in->name, n_bytes, s->name);
        tensor_add_borrowed(out, s->name, s->kind->type, s->n_dims, s->shape,
                            s->data);
        t = &out->items[out->n - 1];
        t->owned = true;
    }
    return 0;
}

static int read_header(struct input *in, struct safetensors_header *h,
                       struct err *err)
{
    uint64_t length, data_bytes;
    char *json;
    int rc;

    if (in->size < sizeof length)
        return err_set(err, ERR_CORRUPT,
                       "%s: %" PRIu64 " bytes are too few for a tensor file",
                       in->name, in->size);
    rc = read_bytes(in, &length, sizeof length, err);
    if (rc)
        return rc;
    if (length > in->size - sizeof length)
        return err_set(err, ERR_CORRUPT,
                       "%s: a header of %" PRIu64
                       " bytes in a file of %" PRIu64,
                       in->name, length, in->size);
    if (length > SAFETENSORS_MAX_HEADER_BYTES)
        return err_set(err, ERR_LIMIT,
                       "%s: a header of %" PRIu64 " bytes, more than %u",
                       in->name, length, SAFETENSORS_MAX_HEADER_BYTES);
    data_bytes = in->size - sizeof length - length;
    json = xmalloc((size_t)length + 1);
    rc = read_bytes(in, json, (size_t)length, err);
    if (rc == 0)
        rc = safetensors_header_parse(in->name, json, (size_t)length,
                                      data_bytes, h, err);
    free(json);
    return rc;
}

static int read_tensors(struct input *in, struct tensor_list *out,
                        struct buf *metadata_json, struct err *err)
{
    struct safetensors_header h = {0};
    int rc;

    BUG_ON(out->n != 0);
    rc = read_header(in, &h, err);
    if (rc == 0)
        rc = add_tensors(in, &h, out, err);
    for (size_t i = 0; i < h.n && rc == 0; i++)
        rc = read_span(in, &h.spans[i], err);
    if (rc == 0 && metadata_json)
        safetensors_header_metadata(&h, metadata_json);
    if (rc)
        tensor_list_release(out);
    safetensors_header_release(&h);
    return rc;
}

/* --- reading ------------------------------------------------------------ */

static int open_input(const char *path, uint64_t limit_bytes, struct input *in,
                      struct err *err)
{
    struct stat st;

    in->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (in->fd < 0)
        return err_set_errno(
            err, errno == ENOENT || errno == ENOTDIR ? ERR_NOTFOUND : ERR_IO,
            errno, "%s: cannot open", path);
    if (fstat(in->fd, &st) != 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot read", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s: not a plain file", path);
    in->size = (uint64_t)st.st_size;
    if (in->size > limit_bytes)
        return err_set(err, ERR_LIMIT,
                       "%s: %" PRIu64 " bytes, more than the limit of %" PRIu64,
                       path, in->size, limit_bytes);
    return 0;
}

static int damaged(const char *path, const char *sha256, struct err *err)
{
    return err_set(err, ERR_CORRUPT,
                   "%s: damaged: its SHA-256 is not %.16s... any more", path,
                   sha256);
}

/* rc is the result of the parser. A wrong digest explains more than an error of
 * the parser, so the digest is checked after such an error, too. */
static int compare_digest(struct input *in, const char *sha256, int rc,
                          struct err *err)
{
    char hex[SHA256_HEX];

    if (rc == 0 && in->digest) {
        checksum_stream_finish(in->digest, hex);
        in->digest = NULL;
        return strcmp(hex, sha256) ? damaged(in->name, sha256, err) : 0;
    }
    if (rc != ERR_IO && rc != ERR_NOMEM &&
        checksum_sha256_file(in->name, hex, NULL) == 0 &&
        strcmp(hex, sha256) != 0)
        return damaged(in->name, sha256, err);
    return rc;
}

int safetensors_read(const char *path, const char *sha256, uint64_t limit_bytes,
                     struct tensor_list *out, struct buf *metadata_json,
                     struct err *err)
{
    struct input in = {.name = path, .fd = -1};
    size_t before = metadata_json ? metadata_json->len : 0;
    int rc = open_input(path, limit_bytes, &in, err);

    if (rc)
        goto out;
    if (sha256)
        in.digest = checksum_stream_create();
    rc = read_tensors(&in, out, metadata_json, err);
    if (sha256)
        rc = compare_digest(&in, sha256, rc, err);
    if (rc == 0)
        goto out;
    tensor_list_release(out);
    if (metadata_json && metadata_json->data) {
        metadata_json->len = before;
        metadata_json->data[before] = '\0';
    }
out:
    checksum_stream_finish(in.digest, NULL);
    if (in.fd >= 0)
        close(in.fd);
    return rc;
}

int safetensors_read_metadata(const char *path, uint64_t limit_bytes,
                              struct buf *metadata_json, struct err *err)
{
    struct input in = {.name = path, .fd = -1};
    struct safetensors_header h = {0};
    int rc = open_input(path, limit_bytes, &in, err);

    if (rc == 0)
        rc = read_header(&in, &h, err);
    if (rc == 0)
        safetensors_header_metadata(&h, metadata_json);
    safetensors_header_release(&h);
    if (in.fd >= 0)
        close(in.fd);
    return rc;
}

int safetensors_read_shapes(const char *path, uint64_t limit_bytes,
                            struct tensor_list *out, struct err *err)
{
    struct input in = {.name = path, .fd = -1};
    struct safetensors_header h = {0};
    int rc = open_input(path, limit_bytes, &in, err);

    if (rc == 0)
        rc = read_header(&in, &h, err);
    for (size_t i = 0; rc == 0 && i < h.n; i++)
        tensor_add_borrowed(out, h.spans[i].name, h.spans[i].kind->type,
                            h.spans[i].n_dims, h.spans[i].shape, NULL);
    safetensors_header_release(&h);
    if (in.fd >= 0)
        close(in.fd);
    return rc;
}

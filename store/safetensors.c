/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading goes in three passes: the header's JSON into a table of spans (name,
 * type, shape, begin, end), the table sorted by begin and checked to tile the
 * data exactly, and only then memory and the data in one sweep from begin to
 * end, which is also what feeds the digest.
 *
 * Numbers are little-endian in the file. So are all machines that this builds
 * on: the blocks are written and read as they lie in memory.
 */
#include "config.h"

#include "store/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/fileio.h"
#include "base/xalloc.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tensor files are little-endian");

#define METADATA "__metadata__"
#define PIECE_BYTES ((size_t)1 << 20)

/* How a type of the file becomes one of ours. */
struct kind {
    const char *dtype;
    size_t size; /* of an element in the file */
    enum tensor_type type;
    bool half; /* 16-bit floats are widened */
};

static const struct kind kinds[] = {
    {"F32", 4, TENSOR_F32, false}, {"F64", 8, TENSOR_F64, false},
    {"I64", 8, TENSOR_I64, false}, {"U16", 2, TENSOR_U16, false},
    {"U8", 1, TENSOR_U8, false},   {"F16", 2, TENSOR_F32, true},
    {"BF16", 2, TENSOR_F32, true},
};

#define N_KINDS (sizeof kinds / sizeof *kinds)

/* --- writing ------------------------------------------------------------ */

static void add_json_string(struct buf *out, const char *s)
{
    json_t *value = json_string(s);
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

    if (!text)
        BUG("not UTF-8: %s", s);
    buf_adds(out, text);
    free(text);
    json_decref(value);
}

static void add_metadata(struct buf *out, const struct safetensors_pair *pairs,
                         size_t n)
{
    buf_adds(out, "{\"" METADATA "\":{\"format\":\"pt\"");
    for (size_t i = 0; i < n; i++) {
        buf_addc(out, ',');
        add_json_string(out, pairs[i].key);
        buf_addc(out, ':');
        add_json_string(out, pairs[i].value);
    }
    buf_addc(out, '}');
}

static void add_tensor(struct buf *out, const struct tensor *t, uint64_t *end)
{
    uint64_t begin = *end;

    /* The first kinds are in the order of enum tensor_type. */
    BUG_ON(kinds[t->type].type != t->type || strcmp(t->name, METADATA) == 0);
    *end += tensor_bytes(t);
    buf_addc(out, ',');
    add_json_string(out, t->name);
    buf_addf(out, ":{\"dtype\":\"%s\",\"shape\":[", kinds[t->type].dtype);
    for (int i = 0; i < t->n_dims; i++)
        buf_addf(out, i ? ",%zu" : "%zu", t->shape[i]);
    buf_addf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, *end);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void check_names(const struct tensor_list *l)
{
    char **names = xcalloc(l->n + 1, sizeof *names);

    for (size_t i = 0; i < l->n; i++)
        names[i] = l->items[i].name;
    qsort(names, l->n, sizeof *names, compare_names);
    for (size_t i = 1; i < l->n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            BUG("two tensors are called %s", names[i]);
    free(names);
}

/* The length, then the JSON padded so that the data is aligned. */
static void make_header(const struct tensor_list *l,
                        const struct safetensors_pair *metadata,
                        size_t n_metadata, struct buf *out)
{
    uint64_t end = 0;
    uint64_t length = 0;

    check_names(l);
    buf_add(out, &length, sizeof length);
    add_metadata(out, metadata, n_metadata);
    for (size_t i = 0; i < l->n; i++)
        add_tensor(out, &l->items[i], &end);
    buf_addc(out, '}');
    while (out->len % 8)
        buf_addc(out, ' ');
    length = out->len - sizeof length;
    memcpy(out->data, &length, sizeof length);
}

/* In pieces, so that the digest finds them in the cache. */
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

    make_header(tensors, metadata, n_metadata, &header);
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

/* --- where the bytes come from ------------------------------------------ */

struct input {
    const char *name; /* for messages */
    int fd;           /* -1: from memory */
    const char *memory;
    uint64_t size;                  /* of everything */
    struct checksum_stream *digest; /* NULL: none is wanted */
};

/* The next n_bytes, which must be there. */
static int take(struct input *in, void *to, size_t n_bytes, struct err *err)
{
    char *p = to;
    size_t left = n_bytes;

    if (in->fd < 0) {
        memcpy(to, in->memory, n_bytes);
        in->memory += n_bytes;
        left = 0;
    }
    while (left) {
        ssize_t n = read(in->fd, p, left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "%s: cannot read",
                                 in->name);
        if (n == 0)
            return err_set(err, ERR_CORRUPT, "%s: the file is cut off",
                           in->name);
        p += n;
        left -= (size_t)n;
    }
    if (in->digest)
        checksum_stream_add(in->digest, to, n_bytes);
    return 0;
}

/* --- the header --------------------------------------------------------- */

struct span {
    const char *name; /* points into the JSON */
    const struct kind *kind;
    int n_dims;
    size_t shape[TENSOR_MAX_DIMS];
    size_t count; /* elements */
    uint64_t begin, end;
    void *data; /* once it is in the list */
};

struct header {
    json_t *root;
    struct span *spans;
    size_t n;
};

static void header_release(struct header *h)
{
    json_decref(h->root);
    free(h->spans);
}

static int as_size(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return -1;
    *out = (uint64_t)json_integer_value(value);
    return 0;
}

static int parse_dtype(const struct input *in, struct span *s,
                       const json_t *entry, struct err *err)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));

    if (!dtype)
        return err_set(err, ERR_CORRUPT, "%s: tensor %s has no dtype", in->name,
                       s->name);
    for (size_t i = 0; i < N_KINDS; i++)
        if (strcmp(kinds[i].dtype, dtype) == 0)
            s->kind = &kinds[i];
    if (!s->kind)
        return err_set(err, ERR_INVALID,
                       "%s: tensor %s is of type %.20s, which is not read here",
                       in->name, s->name, dtype);
    return 0;
}

static int parse_shape(const struct input *in, struct span *s,
                       const json_t *entry, struct err *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    uint64_t dim;

    if (!json_is_array(shape))
        return err_set(err, ERR_CORRUPT, "%s: tensor %s has no shape", in->name,
                       s->name);
    if (json_array_size(shape) > TENSOR_MAX_DIMS)
        return err_set(
            err, ERR_LIMIT, "%s: tensor %s has %zu dimensions, more than %d",
            in->name, s->name, json_array_size(shape), TENSOR_MAX_DIMS);
    s->n_dims = (int)json_array_size(shape);
    s->count = 1;
    for (int i = 0; i < s->n_dims; i++) {
        if (as_size(json_array_get(shape, (size_t)i), &dim) != 0)
            return err_set(err, ERR_CORRUPT,
                           "%s: tensor %s: a dimension is not a count",
                           in->name, s->name);
        s->shape[i] = (size_t)dim;
        if (__builtin_mul_overflow(s->count, s->shape[i], &s->count))
            return err_set(err, ERR_CORRUPT,
                           "%s: tensor %s: the shape overflows", in->name,
                           s->name);
    }
    return 0;
}

/* The offsets, and that they hold exactly what type and shape say. */
static int parse_offsets(const struct input *in, struct span *s,
                         const json_t *entry, uint64_t data_bytes,
                         struct err *err)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    size_t expected;

    if (json_array_size(offsets) != 2 ||
        as_size(json_array_get(offsets, 0), &s->begin) != 0 ||
        as_size(json_array_get(offsets, 1), &s->end) != 0)
        return err_set(err, ERR_CORRUPT,
                       "%s: tensor %s: data_offsets are not two counts",
                       in->name, s->name);
    if (s->begin > s->end || s->end > data_bytes)
        return err_set(err, ERR_CORRUPT,
                       "%s: tensor %s: bytes %" PRIu64 " to %" PRIu64
                       " of %" PRIu64,
                       in->name, s->name, s->begin, s->end, data_bytes);
    if (__builtin_mul_overflow(s->count, s->kind->size, &expected) ||
        expected != s->end - s->begin)
        return err_set(err, ERR_CORRUPT,
                       "%s: tensor %s: %" PRIu64
                       " bytes do not fit its shape and type",
                       in->name, s->name, s->end - s->begin);
    return 0;
}

static int parse_entry(const struct input *in, struct header *h,
                       const char *name, const json_t *entry,
                       uint64_t data_bytes, struct err *err)
{
    struct span *s = &h->spans[h->n];
    int rc;

    s->name = name;
    if (!json_is_object(entry))
        return err_set(err, ERR_CORRUPT, "%s: tensor %s is not an object",
                       in->name, name);
    rc = parse_dtype(in, s, entry, err);
    if (rc == 0)
        rc = parse_shape(in, s, entry, err);
    if (rc == 0)
        rc = parse_offsets(in, s, entry, data_bytes, err);
    if (rc == 0)
        h->n++;
    return rc;
}

static int parse_metadata(const struct input *in, json_t *metadata,
                          struct err *err)
{
    const char *key;
    json_t *value;

    if (!json_is_object(metadata))
        return err_set(err, ERR_CORRUPT, "%s: " METADATA " is not an object",
                       in->name);
    json_object_foreach (metadata, key, value) {
        if (!json_is_string(value))
            return err_set(err, ERR_CORRUPT,
                           "%s: " METADATA ": %s is not a string", in->name,
                           key);
    }
    return 0;
}

static int compare_spans(const void *a, const void *b)
{
    const struct span *x = a;
    const struct span *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return 0;
}

/* No holes, no overlaps, nothing after the last. */
static int check_tiling(const struct input *in, const struct header *h,
                        uint64_t data_bytes, struct err *err)
{
    uint64_t at = 0;

    qsort(h->spans, h->n, sizeof *h->spans, compare_spans);
    for (size_t i = 0; i < h->n; i++) {
        const struct span *s = &h->spans[i];

        if (s->begin != at)
            return err_set(err, ERR_CORRUPT,
                           "%s: tensor %s begins at byte %" PRIu64
                           ", expected at %" PRIu64,
                           in->name, s->name, s->begin, at);
        at = s->end;
    }
    if (at != data_bytes)
        return err_set(err, ERR_CORRUPT,
                       "%s: %" PRIu64 " bytes belong to no tensor", in->name,
                       data_bytes - at);
    return 0;
}

static int parse_header(const struct input *in, const char *json, size_t n,
                        uint64_t data_bytes, struct header *h, struct err *err)
{
    json_error_t why;
    const char *name;
    json_t *entry;
    int rc = 0;

    h->root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(h->root))
        return err_set(err, ERR_CORRUPT, "%s: the header is not an object: %s",
                       in->name, h->root ? "another value" : why.text);
    h->spans = xcalloc(json_object_size(h->root) + 1, sizeof *h->spans);
    json_object_foreach(h->root, name, entry)
    {
        if (strcmp(name, METADATA) == 0)
            rc = parse_metadata(in, entry, err);
        else
            rc = parse_entry(in, h, name, entry, data_bytes, err);
        if (rc)
            return rc;
    }
    return check_tiling(in, h, data_bytes, err);
}

/* --- the data ----------------------------------------------------------- */

static float from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = (h >> 10) & 31;
    uint32_t fraction = h & 0x3ff;
    uint32_t bits;
    float f;

    if (exponent == 0) { /* zero and subnormal numbers: fraction / 2^24 */
        f = (float)fraction / 16777216.0f;
        return sign ? -f : f;
    }
    if (exponent == 31)
        bits = sign | 0x7f800000u | fraction << 13;
    else
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float from_bfloat(uint16_t b)
{
    uint32_t bits = (uint32_t)b << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

/* 16-bit floats, a piece at a time. */
static int take_half(struct input *in, const struct span *s, struct err *err)
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
        rc = take(in, piece, n * sizeof *piece, err);
        for (size_t i = 0; i < n && rc == 0; i++)
            *to++ = bfloat ? from_bfloat(piece[i]) : from_half(piece[i]);
        left -= n;
    }
    return rc;
}

static int take_span(struct input *in, const struct span *s, struct err *err)
{
    char *to = s->data;
    size_t left = (size_t)(s->end - s->begin);
    int rc = 0;

    if (s->kind->half)
        return take_half(in, s, err);
    while (left && rc == 0) {
        size_t n = left < PIECE_BYTES ? left : PIECE_BYTES;

        rc = take(in, to, n, err);
        to += n;
        left -= n;
    }
    return rc;
}

/* Memory for every tensor, in the order of the data. */
static int add_tensors(const struct input *in, struct header *h,
                       struct tensor_list *out, struct err *err)
{
    for (size_t i = 0; i < h->n; i++) {
        struct span *s = &h->spans[i];
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

static void copy_metadata(const struct header *h, struct buf *out)
{
    json_t *metadata = json_object_get(h->root, METADATA);
    char *text = metadata ? json_dumps(metadata, JSON_COMPACT) : NULL;

    buf_adds(out, text ? text : "{}");
    free(text);
}

static int read_header(struct input *in, struct header *h, struct err *err)
{
    uint64_t length;
    char *json;
    int rc;

    if (in->size < sizeof length)
        return err_set(err, ERR_CORRUPT,
                       "%s: %" PRIu64 " bytes are too few for a tensor file",
                       in->name, in->size);
    rc = take(in, &length, sizeof length, err);
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
    json = xmalloc((size_t)length + 1);
    rc = take(in, json, (size_t)length, err);
    if (rc == 0)
        rc = parse_header(in, json, (size_t)length,
                          in->size - sizeof length - length, h, err);
    free(json);
    return rc;
}

static int read_tensors(struct input *in, struct tensor_list *out,
                        struct buf *metadata_json, struct err *err)
{
    struct header h = {0};
    int rc;

    BUG_ON(out->n != 0);
    rc = read_header(in, &h, err);
    if (rc == 0)
        rc = add_tensors(in, &h, out, err);
    for (size_t i = 0; i < h.n && rc == 0; i++)
        rc = take_span(in, &h.spans[i], err);
    if (rc == 0 && metadata_json)
        copy_metadata(&h, metadata_json);
    if (rc)
        tensor_list_release(out);
    header_release(&h);
    return rc;
}

/* --- reading ------------------------------------------------------------ */

int safetensors_parse(const char *name, const void *bytes, size_t n_bytes,
                      struct tensor_list *out, struct buf *metadata_json,
                      struct err *err)
{
    struct input in = {
        .name = name, .fd = -1, .memory = bytes, .size = n_bytes};

    return read_tensors(&in, out, metadata_json, err);
}

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

/* rc is what the parser said. A wrong digest says more than what the parser
 * stumbled over, so that one is looked for after a failure too. */
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

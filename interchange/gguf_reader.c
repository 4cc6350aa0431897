/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The length of the header is not written in the file. So the reader parses the
 * first MiB, and begins again with four times as many bytes while the header is
 * longer. A cursor takes bytes from what was read: if they end there but not in
 * the file, the parser stops with `more`.
 */
#include "config.h"

#include "interchange/gguf_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/xalloc.h"

#define FIRST_BYTES ((size_t)1 << 20)
#define FEWEST_KEY_BYTES 13    /* an empty name, and a value of one byte */
#define FEWEST_TENSOR_BYTES 32 /* an empty name, and one dimension */
#define PIECE_BYTES ((size_t)1 << 20)

struct gguf {
    char *path;
    int fd;
    char *bytes; /* of the header; NULL: the caller of gguf_parse has them */
    struct gguf_key *keys;
    size_t n_keys;
    struct gguf_tensor *tensors;
    size_t n_tensors;
    uint64_t file_bytes, alignment;
};

/* --- the cursor --------------------------------------------------------- */

struct cursor {
    const char *path, *bytes;
    size_t at, n;
    uint64_t file_bytes;
    bool more;
    struct err *err;
};

/* Takes n bytes; NULL when there are fewer. */
static const char *take(struct cursor *c, uint64_t n)
{
    const char *bytes = c->bytes + c->at;

    if (n > c->file_bytes - c->at) {
        err_set(c->err, ERR_CORRUPT, "%s: the file is cut off", c->path);
        return NULL;
    }
    if (n > c->n - c->at) {
        c->more = true;
        err_set(c->err, ERR_LIMIT, "%s: a header of more than %zu bytes",
                c->path, c->n);
        return NULL;
    }
    c->at += (size_t)n;
    return bytes;
}

static int failed(const struct cursor *c)
{
    return c->more ? ERR_LIMIT : ERR_CORRUPT;
}

static int take_u32(struct cursor *c, uint32_t *value)
{
    const char *bytes = take(c, sizeof *value);

    if (!bytes)
        return failed(c);
    memcpy(value, bytes, sizeof *value);
    return 0;
}

static int take_u64(struct cursor *c, uint64_t *value)
{
    const char *bytes = take(c, sizeof *value);

    if (!bytes)
        return failed(c);
    memcpy(value, bytes, sizeof *value);
    return 0;
}

static int take_string(struct cursor *c, struct gguf_string *s)
{
    uint64_t n;
    int rc = take_u64(c, &n);

    if (rc)
        return rc;
    s->bytes = take(c, n);
    s->n = (size_t)n;
    return s->bytes ? 0 : failed(c);
}

/* --- keys --------------------------------------------------------------- */

/* Bytes of a value; 0: of no fixed size. */
static size_t value_bytes(uint32_t type)
{
    static const uint8_t sizes[] = {
        [GGUF_U8] = 1,     [GGUF_I8] = 1,    [GGUF_U16] = 2,   [GGUF_I16] = 2,
        [GGUF_U32] = 4,    [GGUF_I32] = 4,   [GGUF_FLOAT] = 4, [GGUF_BOOL] = 1,
        [GGUF_STRING] = 0, [GGUF_ARRAY] = 0, [GGUF_U64] = 8,   [GGUF_I64] = 8,
        [GGUF_DOUBLE] = 8,
    };

    return sizes[type];
}

static int take_array(struct cursor *c, struct gguf_key *key)
{
    struct gguf_string s;
    int rc = take_u32(c, &key->of);

    if (rc == 0)
        rc = take_u64(c, &key->n);
    if (rc)
        return rc;
    if (key->of > GGUF_DOUBLE || key->of == GGUF_ARRAY)
        return err_set(c->err, ERR_INVALID,
                       "%s: key %.*s: an array of type %" PRIu32, c->path,
                       (int)key->name.n, key->name.bytes, key->of);
    key->data = c->bytes + c->at;
    if (key->of != GGUF_STRING) {
        if (key->n > c->file_bytes)
            return err_set(c->err, ERR_CORRUPT, "%s: the file is cut off",
                           c->path);
        return take(c, key->n * value_bytes(key->of)) ? 0 : failed(c);
    }
    for (uint64_t i = 0; i < key->n && rc == 0; i++)
        rc = take_string(c, &s);
    return rc;
}

static int take_key(struct cursor *c, struct gguf_key *key)
{
    struct gguf_string s;
    int rc = take_string(c, &key->name);

    if (rc == 0)
        rc = take_u32(c, &key->type);
    if (rc)
        return rc;
    if (key->name.n > 1000 || key->type > GGUF_DOUBLE)
        return err_set(c->err, ERR_CORRUPT,
                       "%s: key %.*s: its type is %" PRIu32, c->path,
                       key->name.n > 1000 ? 1000 : (int)key->name.n,
                       key->name.bytes, key->type);
    if (key->type == GGUF_ARRAY)
        return take_array(c, key);
    key->data = c->bytes + c->at;
    if (key->type == GGUF_STRING)
        return take_string(c, &s);
    return take(c, value_bytes(key->type)) ? 0 : failed(c);
}

/* Checks the number of `what` against a limit and the bytes of the file, of
 * which each takes at least `fewest`. */
static int check_number(const struct cursor *c, const char *what, uint64_t n,
                        uint64_t limit, uint64_t fewest)
{
    if (n > limit)
        return err_set(c->err, ERR_CORRUPT,
                       "%s: %" PRIu64 " %s, more than %" PRIu64, c->path, n,
                       what, limit);
    if (n > c->file_bytes / fewest)
        return err_set(c->err, ERR_CORRUPT,
                       "%s: %" PRIu64 " %s, more than the file has room for",
                       c->path, n, what);
    return 0;
}

static int take_keys(struct cursor *c, struct gguf *g, uint64_t n)
{
    int rc = check_number(c, "keys", n, GGUF_MAX_KEYS, FEWEST_KEY_BYTES);

    if (rc)
        return rc;
    g->keys = xcalloc((size_t)n + 1, sizeof *g->keys);
    for (; g->n_keys < n && rc == 0; g->n_keys++)
        rc = take_key(c, &g->keys[g->n_keys]);
    return rc;
}

/* --- tensors ------------------------------------------------------------ */

static int take_name(struct cursor *c, struct gguf_tensor *t)
{
    struct gguf_string s;
    int rc = take_string(c, &s);

    if (rc)
        return rc;
    if (s.n == 0 || s.n > GGUF_MAX_NAME || memchr(s.bytes, '\0', s.n))
        return err_set(c->err, ERR_CORRUPT, "%s: a tensor's name has %zu bytes",
                       c->path, s.n);
    memcpy(t->name, s.bytes, s.n);
    return 0;
}

static int take_shape(struct cursor *c, struct gguf_tensor *t)
{
    uint64_t dims[GGUF_MAX_DIMS];
    uint32_t n_dims;
    int rc = take_u32(c, &n_dims);

    if (rc)
        return rc;
    if (n_dims < 1 || n_dims > GGUF_MAX_DIMS)
        return err_set(c->err, ERR_CORRUPT,
                       "%s: tensor %s has %" PRIu32 " dimensions", c->path,
                       t->name, n_dims);
    t->n_dims = (int)n_dims;
    t->count = 1;
    for (uint32_t i = 0; i < n_dims && rc == 0; i++) {
        rc = take_u64(c, &dims[i]);
        if (rc == 0 && (dims[i] == 0 ||
                        __builtin_mul_overflow(t->count, dims[i], &t->count) ||
                        t->count > SIZE_MAX / sizeof(float)))
            rc = err_set(c->err, ERR_CORRUPT, "%s: tensor %s is too large",
                         c->path, t->name);
        if (rc == 0)
            t->shape[n_dims - 1 - i] = (size_t)dims[i];
    }
    return rc;
}

/* Reads a tensor's entry. `next` is the offset where its data must begin, and
 * becomes the end of it. */
static int take_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *next,
                       uint64_t alignment)
{
    size_t row_bytes, n_bytes;
    uint32_t type;
    int rc = take_name(c, t);

    if (rc == 0)
        rc = take_shape(c, t);
    if (rc == 0)
        rc = take_u32(c, &type);
    if (rc == 0)
        rc = take_u64(c, &t->at);
    if (rc)
        return rc;
    if (!gguf_type_is_known(type))
        return err_set(c->err, ERR_INVALID,
                       "%s: tensor %s has GGUF's type %" PRIu32
                       "; only f32, f16, bf16, q8_0 and q4_0 are read",
                       c->path, t->name, type);
    t->type = (enum gguf_type)type;
    row_bytes = gguf_row_bytes(t->type, t->shape[t->n_dims - 1]);
    if (row_bytes == 0)
        return err_set(c->err, ERR_CORRUPT,
                       "%s: tensor %s: its rows are no whole blocks of %s",
                       c->path, t->name, gguf_type_name(t->type));
    if (__builtin_mul_overflow(row_bytes, t->count / t->shape[t->n_dims - 1],
                               &n_bytes))
        return err_set(c->err, ERR_CORRUPT, "%s: tensor %s is too large",
                       c->path, t->name);
    if (t->at != *next || n_bytes > c->file_bytes - *next)
        return err_set(c->err, ERR_CORRUPT,
                       "%s: tensor %s: its numbers are not where they must be",
                       c->path, t->name);
    *next += n_bytes;
    *next += (alignment - *next % alignment) % alignment;
    if (*next > c->file_bytes) /* the last one need not be padded */
        *next = c->file_bytes;
    return 0;
}

static int take_tensors(struct cursor *c, struct gguf *g, uint64_t n)
{
    uint64_t next = 0, end = 0, data_at;
    int rc =
        check_number(c, "tensors", n, GGUF_MAX_TENSORS, FEWEST_TENSOR_BYTES);

    if (rc)
        return rc;
    g->tensors = xcalloc((size_t)n + 1, sizeof *g->tensors);
    for (; g->n_tensors < n && rc == 0; g->n_tensors++)
        rc = take_tensor(c, &g->tensors[g->n_tensors], &next, g->alignment);
    if (rc)
        return rc;
    data_at = c->at + (g->alignment - c->at % g->alignment) % g->alignment;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        size_t row = t->shape[t->n_dims - 1];

        end = data_at + t->at + gguf_row_bytes(t->type, row) * (t->count / row);
        t->at += data_at;
    }
    if (end > c->file_bytes)
        return err_set(c->err, ERR_CORRUPT, "%s: the file is cut off", c->path);
    return 0;
}

/* --- the header --------------------------------------------------------- */

static int take_version(struct cursor *c)
{
    const char *magic = take(c, 4);
    uint32_t version;
    int rc = magic ? 0 : failed(c);

    if (rc == 0 && memcmp(magic, GGUF_MAGIC, 4) != 0)
        return err_set(c->err, ERR_INVALID,
                       "%s: neither a folder of Hugging Face nor a GGUF file",
                       c->path);
    if (rc == 0)
        rc = take_u32(c, &version);
    if (rc == 0 && version != GGUF_VERSION)
        rc = err_set(c->err, ERR_INVALID,
                     "%s: version %" PRIu32 " of GGUF; only %d is read",
                     c->path, version, GGUF_VERSION);
    return rc;
}

static int get_alignment(struct cursor *c, struct gguf *g)
{
    const struct gguf_key *key = gguf_find(g, "general.alignment");
    int64_t value = GGUF_ALIGNMENT;

    if (key && (!gguf_get_int(key, &value) || value < 1 || value > 65536 ||
                (value & (value - 1)) != 0))
        return err_set(c->err, ERR_CORRUPT,
                       "%s: general.alignment is not a power of two", c->path);
    g->alignment = (uint64_t)value;
    return 0;
}

int gguf_parse(const char *path, const char *bytes, size_t n,
               uint64_t file_bytes, bool *more, struct gguf **gguf,
               struct err *err)
{
    struct cursor c = {.path = path,
                       .bytes = bytes,
                       .n = n,
                       .file_bytes = file_bytes,
                       .err = err};
    struct gguf *g = xcalloc(1, sizeof *g);
    uint64_t n_tensors = 0, n_keys = 0;
    int rc = take_version(&c);

    g->fd = -1;
    g->path = xstrdup(path);
    g->file_bytes = file_bytes;
    if (rc == 0)
        rc = take_u64(&c, &n_tensors);
    if (rc == 0)
        rc = take_u64(&c, &n_keys);
    if (rc == 0)
        rc = take_keys(&c, g, n_keys);
    if (rc == 0)
        rc = get_alignment(&c, g);
    if (rc == 0)
        rc = take_tensors(&c, g, n_tensors);
    *more = c.more;
    if (rc == 0)
        *gguf = g;
    else
        gguf_close(g);
    return rc;
}

/* Reads the first n bytes of the file. */
static int read_first(int fd, const char *path, char *bytes, size_t n,
                      struct err *err)
{
    size_t at = 0;

    while (at < n) {
        ssize_t got = pread(fd, bytes + at, n - at, (off_t)at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set_errno(err, ERR_IO, errno, "%s: cannot read", path);
        if (got == 0)
            return err_set(err, ERR_CORRUPT, "%s: the file is cut off", path);
        at += (size_t)got;
    }
    return 0;
}

static int parse_file(int fd, const char *path, uint64_t file_bytes,
                      struct gguf **g, struct err *err)
{
    size_t n = FIRST_BYTES;

    for (;;) {
        struct err why = ERR_INIT; /* of this try */
        bool more = false;
        char *bytes;
        int rc;

        n = n < file_bytes ? n : (size_t)file_bytes;
        bytes = xmalloc(n + 1);
        rc = read_first(fd, path, bytes, n, &why);
        if (rc == 0)
            rc = gguf_parse(path, bytes, n, file_bytes, &more, g, &why);
        if (rc == 0) {
            (*g)->bytes = bytes;
            return 0;
        }
        free(bytes);
        if (!more || n >= GGUF_MAX_HEADER) {
            if (err)
                *err = why;
            return rc;
        }
        n *= 4;
    }
}

int gguf_open(const char *path, struct gguf **g, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    int rc;

    if (fd < 0)
        return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                             errno, "%s: cannot open", path);
    if (fstat(fd, &st) != 0)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot read", path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(err, ERR_INVALID, "%s: not a plain file", path);
    else
        rc = parse_file(fd, path, (uint64_t)st.st_size, g, err);
    if (rc)
        close(fd);
    else
        (*g)->fd = fd;
    return rc;
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    if (g->fd >= 0)
        close(g->fd);
    free(g->path);
    free(g->bytes);
    free(g->keys);
    free(g->tensors);
    free(g);
}

/* --- values ------------------------------------------------------------- */

const struct gguf_tensor *gguf_tensors(const struct gguf *g, size_t *n)
{
    *n = g->n_tensors;
    return g->tensors;
}

bool gguf_is(const struct gguf_string *s, const char *text)
{
    return s->n == strlen(text) && memcmp(s->bytes, text, s->n) == 0;
}

const struct gguf_key *gguf_find(const struct gguf *g, const char *name)
{
    for (size_t i = 0; i < g->n_keys; i++)
        if (gguf_is(&g->keys[i].name, name))
            return &g->keys[i];
    return NULL;
}

#define GET(c_type)                                                            \
    do {                                                                       \
        c_type number;                                                         \
                                                                               \
        memcpy(&number, key->data, sizeof number);                             \
        *value = (int64_t)number;                                              \
        return true;                                                           \
    } while (0)

bool gguf_get_int(const struct gguf_key *key, int64_t *value)
{
    uint64_t large;

    if (!key)
        return false;
    switch (key->type) {
    case GGUF_U8:
        GET(uint8_t);
    case GGUF_I8:
        GET(int8_t);
    case GGUF_U16:
        GET(uint16_t);
    case GGUF_I16:
        GET(int16_t);
    case GGUF_U32:
        GET(uint32_t);
    case GGUF_I32:
        GET(int32_t);
    case GGUF_I64:
        GET(int64_t);
    case GGUF_U64:
        memcpy(&large, key->data, sizeof large);
        *value = (int64_t)large;
        return large <= INT64_MAX;
    default:
        return false;
    }
}

bool gguf_get_float(const struct gguf_key *key, double *value)
{
    float small;

    if (key && key->type == GGUF_DOUBLE) {
        memcpy(value, key->data, sizeof *value);
        return true;
    }
    if (!key || key->type != GGUF_FLOAT)
        return false;
    memcpy(&small, key->data, sizeof small);
    *value = (double)small;
    return true;
}

bool gguf_get_bool(const struct gguf_key *key, bool *value)
{
    if (!key || key->type != GGUF_BOOL)
        return false;
    *value = *key->data != 0;
    return true;
}

struct gguf_string gguf_next_string(const char **at)
{
    struct gguf_string s;
    uint64_t n;

    memcpy(&n, *at, sizeof n);
    s = (struct gguf_string){*at + sizeof n, (size_t)n};
    *at += sizeof n + n;
    return s;
}

bool gguf_get_string(const struct gguf_key *key, struct gguf_string *value)
{
    const char *at;

    if (!key || key->type != GGUF_STRING)
        return false;
    at = key->data;
    *value = gguf_next_string(&at);
    return true;
}

/* --- numbers ------------------------------------------------------------ */

/* Reads n bytes at a place of the file. */
static int read_at(const struct gguf *g, uint64_t at, char *bytes, size_t n,
                   struct err *err)
{
    while (n) {
        ssize_t got = pread(g->fd, bytes, n, (off_t)at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set_errno(err, ERR_IO, errno, "%s: cannot read",
                                 g->path);
        if (got == 0)
            return err_set(err, ERR_CORRUPT, "%s: the file is cut off",
                           g->path);
        at += (uint64_t)got;
        bytes += got;
        n -= (size_t)got;
    }
    return 0;
}

int gguf_load(struct gguf *g, const struct gguf_tensor *t, float *numbers,
              struct err *err)
{
    size_t row = t->shape[t->n_dims - 1];
    size_t row_bytes = gguf_row_bytes(t->type, row), rows = t->count / row;
    size_t most = row_bytes < PIECE_BYTES ? PIECE_BYTES / row_bytes : 1;
    char *piece = xmalloc(most * row_bytes);
    uint64_t at = t->at;
    int rc = 0;

    for (size_t done = 0, n; done < rows && rc == 0; done += n) {
        n = rows - done < most ? rows - done : most;
        rc = read_at(g, at, piece, n * row_bytes, err);
        if (rc == 0)
            gguf_decode(t->type, piece, n * row, numbers + done * row);
        at += n * row_bytes;
    }
    free(piece);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser fills a table of spans (name, type, shape, begin, end) and checks
 * each. Then it sorts the table by begin, and checks that the spans cover the
 * data exactly.
 */
#include "config.h"

#include "store/safetensors_header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#define METADATA "__metadata__"

static const struct safetensors_kind kinds[] = {
    {"F32", 4, TENSOR_F32, false}, {"F64", 8, TENSOR_F64, false},
    {"I64", 8, TENSOR_I64, false}, {"U16", 2, TENSOR_U16, false},
    {"U8", 1, TENSOR_U8, false},   {"F16", 2, TENSOR_F32, true},
    {"BF16", 2, TENSOR_F32, true},
};

#define N_KINDS (sizeof kinds / sizeof *kinds)

/* --- making ------------------------------------------------------------- */

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

    /* The table has the kinds in the order of enum tensor_type. */
    BUG_ON(kinds[t->type].size != tensor_type_size(t->type) ||
           strcmp(t->name, METADATA) == 0);
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
            BUG("two tensors have the name %s", names[i]);
    free(names);
}

void safetensors_header_make(const struct tensor_list *l,
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

/* --- parsing ------------------------------------------------------------ */

static int as_size(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return -1;
    *out = (uint64_t)json_integer_value(value);
    return 0;
}

static int parse_dtype(const char *file, struct safetensors_span *s,
                       const json_t *entry, struct err *err)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));

    if (!dtype)
        return err_set(err, ERR_CORRUPT, "%s: tensor %s has no dtype", file,
                       s->name);
    for (size_t i = 0; i < N_KINDS; i++)
        if (strcmp(kinds[i].dtype, dtype) == 0)
            s->kind = &kinds[i];
    if (!s->kind)
        return err_set(err, ERR_INVALID,
                       "%s: tensor %s has the unknown type %.20s", file,
                       s->name, dtype);
    return 0;
}

static int parse_shape(const char *file, struct safetensors_span *s,
                       const json_t *entry, struct err *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    uint64_t dim;

    if (!json_is_array(shape))
        return err_set(err, ERR_CORRUPT, "%s: tensor %s has no shape", file,
                       s->name);
    if (json_array_size(shape) > TENSOR_MAX_DIMS)
        return err_set(err, ERR_LIMIT,
                       "%s: tensor %s has %zu dimensions, more than %d", file,
                       s->name, json_array_size(shape), TENSOR_MAX_DIMS);
    s->n_dims = (int)json_array_size(shape);
    s->count = 1;
    for (int i = 0; i < s->n_dims; i++) {
        if (as_size(json_array_get(shape, (size_t)i), &dim) != 0)
            return err_set(err, ERR_CORRUPT,
                           "%s: tensor %s: a dimension is not a count", file,
                           s->name);
        s->shape[i] = (size_t)dim;
        if (__builtin_mul_overflow(s->count, s->shape[i], &s->count))
            return err_set(err, ERR_CORRUPT,
                           "%s: tensor %s: the shape overflows", file, s->name);
    }
    return 0;
}

/* Parses the offsets, and checks them against type and shape. */
static int parse_offsets(const char *file, struct safetensors_span *s,
                         const json_t *entry, uint64_t data_bytes,
                         struct err *err)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    size_t expected;

    if (json_array_size(offsets) != 2 ||
        as_size(json_array_get(offsets, 0), &s->begin) != 0 ||
        as_size(json_array_get(offsets, 1), &s->end) != 0)
        return err_set(err, ERR_CORRUPT,
                       "%s: tensor %s: data_offsets are not two counts", file,
                       s->name);
    if (s->begin > s->end || s->end > data_bytes)
        return err_set(err, ERR_CORRUPT,
                       "%s: tensor %s: bytes %" PRIu64 " to %" PRIu64
                       " of %" PRIu64,
                       file, s->name, s->begin, s->end, data_bytes);
    if (__builtin_mul_overflow(s->count, s->kind->size, &expected) ||
        expected != s->end - s->begin)
        return err_set(err, ERR_CORRUPT,
                       "%s: tensor %s: %" PRIu64
                       " bytes do not fit its shape and type",
                       file, s->name, s->end - s->begin);
    return 0;
}

static int parse_entry(const char *file, struct safetensors_header *h,
                       const char *name, const json_t *entry,
                       uint64_t data_bytes, struct err *err)
{
    struct safetensors_span *s = &h->spans[h->n];
    int rc;

    s->name = name;
    if (!json_is_object(entry))
        return err_set(err, ERR_CORRUPT, "%s: tensor %s is not an object", file,
                       name);
    rc = parse_dtype(file, s, entry, err);
    if (rc == 0)
        rc = parse_shape(file, s, entry, err);
    if (rc == 0)
        rc = parse_offsets(file, s, entry, data_bytes, err);
    if (rc == 0)
        h->n++;
    return rc;
}

static int check_metadata(const char *file, json_t *metadata, struct err *err)
{
    const char *key;
    json_t *value;

    if (!json_is_object(metadata))
        return err_set(err, ERR_CORRUPT, "%s: " METADATA " is not an object",
                       file);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return err_set(err, ERR_CORRUPT,
                           "%s: " METADATA ": %s is not a string", file, key);
    }
    return 0;
}

static int compare_spans(const void *a, const void *b)
{
    const struct safetensors_span *x = a;
    const struct safetensors_span *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return 0;
}

/* Checks that there are no holes, no overlaps and no other bytes. */
static int check_tiling(const char *file, const struct safetensors_header *h,
                        uint64_t data_bytes, struct err *err)
{
    uint64_t at = 0;

    qsort(h->spans, h->n, sizeof *h->spans, compare_spans);
    for (size_t i = 0; i < h->n; i++) {
        const struct safetensors_span *s = &h->spans[i];

        if (s->begin != at)
            return err_set(err, ERR_CORRUPT,
                           "%s: tensor %s begins at byte %" PRIu64
                           ", expected at %" PRIu64,
                           file, s->name, s->begin, at);
        at = s->end;
    }
    if (at != data_bytes)
        return err_set(err, ERR_CORRUPT,
                       "%s: %" PRIu64 " bytes belong to no tensor", file,
                       data_bytes - at);
    return 0;
}

int safetensors_header_parse(const char *file, const char *json, size_t n,
                             uint64_t data_bytes, struct safetensors_header *h,
                             struct err *err)
{
    json_error_t why;
    const char *name;
    json_t *entry;
    int rc = 0;

    h->root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(h->root))
        return err_set(err, ERR_CORRUPT, "%s: the header is not an object: %s",
                       file, h->root ? "another value" : why.text);
    h->spans = xcalloc(json_object_size(h->root) + 1, sizeof *h->spans);
    json_object_foreach(h->root, name, entry)
    {
        if (strcmp(name, METADATA) == 0)
            rc = check_metadata(file, entry, err);
        else
            rc = parse_entry(file, h, name, entry, data_bytes, err);
        if (rc)
            return rc;
    }
    return check_tiling(file, h, data_bytes, err);
}

void safetensors_header_metadata(const struct safetensors_header *h,
                                 struct buf *out)
{
    json_t *metadata = json_object_get(h->root, METADATA);
    char *text = metadata ? json_dumps(metadata, JSON_COMPACT) : NULL;

    buf_adds(out, text ? text : "{}");
    free(text);
}

void safetensors_header_release(struct safetensors_header *h)
{
    json_decref(h->root);
    free(h->spans);
}

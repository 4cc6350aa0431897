/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A value goes through the checks from cheap to dear: null, size, blank,
 * UTF-8, and last the format. What stands as text is not copied, and neither
 * is a string of JSON without escapes: text then points into value.
 *
 *     struct record | value NUL | room: what is decoded, and names, each NUL
 *
 * The room is as long as the value and a name: decoded strings are no longer
 * than what they are made of, and a name's NUL goes where a quote was. The
 * n-grams are another piece, of the same block or the next.
 *
 * A block counts the pieces that are still needed. While its maker carves from
 * it the count is too large by CARVING, so that only giving back is atomic;
 * what was given is settled when the maker leaves it.
 *
 * With format auto a value is JSON when it parses as an object with a string
 * `text`, or with strings `prompt` and `completion`; everything else is text
 * as it stands. A member that is null, or a label, domain or id of no length,
 * counts as not given.
 */
#include "config.h"

#include "daemon/record.h"

#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/fields.h"

struct record *record_create(enum record_kind kind)
{
    struct record *r = xcalloc(1, sizeof *r);

    r->kind = kind;
    r->memory = sizeof *r;
    return r;
}

/* --- blocks ------------------------------------------------------------- */

#define BLOCK_BYTES ((size_t)64 << 10)
#define ALIGNMENT _Alignof(max_align_t)
#define CARVING (SIZE_MAX / 2)

struct record_block {
    atomic_size_t needed;
    size_t used, size; /* of bytes */
    max_align_t bytes[];
};

static void give_back(struct record_block *b, size_t n)
{
    if (b && atomic_fetch_sub(&b->needed, n) == n)
        free(b);
}

static void leave_block(struct record_maker *m)
{
    give_back(m->block, CARVING - m->given);
    m->block = NULL;
    m->given = 0;
}

static void next_block(struct record_maker *m, size_t at_least)
{
    size_t size = at_least > BLOCK_BYTES ? at_least : BLOCK_BYTES;
    struct record_block *b = xmalloc(sizeof *b + size);

    leave_block(m);
    atomic_init(&b->needed, CARVING);
    b->used = 0;
    b->size = size;
    m->block = b;
}

/* A piece of n bytes, and the block to give it back to. */
static void *carve(struct record_maker *m, size_t n, struct record_block **of)
{
    char *piece;

    n = (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!m->block || m->block->size - m->block->used < n)
        next_block(m, n);
    piece = (char *)m->block->bytes + m->block->used;
    m->block->used += n;
    m->given++;
    *of = m->block;
    return piece;
}

void record_maker_init(struct record_maker *m, bool hashes)
{
    *m = (struct record_maker){.hashes = hashes, .grams = GRAM_LIST_INIT};
}

void record_maker_release(struct record_maker *m)
{
    leave_block(m);
    gram_list_release(&m->grams);
}

/* --- records ------------------------------------------------------------ */

struct record *record_create_data(struct record_maker *m, const char *value,
                                  size_t n_bytes)
{
    size_t memory = sizeof(struct record) + 2 * (n_bytes + 1) +
                    RECORD_NAME_MAX + 1;
    struct record_block *block;
    struct record *r = carve(m, memory, &block);
    char *copy = (char *)(r + 1);

    *r = (struct record){
        .kind = RECORD_DATA, .memory = memory, .block = block};
    if (value) {
        memcpy(copy, value, n_bytes);
        copy[n_bytes] = '\0';
        r->value = copy;
        r->n_bytes = n_bytes;
    }
    r->room = copy + n_bytes + 1;
    return r;
}

void record_free(struct record *r)
{
    struct record_block *block = r ? r->block : NULL;

    if (!r)
        return;
    give_back(r->grams_block, 1);
    if (block)
        give_back(block, 1);
    else
        free(r);
}

size_t record_memory(const struct record *r)
{
    return r->memory;
}

static bool is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] != ' ' && (s[i] < '\t' || s[i] > '\r'))
            return false;
    return true;
}

/* --- JSON --------------------------------------------------------------- */

enum { TEXT, PROMPT, COMPLETION, LABEL, DOMAIN, ID, TS, N_FIELDS };

/* A copy with a NUL, in the room. */
static const char *put_name(struct record *r, const char *name, size_t n)
{
    char *to = r->room;

    memcpy(to, name, n);
    to[n] = '\0';
    r->room += n + 1;
    return to;
}

/* A string that is a C string of a decent length; *out stays NULL when it is
 * not given or empty. False: it is something else. */
static bool take_name(struct record *r, const struct field *f,
                      const char **out)
{
    if (f->kind == FIELD_ABSENT)
        return true;
    if (f->kind != FIELD_STRING || f->n_bytes > RECORD_NAME_MAX ||
        memchr(f->string, '\0', f->n_bytes))
        return false;
    if (f->n_bytes)
        *out = f->string[f->n_bytes] == '\0'
                   ? f->string /* decoded */
                   : put_name(r, f->string, f->n_bytes);
    return true;
}

static bool take_time(const struct field *f, int64_t *time_ms)
{
    if (f->kind == FIELD_ABSENT)
        return true;
    if (f->kind != FIELD_NUMBER || !(fabs(f->number) < 0x1p62))
        return false;
    *time_ms = (int64_t)floor(f->number);
    return true;
}

/* False: the object has neither `text` nor the pair. */
static bool take_text(struct record *r, const struct field *fields)
{
    const struct field *text = &fields[TEXT], *prompt = &fields[PROMPT];

    if (text->kind != FIELD_STRING) {
        text = &fields[COMPLETION];
        if (text->kind != FIELD_STRING || prompt->kind != FIELD_STRING)
            return false;
        if (prompt->n_bytes) {
            r->prompt = prompt->string;
            r->prompt_bytes = prompt->n_bytes;
        }
    }
    r->text = text->string;
    r->text_bytes = text->n_bytes;
    return true;
}

static const char *take_rest(struct record *r, const struct field *fields,
                             size_t max_bytes)
{
    if (!take_name(r, &fields[LABEL], &r->label) ||
        !take_name(r, &fields[DOMAIN], &r->domain) ||
        !take_name(r, &fields[ID], &r->id) ||
        !take_time(&fields[TS], &r->time_ms))
        return "bad_field";
    if (is_blank(r->text, r->text_bytes))
        return "empty";
    if (r->text_bytes + r->prompt_bytes > max_bytes)
        return "too_long";
    return NULL;
}

/* Sets r->text in any case but that of a bad record; returns its reason. */
static const char *parse_value(struct record *r, enum conf_format format,
                               size_t max_bytes)
{
    struct field fields[N_FIELDS] = {
        [TEXT] = {.name = "text"},     [PROMPT] = {.name = "prompt"},
        [COMPLETION] = {.name = "completion"},
        [LABEL] = {.name = "label"},   [DOMAIN] = {.name = "domain"},
        [ID] = {.name = "id"},         [TS] = {.name = "ts"},
    };
    const char *reason = NULL;
    bool is_json = format != CONF_FORMAT_TEXT &&
                   fields_scan(r->value, r->n_bytes, fields, N_FIELDS,
                               &r->room);

    if (is_json && take_text(r, fields)) {
        reason = take_rest(r, fields, max_bytes);
    } else if (format == CONF_FORMAT_JSON) {
        reason = !is_json                            ? "not_json"
                 : fields[TEXT].kind != FIELD_ABSENT ? "bad_field"
                                                     : "no_text";
    } else {
        r->text = r->value;
        r->text_bytes = r->n_bytes;
    }
    return reason;
}

static const char *check_value(const struct record *r, size_t max_bytes)
{
    if (!r->value)
        return "null";
    if (r->n_bytes > max_bytes)
        return "too_long";
    if (is_blank(r->value, r->n_bytes))
        return "empty";
    if (!utf8_valid(r->value, r->n_bytes))
        return "not_utf8";
    return NULL;
}

/* The header's, then the topic; false: it is no name. */
static bool fall_back(struct record *r, const char *domain)
{
    const char *name = domain && *domain ? domain : r->topic;
    size_t n = strlen(name);

    if (r->domain)
        return true;
    if (n > RECORD_NAME_MAX || !utf8_valid(name, n))
        return false;
    r->domain = put_name(r, name, n);
    return true;
}

static void find_grams(struct record_maker *m, struct record *r)
{
    size_t bytes;
    uint32_t *grams;

    m->grams.n = 0;
    gram_list_add_text(&m->grams, r->text, r->text_bytes);
    bytes = m->grams.n * sizeof *grams;
    if (bytes == 0)
        return;
    grams = carve(m, bytes, &r->grams_block);
    memcpy(grams, m->grams.items, bytes);
    r->grams = grams;
    r->n_grams = m->grams.n;
    r->memory += bytes;
}

void record_parse(struct record_maker *m, struct record *r,
                  enum conf_format format, size_t max_bytes,
                  const char *domain)
{
    if (!r->reason)
        r->reason = check_value(r, max_bytes);
    if (!r->reason)
        r->reason = parse_value(r, format, max_bytes);
    if (!fall_back(r, domain) && !r->reason)
        r->reason = "bad_field";
    if (!r->reason && m->hashes)
        find_grams(m, r);
}

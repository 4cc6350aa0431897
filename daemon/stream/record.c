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
 * With format auto a JSON object that has a member `text`, `prompt` or
 * `completion` is a record, good or bad. A value that begins like one, names
 * such a member and cannot be parsed is bad, too: its braces are not prose.
 * Everything else is text as it stands. A member that is null, or a label,
 * domain or id of no length, counts as not given.
 */
#include "config.h"

#include "daemon/stream/record.h"

#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/stream/fields.h"

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

#define RECORD_SEPARATOR 0x1e
#define BOM "\xef\xbb\xbf"

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
    if (f->kind == FIELD_ABSENT || f->kind == FIELD_NULL)
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
    if (f->kind == FIELD_ABSENT || f->kind == FIELD_NULL)
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
    /* The id first: it is wanted of a bad record, too. */
    if (!take_name(r, &fields[ID], &r->id) ||
        !take_name(r, &fields[LABEL], &r->label) ||
        !take_name(r, &fields[DOMAIN], &r->domain) ||
        !take_time(&fields[TS], &r->time_ms))
        return "bad_field";
    if (is_blank(r->text, r->text_bytes))
        return "empty";
    if (r->text_bytes + r->prompt_bytes > max_bytes)
        return "too_long";
    return NULL;
}

/* Does the object have text, prompt or completion, as only a record has? */
static bool is_record(const struct field *fields)
{
    return fields[TEXT].kind != FIELD_ABSENT ||
           fields[PROMPT].kind != FIELD_ABSENT ||
           fields[COMPLETION].kind != FIELD_ABSENT;
}

/* Skips blanks, control characters, byte order marks, and spaces that do not
 * break or have no width. */
static const char *skip_lead(const char *p)
{
    for (;;) {
        if (*p && (unsigned char)*p <= ' ')
            p++;
        else if (strncmp(p, BOM, 3) == 0 || strncmp(p, "\xe2\x80\x8b", 3) == 0)
            p += 3;
        else if (strncmp(p, "\xc2\xa0", 2) == 0)
            p += 2;
        else
            return p;
    }
}

/* Does it begin like an object, or like an array of objects, and hold one of
 * the names that only a record has? */
static bool begins_like_record(const char *s, size_t n)
{
    static const char *const names[] = {"text", "prompt", "completion"};
    const char *p = skip_lead(s);

    if (*p == '[')
        p = skip_lead(p + 1);
    for (size_t i = 0; *p == '{' && i < sizeof names / sizeof *names; i++)
        if (fields_hold(s, n, names[i], NULL) || fields_name(s, n, names[i]))
            return true;
    return false;
}

/* Why a value that is not a JSON object cannot be learned as text; NULL: it
 * can. */
static const char *refuse_as_text(const char *s, size_t n,
                                  enum conf_format format,
                                  enum fields_outcome outcome)
{
    if (format == CONF_FORMAT_TEXT ||
        (format == CONF_FORMAT_AUTO && !begins_like_record(s, n)))
        return NULL;
    if (*s == RECORD_SEPARATOR)
        return "record_separator";
    if (outcome == FIELDS_TOO_DEEP)
        return "too_deep";
    return format == CONF_FORMAT_JSON ? "not_json" : "broken_json";
}

/* Takes the members of an object. *as_text: it is no record. */
static const char *take_object(struct record *r, const struct field *fields,
                               enum conf_format format, size_t max_bytes,
                               bool *as_text)
{
    if (take_text(r, fields))
        return take_rest(r, fields, max_bytes);
    take_name(r, &fields[ID], &r->id); /* for `mneme forget` */
    if (format == CONF_FORMAT_JSON || is_record(fields))
        return fields[TEXT].kind > FIELD_NULL ? "bad_field" : "no_text";
    *as_text = true;
    return NULL;
}

/* Names binary data; NULL: it is none. ASCII in UTF-16 has a NUL in every other
 * place. Confluent's serializers put a zero byte and the number of a schema,
 * which is not 0, in front. */
static const char *name_binary(const char *s, size_t n)
{
    size_t looked_at = n < 64 ? n : 64, n_nul[2] = {0, 0};

    if (n >= 2 &&
        (memcmp(s, "\xff\xfe", 2) == 0 || memcmp(s, "\xfe\xff", 2) == 0))
        return "utf16";
    if (!memchr(s, '\0', n))
        return NULL;
    for (size_t i = 0; i < looked_at; i++)
        n_nul[i & 1] += s[i] == '\0';
    if (n >= 4 && !n_nul[0] != !n_nul[1] &&
        n_nul[0] + n_nul[1] >= looked_at / 4)
        return "utf16";
    if (n > 5 && memcmp(s, "\0", 2) == 0 && memcmp(s, "\0\0\0\0", 5) != 0)
        return "schema_registry"; /* a number below 2^24 */
    return "nul_bytes";
}

/* Sets r->text in any case but that of a bad record; returns its reason. */
static const char *parse_value(struct record *r, const char *value, size_t n,
                               enum conf_format format, size_t max_bytes)
{
    struct field fields[N_FIELDS] = {
        [TEXT] = {.name = "text"},     [PROMPT] = {.name = "prompt"},
        [COMPLETION] = {.name = "completion"},
        [LABEL] = {.name = "label"},   [DOMAIN] = {.name = "domain"},
        [ID] = {.name = "id"},         [TS] = {.name = "ts"},
    };
    enum fields_outcome outcome = FIELDS_BROKEN;
    const char *reason = NULL;
    bool as_text = true;

    if (format != CONF_FORMAT_TEXT)
        outcome = fields_scan(value, n, fields, N_FIELDS, &r->room);
    if (outcome == FIELDS_READ) {
        as_text = false;
        reason = take_object(r, fields, format, max_bytes, &as_text);
    } else {
        reason = name_binary(value, n); /* valid JSON has no NUL */
        if (!reason)
            reason = refuse_as_text(value, n, format, outcome);
    }
    if (as_text && !reason) {
        r->text = value;
        r->text_bytes = n;
    }
    return reason;
}

static bool has_bom(const char *s, size_t n)
{
    return n >= 3 && memcmp(s, BOM, 3) == 0;
}

static const char *check_value(const struct record *r, const char *value,
                               size_t n, size_t max_bytes)
{
    if (!r->value)
        return "null";
    if (r->n_bytes > max_bytes)
        return "too_long";
    if (is_blank(value, n))
        return "empty";
    if (!utf8_valid(value, n))
        return name_binary(value, n) ? name_binary(value, n) : "not_utf8";
    return NULL;
}

const char *record_explain(const char *reason)
{
    static const char *const texts[][2] = {
        {"null", "it has no value"},
        {"empty", "it has no text"},
        {"too_long", "it is longer than source.max_record_bytes"},
        {"utf16", "it is UTF-16, and must be UTF-8"},
        {"schema_registry", "it begins with a schema registry's header"},
        {"nul_bytes", "it has NUL bytes"},
        {"not_utf8", "it is not UTF-8"},
        {"not_json", "it is not a JSON object, and source.format is json"},
        {"broken_json",
         "it begins like a JSON record, but cannot be read as JSON"},
        {"too_deep", "its JSON is nested more than 64 levels deep"},
        {"record_separator", "it begins with the record separator of RFC 7464"},
        {"no_text", "it has no text"},
        {"bad_field", "one of its fields has the wrong type or is too long"},
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(texts[i][0], reason) == 0)
            return texts[i][1];
    return NULL;
}

bool record_has_id(const void *bytes, size_t n_bytes, const char *id)
{
    char *copy = xcalloc(n_bytes + 1, 1);
    char *room = xmalloc(n_bytes + 1), *at = room;
    struct field f = {.name = "id"};
    size_t bom;
    bool yes;

    if (n_bytes)
        memcpy(copy, bytes, n_bytes);
    bom = has_bom(copy, n_bytes) ? 3 : 0;
    if (fields_scan(copy + bom, n_bytes - bom, &f, 1, &at) == FIELDS_READ)
        yes = f.kind == FIELD_STRING && strlen(id) == f.n_bytes &&
              memcmp(id, f.string, f.n_bytes) == 0;
    else
        yes = fields_hold(copy, n_bytes, "id", id);
    free(room);
    free(copy);
    return yes;
}

bool record_text_has_id(const char *text, size_t n_bytes, bool from_beginning,
                        const char *id)
{
    const char *p = skip_lead(text);

    if (!from_beginning)
        return fields_hold(text, n_bytes, "id", id);
    return (*p == '{' || (*p == '[' && *skip_lead(p + 1) == '{')) &&
           record_has_id(text, n_bytes, id);
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

/* A time in the future would hide the age of all later records. The clock is
 * read only when the time is beyond the one that was read last. */
static void cut_time(struct record_maker *m, struct record *r)
{
    if (r->time_ms <= m->now_ms + RECORD_AHEAD_MS)
        return;
    m->now_ms = timing_wall_ms();
    r->time_cut = r->time_ms > m->now_ms + RECORD_AHEAD_MS;
    if (r->time_cut)
        r->time_ms = m->now_ms;
}

void record_parse(struct record_maker *m, struct record *r,
                  enum conf_format format, size_t max_bytes,
                  const char *domain)
{
    size_t bom = r->value && has_bom(r->value, r->n_bytes) ? 3 : 0;
    const char *value = r->value ? r->value + bom : NULL;
    size_t n = r->n_bytes - bom;

    if (!r->reason)
        r->reason = check_value(r, value, n, max_bytes);
    if (!r->reason)
        r->reason = parse_value(r, value, n, format, max_bytes);
    if (!fall_back(r, domain) && !r->reason)
        r->reason = "bad_field";
    cut_time(m, r);
    if (!r->reason && m->hashes)
        find_grams(m, r);
}

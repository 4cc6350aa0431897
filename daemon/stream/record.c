/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checks run from cheap to expensive: null, size, blank, UTF-8, format.
 * Text is not copied when it is a part of value: plain text, and a JSON string
 * without escapes.
 *
 *     struct record | value NUL | room for decoded strings and names, each NUL
 *
 * The room is as long as the value and a name. That suffices: a decoded string
 * is not longer than its JSON, and a name's NUL replaces a quote. The n-grams
 * are a piece of their own, in the same block or the next.
 *
 * A block counts the pieces that are still in use. While its maker allocates
 * from it, the count has ALLOCATING added, so that only freeing needs an atomic
 * operation. The maker corrects the count when it leaves the block.
 *
 * Format auto: a JSON object with a member `text`, `prompt` or `completion` is
 * a record, good or bad. So is a value that begins like such an object but
 * cannot be parsed: it is bad, since nobody writes prose like that. Any other
 * value is plain text. A member that is null counts as absent, and so does an
 * empty label, domain or id.
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
#include "daemon/stream/json_scan.h"

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
#define ALLOCATING (SIZE_MAX / 2)

struct record_block {
    atomic_size_t needed;
    size_t used, size; /* of bytes */
    max_align_t bytes[];
};

static void unref_block(struct record_block *b, size_t n)
{
    if (b && atomic_fetch_sub(&b->needed, n) == n)
        free(b);
}

static void leave_block(struct record_maker *m)
{
    unref_block(m->block, ALLOCATING - m->given);
    m->block = NULL;
    m->given = 0;
}

static void next_block(struct record_maker *m, size_t at_least)
{
    size_t size = at_least > BLOCK_BYTES ? at_least : BLOCK_BYTES;
    struct record_block *b = xmalloc(sizeof *b + size);

    leave_block(m);
    atomic_init(&b->needed, ALLOCATING);
    b->used = 0;
    b->size = size;
    m->block = b;
}

/* Allocates n bytes.
 *   of   out, the block that unref_block needs */
static void *allocate(struct record_maker *m, size_t n,
                      struct record_block **of)
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
    struct record *r = allocate(m, memory, &block);
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
    unref_block(r->grams_block, 1);
    if (block)
        unref_block(block, 1);
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

/* Copies a name into the room, and adds a NUL. */
static const char *copy_name(struct record *r, const char *name, size_t n)
{
    char *to = r->room;

    memcpy(to, name, n);
    to[n] = '\0';
    r->room += n + 1;
    return to;
}

/* Reads a name: a string without NUL, of at most RECORD_NAME_MAX bytes. *out
 * stays NULL when the field is absent or empty. False: it is no name. */
static bool read_name(struct record *r, const struct json_field *f,
                      const char **out)
{
    if (f->kind == JSON_FIELD_ABSENT || f->kind == JSON_FIELD_NULL)
        return true;
    if (f->kind != JSON_FIELD_STRING || f->n_bytes > RECORD_NAME_MAX ||
        memchr(f->string, '\0', f->n_bytes))
        return false;
    if (f->n_bytes)
        *out = f->string[f->n_bytes] == '\0'
                   ? f->string /* decoded */
                   : copy_name(r, f->string, f->n_bytes);
    return true;
}

static bool read_time(const struct json_field *f, int64_t *time_ms)
{
    if (f->kind == JSON_FIELD_ABSENT || f->kind == JSON_FIELD_NULL)
        return true;
    if (f->kind != JSON_FIELD_NUMBER || !(fabs(f->number) < 0x1p62))
        return false;
    *time_ms = (int64_t)floor(f->number);
    return true;
}

/* Reads `text`, or `prompt` and `completion`. False: the object has neither. */
static bool read_text(struct record *r, const struct json_field *fields)
{
    const struct json_field *text = &fields[TEXT], *prompt = &fields[PROMPT];

    if (text->kind != JSON_FIELD_STRING) {
        text = &fields[COMPLETION];
        if (text->kind != JSON_FIELD_STRING ||
            prompt->kind != JSON_FIELD_STRING)
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

static const char *read_other_fields(struct record *r,
                                     const struct json_field *fields,
                                     size_t max_bytes)
{
    /* The id comes first: a bad record needs one, too, to be forgotten. */
    if (!read_name(r, &fields[ID], &r->id) ||
        !read_name(r, &fields[LABEL], &r->label) ||
        !read_name(r, &fields[DOMAIN], &r->domain) ||
        !read_time(&fields[TS], &r->time_ms))
        return "bad_field";
    if (is_blank(r->text, r->text_bytes))
        return "empty";
    if (r->text_bytes + r->prompt_bytes > max_bytes)
        return "too_long";
    return NULL;
}

/* Moves *p past blanks, control characters, byte order marks, no-break spaces
 * and zero-width spaces. Returns the byte there; 0 at the end. */
static char skip_lead(const char **p, const char *end)
{
    enum { N_SKIPPED = 3 };
    static const char *const skipped[N_SKIPPED] = {BOM, "\xe2\x80\x8b",
                                                   "\xc2\xa0"};
    bool moved = true;

    while (moved && *p < end) {
        moved = **p && (unsigned char)**p <= ' ';
        *p += moved;
        for (size_t i = 0; !moved && i < N_SKIPPED; i++) {
            size_t n = strlen(skipped[i]);

            moved = (size_t)(end - *p) >= n && memcmp(*p, skipped[i], n) == 0;
            *p += moved ? n : 0;
        }
    }
    return *p < end ? **p : '\0';
}

/* Tells whether a value begins like an object or an array of objects. */
static bool begins_like_object(const char *s, size_t n)
{
    const char *p = s;
    char first = skip_lead(&p, s + n);

    if (first == '[') {
        p++;
        first = skip_lead(&p, s + n);
    }
    return first == '{';
}

/* Tells whether a value begins like an object or an array of objects, and has a
 * member that only a record has. */
static bool begins_like_record(const char *s, size_t n)
{
    static const char *const names[] = {"text", "prompt", "completion"};

    if (!begins_like_object(s, n))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (json_scan_has_member(s, n, names[i], NULL) ||
            json_scan_has_key(s, n, names[i]))
            return true;
    return false;
}

/* Returns why a value that is not a JSON object cannot be learned as plain
 * text. NULL: it can. */
static const char *refuse_as_text(const char *s, size_t n,
                                  enum conf_format format,
                                  enum json_scan_outcome outcome)
{
    if (format == CONF_FORMAT_TEXT ||
        (format == CONF_FORMAT_AUTO && !begins_like_record(s, n)))
        return NULL;
    if (*s == RECORD_SEPARATOR)
        return "record_separator";
    if (outcome == JSON_SCAN_TOO_DEEP)
        return "too_deep";
    return format == CONF_FORMAT_JSON ? "not_json" : "broken_json";
}

/* Reads the members of an object. Sets *as_text when it is no record. */
static const char *read_object(struct record *r,
                               const struct json_field *fields,
                               enum conf_format format, size_t max_bytes,
                               bool *as_text)
{
    if (read_text(r, fields))
        return read_other_fields(r, fields, max_bytes);
    read_name(r, &fields[ID], &r->id); /* for `mneme forget` */
    *as_text = format != CONF_FORMAT_JSON &&
               fields[TEXT].kind == JSON_FIELD_ABSENT &&
               fields[PROMPT].kind == JSON_FIELD_ABSENT &&
               fields[COMPLETION].kind == JSON_FIELD_ABSENT;
    if (*as_text)
        return NULL;
    return fields[TEXT].kind > JSON_FIELD_NULL ? "bad_field" : "no_text";
}

/* Returns the kind of binary data, or NULL for other values. In UTF-16, every
 * other byte of ASCII text is a NUL. Confluent's serializers begin with a zero
 * byte and the number of a schema, which is not 0. */
static const char *name_binary(const char *s, size_t n)
{
    size_t n_checked = n < 64 ? n : 64, n_nul[2] = {0, 0};

    if (n >= 2 &&
        (memcmp(s, "\xff\xfe", 2) == 0 || memcmp(s, "\xfe\xff", 2) == 0))
        return "utf16";
    if (!memchr(s, '\0', n))
        return NULL;
    for (size_t i = 0; i < n_checked; i++)
        n_nul[i & 1] += s[i] == '\0';
    if (n >= 4 && !n_nul[0] != !n_nul[1] &&
        n_nul[0] + n_nul[1] >= n_checked / 4)
        return "utf16";
    if (n > 5 && memcmp(s, "\0", 2) == 0 && memcmp(s, "\0\0\0\0", 5) != 0)
        return "schema_registry"; /* its number is below 2^24 */
    return "nul_bytes";
}

/* Sets r->text, or returns why the record is bad. */
static const char *parse_value(struct record *r, const char *value, size_t n,
                               enum conf_format format, size_t max_bytes)
{
    struct json_field fields[N_FIELDS] = {
        [TEXT] = {.name = "text"},
        [PROMPT] = {.name = "prompt"},
        [COMPLETION] = {.name = "completion"},
        [LABEL] = {.name = "label"},
        [DOMAIN] = {.name = "domain"},
        [ID] = {.name = "id"},
        [TS] = {.name = "ts"},
    };
    enum json_scan_outcome outcome = JSON_SCAN_BROKEN;
    const char *reason = NULL;
    bool as_text = true;

    if (format != CONF_FORMAT_TEXT)
        outcome = json_scan(value, n, fields, N_FIELDS, &r->room);
    if (outcome == JSON_SCAN_READ) {
        as_text = false;
        reason = read_object(r, fields, format, max_bytes, &as_text);
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

bool record_has_id(const void *bytes, size_t n_bytes, const char *id)
{
    char *copy = xcalloc(n_bytes + 1, 1);
    char *room = xmalloc(n_bytes + 1), *at = room;
    struct json_field f = {.name = "id"};
    size_t bom;
    bool yes;

    if (n_bytes)
        memcpy(copy, bytes, n_bytes);
    bom = has_bom(copy, n_bytes) ? 3 : 0;
    if (json_scan(copy + bom, n_bytes - bom, &f, 1, &at) == JSON_SCAN_READ)
        yes = f.kind == JSON_FIELD_STRING && strlen(id) == f.n_bytes &&
              memcmp(id, f.string, f.n_bytes) == 0;
    else
        yes = json_scan_has_member(copy, n_bytes, "id", id);
    free(room);
    free(copy);
    return yes;
}

bool record_text_has_id(const char *text, size_t n_bytes, bool from_beginning,
                        const char *id)
{
    if (!from_beginning)
        return json_scan_has_member(text, n_bytes, "id", id);
    return begins_like_object(text, n_bytes) &&
           record_has_id(text, n_bytes, id);
}

/* Sets the domain of a record that names none. False: no name is valid. */
static bool set_domain(struct record *r, const char *domain)
{
    const char *name = domain && *domain ? domain : r->topic;
    size_t n = strlen(name);

    if (r->domain)
        return true;
    if (n > RECORD_NAME_MAX || !utf8_valid(name, n))
        return false;
    r->domain = copy_name(r, name, n);
    return true;
}

static void compute_grams(struct record_maker *m, struct record *r)
{
    size_t bytes;
    uint32_t *grams;

    m->grams.n = 0;
    gram_list_add_text(&m->grams, r->text, r->text_bytes);
    bytes = m->grams.n * sizeof *grams;
    if (bytes == 0)
        return;
    grams = allocate(m, bytes, &r->grams_block);
    memcpy(grams, m->grams.items, bytes);
    r->grams = grams;
    r->n_grams = m->grams.n;
    r->memory += bytes;
}

/* An event time in the future would hide the age of all later records. The
 * clock is read only when the last reading does not decide. */
static void limit_time(struct record_maker *m, struct record *r)
{
    if (r->time_ms <= m->now_ms + RECORD_AHEAD_MS)
        return;
    m->now_ms = timing_wall_ms();
    r->time_cut = r->time_ms > m->now_ms + RECORD_AHEAD_MS;
    if (r->time_cut)
        r->time_ms = m->now_ms;
}

char *record_domain_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strchr(*name ? name + 1 : name, '.');

    return dot ? xstrndup(name, (size_t)(dot - name)) : xstrdup(name);
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
    if (!set_domain(r, domain) && !r->reason)
        r->reason = "bad_field";
    limit_time(m, r);
    if (!r->reason && m->hashes)
        compute_grams(m, r);
}

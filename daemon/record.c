/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A value goes through the checks from cheap to dear: null, size, blank,
 * UTF-8, and last the format. What stands as text is not copied: text is then
 * value itself.
 *
 * With format auto a value is JSON when it parses as an object with a string
 * `text`, or with strings `prompt` and `completion`; everything else is text
 * as it stands. A member that is null, or a label, domain or id of no length,
 * counts as not given.
 */
#include "config.h"

#include "daemon/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/fields.h"

struct record *record_create(enum record_kind kind)
{
    struct record *r = xcalloc(1, sizeof *r);

    r->kind = kind;
    return r;
}

void record_free(struct record *r)
{
    if (!r)
        return;
    if (r->text != r->value)
        free(r->text);
    free(r->value);
    free(r->prompt);
    free(r->label);
    free(r->domain);
    free(r->id);
    free(r);
}

size_t record_memory(const struct record *r)
{
    size_t n = sizeof *r + r->n_bytes + r->prompt_bytes;

    if (r->text != r->value)
        n += r->text_bytes;
    if (r->label)
        n += strlen(r->label);
    if (r->domain)
        n += strlen(r->domain);
    if (r->id)
        n += strlen(r->id);
    return n;
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

static char *take(struct field *f, size_t *n_bytes)
{
    char *string = f->string;

    f->string = NULL;
    *n_bytes = f->n_bytes;
    return string;
}

/* A string that is a C string of a decent length; *out stays NULL when it is
 * not given or empty. False: it is something else. */
static bool take_name(struct field *f, char **out)
{
    size_t n;

    if (f->kind == FIELD_ABSENT)
        return true;
    if (f->kind != FIELD_STRING || f->n_bytes > RECORD_NAME_MAX ||
        strlen(f->string) != f->n_bytes)
        return false;
    if (f->n_bytes)
        *out = take(f, &n);
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
static bool take_text(struct record *r, struct field *fields)
{
    if (fields[TEXT].kind == FIELD_STRING) {
        r->text = take(&fields[TEXT], &r->text_bytes);
        return true;
    }
    if (fields[PROMPT].kind != FIELD_STRING ||
        fields[COMPLETION].kind != FIELD_STRING)
        return false;
    r->text = take(&fields[COMPLETION], &r->text_bytes);
    if (fields[PROMPT].n_bytes)
        r->prompt = take(&fields[PROMPT], &r->prompt_bytes);
    return true;
}

static const char *take_rest(struct record *r, struct field *fields,
                             size_t max_bytes)
{
    if (!take_name(&fields[LABEL], &r->label) ||
        !take_name(&fields[DOMAIN], &r->domain) ||
        !take_name(&fields[ID], &r->id) ||
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
                   fields_scan(r->value, r->n_bytes, fields, N_FIELDS);

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
    fields_release(fields, N_FIELDS);
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

/* The header's, then the topic; false: the header is no name. */
static bool fall_back(struct record *r, const char *domain)
{
    size_t n = domain ? strlen(domain) : 0;

    if (r->domain)
        return true;
    if (n > RECORD_NAME_MAX || !utf8_valid(domain ? domain : "", n))
        return false;
    r->domain = xstrdup(n ? domain : r->topic);
    return true;
}

void record_parse(struct record *r, enum conf_format format,
                  size_t max_bytes, const char *domain)
{
    if (!r->reason)
        r->reason = check_value(r, max_bytes);
    if (!r->reason)
        r->reason = parse_value(r, format, max_bytes);
    if (!r->reason && !fall_back(r, domain))
        r->reason = "bad_field";
}

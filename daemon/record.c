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

#include <jansson.h>

#include "base/utf8.h"
#include "base/xalloc.h"

/* The parser recurses: nesting beyond this never reaches it. */
#define MAX_DEPTH 64

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

/* Could this be an object, and one that is not nested too deep to parse? */
static bool looks_like_object(const char *s, size_t n)
{
    size_t depth = 0;
    bool in_string = false;

    while (n && is_blank(s, 1)) {
        s++;
        n--;
    }
    if (!n || *s != '{')
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return false;
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
        }
    }
    return true;
}

/* A string that is a C string of a decent length; *out stays NULL when it is
 * not given. False: it is something else. */
static bool take_name(const json_t *object, const char *key, char **out)
{
    const json_t *j = json_object_get(object, key);
    size_t n;

    if (!j || json_is_null(j))
        return true;
    if (!json_is_string(j))
        return false;
    n = json_string_length(j);
    if (n > RECORD_NAME_MAX || strlen(json_string_value(j)) != n)
        return false;
    if (n)
        *out = xstrdup(json_string_value(j));
    return true;
}

static bool take_time(const json_t *object, int64_t *time_ms)
{
    const json_t *j = json_object_get(object, "ts");
    double ms;

    if (!j || json_is_null(j))
        return true;
    if (!json_is_number(j))
        return false;
    ms = json_number_value(j);
    if (!(fabs(ms) < 0x1p62))
        return false;
    *time_ms = (int64_t)floor(ms);
    return true;
}

/* With the NULs that it may hold. */
static char *copy_text(const json_t *j, size_t *n_bytes)
{
    char *copy;

    *n_bytes = json_string_length(j);
    copy = xmalloc(*n_bytes + 1);
    memcpy(copy, json_string_value(j), *n_bytes);
    copy[*n_bytes] = '\0';
    return copy;
}

/* False: the object has neither `text` nor the pair. */
static bool take_text(struct record *r, const json_t *object)
{
    const json_t *text = json_object_get(object, "text");
    const json_t *prompt = json_object_get(object, "prompt");
    const json_t *completion = json_object_get(object, "completion");

    if (json_is_string(text)) {
        r->text = copy_text(text, &r->text_bytes);
        return true;
    }
    if (!json_is_string(prompt) || !json_is_string(completion))
        return false;
    r->text = copy_text(completion, &r->text_bytes);
    if (json_string_length(prompt))
        r->prompt = copy_text(prompt, &r->prompt_bytes);
    return true;
}

static const char *take_object(struct record *r, const json_t *object,
                               size_t max_bytes)
{
    if (!take_name(object, "label", &r->label) ||
        !take_name(object, "domain", &r->domain) ||
        !take_name(object, "id", &r->id) || !take_time(object, &r->time_ms))
        return "bad_field";
    if (is_blank(r->text, r->text_bytes))
        return "empty";
    if (r->text_bytes + r->prompt_bytes > max_bytes)
        return "too_long";
    return NULL;
}

/* NULL when it is none. Integers are read as reals: the 64-bit unsigned number
 * of some other field must not spoil the record. */
static json_t *load_object(const struct record *r)
{
    if (!looks_like_object(r->value, r->n_bytes))
        return NULL;
    return json_loadb(r->value, r->n_bytes,
                      JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL |
                          JSON_DECODE_INT_AS_REAL,
                      NULL);
}

/* Sets r->text in any case but that of a bad record; returns its reason. */
static const char *parse_value(struct record *r, enum conf_format format,
                               size_t max_bytes)
{
    json_t *object = NULL;
    const char *reason = NULL;

    if (format != CONF_FORMAT_TEXT)
        object = load_object(r);
    if (object && take_text(r, object)) {
        reason = take_object(r, object, max_bytes);
    } else if (format == CONF_FORMAT_JSON) {
        reason = !object                           ? "not_json"
                 : json_object_get(object, "text") ? "bad_field"
                                                   : "no_text";
    } else {
        r->text = r->value;
        r->text_bytes = r->n_bytes;
    }
    json_decref(object);
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

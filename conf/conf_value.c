/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four groups of functions: describe, set, print, release. Each ends in a
 * switch over the type.
 */
#include "config.h"

#include "conf/conf_value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/xalloc.h"
#include "conf/conf_near.h"
#include "conf/conf_quote.h"

#define MAX_TEXT_BYTES 4096
#define MAX_STRINGS 1000

_Static_assert(sizeof(enum conf_preset) == sizeof(int) &&
                   sizeof(enum log_level) == sizeof(int),
               "enum fields are written as int");

static void *field(const struct conf_key *key, struct conf *c)
{
    return (char *)c + key->at;
}

static const void *field_const(const struct conf_key *key, const struct conf *c)
{
    return (const char *)c + key->at;
}

/* --- describe ----------------------------------------------------------- */

/* Prints the fewest digits that give the same number again. Whole numbers have
 * no exponent. */
static void print_real(double x, struct buf *out)
{
    char text[32];

    if (x == floor(x) && fabs(x) < 1e15) {
        buf_addf(out, "%.0f", x);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    buf_adds(out, text);
}

static void describe_range(const struct conf_key *key, struct buf *out)
{
    if (key->type == CONF_INT) {
        buf_addf(out, "a whole number from %.0f to %.0f", key->min, key->max);
        return;
    }
    buf_adds(out, "a number from ");
    print_real(key->min, out);
    buf_adds(out, " to ");
    print_real(key->max, out);
    if (key->null_word)
        buf_addf(out, ", or %s", key->null_word);
}

void conf_value_describe(const struct conf_key *key, struct buf *out)
{
    switch (key->type) {
    case CONF_SECTION:
        buf_adds(out, "a section of keys");
        break;
    case CONF_BOOL:
        buf_adds(out, "true | false");
        break;
    case CONF_INT:
    case CONF_REAL:
        describe_range(key, out);
        break;
    case CONF_ENUM:
        buf_adds(out, key->words);
        break;
    case CONF_TEXT:
        buf_adds(out, "text");
        if (key->null_word)
            buf_addf(out, ", or %s", key->null_word);
        break;
    case CONF_STRINGS:
        buf_adds(out, "a list of texts");
        break;
    case CONF_PROPERTIES:
        buf_adds(out, "a mapping of names to values");
        break;
    }
}

/* --- set ---------------------------------------------------------------- */

static void found(const struct conf_node *value, struct buf *why)
{
    if (value->kind == CONF_NODE_MAP)
        buf_adds(why, "a mapping");
    else if (value->kind == CONF_NODE_LIST)
        buf_adds(why, "a list");
    else if (conf_node_is_null(value))
        buf_adds(why, "nothing");
    else
        conf_quote_short(value->text, why);
    if (value->kind == CONF_NODE_SCALAR && value->is_quoted)
        buf_adds(why, " in quotes");
}

/* "expected WHAT, found 'TEXT'" */
static int refuse(const struct conf_key *key, const struct conf_node *value,
                  struct buf *why)
{
    buf_adds(why, "expected ");
    conf_value_describe(key, why);
    buf_adds(why, ", found ");
    found(value, why);
    return ERR_INVALID;
}

static int set_bool(const struct conf_key *key, bool *x,
                    const struct conf_node *value, struct buf *why)
{
    static const char *const words[] = {"true", "True",  "TRUE",  "yes",
                                        "on",   "false", "False", "FALSE",
                                        "no",   "off"};
    const size_t n_words = sizeof words / sizeof *words;

    for (size_t i = 0; !value->is_quoted && i < n_words; i++) {
        if (strcmp(value->text, words[i]) == 0) {
            *x = i < n_words / 2;
            return 0;
        }
    }
    return refuse(key, value, why);
}

/* Parses a decimal whole number. */
static bool parse_int(const char *s, int64_t *x)
{
    size_t sign = *s == '-' || *s == '+';
    char *end;

    if (s[sign] == '\0' || strspn(s + sign, "0123456789") != strlen(s + sign))
        return false;
    errno = 0;
    *x = strtoll(s, &end, 10);
    return errno == 0 && *end == '\0';
}

static int set_int(const struct conf_key *key, int64_t *x,
                   const struct conf_node *value, struct buf *why)
{
    int64_t n;

    if (value->is_quoted || !parse_int(value->text, &n) ||
        (double)n < key->min || (double)n > key->max)
        return refuse(key, value, why);
    *x = n;
    return 0;
}

static int set_real(const struct conf_key *key, double *x,
                    const struct conf_node *value, struct buf *why)
{
    const char *s = value->text;
    char *end;
    double number;

    if (key->null_word && !value->is_quoted && strcmp(s, key->null_word) == 0) {
        *x = CONF_REAL_WORD;
        return 0;
    }
    /* strtod would also accept inf, nan and hexadecimal */
    if (value->is_quoted || *s == '\0' ||
        strspn(s, "0123456789.eE+-") != strlen(s))
        return refuse(key, value, why);
    number = strtod(s, &end);
    if (*end != '\0' || !isfinite(number) || number < key->min ||
        number > key->max)
        return refuse(key, value, why);
    *x = number;
    return 0;
}

/* Matches "every:200" with "every:STEPS". */
static bool matches_number(const char *word, const char *text, int64_t *n)
{
    const char *colon = strchr(word, ':');
    size_t n_bytes;

    if (!colon)
        return false;
    n_bytes = (size_t)(colon - word) + 1;
    return strncmp(word, text, n_bytes) == 0 && parse_int(text + n_bytes, n) &&
           *n >= 0;
}

static int set_enum(const struct conf_key *key, struct conf *c,
                    const struct conf_node *value, struct buf *why)
{
    const char *words = key->words;
    char word[CONF_MAX_WORD + 1];
    int64_t number = 0;

    for (int i = 0; (words = conf_map_next_word(words, word)) != NULL; i++) {
        bool has_number = matches_number(word, value->text, &number);

        if (!has_number &&
            (strchr(word, ':') || strcmp(word, value->text) != 0))
            continue;
        *(int *)field(key, c) = i;
        if (key->number_at)
            *(int64_t *)((char *)c + key->number_at) = number;
        return 0;
    }
    refuse(key, value, why);
    if (conf_near_word(key->words, value->text, word))
        buf_addf(why, "; did you mean '%s'?", word);
    return ERR_INVALID;
}

static bool is_sane_text(const struct conf_node *value)
{
    size_t n = strlen(value->text);

    return n > 0 && n <= MAX_TEXT_BYTES && !strpbrk(value->text, "\n\r");
}

static int set_text(const struct conf_key *key, char **x,
                    const struct conf_node *value, struct buf *why)
{
    bool is_null =
        key->null_word && !value->is_quoted &&
        (conf_node_is_null(value) || strcmp(value->text, key->null_word) == 0);

    if (!is_null && (conf_node_is_null(value) || !is_sane_text(value)))
        return refuse(key, value, why);
    free(*x);
    *x = is_null ? NULL : xstrdup(value->text);
    return 0;
}

/* Accepts a list, or one text for a list of one. */
static int set_strings(struct conf_strings *x, const struct conf_node *value,
                       struct buf *why)
{
    struct conf_strings l = {NULL, 0};
    const struct conf_node *node =
        value->kind == CONF_NODE_LIST ? value->first : value;

    for (; node; node = node->next) {
        if (node->kind != CONF_NODE_SCALAR || conf_node_is_null(node) ||
            !is_sane_text(node) || l.n == MAX_STRINGS) {
            conf_strings_release(&l);
            buf_adds(why, "expected texts in the list, found ");
            found(node, why);
            return ERR_INVALID;
        }
        conf_strings_add(&l, node->text);
        if (node == value)
            break;
    }
    conf_strings_release(x);
    *x = l;
    return 0;
}

int conf_value_set(const struct conf_key *key, struct conf *c,
                   const struct conf_node *value, struct buf *why)
{
    void *x = field(key, c);

    if (key->type == CONF_STRINGS && value->kind != CONF_NODE_MAP)
        return set_strings(x, value, why);
    if (value->kind != CONF_NODE_SCALAR)
        return refuse(key, value, why);
    switch (key->type) {
    case CONF_BOOL:
        return set_bool(key, x, value, why);
    case CONF_INT:
        return set_int(key, x, value, why);
    case CONF_REAL:
        return set_real(key, x, value, why);
    case CONF_ENUM:
        return set_enum(key, c, value, why);
    case CONF_TEXT:
        return set_text(key, x, value, why);
    default:
        BUG("%s has no single value", key->name);
    }
}

/* --- print -------------------------------------------------------------- */

static void print_enum(const struct conf_key *key, const struct conf *c,
                       struct buf *out)
{
    int value = *(const int *)field_const(key, c);
    const char *words = key->words;
    char word[CONF_MAX_WORD + 1];
    char *colon;

    for (int i = 0; i <= value; i++) {
        words = conf_map_next_word(words, word);
        BUG_ON(!words);
    }
    colon = strchr(word, ':');
    if (!colon) {
        buf_adds(out, word);
        return;
    }
    buf_add(out, word, (size_t)(colon - word) + 1);
    buf_addf(out, "%lld",
             (long long)*(const int64_t *)((const char *)c + key->number_at));
}

static void print_strings(const struct conf_strings *l, struct buf *out)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0)
            buf_adds(out, ", ");
        conf_quote_yaml(l->items[i], out);
    }
    buf_addc(out, ']');
}

void conf_value_print(const struct conf_key *key, const struct conf *c,
                      struct buf *out)
{
    const void *x = field_const(key, c);

    switch (key->type) {
    case CONF_BOOL:
        buf_adds(out, *(const bool *)x ? "true" : "false");
        break;
    case CONF_INT:
        buf_addf(out, "%lld", (long long)*(const int64_t *)x);
        break;
    case CONF_REAL:
        if (key->null_word && *(const double *)x == CONF_REAL_WORD)
            buf_adds(out, key->null_word);
        else
            print_real(*(const double *)x, out);
        break;
    case CONF_ENUM:
        print_enum(key, c, out);
        break;
    case CONF_TEXT:
        if (*(char *const *)x)
            conf_quote_yaml(*(char *const *)x, out);
        else
            buf_adds(out, key->null_word);
        break;
    case CONF_STRINGS:
        print_strings(x, out);
        break;
    case CONF_SECTION:
    case CONF_PROPERTIES:
        BUG("%s has no single value", key->name);
    }
}

void conf_value_print_properties(const struct conf_properties *p, int depth,
                                 bool is_masked, struct buf *out)
{
    if (p->n == 0)
        buf_adds(out, " {}");
    buf_addc(out, '\n');
    for (size_t i = 0; i < p->n; i++) {
        buf_addf(out, "%*s", 2 * depth, "");
        conf_quote_yaml(p->items[i].name, out);
        buf_adds(out, ": ");
        conf_quote_yaml(is_masked && p->items[i].is_secret ? CONF_MASK
                                                           : p->items[i].value,
                        out);
        buf_addc(out, '\n');
    }
}

/* --- release ------------------------------------------------------------ */

static void release_properties(struct conf_properties *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->items[i].name);
        free(p->items[i].value);
        free(p->items[i].where);
    }
    free(p->items);
    p->items = NULL;
    p->n = 0;
}

void conf_value_release(const struct conf_key *key, struct conf *c)
{
    void *x = field(key, c);

    if (key->type == CONF_TEXT) {
        free(*(char **)x);
        *(char **)x = NULL;
    } else if (key->type == CONF_STRINGS) {
        conf_strings_release(x);
    } else if (key->type == CONF_PROPERTIES) {
        release_properties(x);
    }
}

/* --- lists of texts ----------------------------------------------------- */

void conf_strings_add(struct conf_strings *l, const char *s)
{
    l->items = xreallocarray(l->items, l->n + 1, sizeof *l->items);
    l->items[l->n++] = xstrdup(s);
}

void conf_strings_release(struct conf_strings *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    l->items = NULL;
    l->n = 0;
}

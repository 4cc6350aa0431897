/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "conf/conf_doc.h"

#include <string.h>

#include "conf/conf_map.h"
#include "conf/conf_value.h"

#define WIDTH 78

/* --- filling lines ------------------------------------------------------ */

static size_t add_plain(const char *word, size_t n_bytes, struct buf *out)
{
    buf_add(out, word, n_bytes);
    return n_bytes;
}

/* Adds a word of roff. Escapes dashes, backslashes, and a dot or a quote at the
 * beginning, which would start a request. */
static size_t add_roff(const char *word, size_t n_bytes, struct buf *out)
{
    if (*word == '.' || *word == '\'')
        buf_adds(out, "\\&");
    for (size_t i = 0; i < n_bytes; i++) {
        if (word[i] == '-')
            buf_adds(out, "\\-");
        else if (word[i] == '\\')
            buf_adds(out, "\\e");
        else
            buf_addc(out, word[i]);
    }
    return n_bytes;
}

/* Fills lines with the words of a text. Each line begins with depth steps and a
 * mark. */
static void fill(const char *text, int depth, const char *mark,
                 size_t (*add_word)(const char *, size_t, struct buf *),
                 struct buf *out)
{
    size_t column = 0;

    while (*text) {
        size_t n = strcspn(text, " ");

        if (column > 0 && column + 1 + n > WIDTH) {
            buf_addc(out, '\n');
            column = 0;
        }
        if (column == 0) {
            buf_addf(out, "%*s%s", 2 * depth, "", mark);
            column = 2 * (size_t)depth + strlen(mark);
        } else {
            buf_addc(out, ' ');
            column++;
        }
        column += add_word(text, n, out);
        text += n + strspn(text + n, " ");
    }
    buf_addc(out, '\n');
}

/* --- conf/mneme.yaml ---------------------------------------------------- */

static const char preamble[] =
    "# SPDX-License-Identifier: Apache-2.0\n"
    "#\n"
    "# mneme.yaml - the configuration of mnemed. This file has every key with\n"
    "# its default. Keep only the keys that you change: an empty file is "
    "fine.\n"
    "# See mneme.yaml(5). `mnemed -t` checks a file, and `mnemed -T` prints "
    "the\n"
    "# configuration in effect.\n"
    "#\n"
    "# SIGHUP reloads keys marked [reload]. Other keys change at the next "
    "start.\n"
    "# This file is generated from the table in conf/conf_map.c.\n";

static void sample_key(const struct conf_key *key, const struct conf *defaults,
                       struct buf *out)
{
    int depth = conf_map_depth(key->name);
    struct buf values = BUF_INIT;

    buf_addc(out, '\n');
    fill(key->doc, depth, "# ", add_plain, out);
    if (key->type != CONF_SECTION) {
        buf_adds(&values, "Value: ");
        conf_value_describe(key, &values);
        buf_adds(&values, key->is_reloadable ? " [reload]" : "");
        fill(values.data, depth, "# ", add_plain, out);
    }
    buf_addf(out, "%*s%s:", 2 * depth, "", conf_map_leaf(key->name));
    if (key->type == CONF_PROPERTIES)
        conf_value_print_properties(&defaults->source.kafka.properties,
                                    depth + 1, false, out);
    else if (key->type == CONF_SECTION)
        buf_addc(out, '\n');
    else
        buf_addf(out, " %s\n", key->fallback);
    buf_release(&values);
}

void conf_doc_sample(struct buf *out)
{
    struct conf *defaults = conf_create();

    buf_adds(out, preamble);
    for (size_t i = 0; i < conf_map_n; i++)
        sample_key(&conf_map[i], defaults, out);
    conf_free(defaults);
}

/* --- mneme.yaml(5) ------------------------------------------------------ */

static void man_key(const struct conf_key *key, struct buf *out)
{
    struct buf text = BUF_INIT;

    buf_adds(out, ".TP\n.B ");
    add_roff(key->name, strlen(key->name), out);
    buf_addc(out, '\n');
    fill(key->doc, 0, "", add_roff, out);
    buf_adds(out, ".br\n");
    buf_adds(&text, "Value: ");
    conf_value_describe(key, &text);
    buf_addf(&text, ". Default: %s.", key->fallback);
    buf_adds(&text, key->is_reloadable ? " Reloadable." : "");
    fill(text.data, 0, "", add_roff, out);
    buf_release(&text);
}

void conf_doc_man(struct buf *out)
{
    buf_adds(out, ".SH KEYS\n");
    for (size_t i = 0; i < conf_map_n; i++) {
        const struct conf_key *key = &conf_map[i];

        if (key->type != CONF_SECTION) {
            man_key(key, out);
            continue;
        }
        buf_addf(out, ".SS %s\n", key->name);
        fill(key->doc, 0, "", add_roff, out);
    }
}

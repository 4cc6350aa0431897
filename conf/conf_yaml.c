/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: libyaml reports events. A cursor points to the mapping or list
 * that is open, and each event adds a node to it or moves the cursor up.
 * Neither this file nor libyaml's event parser recurses. Depth costs heap, and
 * is limited.
 *
 * `KEY: -` means the text "-". In YAML a lone dash begins a list, which is an
 * error behind a key on the same line. So the dash of such a line is put in
 * quotes before libyaml reads the text.
 */
#include "config.h"

#include "conf/conf_yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/xalloc.h"

struct builder {
    struct conf_tree *tree;
    struct conf_node *open; /* the mapping or list that gets the next node */
    int depth;
    char *key; /* of the next value, or NULL */
    int key_line, key_column;
    bool had_document, done;
};

static int refuse(struct conf_tree *t, const yaml_mark_t *mark, const char *why)
{
    t->line = (int)mark->line + 1;
    t->column = (int)mark->column + 1;
    snprintf(t->why, sizeof t->why, "%s", why);
    return ERR_INVALID;
}

void conf_tree_release(struct conf_tree *t)
{
    struct conf_node *node, *created;

    for (node = t->created; node; node = created) {
        created = node->created;
        free(node->key);
        free(node->text);
        free(node);
    }
    memset(t, 0, sizeof *t);
}

bool conf_node_is_null(const struct conf_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

    if (node->kind != CONF_NODE_SCALAR || node->is_quoted)
        return false;
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
        if (strcmp(node->text, nulls[i]) == 0)
            return true;
    }
    return false;
}

/* --- events into nodes -------------------------------------------------- */

/* Adds a node to the open mapping or list. In a mapping it gets the key that
 * was read before it. */
static int add_node(struct builder *b, enum conf_node_kind kind,
                    const yaml_mark_t *mark, struct conf_node **added)
{
    struct conf_tree *t = b->tree;
    struct conf_node *node;

    if (t->n_nodes >= CONF_YAML_MAX_NODES)
        return refuse(t, mark, "too many values for a configuration");
    node = xcalloc(1, sizeof *node);
    node->kind = kind;
    node->line = (int)mark->line + 1;
    node->column = (int)mark->column + 1;
    node->key = b->key;
    node->key_line = b->key_line;
    node->key_column = b->key_column;
    b->key = NULL;
    node->created = t->created;
    t->created = node;
    t->n_nodes++;
    node->up = b->open;
    if (!b->open)
        t->root = node;
    else if (b->open->last)
        b->open->last->next = node;
    else
        b->open->first = node;
    if (b->open)
        b->open->last = node;
    *added = node;
    return 0;
}

static bool wants_key(const struct builder *b)
{
    return b->open && b->open->kind == CONF_NODE_MAP && !b->key;
}

static int on_scalar(struct builder *b, const yaml_event_t *e)
{
    const char *value = (const char *)e->data.scalar.value;
    size_t n_bytes = e->data.scalar.length;
    struct conf_node *node;
    int rc;

    if (e->data.scalar.anchor)
        return refuse(b->tree, &e->start_mark, "anchors (&) are not used here");
    if (e->data.scalar.tag)
        return refuse(b->tree, &e->start_mark, "tags (!) are not used here");
    if (n_bytes > CONF_YAML_MAX_TEXT || memchr(value, '\0', n_bytes))
        return refuse(b->tree, &e->start_mark,
                      "this text is too long or has a NUL in it");
    if (wants_key(b)) {
        b->key = xstrndup(value, n_bytes);
        b->key_line = (int)e->start_mark.line + 1;
        b->key_column = (int)e->start_mark.column + 1;
        return 0;
    }
    rc = add_node(b, CONF_NODE_SCALAR, &e->start_mark, &node);
    if (rc == 0) {
        node->text = xstrndup(value, n_bytes);
        node->is_quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    }
    return rc;
}

static int on_open(struct builder *b, const yaml_event_t *e)
{
    bool is_map = e->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *anchor =
        is_map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    const yaml_char_t *tag =
        is_map ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    struct conf_node *node;
    int rc;

    if (anchor)
        return refuse(b->tree, &e->start_mark, "anchors (&) are not used here");
    if (tag)
        return refuse(b->tree, &e->start_mark, "tags (!) are not used here");
    if (wants_key(b))
        return refuse(b->tree, &e->start_mark, "a key is plain text");
    if (b->depth >= CONF_YAML_MAX_DEPTH)
        return refuse(b->tree, &e->start_mark, "nested too deeply");
    rc = add_node(b, is_map ? CONF_NODE_MAP : CONF_NODE_LIST, &e->start_mark,
                  &node);
    if (rc == 0) {
        b->open = node;
        b->depth++;
    }
    return rc;
}

static int on_event(struct builder *b, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(b, e);
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        return on_open(b, e);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        b->open = b->open->up;
        b->depth--;
        return 0;
    case YAML_ALIAS_EVENT:
        return refuse(b->tree, &e->start_mark, "aliases (*) are not used here");
    case YAML_DOCUMENT_START_EVENT:
        if (b->had_document)
            return refuse(b->tree, &e->start_mark,
                          "a second document (---) in the same text");
        b->had_document = true;
        return 0;
    case YAML_STREAM_END_EVENT:
        b->done = true;
        return 0;
    default:
        return 0;
    }
}

/* --- libyaml ------------------------------------------------------------ */

/* Stores libyaml's error. Its messages describe the syntax and quote no
 * content. An error in the encoding has a byte offset instead of a line. */
static int refuse_syntax(struct conf_tree *t, const yaml_parser_t *parser,
                         const char *bytes, size_t n_bytes)
{
    yaml_mark_t mark = parser->problem_mark;
    size_t at;

    if (parser->error == YAML_MEMORY_ERROR)
        BUG("out of memory in libyaml");
    if (parser->error == YAML_READER_ERROR) {
        mark.line = mark.column = 0;
        for (at = 0; at < parser->problem_offset && at < n_bytes; at++) {
            mark.column = bytes[at] == '\n' ? 0 : mark.column + 1;
            mark.line += bytes[at] == '\n';
        }
    }
    refuse(t, &mark, parser->problem ? parser->problem : "not YAML");
    if (parser->context)
        snprintf(t->why, sizeof t->why, "%s (%s)",
                 parser->problem ? parser->problem : "not YAML",
                 parser->context);
    return ERR_INVALID;
}

/* Copies a text, and puts the dash of each line `KEY: -` in quotes. A comment
 * may follow the dash. text   n_bytes, followed by a NUL */
static void quote_dashes(const char *text, size_t n_bytes, struct buf *out)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
    const char *end = text + n_bytes, *line = text, *next, *colon, *dash, *rest;

    for (; line < end; line = next) {
        next = memchr(line, '\n', (size_t)(end - line));
        next = next ? next + 1 : end;
        colon = line + strspn(line, " ");
        colon += strspn(colon, letters);
        dash = colon + (*colon == ':');
        dash += strspn(dash, " \t");
        rest = dash + (*dash == '-');
        rest += strspn(rest, " \t");
        if (*colon == ':' && *dash == '-' && dash > colon + 1 &&
            (strchr("\r\n", *rest) || (*rest == '#' && rest > dash + 1))) {
            buf_add(out, line, (size_t)(dash - line));
            buf_adds(out, "\"-\"");
            line = dash + 1;
        }
        buf_add(out, line, (size_t)(next - line));
    }
}

int conf_tree_parse(struct conf_tree *t, const char *bytes, size_t n_bytes)
{
    struct buf text = BUF_INIT, quoted = BUF_INIT;
    struct builder b = {.tree = t};
    yaml_parser_t parser;
    yaml_event_t event;
    int rc = 0;

    conf_tree_release(t);
    if (n_bytes > CONF_YAML_MAX_BYTES) {
        snprintf(t->why, sizeof t->why, "larger than %d bytes",
                 CONF_YAML_MAX_BYTES);
        return ERR_INVALID;
    }
    buf_add(&text, bytes, n_bytes);
    quote_dashes(text.data, text.len, &quoted);
    if (!yaml_parser_initialize(&parser))
        BUG("out of memory in libyaml");
    yaml_parser_set_input_string(
        &parser, (const unsigned char *)(quoted.len ? quoted.data : ""),
        quoted.len);
    while (rc == 0 && !b.done) {
        if (!yaml_parser_parse(&parser, &event)) {
            rc = refuse_syntax(t, &parser, quoted.data, quoted.len);
            break;
        }
        rc = on_event(&b, &event);
        yaml_event_delete(&event);
    }
    free(b.key);
    yaml_parser_delete(&parser);
    buf_release(&quoted);
    buf_release(&text);
    return rc;
}

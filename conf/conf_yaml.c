/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: libyaml gives events; a cursor stands on the open mapping or
 * list, and each event adds a node below it or moves the cursor up. There is
 * no recursion here, and libyaml's event parser has none either: depth costs
 * heap, and is capped.
 *
 * One thing is added to YAML: `path: -` means the text "-". To YAML a lone
 * dash starts a list, which after a key on the same line is an error, so no
 * valid text changes its meaning: where libyaml refuses a dash for that
 * reason, the dash is put in quotes and the text is parsed again.
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

#define MAX_DASHES 16

struct builder {
    struct conf_tree *tree;
    struct conf_node *open; /* the mapping or list that takes the next node */
    int depth;
    char *key; /* of the value that comes next, or NULL */
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

/* Hangs a new node below the open one. A mapping's value takes the key that
 * came before it. */
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

/* libyaml's words are complete sentences about the syntax, without content.
 * A reader's error (not UTF-8) has a byte offset instead of a mark. */
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

static int parse_once(struct conf_tree *t, const char *bytes, size_t n_bytes)
{
    struct builder b = {.tree = t};
    yaml_parser_t parser;
    yaml_event_t event;
    int rc = 0;

    if (!yaml_parser_initialize(&parser))
        BUG("out of memory in libyaml");
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes,
                                 n_bytes);
    while (rc == 0 && !b.done) {
        if (!yaml_parser_parse(&parser, &event)) {
            rc = refuse_syntax(t, &parser, bytes, n_bytes);
            break;
        }
        rc = on_event(&b, &event);
        yaml_event_delete(&event);
    }
    free(b.key);
    yaml_parser_delete(&parser);
    return rc;
}

/* --- a lone dash as a value --------------------------------------------- */

/* The offset of the dash that libyaml just refused, when nothing but a comment
 * follows it on its line; else -1. */
static long refused_dash(const struct conf_tree *t, const char *bytes,
                         size_t n_bytes)
{
    const char *end = bytes + n_bytes;
    const char *s = bytes;
    const char *dash;

    if (!strstr(t->why, "block sequence entries are not allowed"))
        return -1;
    for (int line = 1; line < t->line; line++) {
        s = memchr(s, '\n', (size_t)(end - s));
        if (!s++)
            return -1;
    }
    for (dash = s; dash + 1 < end && *dash != '\n'; dash++) {
        if (dash[0] == ':' && (dash[1] == ' ' || dash[1] == '\t'))
            break;
    }
    if (dash + 1 >= end || *dash != ':')
        return -1;
    for (dash++; dash < end && (*dash == ' ' || *dash == '\t'); dash++)
        ;
    if (dash >= end || *dash != '-')
        return -1;
    for (s = dash + 1; s < end && (*s == ' ' || *s == '\t'); s++)
        ;
    if (s == end || *s == '\n' || *s == '\r' || (*s == '#' && s > dash + 1))
        return dash - bytes;
    return -1;
}

int conf_tree_parse(struct conf_tree *t, const char *bytes, size_t n_bytes)
{
    struct buf text = BUF_INIT;
    struct buf again = BUF_INIT;
    long at;
    int rc;

    conf_tree_release(t);
    if (n_bytes > CONF_YAML_MAX_BYTES) {
        snprintf(t->why, sizeof t->why, "larger than %d bytes",
                 CONF_YAML_MAX_BYTES);
        return ERR_INVALID;
    }
    buf_add(&text, bytes, n_bytes);
    rc = parse_once(t, text.data, text.len);
    for (int i = 0; rc != 0 && i < MAX_DASHES; i++) {
        at = refused_dash(t, text.data, text.len);
        if (at < 0)
            break;
        buf_clear(&again);
        buf_add(&again, text.data, (size_t)at);
        buf_adds(&again, "\"-\"");
        buf_add(&again, text.data + at + 1, text.len - (size_t)at - 1);
        buf_clear(&text);
        buf_add(&text, again.data, again.len);
        conf_tree_release(t);
        rc = parse_once(t, text.data, text.len);
    }
    buf_release(&again);
    buf_release(&text);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_yaml.h - YAML text into a small tree of nodes that know their place.
 *
 * The part of YAML that a configuration needs: one document of mappings,
 * lists and scalars. Anchors, aliases, tags and keys that are not plain text
 * are refused, as is anything beyond the limits below, so that no text can
 * make the tree larger than the text.
 *
 *     struct conf_tree t = CONF_TREE_INIT;
 *     if (conf_tree_parse(&t, bytes, n_bytes) != 0)
 *         ... t.line, t.column, t.why; t.root is what came before that ...
 *     conf_tree_release(&t);
 *
 * Owner:   the tree owns its nodes and their text
 * Threads: any, one at a time for a tree
 */
#ifndef MNEME_CONF_CONF_YAML_H
#define MNEME_CONF_CONF_YAML_H

#include <stdbool.h>
#include <stddef.h>

#define CONF_YAML_MAX_BYTES (1024 * 1024)
#define CONF_YAML_MAX_DEPTH 16   /* mappings and lists inside each other */
#define CONF_YAML_MAX_NODES 5000 /* keys, values and list elements */
#define CONF_YAML_MAX_TEXT 65536 /* bytes of one scalar */

enum conf_node_kind { CONF_NODE_SCALAR, CONF_NODE_LIST, CONF_NODE_MAP };

struct conf_node {
    enum conf_node_kind kind;
    int line, column; /* from 1; column in characters */
    char *key;        /* in a mapping; else NULL */
    int key_line, key_column;
    char *text;              /* of a scalar */
    bool is_quoted;          /* or a block scalar: text, whatever is in it */
    struct conf_node *first; /* elements, or values of a mapping */
    struct conf_node *last;
    struct conf_node *next;    /* the element after this one */
    struct conf_node *up;      /* NULL for the root */
    struct conf_node *created; /* all nodes, for release */
};

struct conf_tree {
    struct conf_node *root; /* NULL: nothing but comments */
    struct conf_node *created;
    size_t n_nodes;
    int line, column; /* of the error; 0: not at a place */
    char why[160];    /* holds nothing that is in the text */
};

#define CONF_TREE_INIT {NULL, NULL, 0, 0, 0, ""}

/* ERR_INVALID with the place and the reason in the tree. */
int conf_tree_parse(struct conf_tree *t, const char *bytes, size_t n_bytes);
void conf_tree_release(struct conf_tree *t);

/* Nothing, `null` or `~`, without quotes. */
bool conf_node_is_null(const struct conf_node *node);

#endif

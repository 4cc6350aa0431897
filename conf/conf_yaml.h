/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_yaml.h - parses YAML into a small tree of nodes with line numbers.
 *
 * It accepts the part of YAML that a configuration needs: one document of
 * mappings, lists and scalars. It refuses anchors, aliases, tags, keys that are
 * not plain text, and anything beyond the limits below. So the tree is never
 * much larger than the text.
 *
 *     struct conf_tree t = CONF_TREE_INIT;
 *     if (conf_tree_parse(&t, bytes, n_bytes) != 0)
 *         ... t.line, t.column, t.why; t.root has the nodes before the error
 * ... conf_tree_release(&t);
 *
 * Owner:   the tree owns its nodes and their text
 * Threads: any, one at a time for a tree
 */
#ifndef MNEME_CONF_CONF_YAML_H
#define MNEME_CONF_CONF_YAML_H

#include <stdbool.h>
#include <stddef.h>

#define CONF_YAML_MAX_BYTES (1024 * 1024)
#define CONF_YAML_MAX_DEPTH 16   /* nested mappings and lists */
#define CONF_YAML_MAX_NODES 5000 /* keys, values and list elements */
#define CONF_YAML_MAX_TEXT 65536 /* bytes of one scalar */

enum conf_node_kind { CONF_NODE_SCALAR, CONF_NODE_LIST, CONF_NODE_MAP };

struct conf_node {
    enum conf_node_kind kind;
    int line, column; /* from 1; column in characters */
    char *key;        /* of a value in a mapping; else NULL */
    int key_line, key_column;
    char *text;              /* of a scalar */
    bool is_quoted;          /* or a block scalar: always a text */
    struct conf_node *first; /* elements, or values of a mapping */
    struct conf_node *last;
    struct conf_node *next;    /* sibling */
    struct conf_node *up;      /* NULL for the root */
    struct conf_node *created; /* list of all nodes, for release */
};

struct conf_tree {
    struct conf_node *root; /* NULL: the text has only comments */
    struct conf_node *created;
    size_t n_nodes;
    int line, column; /* of the error; 0: unknown */
    char why[160];    /* quotes nothing from the text */
};

#define CONF_TREE_INIT {NULL, NULL, 0, 0, 0, ""}

/* ERR_INVALID: line, column and reason are in the tree. */
int conf_tree_parse(struct conf_tree *t, const char *bytes, size_t n_bytes);
void conf_tree_release(struct conf_tree *t);

/* Tells whether a scalar is empty, `null` or `~`, without quotes. */
bool conf_node_is_null(const struct conf_node *node);

#endif

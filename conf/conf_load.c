/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: conf_yaml.c parses the text into a tree. The values of the tree
 * go into the struct, by the rows of the table. A --set is a tree of one value.
 * A problem is stored with its line and column and loading continues, so that
 * the user sees all of them. The key of a problem is marked, so that conf_check
 * reports none of its consequences.
 *
 * Loading recurses once a section. The depth is limited: the tree has at most
 * CONF_YAML_MAX_DEPTH levels, and only names of the table are followed.
 */
#include "config.h"

#include "conf/conf_load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fileio.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "conf/conf_check.h"
#include "conf/conf_near.h"
#include "conf/conf_problems.h"
#include "conf/conf_quote.h"
#include "conf/conf_value.h"

#define PROPERTIES "source.kafka.properties"

struct load {
    struct conf *c;
    struct conf_problems *problems;
    conf_property_check *check;
    int order; /* as in struct conf_origin */
    int shift; /* columns before the value of a --set */
};

/* --- origins and problems ----------------------------------------------- */

static struct conf_origin origin_at(const struct load *l, int line, int column)
{
    struct conf_origin origin = {l->order, line, column, false};

    if (line == 1)
        origin.column += l->shift;
    return origin;
}

static struct conf_origin origin_of_value(const struct load *l,
                                          const struct conf_node *node)
{
    return origin_at(l, node->line, node->column);
}

/* Returns where the key of a node is. The root has no key: then where its value
 * is, or the beginning of a --set. */
static struct conf_origin origin_of_key(const struct load *l,
                                        const struct conf_node *node)
{
    struct conf_origin origin = {l->order, 1, 1, false};

    if (node->key)
        return origin_at(l, node->key_line, node->key_column);
    return l->order > 0 ? origin : origin_of_value(l, node);
}

/* Formats a key from the user for a message. Puts it in quotes if it has
 * unusual characters. */
static char *format_key(const char *path)
{
    struct buf out = BUF_INIT;
    size_t n = strspn(path, "abcdefghijklmnopqrstuvwxyz"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    if (path[n] == '\0' && n <= 120)
        buf_adds(&out, path);
    else
        conf_quote_short(path, &out);
    return buf_detach(&out);
}

static void add_problem(struct load *l, struct conf_origin origin,
                        const char *path, const char *why)
{
    char *key = format_key(path);

    conf_problem_add(l->problems, l->c->origins, &origin, key, "%s", why);
    free(key);
}

static void unknown_key(struct load *l, const char *path,
                        const struct conf_node *node)
{
    const struct conf_key *near = conf_near_key(path);
    struct buf why = BUF_INIT;

    buf_adds(&why, "unknown key");
    if (near) {
        buf_addf(&why, "; did you mean '%s'?", near->name);
        conf_origin_of(l->c, near)->is_wrong = true;
    }
    add_problem(l, origin_of_key(l, node), path, why.data);
    buf_release(&why);
}

static void load_value(struct load *l, const struct conf_key *key,
                       const struct conf_node *node)
{
    struct conf_origin *origin = conf_origin_of(l->c, key);
    struct buf why = BUF_INIT;

    if (origin->order == 0 && l->order == 0) {
        buf_addf(&why, "given twice; first in line %d", origin->line);
        add_problem(l, origin_of_key(l, node), key->name, why.data);
    } else if (conf_value_set(key, l->c, node, &why) != 0) {
        add_problem(l, origin_of_value(l, node), key->name, why.data);
        origin->is_wrong = true;
    } else {
        *origin = origin_of_value(l, node);
    }
    buf_release(&why);
}

/* --- librdkafka's properties -------------------------------------------- */

/* Properties that the user may not set, and the reason. */
static const struct {
    const char *name, *why;
} refused[] = {
    {"enable.auto.commit",
     "mneme commits an offset after the version that accounts for it"},
    {"auto.commit.enable",
     "mneme commits an offset after the version that accounts for it"},
    {"auto.commit.interval.ms",
     "mneme commits an offset after the version that accounts for it"},
    {"enable.auto.offset.store", "mneme keeps the offsets in its versions"},
    {"offset.store.method", "mneme keeps the offsets in its versions"},
    {"offset.store.path", "mneme keeps the offsets in its versions"},
    {"offset.store.sync.interval.ms",
     "mneme keeps the offsets in its versions"},
    {"auto.offset.reset",
     "mneme never skips records silently; see source.kafka.start and "
     "source.kafka.on_gap"},
    {"partition.assignment.strategy",
     "mneme continues its partitions at the positions in its versions"},
    {"enable.partition.eof", "mneme needs it to know the lag"},
    {"transactional.id", "mneme does not produce in transactions"},
    {"test.mock.num.brokers",
     "set bootstrap.servers: embedded for a broker inside mnemed"},
    {"log.queue", "mneme has its own log"},
    {"enabled_events", "mneme polls with callbacks"},
};

/* "source.kafka.properties.group.id" */
static bool is_property_path(const char *path)
{
    return strncmp(path, PROPERTIES ".", strlen(PROPERTIES ".")) == 0;
}

static bool is_secret(const char *name)
{
    static const char *const parts[] = {
        "password", "secret",           "token",    "key.pem",
        "ssl_key",  "sasl.oauthbearer", "sasl.jaas"};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strstr(name, parts[i]))
            return true;
    }
    return false;
}

/* Finds the property of this name, or adds it in order. */
static struct conf_property *property_slot(struct conf_properties *p,
                                           const char *name)
{
    size_t i = 0;

    while (i < p->n && strcmp(p->items[i].name, name) < 0)
        i++;
    if (i < p->n && strcmp(p->items[i].name, name) == 0)
        return &p->items[i];
    p->items = xreallocarray(p->items, p->n + 1, sizeof *p->items);
    memmove(p->items + i + 1, p->items + i, (p->n - i) * sizeof *p->items);
    p->n++;
    memset(&p->items[i], 0, sizeof p->items[i]);
    p->items[i].name = xstrdup(name);
    p->items[i].is_secret = is_secret(name);
    return &p->items[i];
}

/* Returns why a property cannot have this value, or NULL. */
static const char *check_property(struct load *l, const char *name,
                                  const struct conf_node *node, char *why,
                                  size_t why_size)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strcmp(refused[i].name, name) == 0)
            return refused[i].why;
    if (node->kind != CONF_NODE_SCALAR || conf_node_is_null(node))
        return "expected a value: write NAME: VALUE";
    if (is_secret(name) && strcmp(node->text, CONF_MASK) == 0)
        return "this is the mask of a printed configuration, not the value";
    if (l->check && l->order != CONF_BY_DEFAULT &&
        l->check(name, node->text, why, why_size) != 0)
        return why;
    return NULL;
}

static void load_property(struct load *l, const char *name,
                          const struct conf_node *node)
{
    struct conf_origin origin = origin_of_key(l, node);
    struct conf_property *x;
    char why[256] = "";
    const char *reason = check_property(l, name, node, why, sizeof why);
    char *path;

    if (reason) {
        path = xasprintf(PROPERTIES ".%s", name);
        add_problem(l, origin, path, reason);
        free(path);
        return;
    }
    x = property_slot(&l->c->source.kafka.properties, name);
    free(x->value);
    free(x->where);
    x->value = xstrdup(node->text);
    x->where = conf_origin_text(l->c->origins, &origin);
}

/* --- mappings ----------------------------------------------------------- */

static void load_node(struct load *l, const char *path,
                      const struct conf_node *node);

/* Returns an earlier sibling with the same key, or NULL. */
static const struct conf_node *twin(const struct conf_node *node)
{
    const struct conf_node *x;

    for (x = node->up->first; x != node; x = x->next) {
        if (strcmp(x->key, node->key) == 0)
            return x;
    }
    return NULL;
}

static void load_mapping(struct load *l, const char *path,
                         const struct conf_node *map, bool is_properties)
{
    const struct conf_node *node, *first;
    struct buf child = BUF_INIT;
    char why[64];

    for (node = map->first; node; node = node->next) {
        buf_clear(&child);
        buf_addf(&child, "%s%s%s", path, *path ? "." : "", node->key);
        if ((first = twin(node)) != NULL) {
            snprintf(why, sizeof why, "given twice; first in line %d",
                     first->key_line);
            add_problem(l, origin_of_key(l, node), child.data, why);
        } else if (is_properties) {
            load_property(l, node->key, node);
        } else {
            load_node(l, child.data, node);
        }
    }
    buf_release(&child);
}

/* Loads a node and its children.
 *   path   "" for the whole file */
static void load_node(struct load *l, const char *path,
                      const struct conf_node *node)
{
    const struct conf_key *key = *path ? conf_map_find(path) : NULL;
    bool is_mapping =
        !*path ||
        (key && (key->type == CONF_SECTION || key->type == CONF_PROPERTIES));

    if (is_property_path(path))
        load_property(l, path + strlen(PROPERTIES "."), node);
    else if (*path && !key)
        unknown_key(l, path, node);
    else if (!is_mapping)
        load_value(l, key, node);
    else if (node->kind == CONF_NODE_MAP)
        load_mapping(l, path, node, key && key->type == CONF_PROPERTIES);
    else if (!conf_node_is_null(node))
        add_problem(l, origin_of_value(l, node), path,
                    "expected a mapping: `key: value` lines");
}

/* --- texts -------------------------------------------------------------- */

/* Makes a tree of one text without parsing it as YAML. */
static void tree_of_text(struct conf_tree *t, const char *text)
{
    struct conf_node *node = xcalloc(1, sizeof *node);

    conf_tree_release(t);
    node->kind = CONF_NODE_SCALAR;
    node->line = node->column = 1;
    node->text = xstrdup(text);
    t->root = t->created = node;
}

int conf_tree_of_value(struct conf_tree *t, const struct conf_key *key,
                       const char *value)
{
    bool is_text = !key || key->type == CONF_TEXT;

    if (!is_text || *value == '"' || *value == '\'') {
        if (conf_tree_parse(t, value, strlen(value)) != 0)
            return ERR_INVALID;
        if (t->root)
            return 0;
    }
    tree_of_text(t, value);
    return 0;
}

void conf_load_defaults(struct conf *c)
{
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    struct load l = {.c = c, .problems = &problems, .order = CONF_BY_DEFAULT};
    struct conf_tree tree = CONF_TREE_INIT;

    for (size_t i = 0; i < conf_map_n; i++) {
        if (conf_map[i].type == CONF_SECTION)
            continue;
        if (conf_tree_of_value(&tree, &conf_map[i], conf_map[i].fallback) != 0)
            BUG("%s: %s", conf_map[i].name, tree.why);
        load_node(&l, conf_map[i].name, tree.root);
        conf_tree_release(&tree);
    }
    if (problems.n > 0)
        BUG("%s", problems.items[0].text);
}

/* Loads the file. False: a part of it could not be read, so that later checks
 * would report only consequences of that. */
static bool load_file(struct load *l, const char *path)
{
    struct conf_tree tree = CONF_TREE_INIT;
    struct conf_origin origin = {0, 0, 0, false};
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;
    int rc;

    l->c->origins->file = xstrdup(path);
    rc = fileio_read(path, CONF_YAML_MAX_BYTES, &text, &err);
    if (rc != 0) {
        conf_problem_add_text(l->problems, &origin, xstrdup(err.msg));
        goto out;
    }
    rc = conf_tree_parse(&tree, text.data ? text.data : "", text.len);
    if (rc != 0) {
        origin.line = tree.line;
        origin.column = tree.column;
        conf_problem_add(l->problems, l->c->origins, &origin, "", "%s",
                         tree.why);
    }
    if (tree.root && (rc == 0 || tree.root->kind == CONF_NODE_MAP))
        load_node(l, "", tree.root);
out:
    conf_tree_release(&tree);
    buf_release(&text);
    return rc == 0;
}

/* Loads an override, "a.b.c=value". */
static void load_set(struct load *l, const char *text)
{
    struct conf_tree tree = CONF_TREE_INIT;
    struct conf_origin origin = {l->order, 1, 1, false};
    const char *equals = strchr(text, '=');
    char *path;
    int rc = 0;

    if (!equals || equals == text || !utf8_valid(text, strlen(text))) {
        add_problem(l, origin, text, "expected KEY=VALUE, in UTF-8");
        return;
    }
    path = xstrndup(text, (size_t)(equals - text));
    l->shift = (int)(equals - text) + 1;
    if (is_property_path(path))
        tree_of_text(&tree, equals + 1);
    else
        rc = conf_tree_of_value(&tree, conf_map_find(path), equals + 1);
    /* libyaml reports the end of a text as the next line */
    origin.column =
        tree.line > 1 ? (int)strlen(text) + 1 : l->shift + tree.column;
    if (rc != 0)
        add_problem(l, origin, path, tree.why);
    else
        load_node(l, path, tree.root);
    conf_tree_release(&tree);
    free(path);
}

int conf_load(struct conf *c, const char *path, const char *const *sets,
              size_t n_sets, conf_property_check *check,
              struct conf_problems *problems)
{
    struct load l = {.c = c, .problems = problems, .check = check};
    size_t n_before = problems->n + problems->n_dropped;
    bool is_whole = !path || load_file(&l, path);

    for (size_t i = 0; i < n_sets; i++) {
        l.order = (int)i + 1;
        load_set(&l, sets[i]);
    }
    if (is_whole)
        conf_check(c, problems);
    conf_problems_sort(problems);
    return problems->n + problems->n_dropped > n_before ? ERR_INVALID : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creates, frees, prints and reloads a configuration, key by key from the
 * table. conf_load.c loads it.
 */
#include "config.h"

#include "conf/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fileio.h"
#include "base/xalloc.h"
#include "conf/conf_check.h"
#include "conf/conf_load.h"
#include "conf/conf_problems.h"
#include "conf/conf_value.h"

struct conf *conf_create(void)
{
    struct conf *c = xcalloc(1, sizeof *c);

    c->origins = conf_origins_create();
    conf_load_defaults(c);
    if (!conf_listen_parse(&c->http))
        BUG("the default of http.listen is no address");
    return c;
}

const char *conf_source_name(enum conf_source_type type)
{
    static const char *const names[] = {"kafka", "file", "stdin", "http"};

    return names[type];
}

enum conf_scope conf_scope_of(const char *name)
{
    static const char *const names[] = {[CONF_SCOPE_INFER] = "infer",
                                        [CONF_SCOPE_FEED] = "feed",
                                        [CONF_SCOPE_ADMIN] = "admin"};

    for (int i = CONF_SCOPE_INFER; i <= CONF_SCOPE_ADMIN; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum conf_scope)i;
    return CONF_SCOPE_NONE;
}

void conf_free(struct conf *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < conf_map_n; i++)
        conf_value_release(&conf_map[i], c);
    free(c->http.listen_host);
    conf_origins_free(c->origins);
    free(c);
}

char *conf_find(void)
{
    static const char *const usual[] = {"./mneme.yaml",
                                        SYSCONFDIR "/mneme/mneme.yaml"};
    const char *named = getenv("MNEME_CONF");

    if (named && *named)
        return xstrdup(named);
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        if (fileio_exists(usual[i]))
            return xstrdup(usual[i]);
    }
    return NULL;
}

void conf_set_data_dir(struct conf *c, const char *dir)
{
    free(c->data_dir);
    c->data_dir = xstrdup(dir);
}

static const struct conf_key *row(const char *key)
{
    const struct conf_key *k = conf_map_find(key);

    if (!k)
        BUG("no key %s", key);
    return k;
}

char *conf_text(const struct conf *c, const char *key)
{
    struct buf out = BUF_INIT;

    conf_value_print(row(key), c, &out);
    return buf_detach(&out);
}

/* --- keys that a version keeps ------------------------------------------- */

void conf_learning_keys(struct conf_strings *keys)
{
    for (size_t i = 0; i < conf_map_n; i++)
        if (conf_map[i].decides_learning)
            conf_strings_add(keys, conf_map[i].name);
}

static bool is_property(const char *key)
{
    const char *properties = "source.kafka.properties.";

    return strncmp(key, properties, strlen(properties)) == 0;
}

/* Gives a key a value that has been stored as text. */
static int set_text(struct conf *c, const struct conf_key *k,
                    const char *value, struct err *err)
{
    struct conf_tree tree = CONF_TREE_INIT;
    struct buf why = BUF_INIT;
    int rc = 0;

    if (conf_tree_of_value(&tree, k, value) != 0)
        rc = err_set(err, ERR_CORRUPT, "%s: %s", k->name, tree.why);
    else if (conf_value_set(k, c, tree.root, &why) != 0)
        rc = err_set(err, ERR_CORRUPT, "%s: %s", k->name, why.data);
    conf_tree_release(&tree);
    buf_release(&why);
    return rc;
}

int conf_set_stored(struct conf *c, const char *key, const char *value,
                    struct err *err)
{
    const struct conf_key *k = conf_map_find(key);

    if (!k && !is_property(key))
        return err_set(err, ERR_NOTFOUND, "there is no key %.80s", key);
    if (!k || !k->decides_learning)
        return err_set(err, ERR_CORRUPT,
                       "%.80s does not decide what is learned: no version "
                       "keeps it",
                       key);
    if (!value)
        return err_set(err, ERR_CORRUPT, "%s: not a text", key);
    return set_text(c, k, value, err);
}

static bool is_default(const struct conf_key *k, const struct conf *c)
{
    return c->origins->at[k - conf_map].order == CONF_BY_DEFAULT;
}

int conf_set_default(struct conf *c, const char *key, const char *value,
                     struct err *err)
{
    return is_default(row(key), c) ? set_text(c, row(key), value, err) : 0;
}

/* --- print -------------------------------------------------------------- */

/* Prints the part behind "key:", with the end of the line. */
static void print_value(const struct conf_key *key, const struct conf *c,
                        bool is_masked, struct buf *out)
{
    if (key->type == CONF_SECTION) {
        buf_addc(out, '\n');
    } else if (key->type == CONF_PROPERTIES) {
        conf_value_print_properties((const void *)((const char *)c + key->at),
                                    conf_map_depth(key->name) + 1, is_masked,
                                    out);
    } else {
        buf_addc(out, ' ');
        conf_value_print(key, c, out);
        buf_addc(out, '\n');
    }
}

void conf_print(const struct conf *c, struct buf *out)
{
    for (size_t i = 0; i < conf_map_n; i++) {
        buf_addf(out, "%*s%s:", 2 * conf_map_depth(conf_map[i].name), "",
                 conf_map_leaf(conf_map[i].name));
        print_value(&conf_map[i], c, true, out);
    }
}

/* --- reload ------------------------------------------------------------- */

static bool is_same(const struct conf_key *key, const struct conf *a,
                    const struct conf *b)
{
    struct buf x = BUF_INIT, y = BUF_INIT;
    bool same;

    /* conf_set_default may have changed one of them. Properties have origins of
     * their own. */
    if (key->type != CONF_PROPERTIES && is_default(key, a) &&
        is_default(key, b))
        return true;
    print_value(key, a, false, &x);
    print_value(key, b, false, &y);
    same = strcmp(x.data, y.data) == 0;
    buf_release(&x);
    buf_release(&y);
    return same;
}

/* A reload must not remove the token file that the present address needs, and
 * must not begin or end TLS. */
static bool can_reload(const struct conf_key *key, const struct conf *now,
                       const struct conf *next)
{
    if (strcmp(key->name, "http.token_file") == 0 && !next->http.token_file)
        return now->http.listen_local;
    if (strncmp(key->name, "http.tls.", 9) == 0)
        return now->http.tls.cert && next->http.tls.cert;
    return key->is_reloadable;
}

size_t conf_reload_diff(const struct conf *now, const struct conf *next,
                        struct conf_strings *reloadable,
                        struct conf_strings *fixed)
{
    size_t n = 0;

    for (size_t i = 0; i < conf_map_n; i++) {
        const struct conf_key *key = &conf_map[i];

        if (key->type == CONF_SECTION || is_same(key, now, next))
            continue;
        conf_strings_add(can_reload(key, now, next) ? reloadable : fixed,
                         key->name);
        n++;
    }
    return n;
}

/* Copies a value as text, and its origin. */
static void copy_value(const struct conf_key *key, struct conf *to,
                       const struct conf *from)
{
    char *text = conf_text(from, key->name);
    struct conf_tree tree = CONF_TREE_INIT;
    struct buf why = BUF_INIT;

    if (conf_tree_of_value(&tree, key, text) != 0 ||
        conf_value_set(key, to, tree.root, &why) != 0)
        BUG("%s: its printed value does not read back", key->name);
    *conf_origin_of(to, key) = from->origins->at[key - conf_map];
    buf_release(&why);
    conf_tree_release(&tree);
    free(text);
}

void conf_reload_apply(struct conf *now, const struct conf *next)
{
    for (size_t i = 0; i < conf_map_n; i++) {
        const struct conf_key *key = &conf_map[i];

        if (key->is_reloadable && can_reload(key, now, next))
            copy_value(key, now, next);
    }
}

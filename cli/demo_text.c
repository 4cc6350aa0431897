/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/demo_text.h"

#include <ctype.h>
#include <errno.h>
#include <fts.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fileio.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "base/xalloc.h"

#define RECORD_LEAST 500
#define RECORD_MOST 1000
#define DOMAIN_BYTES ((size_t)1 << 20)
#define FILE_BYTES ((size_t)1 << 20)   /* of a larger one, nothing */
#define KEEP_BACK_EVERY 20             /* records */
#define FEWEST_RECORDS 40              /* or a domain shows nothing */

/* --- cutting ------------------------------------------------------------ */

static void add_record(struct demo_domain *d, const char *text, size_t n,
                       size_t *count)
{
    char *record;

    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    while (n && (*text == '\n' || *text == '\r')) {
        text++;
        n--;
    }
    if (n < 100)
        return;
    record = xstrndup(text, n);
    if (++*count % KEEP_BACK_EVERY == 0 &&
        d->n_kept_back < DEMO_TEXT_KEPT_BACK) {
        d->kept_back[d->n_kept_back++] = record;
        return;
    }
    XGROW(d->records, d->n_records, d->cap_records);
    d->records[d->n_records++] = record;
    d->n_bytes += n;
}

/* Where a record that begins at text ends: at the first empty line after
 * RECORD_LEAST bytes, else at the last line end, else the last character,
 * before RECORD_MOST. */
static size_t record_end(const char *text, size_t n)
{
    size_t line = 0;

    if (n <= RECORD_MOST)
        return n;
    for (size_t i = 0; i + 1 < RECORD_MOST; i++) {
        if (text[i] != '\n')
            continue;
        line = i + 1;
        if (i >= RECORD_LEAST && text[i + 1] == '\n')
            return line;
    }
    return line ? line : utf8_whole(text, RECORD_MOST);
}

static void cut(struct demo_domain *d, const char *text, size_t n,
                size_t *count)
{
    while (n && d->n_bytes < DOMAIN_BYTES) {
        size_t end = record_end(text, n);

        add_record(d, text, end, count);
        text += end;
        n -= end;
    }
}

/* --- files -------------------------------------------------------------- */

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);

    return n >= m && !strcmp(name + n - m, ending);
}

static void add_file(struct demo_domain *d, const char *path, size_t *count)
{
    struct buf text = BUF_INIT;

    if (fileio_read(path, FILE_BYTES, &text, NULL) == 0 && text.len &&
        !memchr(text.data, 0, text.len) && utf8_valid(text.data, text.len))
        cut(d, text.data, text.len, count);
    buf_release(&text);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Every plain file below dir, in order of name, until there is enough. */
static void add_folder(struct demo_domain *d, const char *dir,
                       const char *ending)
{
    char *paths[] = {xstrdup(dir), NULL};
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    size_t count = 0;
    FTSENT *e;

    while (tree && (e = fts_read(tree)) && d->n_bytes < DOMAIN_BYTES)
        if (e->fts_info == FTS_F &&
            (!ending || ends_with(e->fts_name, ending)))
            add_file(d, e->fts_path, &count);
    if (tree)
        fts_close(tree);
    free(paths[0]);
}

/* --- domains ------------------------------------------------------------ */

static void domain_release(struct demo_domain *d)
{
    for (size_t i = 0; i < d->n_records; i++)
        free(d->records[i]);
    for (size_t i = 0; i < d->n_kept_back; i++)
        free(d->kept_back[i]);
    free(d->records);
    free(d->name);
    memset(d, 0, sizeof *d);
}

static void add_domain(struct demo_texts *t, const char *name,
                       const char *dir, const char *ending)
{
    struct demo_domain *d;

    if (t->n == DEMO_TEXT_DOMAINS)
        return;
    d = &t->domains[t->n];
    d->name = xstrdup(name);
    add_folder(d, dir, ending);
    if (d->n_records >= FEWEST_RECORDS && d->n_kept_back > 0)
        t->n++;
    else
        domain_release(d);
}

static void add_ordered(struct demo_texts *t, const char *dir, char *order)
{
    char *rest = NULL;

    for (char *name = strtok_r(order, "\r\n", &rest); name;
         name = strtok_r(NULL, "\r\n", &rest)) {
        char *path = fileio_join(dir, name);

        add_domain(t, name, path, NULL);
        free(path);
    }
}

static int add_subfolders(struct demo_texts *t, const char *dir,
                          struct err *err)
{
    char *paths[] = {xstrdup(dir), NULL};
    FTS *tree = fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, by_name);
    FTSENT *e;

    while (tree && (e = fts_read(tree))) {
        if (e->fts_info != FTS_D || e->fts_level != 1)
            continue;
        add_domain(t, e->fts_name, e->fts_path, NULL);
        fts_set(tree, e, FTS_SKIP);
    }
    free(paths[0]);
    if (!tree)
        return err_set_errno(err, ERR_IO, errno, "%s", dir);
    fts_close(tree);
    return 0;
}

static int add_given(struct demo_texts *t, const char *dir, struct err *err)
{
    char *path = fileio_join(dir, "order");
    struct buf order = BUF_INIT;
    struct stat st;
    int rc = 0;

    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        rc = err_set(err, ERR_INVALID, "--texts: %s is not a folder", dir);
    else if (fileio_read(path, 65536, &order, NULL) == 0 && order.len)
        add_ordered(t, dir, order.data);
    else
        rc = add_subfolders(t, dir, err);
    buf_release(&order);
    free(path);
    return rc;
}

/* What most Debian machines have. */
static const struct {
    const char *name, *dir, *ending;
} found_at[] = {
    {"licences", "/usr/share/common-licenses", NULL},
    {"c_headers", "/usr/include", ".h"},
    {"python", "/usr/lib/python3", ".py"},
    {"python", "/usr/lib/python3.11", ".py"},
    {"perl", "/usr/share/perl", ".pm"},
    {"perl", "/usr/share/perl5", ".pm"},
    {"shell", "/usr/lib/git-core", ".sh"},
};

#define N_PLACES (sizeof found_at / sizeof *found_at)

static void add_found(struct demo_texts *t)
{
    for (size_t i = 0; i < N_PLACES && t->n < 3; i++)
        if (!t->n || strcmp(t->domains[t->n - 1].name, found_at[i].name) != 0)
            add_domain(t, found_at[i].name, found_at[i].dir,
                       found_at[i].ending);
}

int demo_texts_load(const char *dir, struct demo_texts *texts,
                    struct err *err)
{
    int rc = 0;

    memset(texts, 0, sizeof *texts);
    if (dir)
        rc = add_given(texts, dir, err);
    else
        add_found(texts);
    if (rc == 0 && texts->n < 2)
        rc = err_set(err, ERR_NOTFOUND,
                     "%s has too little text: two folders of UTF-8 files "
                     "with some 50 KB each are needed (--texts DIR)",
                     dir ? dir : "this machine");
    if (rc)
        demo_texts_release(texts);
    return rc;
}

void demo_texts_release(struct demo_texts *texts)
{
    for (size_t i = 0; i < texts->n; i++)
        domain_release(&texts->domains[i]);
    texts->n = 0;
}

void demo_text_found(size_t n_bytes, struct buf *out)
{
    for (size_t i = 0; i < N_PLACES && out->len < n_bytes; i++) {
        struct demo_domain d = {0};

        add_folder(&d, found_at[i].dir, found_at[i].ending);
        for (size_t k = 0; k < d.n_records && out->len < n_bytes; k++) {
            buf_adds(out, d.records[k]);
            buf_addc(out, '\n');
        }
        domain_release(&d);
    }
}

/* --- garbage ------------------------------------------------------------ */

void demo_text_shuffle(const char *text, uint64_t seed, struct buf *out)
{
    size_t n = strlen(text), n_letters = 0;
    size_t *places = xcalloc(n + 1, sizeof *places);
    char *copy = xstrdup(text);

    for (size_t i = 0; i < n; i++)
        if (isalpha((unsigned char)text[i]) && (text[i] & 0x80) == 0)
            places[n_letters++] = i;
    for (size_t i = n_letters; i > 1; i--) { /* Fisher and Yates */
        size_t k = (size_t)rng_below(i, seed, RNG_SAMPLE, 0, i);
        char swap = copy[places[k]];

        copy[places[k]] = copy[places[i - 1]];
        copy[places[i - 1]] = swap;
    }
    buf_adds(out, copy);
    free(copy);
    free(places);
}

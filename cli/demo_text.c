/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/demo_text.h"

#include <ctype.h>
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "base/xalloc.h"

#define RECORD_LEAST 100
#define RECORD_MOST 1000
#define DOMAIN_BYTES ((size_t)1 << 20)
#define FILE_BYTES ((size_t)1 << 20) /* larger files are left out */
#define FEWEST_RECORDS 60            /* of a domain; fewer show no effect */

static void add_file(struct demo_domain *d, const char *path)
{
    struct buf text = BUF_INIT;
    bool good = fileio_read(path, FILE_BYTES, &text, NULL) == 0 && text.len &&
                !memchr(text.data, 0, text.len) &&
                utf8_valid(text.data, text.len);
    size_t n;

    for (size_t at = 0; good && at < text.len && d->n_bytes < DOMAIN_BYTES;
         at += n) {
        const char *from = text.data + at, *line;

        n = text.len - at;
        if (n > RECORD_MOST) {
            line = memrchr(from, '\n', RECORD_MOST);
            n = line ? (size_t)(line + 1 - from)
                     : utf8_whole(from, RECORD_MOST);
        }
        if (n < RECORD_LEAST)
            continue;
        XGROW(d->records, d->n_records, d->cap_records);
        d->records[d->n_records++] = xstrndup(from, n);
        d->n_bytes += n;
    }
    buf_release(&text);
}

static void domain_release(struct demo_domain *d)
{
    for (size_t i = 0; i < d->n_records; i++)
        free(d->records[i]);
    free(d->records);
    free(d->name);
    memset(d, 0, sizeof *d);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Adds the plain files below dir, in order of name, until the domain is full.
 * ending: of their names, or "". A folder with too little text is no domain. */
static void add_domain(struct demo_texts *t, const char *name, const char *dir,
                       const char *ending)
{
    struct demo_domain *d = &t->domains[t->n];
    char *paths[] = {(char *)dir, NULL};
    FTS *tree;
    FTSENT *e;

    if (t->n == DEMO_TEXT_DOMAINS)
        return;
    d->name = xstrdup(name);
    tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    while (tree && (e = fts_read(tree)) && d->n_bytes < DOMAIN_BYTES) {
        size_t n = strlen(e->fts_name), m = strlen(ending);

        if (e->fts_info == FTS_F && n >= m &&
            !strcmp(e->fts_name + n - m, ending))
            add_file(d, e->fts_path);
    }
    if (tree)
        fts_close(tree);
    if (d->n_records < FEWEST_RECORDS) {
        domain_release(d);
        return;
    }
    t->n++;
    for (size_t i = 0; i < DEMO_TEXT_KEPT_BACK; i++) {
        char **other = &d->records[i * d->n_records / DEMO_TEXT_KEPT_BACK];
        char *swap = *other;

        *other = d->records[i];
        d->records[i] = swap;
    }
}

/* The domain has the folder's name, without slashes at the end. */
static void add_folder(struct demo_texts *t, const char *folder)
{
    size_t n = strlen(folder);
    char *path, *slash;

    while (n > 1 && folder[n - 1] == '/')
        n--;
    path = xstrndup(folder, n);
    slash = strrchr(path, '/');
    add_domain(t, slash && slash[1] ? slash + 1 : path, path, "");
    free(path);
}

int demo_texts_load(char **folders, size_t n, struct demo_texts *texts,
                    struct err *err)
{
    static const struct {
        const char *name, *dir, *ending;
    } found_at[] = {
        {"licences", "/usr/share/common-licenses", ""},
        {"c_headers", "/usr/include", ".h"},
        {"python", "/usr/lib/python3", ".py"},
        {"perl", "/usr/share/perl", ".pm"},
    };
    struct demo_texts *t = texts;

    memset(t, 0, sizeof *t);
    if (n > DEMO_TEXT_DOMAINS)
        return err_set(err, ERR_INVALID, "%zu folders: at most %d can be used",
                       n, DEMO_TEXT_DOMAINS);
    for (size_t i = 0; i < n; i++) {
        if (access(folders[i], R_OK | X_OK) != 0)
            return err_set_errno(err, ERR_NOTFOUND, errno, "%s: cannot open",
                                 folders[i]);
        add_folder(t, folders[i]);
        if (t->n == i)
            return err_set(err, ERR_NOTFOUND,
                           "%s: there is too little text: a folder needs some "
                           "60 KB in UTF-8 files",
                           folders[i]);
    }
    for (size_t i = 0; n == 0 && i < sizeof found_at / sizeof *found_at; i++)
        if (t->n < 3)
            add_domain(t, found_at[i].name, found_at[i].dir,
                       found_at[i].ending);
    return t->n >= 2 ? 0
                     : err_set(err, ERR_NOTFOUND,
                               "there is too little text: name two folders of "
                               "UTF-8 files with some 60 KB each");
}

void demo_texts_release(struct demo_texts *texts)
{
    for (size_t i = 0; i < texts->n; i++)
        domain_release(&texts->domains[i]);
    texts->n = 0;
}

char *demo_text_shuffle(const char *record, uint64_t seed)
{
    char *copy = xstrdup(record), *letters[RECORD_MOST];
    size_t n = 0;

    for (char *c = copy; *c; c++)
        if (isalpha((unsigned char)*c) && (*c & 0x80) == 0)
            letters[n++] = c;
    for (size_t i = n; i > 1; i--) { /* Fisher and Yates */
        size_t k = (size_t)rng_below(i, seed, RNG_SAMPLE, 0, i);
        char swap = *letters[k];

        *letters[k] = *letters[i - 1];
        *letters[i - 1] = swap;
    }
    return copy;
}

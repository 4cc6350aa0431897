/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/demo_text.h"

#include <ctype.h>
#include <dirent.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "base/xalloc.h"

#define RECORD_LEAST 500
#define RECORD_MOST 1000
#define DOMAIN_BYTES ((size_t)1 << 20)
#define FILE_BYTES ((size_t)1 << 20) /* larger files are left out */
#define KEEP_BACK_EVERY 20
#define FEWEST_RECORDS 40 /* of a domain; fewer show no effect */

/* --- cutting ------------------------------------------------------------ */

static void add_record(struct demo_domain *d, const char *text, size_t n)
{
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    for (; n && (*text == '\n' || *text == '\r'); text++)
        n--;
    if (n < 100)
        return;
    if ((d->n_records + d->n_kept_back) % KEEP_BACK_EVERY ==
            KEEP_BACK_EVERY - 1 &&
        d->n_kept_back < DEMO_TEXT_KEPT_BACK) {
        d->kept_back[d->n_kept_back++] = xstrndup(text, n);
        return;
    }
    XGROW(d->records, d->n_records, d->cap_records);
    d->records[d->n_records++] = xstrndup(text, n);
    d->n_bytes += n;
}

/* The length of the record that begins at text. A record ends at the first
 * empty line after RECORD_LEAST bytes. Without one it ends at the last line
 * end, or else the last character, before RECORD_MOST. */
static size_t record_length(const char *text, size_t n)
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

static void add_file(struct demo_domain *d, const char *path)
{
    struct buf text = BUF_INIT;
    size_t at = 0;

    if (fileio_read(path, FILE_BYTES, &text, NULL) == 0 && text.len &&
        !memchr(text.data, 0, text.len) && utf8_valid(text.data, text.len))
        while (at < text.len && d->n_bytes < DOMAIN_BYTES) {
            size_t n = record_length(text.data + at, text.len - at);

            add_record(d, text.data + at, n);
            at += n;
        }
    buf_release(&text);
}

/* --- folders ------------------------------------------------------------ */

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Adds the plain files below dir, in order of name, until the domain is full.
 * ending: of their names, or "". */
static void add_folder(struct demo_domain *d, const char *dir,
                       const char *ending)
{
    char *paths[] = {xstrdup(dir), NULL};
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    FTSENT *e;

    while (tree && (e = fts_read(tree)) && d->n_bytes < DOMAIN_BYTES) {
        size_t n = strlen(e->fts_name), m = strlen(ending);

        if (e->fts_info == FTS_F && n >= m &&
            !strcmp(e->fts_name + n - m, ending))
            add_file(d, e->fts_path);
    }
    if (tree)
        fts_close(tree);
    free(paths[0]);
}

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

static void add_domain(struct demo_texts *t, const char *name, const char *dir,
                       const char *ending)
{
    struct demo_domain *d = &t->domains[t->n];

    if (t->n == DEMO_TEXT_DOMAINS)
        return;
    d->name = xstrdup(name);
    add_folder(d, dir, ending);
    if (d->n_records >= FEWEST_RECORDS && d->n_kept_back > 0)
        t->n++;
    else
        domain_release(d);
}

/* Adds the folder `name` below dir as a domain. Frees name. */
static void add_below(struct demo_texts *t, const char *dir, char *name)
{
    char *path = fileio_join(dir, name);

    if (name[0] != '.')
        add_domain(t, name, path, "");
    free(path);
    free(name);
}

static int add_given(struct demo_texts *t, const char *dir, struct err *err)
{
    char *path = fileio_join(dir, "order"), *rest = NULL;
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, NULL, alphasort);
    struct buf order = BUF_INIT;

    if (fileio_read(path, 65536, &order, NULL) == 0 && order.len)
        for (char *name = strtok_r(order.data, "\r\n", &rest); name;
             name = strtok_r(NULL, "\r\n", &rest))
            add_below(t, dir, xstrdup(name));
    else
        for (int i = 0; i < n; i++)
            add_below(t, dir, xstrdup(entries[i]->d_name));
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
    buf_release(&order);
    free(path);
    return n < 0 ? err_set(err, ERR_INVALID, "--texts: %s is not a folder", dir)
                 : 0;
}

/* --- the public functions ----------------------------------------------- */

/* Text that most Debian machines have. */
static const struct {
    const char *name, *dir, *ending;
} found_at[] = {
    {"licences", "/usr/share/common-licenses", ""},
    {"c_headers", "/usr/include", ".h"},
    {"python", "/usr/lib/python3", ".py"},
    {"python", "/usr/lib/python3.11", ".py"},
    {"perl", "/usr/share/perl", ".pm"},
    {"perl", "/usr/share/perl5", ".pm"},
    {"shell", "/usr/lib/git-core", ".sh"},
};

#define N_FOUND_AT (sizeof found_at / sizeof *found_at)

int demo_texts_load(const char *dir, struct demo_texts *texts, struct err *err)
{
    struct demo_texts *t = texts;
    struct demo_domain *shuffled;
    int rc = 0;

    memset(t, 0, sizeof *t);
    if (dir)
        rc = add_given(t, dir, err);
    for (size_t i = 0; !dir && i < N_FOUND_AT && t->n < 3; i++)
        if (!t->n || strcmp(t->domains[t->n - 1].name, found_at[i].name) != 0)
            add_domain(t, found_at[i].name, found_at[i].dir,
                       found_at[i].ending);
    if (rc == 0 && t->n < 2)
        rc = err_set(err, ERR_NOTFOUND,
                     "%s has too little text: two folders of UTF-8 files "
                     "with some 50 KB each are needed (--texts DIR)",
                     dir ? dir : "this machine");
    shuffled = &t->domains[t->n];
    shuffled->name = xstrdup("shuffled");
    for (size_t i = 0; i < t->domains[0].n_kept_back; i++)
        shuffled->kept_back[shuffled->n_kept_back++] =
            demo_text_shuffle(t->domains[0].kept_back[i], i);
    return rc;
}

void demo_texts_release(struct demo_texts *texts)
{
    for (size_t i = 0; i <= texts->n; i++)
        domain_release(&texts->domains[i]);
    texts->n = 0;
}

void demo_text_found(size_t n_bytes, struct buf *out)
{
    for (size_t i = 0; i < N_FOUND_AT && out->len < n_bytes; i++) {
        struct demo_domain d = {0};

        add_folder(&d, found_at[i].dir, found_at[i].ending);
        for (size_t k = 0; k < d.n_records && out->len < n_bytes; k++) {
            buf_adds(out, d.records[k]);
            buf_addc(out, '\n');
        }
        domain_release(&d);
    }
}

char *demo_text_shuffle(const char *record, uint64_t seed)
{
    char *copy = xstrdup(record), *letters[RECORD_MOST];
    size_t n = 0;

    for (char *c = copy; *c; c++)
        if ((*c & 0x80) == 0 && isalpha((unsigned char)*c))
            letters[n++] = c;
    for (size_t i = n; i > 1; i--) { /* Fisher and Yates */
        size_t k = (size_t)rng_below(i, seed, RNG_SAMPLE, 0, i);
        char swap = *letters[k];

        *letters[k] = *letters[i - 1];
        *letters[i - 1] = swap;
    }
    return copy;
}

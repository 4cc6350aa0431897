/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "eval/eval_texts.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/lines.h"
#include "base/rng.h"
#include "base/xalloc.h"

#define HOLD_OUT 20 /* one record in this many */
#define MOST_DOMAINS 1000
/* Text of a domain that is scored for each point of the chart. */
#define CHART_BYTES 8192

struct reading {
    const struct eval_options *o;
    struct eval_texts *t;
    struct record_maker maker;
    const char *name; /* the domain of the file's records that name none */
    const char *path;
    bool is_heldout;
};

static void release_record(struct eval_record *r)
{
    free(r->value);
}

static void release_list(struct eval_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        release_record(&l->items[i]);
    free(l->items);
}

void eval_texts_release(struct eval_texts *t)
{
    names_release(&t->names);
    release_list(&t->learned);
    release_list(&t->heldout);
    free(t->domains);
    memset(t, 0, sizeof *t);
}

/* --- reading ------------------------------------------------------------ */

static struct eval_domain *find_domain(struct eval_texts *t, const char *name,
                                       uint32_t *id, struct err *err)
{
    size_t n = t->names.n;

    *id = (uint32_t)names_add(&t->names, name);
    if (t->names.n > MOST_DOMAINS) {
        err_set(err, ERR_LIMIT, "there are more than %d domains", MOST_DOMAINS);
        return NULL;
    }
    if (t->names.n > n) {
        if (n == t->cap_domains) {
            t->cap_domains = n ? 2 * n : 16;
            t->domains =
                xreallocarray(t->domains, t->cap_domains, sizeof *t->domains);
        }
        t->domains[n] = (struct eval_domain){0};
    }
    return &t->domains[*id];
}

static void keep(struct eval_list *l, const struct record *rec, uint32_t domain)
{
    XGROW(l->items, l->n, l->cap);
    l->items[l->n++] = (struct eval_record){
        .value = xmemdup(rec->value, rec->n_bytes + 1),
        .n_bytes = rec->n_bytes,
        .text_bytes = rec->text_bytes,
        .text_hash = checksum_xxh3(rec->text, rec->text_bytes, 0),
        .time_ms = rec->time_ms,
        .domain = domain,
        .has_label = rec->label != NULL,
    };
}

static int keep_good(struct reading *r, const struct record *rec,
                     struct err *err)
{
    const char *name = r->o->by == EVAL_BY_FILE    ? r->name
                       : r->o->by == EVAL_BY_LABEL ? rec->label
                                                   : rec->domain;
    struct eval_texts *t = r->t;
    struct eval_domain *d;
    uint32_t id;

    if (!name)
        return err_set(err, ERR_INVALID,
                       "%s: a record without a label; by label, every record "
                       "needs one",
                       r->path);
    d = find_domain(t, name, &id, err);
    if (!d)
        return err->code;
    if (r->is_heldout) {
        keep(&t->heldout, rec, id);
        return 0;
    }
    if (r->o->bytes && d->learned_bytes + d->heldout_bytes >= r->o->bytes)
        return 0;
    if (r->o->n_heldout == 0 &&
        (d->n_learned + d->n_heldout) % HOLD_OUT == HOLD_OUT - 1) {
        d->n_heldout++;
        d->heldout_bytes += rec->text_bytes;
        keep(&t->heldout, rec, id);
    } else {
        d->n_learned++;
        d->learned_bytes += rec->text_bytes;
        keep(&t->learned, rec, id);
    }
    return 0;
}

static int read_line(struct reading *r, const struct line *line,
                     struct err *err)
{
    const struct conf_source *source = &r->o->conf->source;
    struct record *rec;
    int rc = 0;

    if (line->n_bytes == 0)
        return 0;
    rec = record_create_data(&r->maker, line->bytes, line->n_bytes);
    if (line->too_long)
        rec->reason = "too_long";
    record_parse(&r->maker, rec, source->format,
                 (size_t)source->max_record_bytes, r->name);
    if (rec->reason)
        r->t->n_bad++;
    else
        rc = keep_good(r, rec, err);
    record_free(rec);
    return rc;
}

static int read_file(struct reading *r, struct err *err)
{
    size_t n = r->t->learned.n + r->t->heldout.n;
    struct lines *l =
        lines_open(r->path, (size_t)r->o->conf->source.max_record_bytes, err);
    struct line line;
    int rc = 0;

    if (!l)
        return ERR_IO;
    while (rc == 0 || rc == ERR_AGAIN) {
        rc = lines_next(l, &line, err);
        if (rc == 0)
            rc = read_line(r, &line, err);
    }
    if (rc == ERR_END) {
        rc = lines_rest(l, &line, err);
        rc = rc == ERR_END ? 0 : rc ? rc : read_line(r, &line, err);
    }
    lines_close(l);
    if (rc == 0 && r->t->learned.n + r->t->heldout.n == n)
        rc = err_set(err, ERR_INVALID,
                     "%s: no record can be learned from; each line has to be "
                     "text, or a JSON object with a member \"text\"",
                     r->path);
    return rc;
}

/* The domain of file number i: its name without folders and endings; its path
 * when another file has the same. */
static char *domain_of_file(const struct eval_options *o, size_t i)
{
    char *name = record_domain_of(o->files[i]);

    for (size_t j = 0; j < o->n_files; j++) {
        char *other = record_domain_of(o->files[j]);
        bool same = i != j && !strcmp(name, other);

        free(other);
        if (same) {
            free(name);
            return xstrdup(o->files[i]);
        }
    }
    return name;
}

static int read_files(struct reading *r, const char *const *paths, size_t n,
                      struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        /* The held-out file number i belongs to file number i. */
        char *name = r->o->by == EVAL_BY_FILE ? domain_of_file(r->o, i)
                                              : record_domain_of(paths[i]);

        r->name = name;
        r->path = paths[i];
        rc = read_file(r, err);
        free(name);
    }
    return rc;
}

/* --- held-out records --------------------------------------------------- */

static int compare_hashes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Removes learned records whose text is held out. */
static void drop_copies(struct eval_texts *t)
{
    uint64_t *hashes = xcalloc(t->heldout.n + 1, sizeof *hashes);
    size_t n = 0;

    for (size_t i = 0; i < t->heldout.n; i++)
        hashes[i] = t->heldout.items[i].text_hash;
    qsort(hashes, t->heldout.n, sizeof *hashes, compare_hashes);
    for (size_t i = 0; i < t->learned.n; i++) {
        struct eval_record *r = &t->learned.items[i];

        if (!bsearch(&r->text_hash, hashes, t->heldout.n, sizeof *hashes,
                     compare_hashes)) {
            t->learned.items[n++] = *r;
            continue;
        }
        t->domains[r->domain].n_learned--;
        t->domains[r->domain].learned_bytes -= r->text_bytes;
        release_record(r);
    }
    t->n_copies = t->learned.n - n;
    t->learned.n = n;
    free(hashes);
}

/* Keeps of each domain's held-out records at most about heldout_bytes, evenly
 * spread, and chooses those of the chart among them. */
static void thin_heldout(struct eval_texts *t, size_t heldout_bytes)
{
    size_t *bytes = xcalloc(t->names.n, sizeof *bytes);
    size_t *seen = xcalloc(t->names.n, sizeof *seen), n = 0;

    for (size_t i = 0; i < t->heldout.n; i++)
        bytes[t->heldout.items[i].domain] += t->heldout.items[i].text_bytes;
    for (size_t j = 0; j < t->names.n; j++)
        t->domains[j].n_heldout = t->domains[j].heldout_bytes = 0;
    for (size_t i = 0; i < t->heldout.n; i++) {
        struct eval_record *r = &t->heldout.items[i];
        struct eval_domain *d = &t->domains[r->domain];
        size_t all = bytes[r->domain];
        size_t every = heldout_bytes && all > heldout_bytes
                           ? (all + heldout_bytes - 1) / heldout_bytes
                           : 1;
        size_t chart_every = (all / every + CHART_BYTES - 1) / CHART_BYTES;

        if (seen[r->domain]++ % every) {
            release_record(r);
            continue;
        }
        r->in_chart = d->n_heldout % (chart_every ? chart_every : 1) == 0;
        t->has_labels |= r->has_label;
        d->n_heldout++;
        d->heldout_bytes += r->text_bytes;
        t->heldout.items[n++] = *r;
    }
    t->heldout.n = n;
    free(bytes);
    free(seen);
}

static int check_domains(const struct eval_texts *t, struct err *err)
{
    for (size_t j = 0; j < t->names.n; j++) {
        const struct eval_domain *d = &t->domains[j];

        if (d->n_learned == 0)
            return err_set(err, ERR_INVALID,
                           "domain %s: all its records are held out",
                           t->names.items[j]);
        if (d->n_heldout == 0)
            return err_set(err, ERR_INVALID,
                           "domain %s: no record is held out; it needs %d "
                           "records, or a file of held-out records "
                           "(--heldout)",
                           t->names.items[j], HOLD_OUT);
    }
    return 0;
}

int eval_texts_read(const struct eval_options *o, struct eval_texts *t,
                    struct err *err)
{
    struct reading r = {.o = o, .t = t};
    int rc;

    memset(t, 0, sizeof *t);
    record_maker_init(&r.maker, false);
    rc = read_files(&r, o->files, o->n_files, err);
    r.is_heldout = true;
    if (rc == 0)
        rc = read_files(&r, o->heldout, o->n_heldout, err);
    if (rc == 0) {
        drop_copies(t);
        thin_heldout(t, o->heldout_bytes);
        rc = check_domains(t, err);
    }
    record_maker_release(&r.maker);
    return rc;
}

struct record *eval_texts_record(const struct eval_texts *t,
                                 const struct eval_record *r,
                                 struct record_maker *maker,
                                 const struct conf *conf)
{
    const char *name = t->names.items[r->domain];
    struct record *rec = record_create_data(maker, r->value, r->n_bytes);

    rec->value_hash = checksum_xxh3(r->value, r->n_bytes, 0);
    record_parse(maker, rec, conf->source.format,
                 (size_t)conf->source.max_record_bytes, name);
    rec->domain = name; /* instead of the record's own */
    return rec;
}

/* --- the order ---------------------------------------------------------- */

struct keyed {
    double key;
    size_t at;
};

static int compare_keys(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

void eval_texts_shuffle(size_t *stream, size_t n, uint64_t seed)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = rng_below(i, seed, RNG_EVAL, 0, i);
        size_t swapped = stream[i - 1];

        stream[i - 1] = stream[j];
        stream[j] = swapped;
    }
}

/*
 * Gradual: record k of the n of domain d gets the place d + (k + 0.5) / n, and
 * a random displacement of at most half a domain. The places decide only which
 * domain comes next: the records of a domain keep their order.
 */
static double place(const struct eval_texts *t, const size_t *seen,
                    uint32_t domain, uint64_t seed, size_t i)
{
    double n = (double)t->domains[domain].n_learned;

    return (double)domain + ((double)seen[domain] + 0.5) / n +
           rng_unit(seed, RNG_EVAL, 1, i) - 0.5;
}

/* Gives each domain's records, in their order, to the places of the domain. */
static void keep_order(const struct eval_texts *t, const struct keyed *keyed,
                       size_t *stream)
{
    size_t n = t->learned.n, *next = xcalloc(t->names.n, sizeof *next);

    for (size_t i = 0; i < n; i++) {
        uint32_t domain = t->learned.items[keyed[i].at].domain;

        while (t->learned.items[next[domain]].domain != domain)
            next[domain]++;
        stream[i] = next[domain]++;
    }
    free(next);
}

void eval_texts_order(const struct eval_texts *t, enum eval_order order,
                      uint64_t seed, size_t *stream)
{
    size_t n = t->learned.n, *seen = xcalloc(t->names.n, sizeof *seen);
    struct keyed *keyed = xcalloc(n, sizeof *keyed);

    for (size_t i = 0; i < n; i++) {
        const struct eval_record *r = &t->learned.items[i];

        keyed[i] = (struct keyed){
            .key = order == EVAL_TIME      ? (double)r->time_ms
                   : order == EVAL_GRADUAL ? place(t, seen, r->domain, seed, i)
                                           : (double)r->domain,
            .at = i,
        };
        seen[r->domain]++;
    }
    qsort(keyed, n, sizeof *keyed, compare_keys);
    for (size_t i = 0; i < n; i++)
        stream[i] = keyed[i].at;
    if (order == EVAL_GRADUAL)
        keep_order(t, keyed, stream);
    if (order == EVAL_INTERLEAVED)
        eval_texts_shuffle(stream, n, seed);
    free(keyed);
    free(seen);
}

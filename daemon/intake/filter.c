/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/intake/filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/checksum.h"
#include "base/xalloc.h"
#include "daemon/intake/families.h"
#include "daemon/intake/simhash.h"
#include "daemon/intake/surprise.h"
#include "daemon/intake/texture.h"
#include "learner/tokenizer/cut.h"
#include "learner/tokenizer/grams.h"

/* The bits per byte of a shorter segment are mostly chance. */
#define LEAST_BYTES 96
/* texture_pairs is below this in a text without structure (measured:
 * docs/RELIABILITY.md, Filters). */
#define SHUFFLED 2.0

/* The share cap applies when the other domains have had window / OTHERS. */
#define OTHERS 64

/* Recent bytes of a domain, or of all, as of clock `at`. */
struct share_bytes {
    double arrived, admitted;
    int64_t at;
};

struct share {
    struct share_bytes *domains; /* [n] */
    size_t n;
    struct share_bytes all;
    int64_t clock; /* bytes that arrived */
};

/* filter_admit counts records here, and filter_settle counts them again. */
struct counts {
    struct families families;
    struct share share;
};

struct filter {
    const struct conf_filter *conf;
    const struct tokenizer *tokenizer;
    struct counts ahead;   /* of the records that have arrived */
    struct counts settled; /* of the settled records: the version's state */
    struct surprise surprise;
    struct gram_list grams; /* scratch */
    struct buf text;        /* scratch */
};

struct filter *filter_create(const struct conf_filter *conf,
                             const struct tokenizer *tokenizer)
{
    struct filter *f = xcalloc(1, sizeof *f);

    f->conf = conf;
    f->tokenizer = tokenizer;
    surprise_init(&f->surprise);
    return f;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    surprise_release(&f->surprise);
    free(f->ahead.share.domains);
    free(f->settled.share.domains);
    gram_list_release(&f->grams);
    buf_release(&f->text);
    free(f);
}

/* --- near-duplicates ---------------------------------------------------- */

/* A text without a word has no n-grams. */
static uint64_t hash_of(struct filter *f, const struct filter_record *r)
{
    const uint32_t *grams = r->grams;
    size_t n = r->n_grams;

    if (!grams) {
        f->grams.n = 0;
        gram_list_add_text(&f->grams, r->text, r->n_bytes);
        grams = f->grams.items;
        n = f->grams.n;
    }
    return n ? simhash(grams, n) : checksum_xxh3(r->text, r->n_bytes, 0);
}

/* Counts a text in its family. True: the family has had too many. */
static bool count_in_family(struct families *families,
                            const struct conf_near_duplicate *c, uint64_t hash)
{
    const struct family_limits limits = {
        .bits = (int)c->bits,
        .burst = (float)c->burst,
        .share = (float)c->share,
    };

    return families_too_many(families, hash, &limits);
}

/* --- share cap ---------------------------------------------------------- */

static struct share_bytes *bytes_of(struct share *s, int32_t domain)
{
    size_t i = (size_t)domain;

    if (i >= s->n) {
        s->domains = xreallocarray(s->domains, i + 1, sizeof *s->domains);
        memset(s->domains + s->n, 0, (i + 1 - s->n) * sizeof *s->domains);
        s->n = i + 1;
    }
    return &s->domains[i];
}

static void fade(struct share_bytes *x, int64_t clock, double window)
{
    double keep = exp(-(double)(clock - x->at) / window);

    x->arrived *= keep;
    x->admitted *= keep;
    x->at = clock;
}

/* Counts a record's bytes in its domain. True: they exceed the share cap. */
static bool count_in_share(struct share *s, const struct conf_share_cap *c,
                           int32_t domain, size_t n_bytes)
{
    double window = (double)c->window_bytes, n = (double)n_bytes, others;
    struct share_bytes *d = bytes_of(s, domain);
    bool is_over;

    s->clock += (int64_t)n_bytes;
    fade(d, s->clock, window);
    fade(&s->all, s->clock, window);
    others = s->all.arrived - d->arrived;
    is_over = others >= window / OTHERS &&
              d->admitted + n > c->share / (1 - c->share) * others;
    d->arrived += n;
    s->all.arrived += n;
    d->admitted += is_over ? 0 : n;
    return is_over;
}

/* --- a record arrives --------------------------------------------------- */

const char *filter_admit(struct filter *f, const struct filter_record *r,
                         struct filter_mark *mark)
{
    const struct conf_filter *c = f->conf;

    *mark = (struct filter_mark){.domain = r->domain, .n_bytes = r->n_bytes};
    if (r->released)
        return NULL;
    if (c->repetition.enabled &&
        r->n_bytes >= (size_t)c->repetition.min_bytes &&
        texture_repeated(r->text, r->n_bytes) > c->repetition.share)
        return "repetition";
    if (c->near_duplicate.enabled) {
        mark->in_families = true;
        mark->hash = hash_of(f, r);
        if (count_in_family(&f->ahead.families, &c->near_duplicate,
                            mark->hash))
            return "near_duplicate";
    }
    if (c->share_cap.share < 1) {
        mark->in_share = true;
        if (count_in_share(&f->ahead.share, &c->share_cap, r->domain,
                           r->n_bytes))
            return "share_cap";
    }
    return NULL;
}

void filter_settle(struct filter *f, const struct filter_mark *mark)
{
    if (mark->in_families)
        count_in_family(&f->settled.families, &f->conf->near_duplicate,
                        mark->hash);
    if (mark->in_share)
        count_in_share(&f->settled.share, &f->conf->share_cap, mark->domain,
                       mark->n_bytes);
}

void filter_rewind(struct filter *f)
{
    free(f->ahead.share.domains);
    f->ahead = f->settled;
    f->ahead.share.domains =
        xmemdup(f->settled.share.domains,
                f->settled.share.n * sizeof *f->settled.share.domains);
}

/* --- a record has been scored ------------------------------------------- */

/* Leaves the text of the segment in f->text. */
static bool looks_like_noise(struct filter *f, const struct segment *s)
{
    buf_clear(&f->text);
    cut_text(s, f->tokenizer, &f->text);
    return texture_pairs(f->text.data, f->text.len) < SHUFFLED;
}

const char *filter_judge(struct filter *f, const struct segment *first,
                         double text_nats, bool released)
{
    const struct conf_surprise *c = &f->conf->surprise;
    double bits_per_byte = text_nats / first->n_bytes / log(2.0);
    const char *reason = NULL;

    if (!c->enabled || released || first->n_bytes < LEAST_BYTES ||
        !isfinite(bits_per_byte))
        return NULL;
    switch (surprise_compare(&f->surprise, first->domain, bits_per_byte,
                             c->mads, c->history)) {
    case SURPRISE_HIGH:
        if (looks_like_noise(f, first) &&
            bits_per_byte > texture_entropy(f->text.data, f->text.len))
            reason = "surprise";
        break;
    case SURPRISE_LOW:
        reason = "predictable";
        break;
    case SURPRISE_NONE:
        break;
    }
    if (reason)
        surprise_refused(&f->surprise, first->domain, c->accept_after);
    else
        surprise_learned(&f->surprise, first->domain, bits_per_byte);
    return reason;
}

const char *filter_judge_held_out(struct filter *f,
                                  const struct segment *first, bool released)
{
    if (!f->conf->surprise.enabled || released ||
        first->n_bytes < LEAST_BYTES ||
        !surprise_has_run(&f->surprise, first->domain))
        return NULL;
    return looks_like_noise(f, first) ? "surprise" : NULL;
}

/* --- a version's state -------------------------------------------------- */

static void export_share(const struct share *s, struct tensor_list *out)
{
    const size_t n = s->n + 1; /* the last row is of all domains */
    const size_t shape[] = {n, 2};
    double *bytes;
    int64_t *at;

    if (s->clock == 0)
        return;
    tensor_add_i64(out, "filter.share.clock", &s->clock, 1);
    bytes = tensor_add_copy(out, "filter.share.bytes", TENSOR_F64, 2, shape,
                            NULL);
    at = tensor_add_copy(out, "filter.share.at", TENSOR_I64, 1, &n, NULL);
    for (size_t i = 0; i < n; i++) {
        const struct share_bytes *x = i < s->n ? &s->domains[i] : &s->all;

        bytes[2 * i] = x->arrived;
        bytes[2 * i + 1] = x->admitted;
        at[i] = x->at;
    }
}

static int import_share(struct share *s, const struct tensor_list *in,
                        struct err *err)
{
    const struct tensor *clock_tensor, *bytes_tensor, *at_tensor;
    struct share next = {0};
    const double *bytes;
    const int64_t *at;
    bool is_valid;
    int rc;

    if (!tensor_find(in, "filter.share.clock"))
        goto out;
    if ((rc = tensor_expect(in, "filter.share.clock", TENSOR_I64, 1,
                            &clock_tensor, err)) ||
        (rc = tensor_expect(in, "filter.share.at", TENSOR_I64, SIZE_MAX,
                            &at_tensor, err)) ||
        (rc = tensor_expect(in, "filter.share.bytes", TENSOR_F64,
                            2 * tensor_count(at_tensor), &bytes_tensor, err)))
        return rc;
    bytes = bytes_tensor->data;
    at = at_tensor->data;
    next.n = tensor_count(at_tensor);
    next.clock = *(const int64_t *)clock_tensor->data;
    is_valid = next.clock > 0 && next.clock <= TENSOR_COUNTER_MOST && next.n;
    for (size_t i = 0; is_valid && i < next.n; i++)
        is_valid = isfinite(bytes[2 * i]) && bytes[2 * i] >= 0 &&
                   isfinite(bytes[2 * i + 1]) && bytes[2 * i + 1] >= 0 &&
                   at[i] >= 0 && at[i] <= next.clock;
    if (!is_valid)
        return err_set(err, ERR_CORRUPT,
                       "tensors filter.share: values out of range");
    next.domains = xcalloc(next.n, sizeof *next.domains);
    for (size_t i = 0; i < next.n; i++)
        next.domains[i] =
            (struct share_bytes){bytes[2 * i], bytes[2 * i + 1], at[i]};
    next.all = next.domains[--next.n];
out:
    free(s->domains);
    *s = next;
    return 0;
}

void filter_export(const struct filter *f, struct tensor_list *out)
{
    families_export(&f->settled.families, out);
    surprise_export(&f->surprise, out);
    export_share(&f->settled.share, out);
}

int filter_import(struct filter *f, const struct tensor_list *in,
                  struct err *err)
{
    int rc = families_import(&f->settled.families, in, err);

    if (rc == 0)
        rc = surprise_import(&f->surprise, in, err);
    if (rc == 0)
        rc = import_share(&f->settled.share, in, err);
    filter_rewind(f);
    return rc;
}

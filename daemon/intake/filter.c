/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/intake/filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/checksum.h"
#include "base/xalloc.h"
#include "daemon/intake/simhash.h"
#include "daemon/intake/surprise.h"
#include "daemon/intake/texture.h"
#include "learner/tokenizer/cut.h"
#include "learner/tokenizer/grams.h"

/* A shorter segment's bits per byte are mostly chance, and pairs too few. */
#define LEAST_BYTES 96
/* texture_pairs of what has no structure is below (measured:
 * docs/RELIABILITY.md, Filters). */
#define SHUFFLED 2.0

#define OTHERS 64 /* the share cap acts when others have window / 64 */

struct share {
    struct filter_share *domains; /* [n] */
    size_t n;
    struct filter_share all;
    int64_t clock; /* bytes that came */
};

struct filter {
    const struct conf_filter *conf;
    const struct tokenizer *tokenizer;
    struct families families;
    struct surprise surprise;
    struct share share;
    struct gram_list grams; /* working room */
    struct buf text;
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

struct filter *filter_copy(const struct filter *f)
{
    struct filter *copy = filter_create(f->conf, f->tokenizer);
    struct tensor_list none = TENSOR_LIST_INIT;

    copy->families = f->families;
    surprise_export(&f->surprise, &none);
    if (surprise_import(&copy->surprise, &none, NULL) != 0)
        BUG("the filter does not take its own state");
    tensor_list_release(&none);
    copy->share = f->share;
    copy->share.domains = xmemdup(f->share.domains,
                                  f->share.n * sizeof *f->share.domains);
    return copy;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    surprise_release(&f->surprise);
    free(f->share.domains);
    gram_list_release(&f->grams);
    buf_release(&f->text);
    free(f);
}

/* --- near-duplicates ---------------------------------------------------- */

/* A text without a word has its own hash. */
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

static bool too_many_alike(struct filter *f, const struct filter_record *r,
                           struct filter_mark *mark)
{
    const struct conf_near_duplicate *c = &f->conf->near_duplicate;
    const struct family_limits limits = {
        .bits = (int)c->bits,
        .burst = (float)c->burst,
        .share = (float)c->share,
    };

    return families_too_many(&f->families, hash_of(f, r), &limits,
                             &mark->family);
}

/* --- share cap ---------------------------------------------------------- */

static struct filter_share *share_of(struct share *s, int32_t domain)
{
    size_t i = (size_t)domain;

    if (i >= s->n) {
        s->domains = xreallocarray(s->domains, i + 1, sizeof *s->domains);
        memset(s->domains + s->n, 0, (i + 1 - s->n) * sizeof *s->domains);
        s->n = i + 1;
    }
    return &s->domains[i];
}

static void fade(struct filter_share *x, int64_t clock, double window)
{
    double keep = exp(-(double)(clock - x->at) / window);

    x->came *= keep;
    x->admitted *= keep;
    x->at = clock;
}

static bool over_its_share(struct filter *f, const struct filter_record *r,
                           struct filter_mark *mark)
{
    const struct conf_share_cap *c = &f->conf->share_cap;
    double window = (double)c->window_bytes, n = (double)r->n_bytes, others;
    struct share *s = &f->share;
    struct filter_share *d;
    bool over;

    mark->share.n = s->n;
    d = share_of(s, r->domain);
    mark->share.on = true;
    mark->share.domain = r->domain;
    mark->share.n_bytes = r->n_bytes;
    mark->share.was = *d;
    mark->share.all_was = s->all;
    s->clock += (int64_t)r->n_bytes;
    fade(d, s->clock, window);
    fade(&s->all, s->clock, window);
    others = s->all.came - d->came;
    over = others >= window / OTHERS &&
           d->admitted + n > c->share / (1 - c->share) * others;
    d->came += n;
    s->all.came += n;
    d->admitted += over ? 0 : n;
    return over;
}

static void take_back_share(struct share *s, const struct filter_mark *mark)
{
    if (!mark->share.on)
        return;
    s->clock -= (int64_t)mark->share.n_bytes;
    s->domains[mark->share.domain] = mark->share.was;
    s->all = mark->share.all_was;
    s->n = mark->share.n;
}

/* --- a record comes ----------------------------------------------------- */

static bool repeats_itself(const struct filter *f,
                           const struct filter_record *r)
{
    const struct conf_repetition *c = &f->conf->repetition;

    return r->n_bytes >= (size_t)c->min_bytes &&
           texture_repeated(r->text, r->n_bytes) > c->share;
}

const char *filter_admit(struct filter *f, const struct filter_record *r,
                         struct filter_mark *mark)
{
    const struct conf_filter *c = f->conf;

    mark->family.item = -1;
    mark->share.on = false;
    if (r->released)
        return NULL;
    if (c->repetition.enabled && repeats_itself(f, r))
        return "repetition";
    if (c->near_duplicate.enabled && too_many_alike(f, r, mark))
        return "near_duplicate";
    if (c->share_cap.share < 1 && over_its_share(f, r, mark))
        return "share_cap";
    return NULL;
}

void filter_take_back(struct filter *f, const struct filter_mark *mark)
{
    take_back_share(&f->share, mark);
    families_take_back(&f->families, &mark->family);
}

/* --- a record has been scored ------------------------------------------- */

/* No language, to look at; its text is in f->text then. */
static bool looks_like_noise(struct filter *f, const struct segment *s)
{
    buf_clear(&f->text);
    cut_text(s, f->tokenizer, &f->text);
    return texture_pairs(f->text.data, f->text.len) < SHUFFLED;
}

static bool is_noise(struct filter *f, const struct segment *s,
                     double bits_per_byte)
{
    return looks_like_noise(f, s) &&
           bits_per_byte > texture_entropy(f->text.data, f->text.len);
}

static const char *tell(struct filter *f, const struct segment *s,
                        double bits_per_byte)
{
    const struct conf_surprise *c = &f->conf->surprise;

    switch (surprise_tell(&f->surprise, s->domain, bits_per_byte, c->mads,
                          c->history)) {
    case SURPRISE_HIGH:
        return is_noise(f, s, bits_per_byte) ? "surprise" : NULL;
    case SURPRISE_LOW:
        return "predictable";
    case SURPRISE_NONE:
        break;
    }
    return NULL;
}

const char *filter_judge(struct filter *f, const struct segment *first,
                         double text_nats, bool released)
{
    const struct conf_surprise *c = &f->conf->surprise;
    double bits_per_byte = text_nats / first->n_bytes / log(2.0);
    const char *reason;

    if (!c->enabled || released || first->n_bytes < LEAST_BYTES ||
        !isfinite(bits_per_byte))
        return NULL;
    reason = tell(f, first, bits_per_byte);
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
        !surprise_refuses(&f->surprise, first->domain))
        return NULL;
    return looks_like_noise(f, first) ? "surprise" : NULL;
}

/* --- a version's state -------------------------------------------------- */

static void export_share(const struct share *s, struct tensor_list *out)
{
    const size_t n = s->n + 1; /* the last is all */
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
        const struct filter_share *x = i < s->n ? &s->domains[i] : &s->all;

        bytes[2 * i] = x->came;
        bytes[2 * i + 1] = x->admitted;
        at[i] = x->at;
    }
}

static bool share_is_fine(int64_t clock, const double *bytes,
                          const int64_t *at, size_t n)
{
    bool fine = clock > 0 && clock <= TENSOR_COUNTER_MOST && n > 0;

    for (size_t i = 0; i < 2 * n; i++)
        fine = fine && isfinite(bytes[i]) && bytes[i] >= 0;
    for (size_t i = 0; i < n; i++)
        fine = fine && at[i] >= 0 && at[i] <= clock;
    return fine;
}

static void take_share(struct share *s, int64_t clock, const double *bytes,
                       const int64_t *at, size_t n)
{
    struct share next = {.n = n - 1, .clock = clock};

    next.domains = xcalloc(n, sizeof *next.domains);
    for (size_t i = 0; i < n; i++)
        *(i < n - 1 ? &next.domains[i] : &next.all) =
            (struct filter_share){bytes[2 * i], bytes[2 * i + 1], at[i]};
    free(s->domains);
    *s = next;
}

static int import_share(struct share *s, const struct tensor_list *in,
                        struct err *err)
{
    const struct tensor *clock, *bytes, *at;
    size_t n;
    int rc;

    if (!tensor_find(in, "filter.share.clock")) {
        free(s->domains);
        memset(s, 0, sizeof *s);
        return 0;
    }
    if ((rc = tensor_expect(in, "filter.share.clock", TENSOR_I64, 1, &clock,
                            err)) ||
        (rc = tensor_expect(in, "filter.share.at", TENSOR_I64, SIZE_MAX, &at,
                            err)))
        return rc;
    n = tensor_count(at);
    rc = tensor_expect(in, "filter.share.bytes", TENSOR_F64, 2 * n, &bytes,
                       err);
    if (rc)
        return rc;
    if (!share_is_fine(*(const int64_t *)clock->data, bytes->data, at->data,
                       n))
        return err_set(err, ERR_CORRUPT,
                       "tensors filter.share: values out of range");
    take_share(s, *(const int64_t *)clock->data, bytes->data, at->data, n);
    return 0;
}

void filter_export(const struct filter *f, struct tensor_list *out)
{
    families_export(&f->families, out);
    surprise_export(&f->surprise, out);
    export_share(&f->share, out);
}

int filter_import(struct filter *f, const struct tensor_list *in,
                  struct err *err)
{
    int rc = families_import(&f->families, in, err);

    if (rc == 0)
        rc = surprise_import(&f->surprise, in, err);
    if (rc == 0)
        rc = import_share(&f->share, in, err);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of counts has buckets of 64 bytes, one line of the processor's
 * cache, with four slots each. A slot holds up to four tokens and their counts:
 *
 *     slot   check  n  high token token token token  count count count count
 *            u16    u8 u8   u16                      u8
 *
 * The tokens that followed a context are in its pages 0, 1, ...: page i is one
 * slot, found by a hash of context and i, and begun when page i - 1 is full.
 * Short contexts have more pages, since more tokens follow them. A page that is
 * missing ends the list. A new slot takes the place of the one with the lowest
 * sum in its bucket. Another context may have the same hash and check: then its
 * counts are found. They predict worse, but are a distribution all the same,
 * because C_k is the sum of what was found.
 *
 * Mixing weights. Each order k that was found has a share w_k, which depends on
 * its sum, its number of tokens, and how much its most frequent token stands
 * out. Two chains use such shares:
 *
 *     N = w_5 c_5/C_5 + (1 - w_5)(w_4 c_4/C_4 + ... + (1 - w_1) base)
 *     X = the same with shares of its own, and p_T in the place of base
 *
 * base is a mixture of p_L and p_0. The mixture of p_T, N and X has weights
 * that depend on the longest order found. Last comes the floor:
 * (1 - s) mixture + s p_L. s is the posterior probability, within this segment,
 * that p_L alone explains it; it may rise again (the fixed share of Herbster,
 * Warmuth 1998). So a text that nobody can predict costs a few bits more than
 * p_L, not a few bits more for each token.
 *
 * A weight moves towards its posterior probability: w += (w p_i / p - w) / n,
 * where n counts its updates. That is one step of expectation maximisation on
 * each token. The memory's weights are slow: n goes up to 1000, so that a new
 * domain does not drive out the weights of the others. A segment is read with a
 * copy of them, which is fast: n goes up to 20.
 *
 * A reader does not write to its memory. It copies the buckets that it changes
 * into a hash table of its own.
 */
#include "config.h"

#include "learner/ngram.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/model_shape.h"
#include "base/xalloc.h"
#include "learner/kernels/hot.h"
#include "learner/kernels/vexp.h"

#define ORDERS 5
#define PAIRS 4 /* in a slot */
#define SLOTS 4 /* in a bucket */
#define BUCKETS_A_MIB 16384
#define MOST_COUNT 255
#define OVERLAY_FIRST 256 /* the first capacity of an overlay */

/* docs/LEARNING.md has the measurements behind these numbers. */
#define LOCAL_WEIGHT 32.0    /* tokens that p_L spreads over the bytes */
#define UNIGRAM_WEIGHT 200.0 /* tokens that p_0 spreads over the vocabulary */
#define N_BYTE_TOKENS 256
#define FIRST_SHARE 0.3f
#define LEAST_SHARE 0.0005
#define LEAST_FINAL 0.001
#define MOST_UPDATES 1000.0f
#define FAST_UPDATES 20.0
#define FLOOR_FIRST 0.02    /* s when a segment begins */
#define FLOOR_LEAVES 0.02   /* share of s that returns to the mixture */
#define FLOOR_RETURNS 0.002 /* share of 1 - s that goes to the floor */

/* Pages of each order; order 0 has none. */
static const int pages[ORDERS + 1] = {0, 32, 8, 4, 4, 4};

struct slot {
    uint16_t check;
    uint8_t n;                /* 0: free */
    uint8_t high;             /* bits 16 and 17 of each token */
    uint16_t tokens[PAIRS];   /* their lower bits */
    uint8_t counts[PAIRS];
};

struct bucket {
    struct slot slots[SLOTS];
};

static_assert(sizeof(struct bucket) == 64, "a bucket is a cache line");
static_assert(MODEL_MAX_VOCAB == 1 << 18, "a slot holds 18 bits of a token");

/* A mixing weight between two distributions: the first one's. */
struct share {
    float w;
    float updates; /* n, at most MOST_UPDATES */
};

enum { FINAL_MODEL, FINAL_MEMORY, FINAL_CHAIN, N_FINALS };

struct finals {
    float w[N_FINALS];
    float updates;
};

#define SUMS 8    /* classes of C_k */
#define NUMBERS 8 /* classes of the number of tokens that followed */
#define PEAKS 4   /* classes of the most frequent token's share */
#define LENGTHS 9 /* classes of the number of tokens in the segment */
#define CLASSES (ORDERS * SUMS * NUMBERS * PEAKS)

enum { CHAIN_MEMORY, CHAIN_MODEL, N_CHAINS };

/* Only floats: the tensor ngram.weights holds it as it is. */
struct weights {
    struct share chains[N_CHAINS][CLASSES];
    struct share base[LENGTHS]; /* of p_L, against p_0 */
    struct finals finals[PEAKS * (ORDERS + 1)];
};

#define N_WEIGHTS (sizeof(struct weights) / sizeof(float))

struct ngram {
    size_t vocab_size, n_buckets;
    struct bucket *buckets;
    int64_t *counts; /* [vocab_size] of order 0 */
    int64_t total;
    struct weights weights;
};

/* Copies of changed buckets: open addressing, at most half full. */
struct overlay {
    uint32_t *keys; /* [cap] bucket + 1; 0: free */
    struct bucket *copies;
    size_t n, cap; /* cap is a power of two, or 0 */
};

struct ngram_reader {
    const struct ngram *n;
    struct ngram *own; /* learning: changes go here, not to the overlay */
    struct overlay overlay;
    struct weights weights; /* this segment's */
    token_id last[ORDERS];  /* the last tokens, the newest first */
    int n_last;
    token_id *local; /* [n_local] targets of this segment so far */
    size_t n_local, cap_local;
    double floor; /* s */
};

/* --- the table ---------------------------------------------------------- */

/* Mixes the bits (Murmur3's finalizer). */
static uint64_t mix_bits(uint64_t h)
{
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 33;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ (h >> 33);
}

/* Hashes the last k tokens. */
static uint64_t hash_context(const struct ngram_reader *r, int k)
{
    uint64_t h = (uint64_t)k;

    for (int i = 0; i < k; i++)
        h = mix_bits(h * UINT64_C(0x9e3779b97f4a7c15) + r->last[i] + 1);
    return h;
}

/* Where a page is. */
struct place {
    uint32_t bucket;
    uint16_t check;
};

static struct place place_page(const struct ngram_reader *r, uint64_t context,
                               int page)
{
    uint64_t h =
        mix_bits(context + (uint64_t)page * UINT64_C(0x9e3779b97f4a7c15));

    return (struct place){
        (uint32_t)(((h >> 32) * r->n->n_buckets) >> 32),
        (uint16_t)h,
    };
}

/* Returns the entry of a bucket in the overlay, or the free entry for it. */
static size_t overlay_entry(const struct overlay *o, uint32_t bucket)
{
    size_t i = mix_bits(bucket) & (o->cap - 1);

    while (o->keys[i] != 0 && o->keys[i] != bucket + 1)
        i = (i + 1) & (o->cap - 1);
    return i;
}

static void overlay_grow(struct overlay *o)
{
    struct overlay old = *o;

    o->cap = old.cap ? 2 * old.cap : OVERLAY_FIRST;
    o->keys = xcalloc(o->cap, sizeof *o->keys);
    o->copies = xcalloc(o->cap, sizeof *o->copies);
    for (size_t i = 0; i < old.cap; i++) {
        size_t to;

        if (old.keys[i] == 0)
            continue;
        to = overlay_entry(o, old.keys[i] - 1);
        o->keys[to] = old.keys[i];
        o->copies[to] = old.copies[i];
    }
    free(old.keys);
    free(old.copies);
}

static const struct bucket *read_bucket(const struct ngram_reader *r,
                                        uint32_t bucket)
{
    const struct overlay *o = &r->overlay;

    if (o->n) {
        size_t i = overlay_entry(o, bucket);

        if (o->keys[i])
            return &o->copies[i];
    }
    return &r->n->buckets[bucket];
}

static struct bucket *change_bucket(struct ngram_reader *r, uint32_t bucket)
{
    struct overlay *o = &r->overlay;
    size_t i;

    if (r->own)
        return &r->own->buckets[bucket];
    if (2 * (o->n + 1) > o->cap)
        overlay_grow(o);
    i = overlay_entry(o, bucket);
    if (o->keys[i] == 0) {
        o->keys[i] = bucket + 1;
        o->copies[i] = r->n->buckets[bucket];
        o->n++;
    }
    return &o->copies[i];
}

/* Returns the index of a page's slot in its bucket, or -1. */
static int find_slot(const struct bucket *b, uint16_t check)
{
    for (int i = 0; i < SLOTS; i++)
        if (b->slots[i].n && b->slots[i].check == check)
            return i;
    return -1;
}

static const struct slot *find_page(const struct ngram_reader *r,
                                    uint64_t context, int page)
{
    struct place p = place_page(r, context, page);
    const struct bucket *b = read_bucket(r, p.bucket);
    int i = find_slot(b, p.check);

    return i < 0 ? NULL : &b->slots[i];
}

static struct slot *change_page(struct ngram_reader *r, uint64_t context,
                                int page)
{
    struct place p = place_page(r, context, page);
    struct bucket *b = change_bucket(r, p.bucket);
    int i = find_slot(b, p.check);

    return i < 0 ? NULL : &b->slots[i];
}

static unsigned sum_slot(const struct slot *s)
{
    unsigned sum = 0;

    for (int i = 0; i < s->n; i++)
        sum += s->counts[i];
    return sum;
}

static token_id slot_token(const struct slot *s, int i)
{
    return (token_id)(s->high >> (2 * i) & 3) << 16 | s->tokens[i];
}

static void set_token(struct slot *s, int i, token_id token)
{
    s->tokens[i] = (uint16_t)token;
    s->high = (uint8_t)((s->high & ~(3u << (2 * i))) |
                        (token >> 16) << (2 * i));
}

/* Begins a page with one token. It takes a free slot, or that of the lowest
 * sum. */
static void begin_page(struct ngram_reader *r, uint64_t context, int page,
                       token_id token)
{
    struct place p = place_page(r, context, page);
    struct bucket *b = change_bucket(r, p.bucket);
    unsigned least = UINT32_MAX;
    int at = 0;

    for (int i = 0; i < SLOTS; i++) {
        unsigned sum = sum_slot(&b->slots[i]);

        if (sum < least) {
            least = sum;
            at = i;
        }
    }
    b->slots[at] = (struct slot){.check = p.check, .n = 1, .counts = {1}};
    set_token(&b->slots[at], 0, token);
}

/* --- counting ----------------------------------------------------------- */

static void halve_pages(struct ngram_reader *r, uint64_t context, int n_pages)
{
    for (int page = 0; page < n_pages; page++) {
        struct slot *s = change_page(r, context, page);

        for (int i = 0; i < s->n; i++)
            s->counts[i] = (uint8_t)((s->counts[i] + 1) / 2);
    }
}

/* Adds a token to the last page of a context, which is full. The rarest token
 * loses a count; when it has none left, the new one takes its place. */
static void replace_rarest(struct slot *s, token_id token)
{
    int rarest = 0;

    for (int i = 1; i < s->n; i++)
        if (s->counts[i] <= s->counts[rarest])
            rarest = i;
    if (s->counts[rarest] > 1)
        s->counts[rarest]--;
    else
        set_token(s, rarest, token);
}

static int find_token(const struct slot *s, token_id token)
{
    for (int i = 0; i < s->n; i++)
        if (slot_token(s, i) == token)
            return i;
    return -1;
}

/* Adds one to a count. At the largest one, the context's counts are halved
 * first. */
static int raise_count(struct ngram_reader *r, int k, uint64_t context,
                       int page, int at)
{
    struct slot *s = change_page(r, context, page);
    int was = s->counts[at], n_pages = page + 1;

    if (was == MOST_COUNT) {
        while (n_pages < pages[k] && find_page(r, context, n_pages))
            n_pages++;
        halve_pages(r, context, n_pages);
        s = change_page(r, context, page); /* the copies may have moved */
    }
    s->counts[at]++;
    return was;
}

/* Counts a token after the last k tokens. Returns its count before. */
static int count_order(struct ngram_reader *r, int k, token_id token)
{
    uint64_t context = hash_context(r, k);
    struct slot *change;
    int page = 0;

    for (; page < pages[k]; page++) {
        const struct slot *s = find_page(r, context, page);
        int at = s ? find_token(s, token) : -1;

        if (at >= 0)
            return raise_count(r, k, context, page, at);
        if (!s) {
            begin_page(r, context, page, token);
            return 0;
        }
        if (s->n < PAIRS)
            break;
    }
    if (page == pages[k]) {
        replace_rarest(change_page(r, context, page - 1), token);
        return 0;
    }
    change = change_page(r, context, page);
    set_token(change, change->n, token);
    change->counts[change->n++] = 1;
    return 0;
}

static void push(struct ngram_reader *r, token_id token)
{
    memmove(r->last + 1, r->last, (ORDERS - 1) * sizeof *r->last);
    r->last[0] = token;
    if (r->n_last < ORDERS)
        r->n_last++;
}

/* Counts a target from the longest order down. An order that knew the token
 * keeps shorter ones from counting it. */
static void count(struct ngram_reader *r, token_id token)
{
    if (r->own) {
        r->own->counts[token]++;
        r->own->total++;
    }
    for (int k = r->n_last; k >= 1; k--)
        if (count_order(r, k, token) >= 2 && k < ORDERS)
            break;
    if (r->n_local == r->cap_local) {
        r->cap_local = r->cap_local ? 2 * r->cap_local : 64;
        r->local = xreallocarray(r->local, r->cap_local, sizeof *r->local);
    }
    r->local[r->n_local++] = token;
    push(r, token);
}

/* --- what is known of the next target ----------------------------------- */

/* An order that was found. */
struct level {
    int order;
    uint64_t context;
    unsigned sum;    /* C_k */
    unsigned number; /* of tokens that followed */
    unsigned most;   /* the count of the most frequent one */
    unsigned hits;   /* the count of the target */
    size_t class;    /* of its shares */
};

/* Everything that the coefficients depend on. */
struct known {
    struct level levels[ORDERS]; /* shortest order first */
    int n;
    size_t base, finals; /* indices of the weights */
};

static unsigned class_of_sum(unsigned sum)
{
    static const unsigned most[SUMS - 1] = {0, 1, 2, 4, 8, 16, 40};
    unsigned i = 0;

    while (i < SUMS - 1 && sum > most[i])
        i++;
    return i;
}

static unsigned class_of_peak(const struct level *l)
{
    if (l->most == l->sum)
        return 0;
    if (4 * l->most >= 3 * l->sum)
        return 1;
    return 2 * l->most >= l->sum ? 2 : 3;
}

static unsigned class_of_length(size_t n)
{
    unsigned i = 0;

    for (n++; n > 1 && i < LENGTHS - 1; n /= 2)
        i++;
    return i;
}

/* Reads the pages of order k. Returns false if there are none.
 *   target  -1: none */
static bool read_level(const struct ngram_reader *r, int k, int target,
                       struct level *l)
{
    *l = (struct level){.order = k, .context = hash_context(r, k)};
    for (int page = 0; page < pages[k]; page++) {
        const struct slot *s = find_page(r, l->context, page);

        if (!s)
            break;
        for (int i = 0; i < s->n; i++) {
            l->sum += s->counts[i];
            if (s->counts[i] > l->most)
                l->most = s->counts[i];
            if ((int)slot_token(s, i) == target)
                l->hits += s->counts[i];
        }
        l->number += s->n;
    }
    return l->number > 0;
}

static void find_known(const struct ngram_reader *r, int target,
                       struct known *known)
{
    size_t peak = 0, longest = 0;

    known->n = 0;
    for (int k = 1; k <= r->n_last; k++) {
        struct level *l = &known->levels[known->n];
        size_t at;

        if (!read_level(r, k, target, l))
            continue;
        longest = (size_t)k;
        peak = class_of_peak(l);
        at = (size_t)(k - 1) * SUMS + class_of_sum(l->sum);
        at = at * NUMBERS + (l->number < NUMBERS ? l->number : NUMBERS - 1);
        l->class = at * PEAKS + peak;
        known->n++;
    }
    known->base = class_of_length(r->n_local);
    known->finals = peak * (ORDERS + 1) + longest;
}

/* --- probabilities ------------------------------------------------------ */

static size_t count_local(const struct ngram_reader *r, token_id token)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_local; i++)
        n += r->local[i] == token;
    return n;
}

/* p_L */
static double local_probability(const struct ngram_reader *r, token_id token,
                                size_t n_same)
{
    double prior = token < N_BYTE_TOKENS ? LOCAL_WEIGHT / N_BYTE_TOKENS : 0.0;

    return ((double)n_same + prior) / ((double)r->n_local + LOCAL_WEIGHT);
}

/* The sum of the counts of order 0. The memory's own do not have this segment's
 * tokens yet when it is only read. */
static double unigram_total(const struct ngram_reader *r)
{
    return (double)r->n->total + (r->own ? 0.0 : (double)r->n_local) +
           UNIGRAM_WEIGHT;
}

/* p_0 */
static double unigram_probability(const struct ngram_reader *r, token_id token,
                                  size_t n_same)
{
    double n = (double)r->n->counts[token] + (r->own ? 0.0 : (double)n_same);

    return (n + UNIGRAM_WEIGHT / (double)r->n->vocab_size) / unigram_total(r);
}

static double mix_two(double w, double first, double second)
{
    return w * first + (1.0 - w) * second;
}

/* Moves a share towards its posterior, at most 1 / most of the way. */
static void update_share(struct share *s, double first, double second,
                         double most)
{
    double w = (double)s->w, n = (double)s->updates + 1.5;
    double mixture = mix_two(w, first, second);

    if (s->updates < MOST_UPDATES)
        s->updates++;
    if (!(mixture > 0.0))
        return;
    w += (w * first / mixture - w) / (n < most ? n : most);
    if (w < LEAST_SHARE)
        w = LEAST_SHARE;
    if (w > 1.0 - LEAST_SHARE)
        w = 1.0 - LEAST_SHARE;
    s->w = (float)w;
}

static double mix_finals(const struct finals *f, const double *p, double *sum)
{
    double mixed = 0.0;

    *sum = 0.0;
    for (int i = 0; i < N_FINALS; i++) {
        *sum += (double)f->w[i];
        mixed += (double)f->w[i] * p[i];
    }
    return mixed / *sum;
}

static void update_finals(struct finals *f, const double *p, double most)
{
    double n = (double)f->updates + 2.0, sum;
    double mixture = mix_finals(f, p, &sum);

    if (f->updates < MOST_UPDATES)
        f->updates++;
    for (int i = 0; i < N_FINALS; i++) {
        double w = (double)f->w[i] / sum;

        w += (w * p[i] / mixture - w) / (n < most ? n : most);
        f->w[i] = (float)(w < LEAST_FINAL ? LEAST_FINAL : w);
    }
}

static void update_floor(struct ngram_reader *r, double local, double mixture)
{
    double posterior = r->floor * local / mixture;

    r->floor =
        posterior * (1.0 - FLOOR_LEAVES) + (1.0 - posterior) * FLOOR_RETURNS;
}

/* The parts of the mixture for one target. */
struct parts {
    double local, unigram, base;
    double counted[ORDERS];          /* c_k / C_k of known.levels */
    double before[N_CHAINS][ORDERS]; /* a chain without levels i and above */
    double finals[N_FINALS];
};

static void find_parts(const struct ngram_reader *r, const struct known *known,
                       token_id target, double model, struct parts *p)
{
    const struct weights *w = &r->weights;
    size_t n_same = count_local(r, target);
    double chain[N_CHAINS];

    p->local = local_probability(r, target, n_same);
    p->unigram = unigram_probability(r, target, n_same);
    p->base = mix_two((double)w->base[known->base].w, p->local, p->unigram);
    chain[CHAIN_MEMORY] = p->base;
    chain[CHAIN_MODEL] = model;
    for (int i = 0; i < known->n; i++) {
        const struct level *l = &known->levels[i];

        p->counted[i] = (double)l->hits / (double)l->sum;
        for (int c = 0; c < N_CHAINS; c++) {
            p->before[c][i] = chain[c];
            chain[c] = mix_two((double)w->chains[c][l->class].w, p->counted[i],
                               chain[c]);
        }
    }
    p->finals[FINAL_MODEL] = model;
    p->finals[FINAL_MEMORY] = chain[CHAIN_MEMORY];
    p->finals[FINAL_CHAIN] = chain[CHAIN_MODEL];
}

static void update_weights(struct weights *w, const struct known *known,
                           const struct parts *p, double most)
{
    for (int i = 0; i < known->n; i++)
        for (int c = 0; c < N_CHAINS; c++)
            update_share(&w->chains[c][known->levels[i].class], p->counted[i],
                         p->before[c][i], most);
    update_share(&w->base[known->base], p->local, p->unigram, most);
    update_finals(&w->finals[known->finals], p->finals, most);
}

double ngram_reader_next(struct ngram_reader *r, token_id target, double loss)
{
    double model = isnan(loss) ? 0.0 : exp(-loss), p, sum;
    struct known known;
    struct parts parts;

    find_known(r, target, &known);
    find_parts(r, &known, target, model, &parts);
    p = mix_two(
        r->floor, parts.local,
        mix_finals(&r->weights.finals[known.finals], parts.finals, &sum));
    update_floor(r, parts.local, p);
    update_weights(&r->weights, &known, &parts, FAST_UPDATES);
    if (r->own)
        update_weights(&r->own->weights, &known, &parts, (double)INFINITY);
    count(r, target);
    return -log(p);
}

void ngram_reader_skip(struct ngram_reader *r, token_id token)
{
    push(r, token);
}

/* --- the whole distribution --------------------------------------------- */

struct coefficients {
    double model, local, unigram;
    double levels[ORDERS]; /* of the counts of known.levels, divided by C_k */
};

static void find_coefficients(const struct ngram_reader *r,
                              const struct known *known, struct coefficients *a)
{
    const struct weights *w = &r->weights;
    const struct finals *f = &w->finals[known->finals];
    double scale = (1.0 - r->floor) /
                   ((double)f->w[FINAL_MODEL] + (double)f->w[FINAL_MEMORY] +
                    (double)f->w[FINAL_CHAIN]);
    double left[N_CHAINS] = {scale * (double)f->w[FINAL_MEMORY],
                             scale * (double)f->w[FINAL_CHAIN]};
    double base = (double)w->base[known->base].w;

    for (int i = known->n - 1; i >= 0; i--) {
        const struct level *l = &known->levels[i];

        a->levels[i] = 0.0;
        for (int c = 0; c < N_CHAINS; c++) {
            double share = (double)w->chains[c][l->class].w;

            a->levels[i] += left[c] * share;
            left[c] *= 1.0 - share;
        }
        a->levels[i] /= (double)l->sum;
    }
    a->model = scale * (double)f->w[FINAL_MODEL] + left[CHAIN_MODEL];
    a->local = left[CHAIN_MEMORY] * base + r->floor;
    a->unigram = left[CHAIN_MEMORY] * (1.0 - base);
}

/* Adds the counts of one order. */
static void add_level(const struct ngram_reader *r, const struct level *l,
                      double a, float *p)
{
    for (int page = 0; page < pages[l->order]; page++) {
        const struct slot *s = find_page(r, l->context, page);

        if (!s)
            break;
        for (int i = 0; i < s->n; i++)
            p[slot_token(s, i)] += (float)(a * s->counts[i]);
    }
}

HOT static void mix_dense(const float *logprobs, const int64_t *counts,
                          size_t n, float model, float unigram, float even,
                          float *p)
{
#pragma omp simd
    for (size_t v = 0; v < n; v++)
        p[v] = model * vexp(logprobs[v]) + unigram * (float)counts[v] + even;
}

HOT static void take_logs(float *p, size_t n)
{
#pragma omp simd
    for (size_t v = 0; v < n; v++)
        p[v] = vlog(p[v]);
}

void ngram_reader_distribution(const struct ngram_reader *r,
                               const float *logprobs, float *mixed)
{
    size_t v = r->n->vocab_size;
    double unigram, local;
    struct coefficients a;
    struct known known;

    find_known(r, -1, &known);
    find_coefficients(r, &known, &a);
    unigram = a.unigram / unigram_total(r);
    local = a.local / ((double)r->n_local + LOCAL_WEIGHT);
    mix_dense(logprobs, r->n->counts, v, (float)a.model, (float)unigram,
              (float)(unigram * UNIGRAM_WEIGHT / (double)v), mixed);
    for (size_t i = 0; i < N_BYTE_TOKENS; i++)
        mixed[i] += (float)(local * LOCAL_WEIGHT / N_BYTE_TOKENS);
    if (!r->own)
        local += unigram;
    for (size_t i = 0; i < r->n_local; i++)
        mixed[r->local[i]] += (float)local;
    for (int i = 0; i < known.n; i++)
        add_level(r, &known.levels[i], a.levels[i], mixed);
    take_logs(mixed, v);
}

/* --- segments ----------------------------------------------------------- */

static void start(struct ngram_reader *r, token_id first)
{
    r->weights = r->n->weights;
    r->n_last = 0;
    r->n_local = 0;
    r->floor = FLOOR_FIRST;
    push(r, first);
}

static void read_segment(struct ngram_reader *r, const struct segment *s,
                         const float *loss, float *mixed)
{
    start(r, s->tokens[0]);
    for (uint32_t t = 0; t < s->n_tokens; t++) {
        token_id target = s->tokens[t + 1];

        if (t < s->n_masked) {
            ngram_reader_skip(r, target);
            mixed[t] = 0.0f;
        } else {
            mixed[t] = (float)ngram_reader_next(r, target, (double)loss[t]);
        }
    }
}

void ngram_learn(struct ngram *n, const struct segment *s, const float *loss,
                 float *mixed)
{
    struct ngram_reader r = {.n = n, .own = n};

    read_segment(&r, s, loss, mixed);
    free(r.local);
}

struct ngram_reader *ngram_reader_create(const struct ngram *n)
{
    struct ngram_reader *r = xcalloc(1, sizeof *r);

    r->n = n;
    return r;
}

void ngram_reader_free(struct ngram_reader *r)
{
    if (!r)
        return;
    free(r->overlay.keys);
    free(r->overlay.copies);
    free(r->local);
    free(r);
}

size_t ngram_reader_bytes(size_t n_tokens)
{
    size_t cap = OVERLAY_FIRST;

    while (cap < 2 * ORDERS * n_tokens)
        cap *= 2;
    return sizeof(struct ngram_reader) + n_tokens * sizeof(token_id) +
           cap * (sizeof(uint32_t) + sizeof(struct bucket));
}

void ngram_reader_start(struct ngram_reader *r, token_id first)
{
    if (r->overlay.n)
        memset(r->overlay.keys, 0, r->overlay.cap * sizeof *r->overlay.keys);
    r->overlay.n = 0;
    start(r, first);
}

void ngram_reader_segment(struct ngram_reader *r, const struct segment *s,
                          const float *loss, float *mixed)
{
    ngram_reader_start(r, s->tokens[0]);
    read_segment(r, s, loss, mixed);
}

/* --- the memory --------------------------------------------------------- */

static void init_weights(struct weights *w)
{
    for (size_t c = 0; c < N_CHAINS; c++)
        for (size_t i = 0; i < CLASSES; i++)
            w->chains[c][i].w = FIRST_SHARE;
    for (size_t i = 0; i < LENGTHS; i++)
        w->base[i].w = FIRST_SHARE;
    for (size_t i = 0; i < sizeof w->finals / sizeof *w->finals; i++)
        for (size_t j = 0; j < N_FINALS; j++)
            w->finals[i].w[j] = 1.0f / N_FINALS;
}

static struct ngram *create(size_t vocab_size, size_t n_buckets)
{
    struct ngram *n = xcalloc(1, sizeof *n);

    BUG_ON(vocab_size < N_BYTE_TOKENS || n_buckets == 0);
    n->vocab_size = vocab_size;
    n->n_buckets = n_buckets;
    n->buckets = xalloc_large(n_buckets * sizeof *n->buckets);
    memset(n->buckets, 0, n_buckets * sizeof *n->buckets);
    n->counts = xcalloc(vocab_size, sizeof *n->counts);
    init_weights(&n->weights);
    return n;
}

struct ngram *ngram_create(int vocab_size, int mib)
{
    return create((size_t)vocab_size, (size_t)mib * BUCKETS_A_MIB);
}

void ngram_free(struct ngram *n)
{
    if (!n)
        return;
    free(n->buckets);
    free(n->counts);
    free(n);
}

size_t ngram_bytes(int vocab_size, int mib)
{
    return ((size_t)mib << 20) + (size_t)vocab_size * sizeof(int64_t) +
           sizeof(struct ngram);
}

/* --- export and import -------------------------------------------------- */

void ngram_export(const struct ngram *n, struct tensor_list *out)
{
    size_t slots[2] = {n->n_buckets, sizeof *n->buckets};
    size_t weights = N_WEIGHTS;

    tensor_add_copy(out, "ngram.slots", TENSOR_U8, 2, slots, n->buckets);
    tensor_add_i64(out, "ngram.counts", n->counts, n->vocab_size);
    tensor_add_copy(out, "ngram.weights", TENSOR_F32, 1, &weights, &n->weights);
}

static bool slot_fits(const struct slot *s, size_t vocab_size)
{
    if (s->n > PAIRS)
        return false;
    for (int i = 0; i < s->n; i++)
        if (slot_token(s, i) >= vocab_size || s->counts[i] == 0)
            return false;
    return true;
}

static bool share_fits(const struct share *s)
{
    return s->w > 0.0f && s->w < 1.0f && s->updates >= 0.0f &&
           s->updates <= MOST_UPDATES;
}

static bool finals_fit(const struct finals *f)
{
    for (int i = 0; i < N_FINALS; i++)
        if (!(f->w[i] > 0.0f && f->w[i] < 2.0f))
            return false;
    return f->updates >= 0.0f && f->updates <= MOST_UPDATES;
}

static bool weights_fit(const struct weights *w)
{
    for (size_t c = 0; c < N_CHAINS; c++)
        for (size_t i = 0; i < CLASSES; i++)
            if (!share_fits(&w->chains[c][i]))
                return false;
    for (size_t i = 0; i < LENGTHS; i++)
        if (!share_fits(&w->base[i]))
            return false;
    for (size_t i = 0; i < sizeof w->finals / sizeof *w->finals; i++)
        if (!finals_fit(&w->finals[i]))
            return false;
    return true;
}

/* Checks every count, token and weight that reading relies on. */
static int check(const struct ngram *n, struct err *err)
{
    for (size_t i = 0; i < n->n_buckets; i++)
        for (int j = 0; j < SLOTS; j++)
            if (!slot_fits(&n->buckets[i].slots[j], n->vocab_size))
                return err_set(err, ERR_CORRUPT,
                               "tensor ngram.slots: bucket %zu is invalid", i);
    for (size_t v = 0; v < n->vocab_size; v++)
        if (n->counts[v] < 0 ||
            n->counts[v] > TENSOR_COUNTER_MOST / MODEL_MAX_VOCAB)
            return err_set(err, ERR_CORRUPT,
                           "tensor ngram.counts: value %zu is out of range", v);
    if (!weights_fit(&n->weights))
        return err_set(err, ERR_CORRUPT,
                       "tensor ngram.weights: a value is out of range");
    return 0;
}

int ngram_import(const struct tensor_list *in, int vocab_size,
                 struct ngram **ngram, struct err *err)
{
    const struct tensor *slots, *counts, *weights;
    struct ngram *n;
    size_t n_bytes;
    int rc;

    if ((rc = tensor_expect(in, "ngram.slots", TENSOR_U8, SIZE_MAX, &slots,
                            err)) ||
        (rc = tensor_expect(in, "ngram.counts", TENSOR_I64, (size_t)vocab_size,
                            &counts, err)) ||
        (rc = tensor_expect(in, "ngram.weights", TENSOR_F32, N_WEIGHTS,
                            &weights, err)))
        return rc;
    n_bytes = tensor_bytes(slots);
    if (n_bytes == 0 || n_bytes % sizeof(struct bucket) ||
        n_bytes > (size_t)NGRAM_MOST_MIB << 20)
        return err_set(err, ERR_CORRUPT,
                       "tensor ngram.slots: %zu bytes are no table", n_bytes);
    n = create((size_t)vocab_size, n_bytes / sizeof(struct bucket));
    memcpy(n->buckets, slots->data, n_bytes);
    memcpy(n->counts, counts->data, n->vocab_size * sizeof *n->counts);
    memcpy(&n->weights, weights->data, sizeof n->weights);
    if ((rc = check(n, err))) {
        ngram_free(n);
        return rc;
    }
    for (size_t v = 0; v < n->vocab_size; v++)
        n->total += n->counts[v];
    *ngram = n;
    return 0;
}

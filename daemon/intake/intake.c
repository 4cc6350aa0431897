/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first part decides what becomes of a record, in this order of questions:
 * skipped, learned in part already, passed over, bad, quarantined by a filter,
 * held out, learned. It counts nothing.
 *
 * The second part counts the decisions, in the order of the stream (settle).
 * Only a record to be learned waits at the front, until intake_apply.
 */
#include "config.h"

#include "daemon/intake/intake.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/rng.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/record_reason.h"
#include "learner/tokenizer/cut.h"
#include "store/ranges.h"

#define LONG 4096 /* waiting records, see intake_is_long */

/* Never changed: copies of a text are on the same side in every store. */
#define HOLDOUT_SALT UINT64_C(0x6d6e656d65)

/* Besides the kinds of struct store_ledger_run (l, h, q, s): nothing is counted
 * for an offset without a record. */
enum { HOLE = 0 };

struct waiting {
    struct record *rec;
    char kind; /* l, h, q, s, or HOLE */
    const char *reason; /* of a quarantined or bad record; else NULL */
    int32_t partition_id, domain, label;
    uint64_t text_hash;
    struct cut cut; /* l and h */
    size_t next;    /* segments that have been in a step */
    struct filter_mark mark;
};

struct intake {
    struct intake_options options;
    double share; /* of the records that are learned */
    struct catalog_range *skipped;
    size_t n_skipped;
    struct tombstone *forgotten;
    size_t n_forgotten;
    struct waiting *items; /* a ring */
    size_t front, n, cap;
    size_t tokens;
    struct segment *segments; /* of the batch */
    struct segment_origin *origins;
    const char **refused;
    size_t cap_batch;
};

struct intake *intake_create(const struct intake_options *options)
{
    struct intake *in = xcalloc(1, sizeof *in);

    in->options = *options;
    in->share = 1;
    return in;
}

void intake_set_skipped(struct intake *in, struct catalog_range *ranges,
                        size_t n)
{
    free(in->skipped);
    in->skipped = ranges;
    in->n_skipped = ranges_normalize(ranges, n);
}

void intake_set_forgotten(struct intake *in, struct tombstone *tombstones,
                          size_t n)
{
    free(in->forgotten);
    in->forgotten = tombstones;
    in->n_forgotten = n;
}

size_t intake_tokens(const struct intake *in)
{
    return in->tokens;
}

bool intake_is_long(const struct intake *in)
{
    return in->n >= LONG && in->tokens > 0;
}

void intake_set_share(struct intake *in, double share)
{
    in->share = share;
}

/* --- the ring ----------------------------------------------------------- */

/* The i-th waiting record from the front. */
static struct waiting *waiting_at(const struct intake *in, size_t i)
{
    return &in->items[(in->front + i) % in->cap];
}

static size_t tokens_of(const struct segment *s)
{
    return s->n_tokens ? s->n_tokens : 1 + s->text_bytes / 4;
}

static struct waiting *append(struct intake *in, struct record *rec)
{
    struct waiting *w;

    if (in->n == in->cap) {
        size_t cap = in->cap ? 2 * in->cap : 64;
        struct waiting *items = xcalloc(cap, sizeof *items);

        for (size_t i = 0; i < in->n; i++)
            items[i] = *waiting_at(in, i);
        free(in->items);
        in->items = items;
        in->front = 0;
        in->cap = cap;
    }
    w = waiting_at(in, in->n++);
    *w = (struct waiting){.rec = rec, .domain = -1, .label = -1};
    return w;
}

/* Drops the segments of the record that were in no step yet. */
static void drop_segments(struct intake *in, struct waiting *w)
{
    while (w->kind == 'l' && w->next < w->cut.n_segments)
        in->tokens -= tokens_of(&w->cut.segments[w->next++]);
}

/* Frees all but the record, which the caller owns. */
static struct record *take_record(struct intake *in, struct waiting *w)
{
    drop_segments(in, w);
    cut_release(&w->cut);
    return w->rec;
}

static void drop_front(struct intake *in)
{
    record_free(take_record(in, waiting_at(in, 0)));
    in->front = (in->front + 1) % in->cap;
    in->n--;
}

void intake_clear(struct intake *in)
{
    filter_rewind(in->options.filter);
    while (in->n)
        drop_front(in);
}

void intake_free(struct intake *in)
{
    if (!in)
        return;
    while (in->n)
        drop_front(in);
    free(in->items);
    free(in->segments);
    free(in->origins);
    free(in->refused);
    free(in->skipped);
    free(in->forgotten);
    free(in);
}

/* --- deciding a record -------------------------------------------------- */

static bool is_forgotten(const struct intake *in, enum tombstones_kind kind,
                         const char *name, const struct waiting *w)
{
    return name && tombstones_have(in->forgotten, in->n_forgotten,
                                   tombstones_hash(kind, name),
                                   w->partition_id, w->rec->offset);
}

static bool is_skipped(const struct intake *in, const struct waiting *w)
{
    if (ranges_have(in->skipped, in->n_skipped, w->partition_id,
                    w->rec->offset))
        return true;
    return in->n_forgotten > 0 &&
           (is_forgotten(in, TOMBSTONES_ID, w->rec->id, w) ||
            is_forgotten(in, TOMBSTONES_DOMAIN, w->rec->domain, w));
}

/* A released record is skipped: it was good when it was released, and its row
 * is in the quarantine already. */
static void decide_bad(const struct intake *in, struct waiting *w,
                       const char *reason)
{
    bool skip = in->options.conf->source.bad_record == CONF_BAD_RECORD_SKIP ||
                w->rec->released;

    w->kind = skip ? 's' : 'q';
    w->reason = reason;
}

/* Sets the label's id; false when the table of labels is full. */
static bool resolve_label(struct intake *in, struct waiting *w)
{
    struct names *labels = &in->options.progress->labels;

    if (!w->rec->label)
        return true;
    w->label = (int32_t)names_find(labels, w->rec->label);
    if (w->label < 0 &&
        labels->n < (size_t)in->options.conf->model.max_labels)
        w->label = (int32_t)names_add(labels, w->rec->label);
    return w->label >= 0;
}

static void resolve_domain(struct intake *in, struct waiting *w)
{
    w->domain = progress_domain_id(
        in->options.progress, w->rec->domain,
        (size_t)in->options.conf->model.max_domains);
}

static void cut_text_of(struct intake *in, struct waiting *w)
{
    const struct record *rec = w->rec;

    w->text_hash = checksum_xxh3(rec->text, rec->text_bytes, 0);
    cut_record(&w->cut, in->options.tokenizer, in->options.context,
               rec->prompt, rec->prompt_bytes, rec->text, rec->text_bytes,
               w->domain, w->label);
    if (!in->options.tokenizer && rec->grams) {
        w->cut.segments[0].grams = rec->grams;
        w->cut.segments[0].n_grams = (uint32_t)rec->n_grams;
    }
}

bool intake_holds_out(const char *text, size_t n_bytes, int64_t n_before,
                      double fraction)
{
    uint64_t hash = checksum_xxh3(text, n_bytes, HOLDOUT_SALT);

    if (fraction > 0 && n_before < INTAKE_FIRST)
        fraction = fmax(fraction, INTAKE_FIRST_HELD_OUT);
    return (double)(hash >> 11) * 0x1p-53 < fraction;
}

/*
 * Is the last waiting record held out?
 *
 * Progress has counted the records before it, or they wait. Skipped records do
 * not count: a rollback has undone them, and `verify --retrain` does not read
 * them. Progress has counted a record that is learned in part. An earlier copy
 * of the text is in progress as well, or still waits.
 */
static bool is_held_out(const struct intake *in, const struct waiting *last)
{
    const struct progress *p = in->options.progress;
    double fraction = in->options.conf->learner.holdout.fraction;
    int64_t n_before = p->records.consumed - p->records.skipped;
    int64_t of_domain = p->by_domain[last->domain].consumed;
    bool is_copy = progress_has_first_text(p, last->text_hash), is_early;

    for (size_t i = 0; i + 1 < in->n; i++) {
        const struct waiting *w = waiting_at(in, i);
        bool counts = w->kind != HOLE && w->kind != 's' && w->next == 0;

        is_copy |= w->kind == 'h' && w->text_hash == last->text_hash;
        n_before += counts;
        of_domain += counts && w->domain == last->domain;
    }
    is_early = n_before < INTAKE_FIRST ||
               (last->domain < INTAKE_FIRST_DOMAINS &&
                of_domain < INTAKE_FIRST_OF_DOMAIN);
    return intake_holds_out(last->rec->text, last->rec->text_bytes,
                            is_early ? 0 : INTAKE_FIRST, fraction) ||
           (fraction > 0 && is_copy);
}

static void decide_good(struct intake *in, struct waiting *w)
{
    const struct record *rec = w->rec;
    struct filter_record asked = {
        .text = rec->text,
        .n_bytes = rec->text_bytes,
        .grams = rec->grams,
        .n_grams = rec->n_grams,
        .released = rec->released,
    };

    if (!in->options.tokenizer && !rec->label) {
        decide_bad(in, w, "no_label");
        return;
    }
    resolve_domain(in, w);
    asked.domain = w->domain;
    w->reason = filter_admit(in->options.filter, &asked, &w->mark);
    if (w->reason) {
        w->kind = 'q';
    } else if (!resolve_label(in, w)) {
        decide_bad(in, w, "too_many_labels");
    } else {
        cut_text_of(in, w);
        w->kind = is_held_out(in, w) ? 'h' : 'l';
    }
}

/* Decides a record that is learned in part: it is counted already, and its
 * other segments are learned, whatever the settings are now. */
static void decide_rest(struct intake *in, struct waiting *w,
                        int64_t tokens_done)
{
    if (w->rec->reason || !resolve_label(in, w)) {
        w->kind = HOLE;
        return;
    }
    w->kind = 'l';
    resolve_domain(in, w);
    cut_text_of(in, w);
    while (w->next < w->cut.n_segments && tokens_done > 0)
        tokens_done -= w->cut.segments[w->next++].n_tokens;
}

/* True when source.when_behind: sample leaves the record out. */
static bool is_passed_over(const struct intake *in, const struct waiting *w)
{
    uint64_t seed = (uint64_t)in->options.conf->learner.seed;

    return in->share < 1 && !w->rec->released &&
           rng_unit(seed, RNG_BEHIND, (uint64_t)w->partition_id,
                    (uint64_t)w->rec->offset) >= in->share;
}

/* Decides the last waiting record: sets its kind, and its reason or segments.
 * New labels and domains get their ids. */
static void decide(struct intake *in, struct waiting *w)
{
    const struct progress_partition *q =
        &in->options.progress->partitions[w->partition_id];
    bool is_begun = q->positioned && q->next_offset == w->rec->offset &&
                    q->tokens_done > 0;

    if (w->rec->kind == RECORD_HOLE)
        w->kind = HOLE;
    else if (is_skipped(in, w))
        w->kind = is_begun ? HOLE : 's';
    else if (is_begun)
        decide_rest(in, w, q->tokens_done);
    else if (w->rec->forgets)
        w->kind = 's';
    else if (is_passed_over(in, w))
        w->kind = 's';
    else if (w->rec->reason)
        decide_bad(in, w, w->rec->reason);
    else
        decide_good(in, w);
}

/* --- a decision takes effect -------------------------------------------- */

static struct segment_origin origin_of(const struct waiting *w, size_t part)
{
    return (struct segment_origin){
        .partition_id = w->partition_id,
        .offset = w->rec->offset,
        .part = (uint32_t)part,
        .id = w->rec->id,
        .text_hash = w->text_hash,
        .time_ms = w->rec->time_ms,
    };
}

static void quarantine(struct intake *in, const struct waiting *w,
                       const char *reason)
{
    const struct record *rec = w->rec;
    const struct store_quarantine_row row = {
        .partition_id = w->partition_id,
        .offset = rec->offset,
        .time_ms = rec->time_ms,
        .reason = reason,
        .bytes = rec->value,
        .n_bytes = rec->n_bytes,
        .cut = strcmp(reason, "too_long") == 0, /* the source has cut it */
        .id = rec->id,
        .domain = rec->domain,
    };

    progress_quarantine(in->options.progress, &row,
                        (size_t)in->options.conf->source.max_record_bytes);
}

/* Counts the decision on a record. The first segment of a learned record is in
 * step `step`. */
static void count(struct intake *in, struct waiting *w, char kind,
                  const char *reason, int64_t step)
{
    filter_settle(in->options.filter, &w->mark);
    progress_decide(in->options.progress, step, w->partition_id,
                    w->rec->offset, kind);
    if (w->domain >= 0 && kind != 's')
        in->options.progress->by_domain[w->domain].consumed++;
    refusals_count(in->options.refusals, kind, reason, w->rec,
                   timing_mono_ms());
    if (kind == 'q')
        quarantine(in, w, reason);
}

/* Holds the record at the front out, unless it looks like the noise that came
 * just before it: the records before it have been scored by now. */
static void hold_out(struct intake *in, struct waiting *w)
{
    if (!intake_holds_out(w->rec->text, w->rec->text_bytes, INTAKE_FIRST,
                          in->options.conf->learner.holdout.fraction))
        progress_keep_first_text(in->options.progress, w->text_hash);
    if (in->options.tokenizer && w->cut.n_segments)
        w->reason = filter_judge_held_out(
            in->options.filter, &w->cut.segments[0], w->rec->released);
    if (w->reason) {
        w->kind = 'q';
        return;
    }
    for (size_t i = 0; i < w->cut.n_segments; i++) {
        struct segment_origin origin = origin_of(w, i);

        replay_offer(in->options.holdout, &w->cut.segments[i], &origin, 0);
    }
}

/* Takes records from the front until one of them waits for a step. */
static void settle(struct intake *in, int64_t step)
{
    while (in->n) {
        struct waiting *w = waiting_at(in, 0);

        if (w->kind == 'l' && w->next < w->cut.n_segments)
            break;
        if (w->kind == 'h')
            hold_out(in, w);
        if (w->kind != 'l' && w->kind != HOLE)
            count(in, w, w->kind, w->reason, step);
        progress_move(in->options.progress, w->partition_id, w->rec->offset);
        drop_front(in);
    }
}

int intake_add(struct intake *in, struct record *rec, int64_t step,
               struct err *err)
{
    struct waiting *w;

    if (rec->reason && !rec->released &&
        in->options.conf->source.bad_record == CONF_BAD_RECORD_STOP) {
        char detail[160];

        record_reason_explain(rec->reason, rec->value, rec->n_bytes, detail,
                              sizeof detail);
        err_set(err, ERR_INVALID,
                "%s [%d] offset %lld: bad record (%s%s%s), and "
                "source.bad_record is stop",
                rec->topic, (int)rec->partition, (long long)rec->offset,
                rec->reason, *detail ? ": " : "", detail);
        record_free(rec);
        return ERR_INVALID;
    }
    w = append(in, rec);
    w->partition_id = progress_begin(in->options.progress, rec->topic,
                                     rec->partition, rec->offset);
    decide(in, w);
    if (w->kind == 'l')
        for (size_t i = w->next; i < w->cut.n_segments; i++)
            in->tokens += tokens_of(&w->cut.segments[i]);
    settle(in, step);
    return 0;
}

/* Decides the waiting records again. A record that is learned in part stays at
 * the front, unless the rest of it is to be dropped. */
static void decide_again(struct intake *in, bool drop_rest, int64_t step)
{
    bool is_begun = in->n && waiting_at(in, 0)->kind == 'l' &&
                    waiting_at(in, 0)->next > 0;
    size_t first = is_begun ? 1 : 0, n = in->n - first;
    struct record **records = xcalloc(n + 1, sizeof *records);

    filter_rewind(in->options.filter);
    for (size_t i = 0; i < n; i++)
        records[i] = take_record(in, waiting_at(in, first + i));
    in->n = first;
    if (is_begun && drop_rest)
        drop_segments(in, waiting_at(in, 0));
    settle(in, step);
    for (size_t i = 0; i < n; i++)
        intake_add(in, records[i], step, NULL);
    free(records);
}

void intake_decide_again(struct intake *in, int64_t step)
{
    decide_again(in, in->n && is_skipped(in, waiting_at(in, 0)), step);
}

void intake_restart(struct intake *in, int64_t step)
{
    decide_again(in, true, step);
}

/* --- a step ------------------------------------------------------------- */

static void batch_push(struct intake *in, struct intake_batch *b,
                       const struct waiting *w, size_t part)
{
    if (b->n == in->cap_batch) {
        in->cap_batch = in->cap_batch ? 2 * in->cap_batch : 64;
        in->segments = xreallocarray(in->segments, in->cap_batch,
                                     sizeof *in->segments);
        in->origins = xreallocarray(in->origins, in->cap_batch,
                                    sizeof *in->origins);
        in->refused = xreallocarray(in->refused, in->cap_batch,
                                    sizeof *in->refused);
    }
    in->segments[b->n] = w->cut.segments[part];
    in->origins[b->n] = origin_of(w, part);
    in->refused[b->n] = NULL;
    b->released = w->rec->released;
    b->tokens += tokens_of(&w->cut.segments[part]);
    b->n++;
}

void intake_next_batch(struct intake *in, size_t batch_tokens,
                       struct intake_batch *b)
{
    memset(b, 0, sizeof *b);
    for (size_t i = 0; i < in->n; i++) {
        const struct waiting *w = waiting_at(in, i);

        if (w->kind != 'l')
            continue;
        if (b->n && w->rec->released != b->released)
            break;
        for (size_t part = w->next; part < w->cut.n_segments; part++) {
            if (b->n && b->tokens + tokens_of(&w->cut.segments[part]) >
                            batch_tokens)
                goto full;
            batch_push(in, b, w, part);
        }
    }
full:
    b->segments = in->segments;
    b->origins = in->origins;
    b->refused = in->refused;
}

/* Moves the record at the front past its next n segments, which a step had. */
static void advance_front(struct intake *in, size_t n, const char *refused,
                          int64_t step)
{
    struct progress *p = in->options.progress;
    struct waiting *w = waiting_at(in, 0);
    struct progress_partition *q = &p->partitions[w->partition_id];
    bool is_first = w->next == 0;

    if (!is_first)
        progress_continue(p, step, w->partition_id, w->rec->offset);
    else
        count(in, w, refused ? 'q' : 'l', refused, step);
    if (is_first && !refused) {
        p->by_domain[w->domain].records++;
        if (w->rec->time_ms > p->newest_record_ms)
            p->newest_record_ms = w->rec->time_ms;
    }
    q->next_offset = w->rec->offset;
    q->last_learned = w->rec->offset;
    q->last_hash = w->rec->value_hash;
    for (size_t i = 0; i < n; i++) {
        const struct segment *s = &w->cut.segments[w->next++];

        q->tokens_done += s->n_tokens;
        p->tokens_seen += (int64_t)tokens_of(s);
        in->tokens -= tokens_of(s);
    }
    if (is_first && refused)
        drop_segments(in, w);
}

void intake_apply(struct intake *in, const struct intake_batch *b,
                  const char *refused, int64_t step)
{
    size_t done = 0;

    while (done < b->n) {
        struct waiting *w = waiting_at(in, 0);
        size_t rest = w->cut.n_segments - w->next, left = b->n - done;
        size_t n = rest < left ? rest : left;

        BUG_ON(w->kind != 'l');
        advance_front(in, n, b->refused[done] ? b->refused[done] : refused,
                      step);
        done += n;
        settle(in, step);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/intake/intake.h"

#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/intake/intake_private.h"
#include "daemon/stream/record_reason.h"
#include "learner/tokenizer/cut.h"
#include "store/ranges.h"

/* Records waiting, decided or not, before a step is made of few tokens. */
#define LONG 4096

struct intake *intake_create(const struct intake_options *options)
{
    struct intake *in = xcalloc(1, sizeof *in);

    in->options = *options;
    in->share = 1;
    return in;
}

static size_t cost(const struct segment *s)
{
    return s->n_tokens ? s->n_tokens : 1 + s->text_bytes / 4;
}

static void drop_front(struct intake *in)
{
    struct waiting *w = intake_at(in, 0);

    if (w->kind == 'l')
        for (size_t i = w->next; i < w->cut.n_segments; i++)
            in->tokens -= cost(&w->cut.segments[i]);
    in->memory -= record_memory(w->rec);
    cut_release(&w->cut);
    record_free(w->rec);
    in->front = (in->front + 1) % in->cap;
    in->n--;
}

static void drop_all(struct intake *in)
{
    while (in->n)
        drop_front(in);
}

/* What the filter did for those that wait, the last first. One that has begun
 * to be learned is in the state already. */
static void take_back(const struct intake *in, struct filter *filter)
{
    for (size_t i = in->n; i-- > 0;)
        if (intake_at(in, i)->next == 0)
            filter_take_back(filter, &intake_at(in, i)->mark);
}

void intake_clear(struct intake *in)
{
    if (in->options.filter)
        take_back(in, in->options.filter);
    drop_all(in);
}

void intake_export(const struct intake *in, struct tensor_list *out)
{
    struct filter *filter;

    if (!in->options.filter)
        return;
    filter = filter_copy(in->options.filter);
    take_back(in, filter);
    filter_export(filter, out);
    filter_free(filter);
}

void intake_free(struct intake *in)
{
    if (!in)
        return;
    drop_all(in);
    free(in->items);
    free(in->segments);
    free(in->origins);
    free(in->refused);
    free(in->skipped);
    free(in->forgotten);
    free(in);
}

void intake_set_skipped(struct intake *in, struct catalog_range *ranges,
                        size_t n)
{
    free(in->skipped);
    in->skipped = ranges;
    in->n_skipped = ranges_settle(ranges, n);
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

size_t intake_memory(const struct intake *in)
{
    return in->memory;
}

void intake_set_share(struct intake *in, double share)
{
    in->share = share;
}

/* --- taking effect ------------------------------------------------------ */

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

static void hold_out(struct intake *in, const struct waiting *w)
{
    for (size_t i = 0; i < w->cut.n_segments; i++) {
        struct segment_origin origin = origin_of(w, i);

        replay_offer(in->options.holdout, &w->cut.segments[i], &origin, 0);
    }
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
        .cut = strcmp(reason, "too_long") == 0, /* by the source already */
        .id = rec->id,
        .domain = rec->domain,
    };

    progress_quarantine(in->options.progress, &row,
                        (size_t)in->options.conf->source.max_record_bytes);
}

/* Tells the log of a decision that the ledger and the counters have already. */
static void tell(struct intake *in, const struct waiting *w, char kind,
                 const char *reason)
{
    if (in->options.refusals)
        refusals_count(in->options.refusals, kind, reason, w->rec,
                       timing_mono_ms());
}

/* A held-out record has come to the front: what came before it is judged. */
static void look_at_held_out(struct intake *in, struct waiting *w)
{
    if (!intake_holds_out(w->rec->text, w->rec->text_bytes, INTAKE_FIRST,
                          in->options.conf->learner.holdout.fraction))
        progress_keep_first_text(in->options.progress, w->text_hash);
    if (in->options.filter && in->options.tokenizer && w->cut.n_segments)
        w->reason = filter_judge_held_out(
            in->options.filter, &w->cut.segments[0], w->rec->released);
    if (w->reason)
        w->kind = 'q';
    else
        hold_out(in, w);
}

/* Decisions at the front that wait for no step. */
static void settle(struct intake *in, int64_t step)
{
    struct progress *p = in->options.progress;

    while (in->n) {
        struct waiting *w = intake_at(in, 0);
        const struct record *rec = w->rec;

        if (w->kind == 'l' && w->next < w->cut.n_segments)
            break;
        if (w->kind == 'h')
            look_at_held_out(in, w);
        if (w->kind == 'q')
            quarantine(in, w, w->reason);
        if (w->kind == 'h' || w->kind == 'q' || w->kind == 's') {
            progress_decide(p, step, w->partition_id, rec->offset, w->kind);
            tell(in, w, w->kind, w->reason);
        }
        progress_move(p, w->partition_id, rec->offset);
        drop_front(in);
    }
}

/* Puts a record at the end; room is made by doubling. */
static struct waiting *append(struct intake *in, struct record *rec)
{
    struct waiting *w;

    if (in->n == in->cap) {
        size_t cap = in->cap ? 2 * in->cap : 64;
        struct waiting *items = xcalloc(cap, sizeof *items);

        for (size_t i = 0; i < in->n; i++)
            items[i] = *intake_at(in, i);
        free(in->items);
        in->items = items;
        in->front = 0;
        in->cap = cap;
    }
    in->n++;
    w = intake_at(in, in->n - 1);
    memset(w, 0, sizeof *w);
    w->rec = rec;
    w->label = -1;
    w->mark = (struct filter_mark)FILTER_NO_MARK;
    in->memory += record_memory(rec);
    return w;
}

int intake_add(struct intake *in, struct record *rec, int64_t step,
               struct err *err)
{
    struct progress *p = in->options.progress;
    struct waiting *w;
    char detail[160];
    int32_t id;
    int rc;

    if (rec->reason && !rec->released &&
        in->options.conf->source.bad_record == CONF_BAD_RECORD_STOP) {
        record_reason_explain(rec->reason, rec->value, rec->n_bytes, detail,
                              sizeof detail);
        rc = err_set(err, ERR_INVALID,
                     "%s [%d] offset %lld: bad record (%s%s%s), and "
                     "source.bad_record is stop",
                     rec->topic, (int)rec->partition, (long long)rec->offset,
                     rec->reason, *detail ? ": " : "", detail);
        record_free(rec);
        return rc;
    }
    id = progress_begin(p, rec->topic, rec->partition, rec->offset);
    w = append(in, rec);
    w->partition_id = id;
    intake_decide(in, w);
    if (w->kind == 'l')
        for (size_t i = w->next; i < w->cut.n_segments; i++)
            in->tokens += cost(&w->cut.segments[i]);
    settle(in, step);
    return 0;
}

/* The last one that waits, undecided again. */
static struct record *take_last(struct intake *in)
{
    struct waiting *w = intake_at(in, in->n - 1);
    struct record *rec = w->rec;

    for (size_t k = w->next; w->kind == 'l' && k < w->cut.n_segments; k++)
        in->tokens -= cost(&w->cut.segments[k]);
    in->memory -= record_memory(rec);
    cut_release(&w->cut);
    in->n--;
    return rec;
}

/* The rest of one that was learned in part; it has been counted. */
static void let_go(struct intake *in, struct waiting *w)
{
    for (size_t k = w->next; k < w->cut.n_segments; k++)
        in->tokens -= cost(&w->cut.segments[k]);
    w->kind = DECIDED_HOLE;
}

void intake_decide_again(struct intake *in, int64_t step)
{
    size_t n = in->n, first = 0;
    struct record **records = xcalloc(n + 1, sizeof *records);

    if (in->options.filter)
        take_back(in, in->options.filter);
    if (n && intake_at(in, 0)->kind == 'l' && intake_at(in, 0)->next > 0)
        first = 1;
    for (size_t i = n; i-- > first;)
        records[i] = take_last(in);
    if (first && intake_is_skipped(in, intake_at(in, 0)))
        let_go(in, intake_at(in, 0));
    settle(in, step);
    for (size_t i = first; i < n; i++)
        intake_add(in, records[i], step, NULL);
    free(records);
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
    b->tokens += cost(&w->cut.segments[part]);
    b->n++;
}

void intake_next_batch(struct intake *in, size_t batch_tokens,
                       struct intake_batch *b)
{
    memset(b, 0, sizeof *b);
    for (size_t i = 0; i < in->n; i++) {
        const struct waiting *w = intake_at(in, i);

        if (w->kind != 'l')
            continue;
        if (b->n && w->rec->released != b->released)
            break;
        for (size_t part = w->next; part < w->cut.n_segments; part++) {
            if (b->n && b->tokens + cost(&w->cut.segments[part]) >
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

/* The first part of a record has been decided: counts it. */
static void decide_front(struct intake *in, const char *refused, int64_t step)
{
    struct progress *p = in->options.progress;
    const struct waiting *w = intake_at(in, 0);
    const struct record *rec = w->rec;

    progress_decide(p, step, w->partition_id, rec->offset,
                    refused ? 'q' : 'l');
    tell(in, w, refused ? 'q' : 'l', refused);
    if (refused) {
        quarantine(in, w, refused);
        return;
    }
    p->by_domain[w->domain].records++;
    if (rec->time_ms > p->newest_record_ms)
        p->newest_record_ms = rec->time_ms;
}

/* The record at the front has had `count` more of its segments in a step. */
static void advance_front(struct intake *in, size_t count,
                          const char *refused, int64_t step)
{
    struct progress *p = in->options.progress;
    struct waiting *w = intake_at(in, 0);
    struct progress_partition *q = &p->partitions[w->partition_id];
    bool quarantined = refused && w->next == 0;

    if (w->next == 0)
        decide_front(in, refused, step);
    else
        progress_continue(p, step, w->partition_id, w->rec->offset);
    q->next_offset = w->rec->offset;
    q->last_learned = w->rec->offset;
    q->last_hash = w->rec->value_hash;
    for (size_t i = 0; i < count; i++) {
        const struct segment *s = &w->cut.segments[w->next++];

        q->tokens_done += s->n_tokens;
        p->tokens_seen += (int64_t)cost(s);
        in->tokens -= cost(s);
    }
    while (quarantined && w->next < w->cut.n_segments)
        in->tokens -= cost(&w->cut.segments[w->next++]);
}

void intake_apply(struct intake *in, const struct intake_batch *b,
                  const char *refused, int64_t step)
{
    size_t done = 0;

    while (done < b->n) {
        struct waiting *w = intake_at(in, 0);
        size_t rest = w->cut.n_segments - w->next, left = b->n - done;
        size_t count = rest < left ? rest : left;

        BUG_ON(w->kind != 'l');
        advance_front(in, count, b->refused[done] ? b->refused[done] : refused,
                      step);
        done += count;
        settle(in, step);
    }
}

int32_t intake_restart(struct intake *in, int64_t step, int64_t *offset)
{
    struct record **records = xcalloc(in->n + 1, sizeof *records);
    size_t n = in->n;
    int32_t partial = -1;

    for (size_t i = 0; i < n; i++) {
        struct waiting *w = intake_at(in, 0);

        if (i == 0 && w->kind == 'l' && w->next > 0) {
            partial = w->partition_id;
            *offset = w->rec->offset;
        } else {
            records[i] = w->rec;
            in->memory -= record_memory(w->rec);
            w->rec = record_create(RECORD_HOLE);
            in->memory += record_memory(w->rec);
        }
        drop_front(in);
    }
    if (partial >= 0)
        progress_move(in->options.progress, partial, *offset);
    for (size_t i = 0; i < n; i++)
        if (records[i])
            intake_add(in, records[i], step, NULL);
    free(records);
    return partial;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a record: skipped, gone on with, quarantined, held out or
 * learned, in this order of questions. It depends on the record, the settings,
 * the control log, the filter's state and how many records came before; nothing
 * is counted here.
 */
#include "config.h"

#include <math.h>

#include "base/checksum.h"
#include "base/rng.h"
#include "daemon/intake/intake_private.h"
#include "store/ranges.h"

/* Fixed for ever: duplicates share a side, and so do runs with other seeds. */
#define HOLDOUT_SALT UINT64_C(0x6d6e656d65)

static bool is_forgotten(const struct intake *in, enum tombstones_kind kind,
                         const char *name, const struct waiting *w)
{
    return name && tombstones_have(in->forgotten, in->n_forgotten,
                                   tombstones_hash(kind, name),
                                   w->partition_id, w->rec->offset);
}

bool intake_is_skipped(const struct intake *in, const struct waiting *w)
{
    if (ranges_have(in->skipped, in->n_skipped, w->partition_id,
                    w->rec->offset))
        return true;
    return in->n_forgotten > 0 &&
           (is_forgotten(in, TOMBSTONES_ID, w->rec->id, w) ||
            is_forgotten(in, TOMBSTONES_DOMAIN, w->rec->domain, w));
}

/* A released record was good when it was released; what has changed since is
 * no reason to keep it twice. */
static void decide_bad(struct waiting *w, const struct conf *conf,
                       const char *reason)
{
    bool skip = conf->source.bad_record == CONF_BAD_RECORD_SKIP ||
                w->rec->released;

    w->kind = skip ? 's' : 'q';
    w->reason = reason;
}

/* The label's id; false when the table is full. */
static bool resolve_label(struct intake *in, struct waiting *w)
{
    struct names *labels = &in->options.progress->labels;

    w->label = -1;
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

static void cut_waiting(struct intake *in, struct waiting *w)
{
    const struct record *rec = w->rec;

    cut_record(&w->cut, in->options.tokenizer, in->options.context,
               rec->prompt, rec->prompt_bytes, rec->text, rec->text_bytes,
               w->domain, w->label);
    if (!in->options.tokenizer && rec->grams) {
        w->cut.segments[0].grams = rec->grams;
        w->cut.segments[0].n_grams = (uint32_t)rec->n_grams;
    }
}

/* Not fit to be learned? What a person released is. */
static bool is_filtered(struct intake *in, struct waiting *w)
{
    const struct record *rec = w->rec;
    const struct filter_record r = {
        .text = rec->text,
        .n_bytes = rec->text_bytes,
        .grams = rec->grams,
        .n_grams = rec->n_grams,
        .domain = w->domain,
        .released = rec->released,
    };

    if (!in->options.filter)
        return false;
    w->reason = filter_admit(in->options.filter, &r, &w->mark);
    return w->reason != NULL;
}

bool intake_holds_out(const char *text, size_t n_bytes, int64_t place,
                      double fraction)
{
    uint64_t hash = checksum_xxh3(text, n_bytes, HOLDOUT_SALT);

    if (fraction > 0 && place < INTAKE_FIRST)
        fraction = fmax(fraction, INTAKE_FIRST_HELD_OUT);
    return (double)(hash >> 11) * 0x1p-53 < fraction;
}

/* How many records there were before the last that waits, as far as it matters,
 * without skipped ones: what a rollback has undone is no longer there to
 * measure on, and who learns a version again does not read them. The one at the
 * front may have begun to be learned, and is counted then; holes never are. */
static int64_t place_of_last(const struct intake *in)
{
    const struct status_records *r = &in->options.progress->records;
    int64_t place = r->consumed - r->skipped;

    for (size_t i = 0; i + 1 < in->n && place < INTAKE_FIRST; i++) {
        const struct waiting *w = intake_at(in, i);

        place += w->kind != DECIDED_HOLE && w->kind != 's' && w->next == 0;
    }
    return place;
}

/* One of the first may still wait. */
static bool is_copy_of_first(const struct intake *in, uint64_t text_hash)
{
    const struct progress *p = in->options.progress;

    if (progress_has_first_text(p, text_hash))
        return true;
    if (p->records.consumed - p->records.skipped >= INTAKE_FIRST)
        return false;
    for (size_t i = 0; i + 1 < in->n; i++)
        if (intake_at(in, i)->kind == 'h' &&
            intake_at(in, i)->text_hash == text_hash)
            return true;
    return false;
}

static bool is_held_out(const struct intake *in, const struct waiting *w)
{
    const struct record *rec = w->rec;
    double fraction = in->options.conf->learner.holdout.fraction;

    return intake_holds_out(rec->text, rec->text_bytes, place_of_last(in),
                            fraction) ||
           (fraction > 0 && is_copy_of_first(in, w->text_hash));
}

static void decide_good(struct intake *in, struct waiting *w)
{
    const struct conf *conf = in->options.conf;
    const struct record *rec = w->rec;

    if (!in->options.tokenizer && !rec->label) {
        decide_bad(w, conf, "no_label");
        return;
    }
    resolve_domain(in, w);
    if (is_filtered(in, w)) {
        w->kind = 'q';
        return;
    }
    if (!resolve_label(in, w)) {
        decide_bad(w, conf, "too_many_labels");
        return;
    }
    w->text_hash = checksum_xxh3(rec->text, rec->text_bytes, 0);
    w->kind = is_held_out(in, w) ? 'h' : 'l';
    cut_waiting(in, w);
}

/* A record whose first tokens are in the model already, and that has been
 * counted: only its rest is left, whatever the settings say by now. */
static void resume(struct intake *in, struct waiting *w, int64_t tokens_done)
{
    const struct record *rec = w->rec;

    if (rec->reason || !resolve_label(in, w)) {
        w->kind = DECIDED_HOLE;
        return;
    }
    w->kind = 'l';
    w->text_hash = checksum_xxh3(rec->text, rec->text_bytes, 0);
    resolve_domain(in, w);
    cut_waiting(in, w);
    while (w->next < w->cut.n_segments && tokens_done > 0)
        tokens_done -= w->cut.segments[w->next++].n_tokens;
}

/* Is it among those that are passed over to catch up? */
static bool is_passed_over(const struct intake *in, const struct waiting *w)
{
    uint64_t seed = (uint64_t)in->options.conf->learner.seed;

    return in->share < 1 && !w->rec->released &&
           rng_unit(seed, RNG_BEHIND, (uint64_t)w->partition_id,
                    (uint64_t)w->rec->offset) >= in->share;
}

void intake_decide(struct intake *in, struct waiting *w)
{
    const struct record *rec = w->rec;
    const struct progress_partition *at_partition =
        &in->options.progress->partitions[w->partition_id];
    bool admitted = at_partition->positioned &&
                    at_partition->next_offset == rec->offset &&
                    at_partition->tokens_done > 0;

    if (rec->kind == RECORD_HOLE) {
        w->kind = DECIDED_HOLE;
    } else if (intake_is_skipped(in, w)) {
        /* An admitted one has been counted, when its first part was learned */
        w->kind = admitted ? DECIDED_HOLE : 's';
    } else if (admitted) {
        resume(in, w, at_partition->tokens_done);
    } else if (is_passed_over(in, w)) {
        w->kind = 's';
    } else if (rec->reason) {
        decide_bad(w, in->options.conf, rec->reason);
    } else {
        decide_good(in, w);
    }
}

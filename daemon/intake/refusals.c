/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/intake/refusals.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "daemon/stream/record_reason.h"

void refusals_init(struct refusals *r)
{
    memset(r, 0, sizeof *r);
}

void refusals_release(struct refusals *r)
{
    names_release(&r->reasons);
    free(r->by_reason);
    memset(r, 0, sizeof *r);
}

static struct refusals_reason *reason_of(struct refusals *r, const char *name)
{
    int64_t id = names_find(&r->reasons, name);

    if (id < 0) {
        XGROW(r->by_reason, r->reasons.n, r->cap);
        id = (int64_t)names_add(&r->reasons, name);
        memset(&r->by_reason[id], 0, sizeof *r->by_reason);
        r->by_reason[id].logged_ms = -1;
    }
    return &r->by_reason[id];
}

/* --- lines -------------------------------------------------------------- */

/* Warnings are for faults of the stream. Blank lines, and records that a filter
 * refuses in a healthy stream, are logged at level info. */
static enum log_level level_of(const char *reason)
{
    static const char *const usual[] = {"empty", "repetition",
                                        "near_duplicate", "share_cap",
                                        "surprise", "predictable"};

    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (strcmp(reason, usual[i]) == 0)
            return LOG_INFO;
    return LOG_WARN;
}

static void log_if_due(struct refusals *r, size_t id, bool all, int64_t now_ms)
{
    struct refusals_reason *one = &r->by_reason[id];
    const char *name = r->reasons.items[id];
    bool is_due = all || one->logged_ms < 0 ||
                  now_ms - one->logged_ms >= REFUSALS_EVERY_MS;

    if (one->unlogged == 0 || !is_due)
        return;
    if (r->logs)
        log_line(level_of(name), "refused",
                 "reason=%s count=%lld topic=%s partition=%d offset=%lld "
                 "detail=\"%s\"",
                 name, (long long)one->unlogged, one->topic,
                 (int)one->partition, (long long)one->offset, one->detail);
    one->unlogged = 0;
    one->logged_ms = now_ms;
}

void refusals_log(struct refusals *r, bool all, int64_t now_ms)
{
    for (size_t i = 0; i < r->reasons.n; i++)
        log_if_due(r, i, all, now_ms);
}

/* Appends the counts by reason, as "bad_field 50, not_utf8 2". */
static void list_reasons(const struct refusals *r, struct buf *out)
{
    buf_adds(out, "");
    for (size_t i = 0; i < r->reasons.n; i++)
        if (r->by_reason[i].count)
            buf_addf(out, "%s%s %lld", out->len ? ", " : "",
                     r->reasons.items[i], (long long)r->by_reason[i].count);
}

static void warn(struct refusals *r)
{
    struct buf reasons = BUF_INIT;

    list_reasons(r, &reasons);
    if (r->logs)
        log_warn("nothing_learned",
                 "records=%lld refused=\"%s\" detail=\"%s\" hint=\"all records "
                 "so far were refused; %s\"",
                 (long long)r->records, reasons.data, r->detail,
                 r->quarantined
                     ? "mneme quarantine lists them"
                     : "source.bad_record is skip, so none was kept");
    r->warned = true;
    buf_release(&reasons);
}

/* --- counting ----------------------------------------------------------- */

static void count_refused(struct refusals *r, const char *reason,
                          const struct record *rec, int64_t now_ms)
{
    struct refusals_reason *one = reason_of(r, reason);

    one->count++;
    if (one->unlogged++ == 0) {
        one->topic = rec->topic;
        one->partition = rec->partition;
        one->offset = rec->offset;
        record_reason_explain(reason, rec->value, rec->n_bytes, one->detail,
                              sizeof one->detail);
    }
    if (r->refused++ == 0)
        memcpy(r->detail, one->detail, sizeof r->detail);
    log_if_due(r, (size_t)(one - r->by_reason), false, now_ms);
}

void refusals_count(struct refusals *r, char kind, const char *reason,
                    const struct record *rec, int64_t now_ms)
{
    r->records++;
    r->learned += kind == 'l';
    r->held_out += kind == 'h';
    r->skipped += kind == 's';
    r->quarantined += kind == 'q';
    if (reason)
        count_refused(r, reason, rec, now_ms);
    if (r->records == REFUSALS_FIRST && r->refused == r->records &&
        !r->warned)
        warn(r);
}

void refusals_preview(struct refusals *r, const struct record *rec)
{
    bool ended = !rec;

    if (rec && rec->kind == RECORD_DATA) {
        r->previewed++;
        r->preview_refused += rec->reason != NULL;
        if (rec->reason && r->previewed == 1)
            record_reason_explain(rec->reason, rec->value, rec->n_bytes,
                                  r->detail, sizeof r->detail);
    }
    if (!r->logs || r->warned || r->previewed == 0 ||
        r->previewed != r->preview_refused ||
        (!ended && r->previewed < REFUSALS_FIRST))
        return;
    log_warn("nothing_learned",
             "records=%lld detail=\"%s\" hint=\"the vocabulary waits for text, "
             "and all records so far are refused\"",
             (long long)r->previewed, r->detail);
    r->warned = true;
}

void refusals_end(struct refusals *r, int64_t now_ms)
{
    struct buf reasons = BUF_INIT;

    refusals_log(r, true, now_ms);
    list_reasons(r, &reasons);
    if (r->logs)
        log_info("end",
                 "records=%lld learned=%lld held_out=%lld skipped=%lld "
                 "quarantined=%lld refused=\"%s\"",
                 (long long)r->records, (long long)r->learned,
                 (long long)r->held_out, (long long)r->skipped,
                 (long long)r->quarantined, reasons.data);
    buf_release(&reasons);
    if (r->refused && r->refused == r->records)
        warn(r);
    for (size_t i = 0; i < r->reasons.n; i++)
        r->by_reason[i].count = 0;
    r->records = r->learned = r->held_out = r->skipped = 0;
    r->quarantined = r->refused = 0;
    r->warned = false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status: one screen about the daemon, from /v1/status and the newest version.
 */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/xalloc.h"
#include "cli/client.h"
#include "cli/verb.h"
#include "cli/pick.h"
#include "cli/table.h"

struct screen {
    json_t *status, *head; /* head: NULL before version 1 */
};

static void screen_release(struct screen *s)
{
    json_decref(s->status);
    json_decref(s->head);
}

static int screen_fetch(struct client *c, struct screen *s, struct err *err)
{
    int64_t head;
    int rc;

    s->status = s->head = NULL;
    rc = client_get(c, "/v1/status", &s->status, err);
    if (rc)
        return rc;
    head = pick_integer(s->status, "head_version", 0);
    if (head > 0)
        rc = client_version(c, head, &s->head, err);
    return rc;
}

/* --- the parts of the screen -------------------------------------------- */

static void print_state(const struct screen *s, const char *address,
                        FILE *out)
{
    const char *reason = pick_text(s->status, "reason");
    int64_t wanted = pick_integer(s->status, "vocabulary.wanted", 0);

    fprintf(out, "mnemed at %s: %s", address,
            pick_text_or(s->status, "state", "?"));
    if (reason && *reason) {
        fputs(" (", out);
        table_print_name(reason, out);
        fputc(')', out);
    }
    fputc('\n', out);
    if (wanted > 0 && pick_integer(s->status, "head_version", 0) == 0)
        fprintf(out,
                "  collecting text for the vocabulary: %" PRId64
                " of %" PRId64 " bytes, or until the stream pauses for "
                "model.tokenizer_wait_seconds\n",
                pick_integer(s->status, "vocabulary.bytes", 0), wanted);
}

static void print_serving(const struct screen *s, FILE *out)
{
    int64_t serving = pick_integer(s->status, "serving_version", 0);
    double freshness = pick_real(s->status, "freshness_seconds");

    if (serving > 0)
        fprintf(out, "  serving   version %" PRId64 "%s", serving,
                pick_true(s->status, "serving_pinned")
                    ? " (until `promote latest`)" : "");
    else
        fputs("  serving   no version yet", out);
    fprintf(out, ", newest version %" PRId64 ", step %" PRId64,
            pick_integer(s->status, "head_version", 0),
            pick_integer(s->status, "step", 0));
    if (isfinite(freshness))
        fprintf(out, "; newest record in the serving version: %.0f s old",
                freshness);
    fputc('\n', out);
    if (pick_true(s->status, "erasure_pending"))
        fputs("  forgotten mneme.db may hold erased bytes until there is free "
              "space to write it anew\n", out);
}

static void print_records(const struct screen *s, FILE *out)
{
    double records = pick_real(s->status, "records_per_second");

    fprintf(out,
            "  records   %" PRId64 " consumed: %" PRId64 " learned, %" PRId64
            " held out, %" PRId64 " quarantined, %" PRId64 " skipped\n",
            pick_integer(s->status, "records.consumed", 0),
            pick_integer(s->status, "records.learned", 0),
            pick_integer(s->status, "records.holdout", 0),
            pick_integer(s->status, "records.quarantined", 0),
            pick_integer(s->status, "records.skipped", 0));
    fputs("  speed     ", out);
    if (isfinite(records))
        fprintf(out, "%.1f records/s, ", records);
    fprintf(out, "%.0f tokens/s; %" PRId64 " tokens seen\n",
            pick_real(s->status, "tokens_per_second"),
            pick_integer(s->status, "tokens_seen", 0));
}

static void print_real(const char *before, double value, FILE *out)
{
    if (isfinite(value))
        fprintf(out, "%s%.3f", before, value);
    else
        fprintf(out, "%s-", before);
}

static void print_loss_and_memory(const struct screen *s, FILE *out)
{
    print_real("  loss      bits per byte: before learning ",
               pick_real(s->status, "loss.prequential_bits_per_byte"), out);
    print_real(", in training ",
               pick_real(s->status, "loss.train_bits_per_byte"), out);
    fprintf(out,
            "\n  memory    %" PRId64 " of %" PRId64 " segments to replay; "
            "EWC consolidations: %" PRId64 ", penalty %.3g\n",
            pick_integer(s->status, "replay.records", 0),
            pick_integer(s->status, "replay.capacity", 0),
            pick_integer(s->status, "ewc.consolidations", 0),
            pick_real(s->status, "ewc.penalty"));
}

static void print_gate(const struct screen *s, FILE *out)
{
    const char *verdict = pick_text(s->head, "gate.verdict");
    const char *reason = pick_text(s->head, "gate.reason");
    const char *state = pick_text(s->head, "state");

    if (!s->head)
        return;
    fprintf(out, "  gate      version %" PRId64 ": %s",
            pick_integer(s->head, "version", 0),
            verdict ? verdict : state ? state : "?");
    if (reason) {
        fputs(" - ", out);
        table_print_name(reason, out);
    }
    fputc('\n', out);
}

static void print_next_version(const struct screen *s, FILE *out)
{
    const char *waits_for =
        pick_text(s->status, "publish.next_version.waits_for");
    double seconds = pick_real(s->status, "publish.next_version.in_seconds");

    fprintf(out, "  publish   ");
    if (!waits_for)
        fputs("nothing to publish", out);
    else
        fprintf(out, "the next version waits for %s", waits_for);
    if (waits_for && isfinite(seconds))
        fprintf(out, ", at most %.0f s more", ceil(seconds));
    fputc('\n', out);
}

/* Prints an empty line and the table. */
static void finish_table(struct table *t, FILE *out)
{
    fputc('\n', out);
    table_print(t, out);
    table_release(t);
}

static void print_partitions(const struct screen *s, FILE *out)
{
    const json_t *rows = pick(s->status, "source.partitions");
    struct table t;
    const json_t *row;
    size_t i;

    if (json_array_size(rows) == 0)
        return;
    table_init(&t, "l:TOPIC r:PARTITION r:POSITION r:LAG");
    json_array_foreach(rows, i, row)
    {
        int64_t lag = pick_integer(row, "lag", -1);

        table_cell(&t, "%s", pick_text_or(row, "topic", "?"));
        table_cell(&t, "%" PRId64, pick_integer(row, "partition", 0));
        table_cell(&t, "%" PRId64, pick_integer(row, "offset", 0));
        if (lag >= 0)
            table_cell(&t, "%" PRId64, lag);
        else
            table_cell(&t, "-");
    }
    finish_table(&t, out);
}

static void print_domains(const struct screen *s, FILE *out)
{
    const json_t *rows = pick(s->status, "domains");
    int64_t known = pick_integer(s->status, "domains_known", 0);
    struct table t;
    const json_t *row;
    size_t i;

    if (json_array_size(rows) == 0)
        return;
    table_init(&t, "l:DOMAIN r:RECORDS r:BYTES r:BITS/BYTE r:HELD_OUT r:BEST "
                   "r:ACCURACY r:REPLAY r:ALARMS");
    json_array_foreach(rows, i, row)
    {
        table_cell(&t, "%s", pick_text_or(row, "domain", "?"));
        table_cell(&t, "%" PRId64, pick_integer(row, "records", 0));
        table_cell(&t, "%" PRId64, pick_integer(row, "bytes", 0));
        table_real(&t, pick_real(row, "prequential_bits_per_byte"), 3);
        table_real(&t, pick_real(row, "holdout_bits_per_byte"), 3);
        table_real(&t, pick_real(row, "holdout_best_bits_per_byte"), 3);
        table_real(&t, pick_real(row, "accuracy"), 3);
        table_cell(&t, "%" PRId64, pick_integer(row, "replay_rows", 0));
        table_cell(&t, "%" PRId64, pick_integer(row, "drift.alarms", 0));
    }
    finish_table(&t, out);
    if (known > (int64_t)json_array_size(rows))
        fprintf(out, "domains that are not shown: %" PRId64 "\n",
                known - (int64_t)json_array_size(rows));
}

static void print_screen(const struct screen *s, const char *address, FILE *out)
{
    print_state(s, address, out);
    print_serving(s, out);
    print_records(s, out);
    print_loss_and_memory(s, out);
    print_gate(s, out);
    print_next_version(s, out);
    print_partitions(s, out);
    print_domains(s, out);
}

/* --- the verb ----------------------------------------------------------- */

int cmd_status(const struct verb_args *args, struct err *err)
{
    struct client *c = NULL;
    struct screen s = {NULL, NULL};
    int rc = client_open(args, &c, err);

    if (rc == 0 && verb_has(args, "json"))
        rc = client_get(c, "/v1/status", &s.status, err);
    else if (rc == 0)
        rc = screen_fetch(c, &s, err);
    if (rc == 0 && verb_has(args, "json")) {
        pick_print(s.status);
    } else if (rc == 0) {
        print_screen(&s, client_address(c), stdout);
    }
    screen_release(&s);
    client_free(c);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status and top: one screen about the daemon, from /v1/status and the newest
 * version.
 */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "base/xalloc.h"
#include "cli/client.h"
#include "cli/verb.h"
#include "cli/live.h"
#include "cli/pick.h"
#include "cli/table.h"

struct screen {
    json_t *status, *head; /* head: NULL before version 1 */
};

/* The size of a terminal. A NULL pointer to it stands for a pipe. */
struct fit {
    int columns, rows;
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

/* Prints an empty line and the table. On a terminal, prints at most `most` rows
 * and fits them into the columns. */
static void finish_table(struct table *t, const struct fit *fit, size_t most,
                         FILE *out)
{
    size_t n = t->n_cells / t->n_columns - 1;

    if (fit && n > most)
        table_keep_rows(t, most);
    if (fit)
        table_narrow(t, (size_t)fit->columns);
    fputc('\n', out);
    table_print(t, out);
    if (fit && n > most)
        fprintf(out, "... and %zu more\n", n - most);
    table_release(t);
}

static void print_partitions(const struct screen *s, const struct fit *fit,
                             FILE *out)
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
    /* Leave room for the domains. */
    finish_table(&t, fit, fit && fit->rows > 15 ? (size_t)fit->rows / 3 : 5,
                 out);
}

static void print_domains(const struct screen *s, const struct fit *fit,
                          FILE *out)
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
    finish_table(&t, fit, SIZE_MAX, out);
    if (known > (int64_t)json_array_size(rows))
        fprintf(out, "domains that are not shown: %" PRId64 "\n",
                known - (int64_t)json_array_size(rows));
}

/* Prints text with lines broken between words to fit into the columns. */
static void wrap(const char *text, int columns, FILE *out)
{
    const int indent = columns > 40 ? 12 : 2;

    for (; *text; text += *text == '\n') {
        int at = 0, begin = 0;

        while (*text && *text != '\n') {
            size_t blanks = strspn(text, " ");
            size_t n = blanks + strcspn(text + blanks, " \n");
            int width = (int)table_width(text, n);

            if (at > begin && at + width > columns) {
                fprintf(out, "\n%*s", indent, "");
                at = begin = indent;
                width -= (int)blanks;
                text += blanks;
                n -= blanks;
            }
            fwrite(text, 1, n, out);
            at += width;
            text += n;
        }
        fputc('\n', out);
    }
}

/* Returns the whole screen as text, to be freed. */
static char *screen_text(const struct screen *s, const char *address,
                         const struct fit *fit)
{
    char *text = NULL, *sentences = NULL;
    size_t n;
    FILE *out = open_memstream(&sentences, &n);

    BUG_ON(!out);
    print_state(s, address, out);
    print_serving(s, out);
    print_records(s, out);
    print_loss_and_memory(s, out);
    print_gate(s, out);
    print_next_version(s, out);
    fclose(out);
    out = open_memstream(&text, &n);
    BUG_ON(!out);
    if (fit)
        wrap(sentences, fit->columns, out);
    else
        fputs(sentences, out);
    print_partitions(s, fit, out);
    print_domains(s, fit, out);
    fclose(out);
    free(sentences);
    return text;
}

/* --- the verbs ---------------------------------------------------------- */

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
        char *text = screen_text(&s, client_address(c), NULL);

        fputs(text, stdout);
        free(text);
    }
    screen_release(&s);
    client_free(c);
    return rc;
}

/* Fetches the status, and shows it until the interval ends; also again when the
 * window's size changes. */
static int show_once(struct client *c, struct live *l, bool json,
                     int64_t interval_ms, struct err *err)
{
    int64_t until = timing_mono_ms() + interval_ms;
    struct screen s = {NULL, NULL};
    int rc = json ? client_get(c, "/v1/status", &s.status, err)
                  : screen_fetch(c, &s, err);

    if (rc == 0 && json) {
        json_dumpf(s.status, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
    }
    do {
        struct fit fit;
        char *text;

        if (rc || json)
            break;
        live_measure(l);
        fit = (struct fit){l->columns, l->rows};
        text = screen_text(&s, client_address(c),
                           l->on_screen ? &fit : NULL);
        live_show(l, text);
        fputs(l->on_screen ? "" : "\n", stdout);
        free(text);
    } while (fflush(stdout) == 0 && live_wait(l, until) == LIVE_RESIZED);
    screen_release(&s);
    if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        rc = err_set(err, ERR_IO, "the standard output cannot be written");
    if (rc == 0 && json)
        live_wait(l, until);
    return rc;
}

int cmd_top(const struct verb_args *args, struct err *err)
{
    bool json = verb_has(args, "json");
    struct client *c = NULL;
    struct live l;
    double seconds = 2;
    int rc = verb_real(args, "interval", 0.1, 3600, &seconds, err);

    if (rc == 0)
        rc = client_open(args, &c, err);
    if (rc)
        return rc;
    client_set_stop(c, &live_stop);
    live_begin(&l, json);
    while (rc == 0 && !live_stop)
        rc = show_once(c, &l, json, (int64_t)(seconds * 1000), err);
    live_end(&l);
    client_free(c);
    return live_stop ? 0 : rc;
}

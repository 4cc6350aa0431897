/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame has a head of some lines, the domains, and the newest versions. The
 * domains get the rows that the others leave.
 */
#include "config.h"

#include "cli/top.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "cli/live.h"
#include "cli/pick.h"
#include "cli/table.h"

#define TREND 12         /* values in the sparkline of a domain */
#define WIDE_TREND 24    /* and of a line of the head */
#define LEAST_RANGE 0.02 /* of the value: smaller changes look flat */

/* --- sparklines --------------------------------------------------------- */

/* Draws the last `most` values from the least (low) to the largest (high). NaN
 * is a blank. */
static void add_sparkline(const double *values, size_t n, size_t most,
                          bool utf8, FILE *out)
{
    static const char *const blocks[] = {"\u2581", "\u2582", "\u2583",
                                         "\u2584", "\u2585", "\u2586",
                                         "\u2587", "\u2588"};
    static const char ascii[] = "_.,-=+*#";
    double least = INFINITY, largest = -INFINITY, range;

    if (n > most) {
        values += n - most;
        n = most;
    }
    for (size_t i = 0; i < n; i++) {
        least = fmin(least, values[i]); /* ignores NaN */
        largest = fmax(largest, values[i]);
    }
    range = fmax(largest - least, LEAST_RANGE * fabs(largest));
    for (size_t i = 0; i < n; i++) {
        int level = 0;

        if (!isfinite(values[i])) {
            fputc(' ', out);
            continue;
        }
        if (range > 0)
            level = (int)(7.999 * (values[i] - least) / range);
        if (utf8)
            fputs(blocks[level], out);
        else
            fputc(ascii[level], out);
    }
}

static void add_series(const struct top *t, const struct top_series *s,
                       FILE *out)
{
    if (s->n < 2)
        return;
    fputs("  ", out);
    add_sparkline(s->values, s->n, WIDE_TREND, t->utf8, out);
}

static void push(struct top_series *s, double value)
{
    if (s->n == TOP_HISTORY) {
        memmove(s->values, s->values + 1, (s->n - 1) * sizeof *s->values);
        s->n--;
    }
    s->values[s->n++] = value;
}

/* --- the statuses ------------------------------------------------------- */

void top_add(struct top *t, json_t *status, json_t *versions)
{
    json_decref(t->status);
    t->status = status;
    if (versions) {
        json_decref(t->versions);
        t->versions = versions;
    }
    push(&t->lag, pick_real(status, "source.lag"));
    push(&t->records, pick_real(status, "records_per_second"));
    push(&t->tokens, pick_real(status, "tokens_per_second"));
    push(&t->loss, pick_real(status, "loss.prequential_bits_per_byte"));
}

void top_release(struct top *t)
{
    json_decref(t->status);
    json_decref(t->versions);
    t->status = t->versions = NULL;
}

/* --- the head ----------------------------------------------------------- */

static void add_alert(const char *before, const char *text, FILE *out)
{
    if (!text || !*text)
        return;
    fprintf(out, "%c  %s", LIVE_ALERT, before);
    table_print_name(text, out);
    fputc('\n', out);
}

static void add_state(const struct top *t, FILE *out)
{
    const char *source = pick_text_or(t->status, "source.state", "running");
    int64_t wanted = pick_integer(t->status, "vocabulary.wanted", 0);

    fprintf(out, "%cmnemed at %s: ", LIVE_BOLD, t->address);
    table_print_name(pick_text_or(t->status, "state", "?"), out);
    fputc('\n', out);
    add_alert("", pick_text(t->status, "reason"), out);
    if (pick_integer(t->status, "stalled_threads", 0) > 0)
        add_alert("a thread does not move: ", "see the log", out);
    if (strcmp(source, "running") != 0 && strcmp(source, "ended") != 0)
        add_alert("source: ", pick_text_or(t->status, "source.reason", source),
                  out);
    if (wanted > 0)
        fprintf(out,
                "  collecting text for the vocabulary: %" PRId64 " of %" PRId64
                " bytes\n",
                pick_integer(t->status, "vocabulary.bytes", 0), wanted);
}

static const json_t *find_version(const struct top *t, int64_t number)
{
    const json_t *row;
    size_t i;

    json_array_foreach(pick(t->versions, "versions"), i,
                       row) if (pick_integer(row, "version", 0) ==
                                number) return row;
    return NULL;
}

static void add_age(const json_t *version, FILE *out)
{
    int64_t made_ms = pick_time_ms(version, "created");
    int64_t seconds = (timing_wall_ms() - made_ms) / 1000;

    if (made_ms < 0 || seconds < 0)
        return;
    if (seconds < 120)
        fprintf(out, ", made %" PRId64 " s ago", seconds);
    else if (seconds < 7200)
        fprintf(out, ", made %" PRId64 " min ago", seconds / 60);
    else
        fprintf(out, ", made %" PRId64 " h ago", seconds / 3600);
}

static void add_serving(const struct top *t, FILE *out)
{
    int64_t serving = pick_integer(t->status, "serving_version", 0);
    int64_t refused = pick_integer(t->status, "publish.refused_in_a_row", 0);
    double freshness = pick_real(t->status, "freshness_seconds");

    if (serving > 0) {
        fprintf(out, "  serving   version %" PRId64 "%s", serving,
                pick_true(t->status, "serving_pinned")
                    ? " (until `promote latest`)"
                    : "");
        add_age(find_version(t, serving), out);
    } else {
        fputs("  serving   no version yet", out);
    }
    if (isfinite(freshness))
        fprintf(out, "; its newest record is %.0f s old", freshness);
    if (refused > 0)
        fprintf(out, "; %" PRId64 " refused since", refused);
    fputc('\n', out);
}

static void add_stream(const struct top *t, FILE *out)
{
    double lag = pick_real(t->status, "source.lag");
    double records = pick_real(t->status, "records_per_second");
    size_t n = json_array_size(pick(t->status, "source.partitions"));

    fputs("  lag       ", out);
    if (isfinite(lag))
        fprintf(out, "%.0f records in %zu partition%s", lag, n,
                n == 1 ? "" : "s");
    else
        fputs("not known", out);
    add_series(t, &t->lag, out);
    fputs("\n  speed     ", out);
    if (isfinite(records))
        fprintf(out, "%.1f records/s", records);
    add_series(t, &t->records, out);
    fprintf(out, "  %.0f tokens/s\n",
            pick_real(t->status, "tokens_per_second"));
    fprintf(out,
            "  records   %" PRId64 " consumed: %" PRId64 " learned, %" PRId64
            " held out, %" PRId64 " quarantined, %" PRId64 " skipped\n",
            pick_integer(t->status, "records.consumed", 0),
            pick_integer(t->status, "records.learned", 0),
            pick_integer(t->status, "records.holdout", 0),
            pick_integer(t->status, "records.quarantined", 0),
            pick_integer(t->status, "records.skipped", 0));
}

static void add_real(const char *before, double value, const char *after,
                     FILE *out)
{
    if (isfinite(value))
        fprintf(out, "%s%.3f%s", before, value, after);
}

static void add_learning(const struct top *t, FILE *out)
{
    fputs("  loss      bits per byte:", out);
    add_real(" ", pick_real(t->status, "loss.prequential_bits_per_byte"),
             " before learning,", out);
    add_real(" ", pick_real(t->status, "loss.train_bits_per_byte"),
             " in training", out);
    add_series(t, &t->loss, out);
    fprintf(out,
            "\n  memory    %" PRId64 " of %" PRId64 " segments to replay; EWC "
            "consolidations: %" PRId64 "; step %" PRId64 "\n",
            pick_integer(t->status, "replay.records", 0),
            pick_integer(t->status, "replay.capacity", 0),
            pick_integer(t->status, "ewc.consolidations", 0),
            pick_integer(t->status, "step", 0));
}

/* --- the domains -------------------------------------------------------- */

/* The sparkline of a domain's holdout losses, version by version. To be
 * freed. */
static char *domain_trend(const struct top *t, const char *domain)
{
    const json_t *rows = pick(t->versions, "versions");
    double values[TREND];
    size_t n = json_array_size(rows), n_text;
    char *text = NULL;
    FILE *out = open_memstream(&text, &n_text);

    BUG_ON(!out);
    n = n < TREND ? n : TREND;
    for (size_t i = 0; i < n; i++) { /* newest first */
        const json_t *version = json_array_get(rows, n - 1 - i);
        const json_t *losses =
            json_object_get(json_object_get(version, "holdout"), domain);

        values[i] = pick_real(losses, "bits_per_byte");
    }
    if (n > 1)
        add_sparkline(values, n, TREND, t->utf8, out);
    fclose(out);
    return text;
}

/* Prints the table, and how many rows are left out. */
static void finish(struct table *t, int columns, size_t most, FILE *out)
{
    size_t n = t->n_cells / t->n_columns - 1;

    if (n > most)
        table_keep_rows(t, most ? most - 1 : 0);
    table_narrow(t, (size_t)columns);
    fputc('\n', out);
    table_print(t, out);
    if (n > most)
        fprintf(out, "... and %zu more\n", n - (most ? most - 1 : 0));
    table_release(t);
}

static void add_domains(const struct top *t, int columns, size_t most,
                        FILE *out)
{
    const json_t *rows = pick(t->status, "domains"), *row;
    struct table table;
    size_t i;

    if (json_array_size(rows) == 0 || most < 2)
        return;
    table_init(&table, "l:DOMAIN r:RECORDS r:BITS/BYTE r:HELD_OUT r:BEST "
                       "r:FORGOT r:ALARMS l:HELD_OUT_BY_VERSION");
    json_array_foreach(rows, i, row)
    {
        double loss = pick_real(row, "holdout_bits_per_byte");
        double best = pick_real(row, "holdout_best_bits_per_byte");
        const char *name = pick_text_or(row, "domain", "?");
        char *trend = domain_trend(t, name);

        table_cell(&table, "%s", name);
        table_cell(&table, "%" PRId64, pick_integer(row, "records", 0));
        table_real(&table, pick_real(row, "prequential_bits_per_byte"), 3);
        table_real(&table, loss, 3);
        table_real(&table, best, 3);
        if (isfinite(loss) && best > 0)
            table_cell(&table, "%.1f %%", 100 * (loss / best - 1));
        else
            table_cell(&table, "-");
        table_cell(&table, "%" PRId64, pick_integer(row, "drift.alarms", 0));
        table_cell(&table, "%s", trend);
        free(trend);
    }
    finish(&table, columns, most, out);
}

/* --- the versions ------------------------------------------------------- */

static const char *version_flag(const json_t *version)
{
    bool serving = pick_true(version, "serving");

    if (pick_true(version, "pinned"))
        return serving ? "serves, pinned" : "pinned";
    return serving ? "serves" : "";
}

static void add_versions(const struct top *t, int columns, size_t most,
                         FILE *out)
{
    const json_t *rows = pick(t->versions, "versions"), *row;
    struct table table;
    size_t i;

    if (json_array_size(rows) == 0 || most == 0)
        return;
    table_init(&table, "l:VERSION r:STEP l:MADE l:GATE l:FLAGS l:REASON");
    json_array_foreach(rows, i, row)
    {
        if (i == most)
            break;
        table_cell(&table, "%" PRId64, pick_integer(row, "version", 0));
        table_cell(&table, "%" PRId64, pick_integer(row, "step", 0));
        table_time(&table, pick_time_ms(row, "created"));
        table_cell(
            &table, "%s",
            pick_text_or(row, "gate.verdict", pick_text_or(row, "state", "?")));
        table_cell(&table, "%s", version_flag(row));
        table_cell(&table, "%s", pick_text_or(row, "gate.reason", ""));
    }
    fputc('\n', out);
    table_narrow(&table, (size_t)columns);
    table_print(&table, out);
    table_release(&table);
}

/* --- the frame ---------------------------------------------------------- */

static int count_lines(const char *text)
{
    int n = 0;

    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

/* Cuts the lines to the columns. To be freed; frees text. */
static char *cut_lines(char *text, int columns)
{
    size_t n, keep;
    char *cut = NULL;
    FILE *out = open_memstream(&cut, &n);

    BUG_ON(!out);
    for (const char *line = text; *line; line += n + 1) {
        bool marked = *line == LIVE_BOLD || *line == LIVE_ALERT;

        n = strcspn(line, "\n");
        for (keep = n; table_width(line, keep) > (size_t)(columns + marked);)
            keep--;
        while (keep && keep < n && ((unsigned char)line[keep] & 0xc0) == 0x80)
            keep--;
        fwrite(line, 1, keep, out);
        fputc('\n', out);
    }
    fclose(out);
    free(text);
    return cut;
}

char *top_frame(const struct top *t, int columns, int rows)
{
    size_t n_versions = rows == 0 || rows >= 30 ? 5 : rows >= 20 ? 3 : 0;
    size_t n_known = json_array_size(pick(t->versions, "versions"));
    size_t n_text, most = SIZE_MAX;
    char *text = NULL;
    FILE *out = open_memstream(&text, &n_text);
    int used;

    BUG_ON(!out);
    if (n_versions > n_known)
        n_versions = n_known;
    add_state(t, out);
    add_serving(t, out);
    add_stream(t, out);
    add_learning(t, out);
    fflush(out);
    used = count_lines(text) + 2; /* a blank line and the heading */
    used += n_versions ? (int)n_versions + 2 : 0;
    if (rows)
        most = rows > used ? (size_t)(rows - used) : 0;
    add_domains(t, columns, most, out);
    add_versions(t, columns, n_versions, out);
    fclose(out);
    return cut_lines(text, columns);
}

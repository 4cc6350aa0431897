/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status and top: one screen of how the daemon is doing, put together from
 * /v1/status and the newest version.
 */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/timing.h"
#include "cli/client.h"
#include "cli/commands.h"
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

static void print_state(const struct screen *s, const char *address)
{
    const char *state = pick_text(s->status, "state");
    const char *reason = pick_text(s->status, "reason");
    int64_t wanted = pick_integer(s->status, "vocabulary.wanted", 0);

    printf("mnemed at %s: %s", address, state ? state : "?");
    if (reason && *reason) {
        fputs(" (", stdout);
        table_print_name(reason, stdout);
        putchar(')');
    }
    putchar('\n');
    if (wanted > 0 && pick_integer(s->status, "head_version", 0) == 0)
        printf("  collecting text for the vocabulary: %" PRId64 " of %" PRId64
               " bytes\n",
               pick_integer(s->status, "vocabulary.bytes", 0), wanted);
}

static void print_serving(const struct screen *s)
{
    int64_t serving = pick_integer(s->status, "serving_version", 0);
    double freshness = pick_real(s->status, "freshness_seconds");

    printf("  serving   ");
    if (serving > 0)
        printf("version %" PRId64 "%s", serving,
               pick_true(s->status, "serving_pinned") ? " (pinned)" : "");
    else
        printf("nothing yet");
    printf(", head %" PRId64 ", step %" PRId64,
           pick_integer(s->status, "head_version", 0),
           pick_integer(s->status, "step", 0));
    if (isfinite(freshness))
        printf(", newest record it knows is %.0f s old", freshness);
    putchar('\n');
}

static void print_records(const struct screen *s)
{
    double records = pick_real(s->status, "records_per_second");

    printf("  records   %" PRId64 " consumed: %" PRId64 " learned, %" PRId64
           " held out, %" PRId64 " quarantined, %" PRId64 " skipped\n",
           pick_integer(s->status, "records.consumed", 0),
           pick_integer(s->status, "records.learned", 0),
           pick_integer(s->status, "records.holdout", 0),
           pick_integer(s->status, "records.quarantined", 0),
           pick_integer(s->status, "records.skipped", 0));
    printf("  speed     ");
    if (isfinite(records))
        printf("%.1f records/s, ", records);
    printf("%.0f tokens/s; %" PRId64 " tokens seen\n",
           pick_real(s->status, "tokens_per_second"),
           pick_integer(s->status, "tokens_seen", 0));
}

static void print_real(const char *before, double value)
{
    if (isfinite(value))
        printf("%s%.3f", before, value);
    else
        printf("%s-", before);
}

static void print_memory(const struct screen *s)
{
    print_real("  loss      bits per byte: before learning ",
               pick_real(s->status, "loss.prequential_bits_per_byte"));
    print_real(", in training ",
               pick_real(s->status, "loss.train_bits_per_byte"));
    printf("\n  memory    %" PRId64 " of %" PRId64
           " segments to replay; %" PRId64
           " consolidations, penalty %.3g\n",
           pick_integer(s->status, "replay.records", 0),
           pick_integer(s->status, "replay.capacity", 0),
           pick_integer(s->status, "ewc.consolidations", 0),
           pick_real(s->status, "ewc.penalty"));
}

/* The last decision: the newest version's. */
static void print_gate(const struct screen *s)
{
    const char *verdict = pick_text(s->head, "gate.verdict");
    const char *reason = pick_text(s->head, "gate.reason");
    const char *state = pick_text(s->head, "state");

    if (!s->head)
        return;
    printf("  gate      version %" PRId64 ": %s",
           pick_integer(s->head, "version", 0),
           verdict ? verdict : state ? state : "?");
    if (reason) {
        fputs(" - ", stdout);
        table_print_name(reason, stdout);
    }
    putchar('\n');
}

static void print_partitions(const struct screen *s)
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
        const char *topic = pick_text(row, "topic");
        int64_t lag = pick_integer(row, "lag", -1);

        table_cell(&t, "%s", topic ? topic : "?");
        table_cell(&t, "%" PRId64, pick_integer(row, "partition", 0));
        table_cell(&t, "%" PRId64, pick_integer(row, "offset", 0));
        if (lag >= 0)
            table_cell(&t, "%" PRId64, lag);
        else
            table_cell(&t, "-");
    }
    putchar('\n');
    table_print(&t, stdout);
    table_release(&t);
}

static void print_domains(const struct screen *s)
{
    const json_t *rows = pick(s->status, "domains");
    struct table t;
    const json_t *row;
    size_t i;

    if (json_array_size(rows) == 0)
        return;
    table_init(&t, "l:DOMAIN r:RECORDS r:BYTES r:BITS/BYTE r:HELD_OUT r:BEST "
                   "r:ACCURACY r:REPLAY");
    json_array_foreach(rows, i, row)
    {
        const char *name = pick_text(row, "domain");

        table_cell(&t, "%s", name ? name : "?");
        table_cell(&t, "%" PRId64, pick_integer(row, "records", 0));
        table_cell(&t, "%" PRId64, pick_integer(row, "bytes", 0));
        table_real(&t, pick_real(row, "prequential_bits_per_byte"), 3);
        table_real(&t, pick_real(row, "holdout_bits_per_byte"), 3);
        table_real(&t, pick_real(row, "holdout_best_bits_per_byte"), 3);
        table_real(&t, pick_real(row, "accuracy"), 3);
        table_cell(&t, "%" PRId64, pick_integer(row, "replay_rows", 0));
    }
    putchar('\n');
    table_print(&t, stdout);
    table_release(&t);
}

static void screen_print(const struct screen *s, const char *address)
{
    print_state(s, address);
    print_serving(s);
    print_records(s);
    print_memory(s);
    print_gate(s);
    print_partitions(s);
    print_domains(s);
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
    if (rc == 0 && verb_has(args, "json"))
        pick_print(s.status);
    else if (rc == 0)
        screen_print(&s, client_address(c));
    screen_release(&s);
    client_free(c);
    return rc;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static void sleep_until_next(int64_t ms)
{
    while (ms > 0 && !interrupted) {
        timing_sleep_ms(ms < 100 ? ms : 100);
        ms -= 100;
    }
}

int cmd_top(const struct verb_args *args, struct err *err)
{
    bool terminal = isatty(STDOUT_FILENO);
    struct sigaction action = {.sa_handler = on_interrupt};
    struct client *c = NULL;
    double seconds = 2;
    int rc = verb_real(args, "interval", 0.1, 3600, &seconds, err);

    if (rc == 0)
        rc = client_open(args, &c, err);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    while (rc == 0 && !interrupted) {
        struct screen s;

        rc = screen_fetch(c, &s, err);
        if (rc == 0) {
            fputs(terminal ? "\033[H\033[2J" : "", stdout);
            screen_print(&s, client_address(c));
            fputs(terminal ? "" : "\n", stdout);
            if (fflush(stdout) != 0)
                rc = err_set(err, ERR_IO, "the standard output is closed");
        }
        screen_release(&s);
        if (rc == 0)
            sleep_until_next((int64_t)(seconds * 1000));
    }
    client_free(c);
    return interrupted ? 0 : rc;
}

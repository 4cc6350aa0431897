/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo: shows the main job of mneme in a few minutes.
 *
 *     1  starts mnemed with an embedded broker on a new data directory
 *     2  sends one domain of text after another; after each, measures the
 *        newest version on text that is never sent
 *     3  sends a bad feed: random bytes, then text with its letters shuffled
 *     4  rolls back to the version before the bad feed
 *     5  completes a prompt
 *     6  prints a summary: the domains that were learned and kept, the records
 *        and the version that were refused, the rollback, and each failure
 *     7  with --serve, keeps the daemon and its page running until Ctrl-C
 *
 * Every figure comes from the daemon's replies. Each wait ends with an error
 * when the daemon ends, after ten times the intended time, at Ctrl-C, or when
 * the output cannot be written.
 */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "cli/address.h"
#include "cli/client.h"
#include "cli/demo_text.h"
#include "cli/mnemed.h"
#include "cli/pick.h"
#include "cli/producer.h"
#include "cli/table.h"

#define BAD_RECORDS 40 /* of random bytes */
#define SEED 42
#define MAX_REGRESSION 0.02 /* publish.gate.max_regression */
#define KEPT 0.9            /* share of a domain's gain; less is FORGOT */
#define POLL_MS 50
#define OPERATION_MS 600000 /* a busy machine takes long for a verdict */
#define LINE_MS 8000        /* between two lines about progress */
#define WAITING 40          /* records that may wait in the broker */

/*
 * The model learns within minutes, and a version comes every few seconds. The
 * noise filter is off: it would refuse the shuffled text, so that neither the
 * gate nor the rollback had anything to do.
 */
static const char settings[] =
    "source: {type: kafka, kafka: {topics: [text], properties:\n"
    "  {bootstrap.servers: embedded, group.id: mneme-demo}}}\n"
    "model: {preset: nano, vocab_size: 1024}\n"
    "learner: {flush_seconds: 1, holdout: {fraction: 0.05, capacity: 2000}}\n"
    "filter: {surprise: {enabled: false}}\n"
    "publish: {every_seconds: 4, every_tokens: 0, keep: {newest: 100},\n"
    "  gate: {max_tokens: 8192}}\n"
    "http: {listen: '127.0.0.1:0'}\n";

/* The losses of a version on the kept-back text of each domain, and after them
 * on that of the first domain with its letters shuffled. */
struct measurement {
    char when[64];
    int64_t version;
    double bits_per_byte[DEMO_TEXT_DOMAINS + 1];
};

struct demo {
    struct demo_texts texts;
    struct mnemed daemon;
    struct client *client;
    struct producer *producer;
    json_t *status;               /* the last reply of /v1/status */
    int64_t sent;                 /* records */
    double seconds;               /* for learning */
    int64_t deadline_ms, line_ms; /* line_ms: the last line about progress */
    /* Version 1, the version after each domain, the version after the bad feed,
     * and the serving version after the rollback. */
    struct measurement list[DEMO_TEXT_DOMAINS + 3];
    size_t n;
    int64_t good;        /* the head version before the bad feed */
    int64_t served;      /* the serving version after it */
    int64_t quarantined; /* of the random bytes */
    char *http;          /* the daemon's address, HOST:PORT */
    char *reason;        /* the gate's, for the newest version */
};

static volatile int interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static int64_t count(const struct demo *d, const char *path)
{
    return pick_integer(d->status, path, 0);
}

static int check(struct demo *d, struct err *err)
{
    if (ferror(stdout))
        return err_set(err, ERR_IO, "the standard output cannot be written");
    return interrupted ? err_set(err, ERR_IO, "interrupted")
                       : mnemed_check(&d->daemon, err);
}

/* --- measuring ---------------------------------------------------------- */

/* Adds the losses of a version to d->list. */
static int measure(struct demo *d, int64_t version, const char *when,
                   struct err *err)
{
    struct measurement *m = &d->list[d->n];
    char *model = xasprintf("mneme@%" PRId64, version);
    int rc = check(d, err);

    snprintf(m->when, sizeof m->when, "%s", when);
    m->version = version;
    for (size_t i = 0; rc == 0 && i <= d->texts.n; i++) {
        bool shuffled = i == d->texts.n;
        char **records = d->texts.domains[shuffled ? 0 : i].records;
        json_t *texts = json_array(), *reply = NULL;
        double bits = 0, bytes = 0;
        const json_t *row;
        size_t k;

        for (k = 0; k < DEMO_TEXT_KEPT_BACK; k++) {
            char *text = shuffled ? demo_text_shuffle(records[k], k)
                                  : xstrdup(records[k]);

            json_array_append_new(texts, json_string(text));
            free(text);
        }
        rc = client_post(d->client, "/v1/score",
                         json_pack("{s:o, s:s}", "text", texts, "model", model),
                         &reply, err);
        json_array_foreach(pick(reply, "results"), k, row)
        {
            bits += pick_real(row, "bits_per_byte") * pick_real(row, "bytes");
            bytes += pick_real(row, "bytes");
        }
        m->bits_per_byte[i] = bits / bytes;
        json_decref(reply);
    }
    d->n += rc == 0;
    free(model);
    return rc;
}

static void print_measurements(const struct demo *d)
{
    struct table t;

    table_init(&t, "l:__BITS_PER_BYTE r:VERSION");
    for (size_t i = 0; i < d->texts.n; i++)
        table_column(&t, 'r', d->texts.domains[i].name);
    table_column(&t, 'r', "shuffled");
    for (const struct measurement *m = d->list; m < d->list + d->n; m++) {
        table_cell(&t, "  %s", m->when);
        table_cell(&t, "%" PRId64, m->version);
        for (size_t i = 0; i <= d->texts.n; i++)
            table_real(&t, m->bits_per_byte[i], 3);
    }
    table_print(&t, stdout);
    table_release(&t);
}

/* --- watching the daemon ------------------------------------------------ */

/* Reads the status, measures version 1 once, and prints a line now and then. */
static int watch(struct demo *d, const char *domain, struct err *err)
{
    json_t *status = NULL;
    int rc;

    producer_poll(d->producer, POLL_MS);
    if ((rc = check(d, err)) ||
        (rc = client_get(d->client, "/v1/status", &status, err)))
        return rc;
    json_decref(d->status);
    d->status = status;
    if (timing_mono_ms() > d->deadline_ms)
        return err_set(err, ERR_IO, "mnemed is too slow (%s; %s)",
                       pick_text_or(status, "state", "no state"),
                       pick_text_or(status, "reason", "no reason given"));
    if (d->n == 0 && count(d, "head_version"))
        return measure(d, 1, "first version", err);
    if (!*domain || timing_mono_ms() - d->line_ms < LINE_MS)
        return 0;
    d->line_ms = timing_mono_ms();
    if (count(d, "step")) /* else there is no loss yet */
        printf("  %-16s %.3f bits per byte before learning; %.0f tokens/s, "
               "version %" PRId64 " serves\n",
               domain, pick_real(status, "loss.prequential_bits_per_byte"),
               pick_real(status, "tokens_per_second"),
               count(d, "serving_version"));
    return 0;
}

/* Waits until all records are consumed, and the gate has judged a version that
 * has learned from them. Then measures it. */
static int settle(struct demo *d, const char *domain, const char *when,
                  struct err *err)
{
    bool settled = false;
    int rc = 0;

    while (!settled && (rc = watch(d, domain, err)) == 0) {
        int64_t head = count(d, "head_version");
        json_t *version = NULL;

        if (head == 0 || count(d, "records.consumed") < d->sent)
            continue;
        if ((rc = client_version(d->client, head, &version, err)))
            return rc;
        settled =
            pick_integer(version, "step", -1) == count(d, "step") &&
            strcmp(pick_text_or(version, "state", "pending"), "pending") != 0;
        free(d->reason);
        d->reason = xstrdup(pick_text_or(version, "gate.reason", ""));
        json_decref(version);
    }
    return rc ? rc : measure(d, count(d, "head_version"), when, err);
}

/* --- sending ------------------------------------------------------------ */

static int send_bytes(struct demo *d, const char *bytes, size_t n,
                      const char *domain, struct err *err)
{
    int rc = 0;

    while (rc == 0 &&
           d->sent - count(d, "records.consumed") >= WAITING)
        rc = watch(d, domain, err);
    if (rc == 0)
        rc = producer_send(d->producer, bytes, n, NULL, &interrupted, err);
    d->sent += rc == 0;
    return rc;
}

static int send_text(struct demo *d, const char *text, const char *domain,
                     struct err *err)
{
    json_t *record = json_pack("{s:s, s:s}", "text", text, "domain", domain);
    char *value = record ? json_dumps(record, JSON_COMPACT) : NULL;
    int rc = value ? send_bytes(d, value, strlen(value), domain, err)
                   : err_set(err, ERR_INVALID, "domain %s: not UTF-8", domain);

    json_decref(record);
    free(value);
    return rc;
}

/* --- 1: the daemon ------------------------------------------------------ */

static int start(struct demo *d, const struct verb_args *args, struct err *err)
{
    struct producer_options options = {.topic = "text", .partition = -1};
    char *kafka = NULL;
    const char *dir;
    int rc;

    if ((rc = demo_texts_load(args->words, args->n_words, &d->texts, err)) ||
        (rc = mnemed_start(&d->daemon, verb_value(args, "data-dir"), settings,
                           err)))
        return rc;
    dir = d->daemon.data_dir;
    printf("mneme demo: a model learns from a stream whose subject changes.\n"
           "Data directory: %s\n\n1. A daemon with its own Kafka broker\n",
           dir);
    while ((rc = check(d, err)) == 0 && !(d->http && kafka)) {
        timing_sleep_ms(POLL_MS);
        if ((!kafka && (rc = address_read(dir, "kafka.addr", &kafka, err))) ||
            (!d->http &&
             (rc = address_read(dir, "http.addr", &d->http, err))))
            break;
    }
    options.brokers = kafka;
    if (rc == 0 &&
        (rc = client_open_at(args, d->http, &d->client, err)) == 0)
        rc = producer_open(&options, &d->producer, err);
    if (rc == 0)
        printf("  mnemed (pid %ld) answers; its page: http://%s/\n",
               (long)d->daemon.pid, d->http);
    free(kafka);
    return rc;
}

/* --- 2: learning -------------------------------------------------------- */

static int learn(struct demo *d, struct err *err)
{
    int rc = 0;

    puts("\n2. One kind of text after another, through Kafka\n"
         "  Bits per byte: how surprised the model is; lower is better.");
    for (size_t i = 0; i < d->texts.n; i++) {
        const struct demo_domain *domain = &d->texts.domains[i];
        int64_t began = timing_mono_ns();
        char when[64];
        size_t n = DEMO_TEXT_KEPT_BACK;

        for (; rc == 0 && n < domain->n_records &&
               timing_seconds_since(began) < d->seconds / (double)d->texts.n;
             n++)
            rc = send_text(d, domain->records[n], domain->name, err);
        snprintf(when, sizeof when, "after %.40s", domain->name);
        if (rc || (rc = settle(d, domain->name, when, err)))
            return rc;
        printf("  %-16s %zu records in %.0f s\n", domain->name,
               n - DEMO_TEXT_KEPT_BACK, timing_seconds_since(began));
        d->good = d->list[d->n - 1].version;
    }
    printf("\n  Losses of the versions on text that is never sent (shuffled: "
           "%s with the\n  letters in a random order; it should stay "
           "surprising):\n",
           d->texts.domains[0].name);
    print_measurements(d);
    return 0;
}

/* --- 3: the bad feed ---------------------------------------------------- */

static int send_bad_feed(struct demo *d, struct err *err)
{
    const struct demo_domain *first = &d->texts.domains[0];
    int64_t before = count(d, "quarantine.not_utf8"), began;
    size_t i;
    int rc = 0;

    printf("\n3. A bad feed: %d records of random bytes, then %s with the "
           "letters shuffled\n   (filter.surprise is off: it would refuse the "
           "shuffled text)\n",
           BAD_RECORDS, first->name);
    for (i = 0; rc == 0 && i < BAD_RECORDS; i++) {
        char bytes[512];

        for (size_t k = 0; k < sizeof bytes; k++) /* no byte is 0 */
            bytes[k] = (char)(1 + rng_below(255, SEED, RNG_SAMPLE, i, k));
        bytes[0] = bytes[1] = (char)0xff; /* never part of UTF-8 */
        rc = send_bytes(d, bytes, sizeof bytes, first->name, err);
    }
    began = timing_mono_ns();
    for (i = 0; rc == 0 && timing_seconds_since(began) < d->seconds / 6; i++) {
        char *text =
            demo_text_shuffle(first->records[i % first->n_records], SEED + i);

        rc = send_text(d, text, first->name, err);
        free(text);
    }
    if (rc || (rc = settle(d, first->name, "after the bad feed", err)))
        return rc;
    d->quarantined = count(d, "quarantine.not_utf8") - before;
    d->served = count(d, "serving_version");
    printf("  %zu records of shuffled text in %.0f s\n"
           "  version %" PRId64 " is the newest, version %" PRId64 " serves\n",
           i, timing_seconds_since(began), count(d, "head_version"), d->served);
    return 0;
}

/* --- 4: the rollback ---------------------------------------------------- */

static int roll_back(struct demo *d, struct err *err)
{
    json_t *body =
        json_pack("{s:I, s:s, s:s}", "version", (json_int_t)d->good, "stream",
                  "skip", "reason", "the bad feed of the demo");
    json_t *operation = NULL;
    int rc;

    printf("\n4. mneme rollback %" PRId64 " --stream skip\n", d->good);
    if ((rc = client_operate(d->client, "/v1/rollback", body, OPERATION_MS,
                             &operation, err)) == 0 &&
        (rc = watch(d, "", err)) == 0 &&
        (rc = measure(d, count(d, "serving_version"), "after the rollback",
                      err)) == 0) {
        printf("  %s\n", pick_text_or(operation, "detail", ""));
        print_measurements(d);
    }
    json_decref(operation);
    return rc;
}

/* --- 5: a prompt -------------------------------------------------------- */

static int complete(struct demo *d, struct err *err)
{
    const char *text = d->texts.domains[0].records[0];
    char *prompt = xstrndup(text, utf8_whole(text, 40)), *line;
    json_t *reply = NULL;
    int rc = client_post(d->client, "/v1/completions",
                         json_pack("{s:s, s:s, s:i, s:f, s:i}", "model",
                                   "mneme", "prompt", prompt, "max_tokens", 48,
                                   "temperature", 0.5, "seed", 1),
                         &reply, err);

    line = xasprintf(
        "  prompt and completion: \"%s|%s\"", prompt,
        pick_text_or(json_array_get(pick(reply, "choices"), 0), "text", ""));
    for (char *c = line; *c; c++)
        *c = *c == '\n' ? ' ' : *c;
    if (rc == 0) {
        puts("\n5. A question");
        table_print_name(line, stdout);
        putchar('\n');
    }
    json_decref(reply);
    free(prompt);
    free(line);
    return rc;
}

/* --- 6: the summary ----------------------------------------------------- */

/* The loss of domain i before its text was sent, after it, and before the bad
 * feed. Returns the share of the gain that was kept. */
static double domain_kept(const struct demo *d, size_t i, double loss[3])
{
    loss[0] = d->list[i].bits_per_byte[i];
    loss[1] = d->list[i + 1].bits_per_byte[i];
    loss[2] = d->list[d->texts.n].bits_per_byte[i];
    return (loss[0] - loss[2]) / (loss[0] - loss[1]);
}

static void print_domains(const struct demo *d)
{
    struct table t;

    table_init(&t, "l:__BITS_PER_BYTE r:BEFORE_ITS_TEXT r:AFTER_IT "
                   "r:AT_THE_END r:GAIN_KEPT l:RESULT");
    for (size_t i = 0; i < d->texts.n; i++) {
        double loss[3], kept = domain_kept(d, i, loss);
        bool learned = loss[1] < loss[0];

        table_cell(&t, "  %s", d->texts.domains[i].name);
        for (size_t k = 0; k < 3; k++)
            table_real(&t, loss[k], 3);
        if (learned)
            table_cell(&t, "%.0f %%", 100 * kept);
        else
            table_cell(&t, "-");
        table_cell(&t, "%s",
                   !learned      ? "NOT LEARNED"
                   : kept < KEPT ? "learned, and FORGOTTEN in part"
                                 : "learned and kept");
    }
    table_print(&t, stdout);
    table_release(&t);
}

/* The mean change of the domains' losses by the bad feed. */
static double harm(const struct demo *d)
{
    const struct measurement *good = &d->list[d->texts.n], *bad = good + 1;
    double change = 0;

    for (size_t i = 0; i < d->texts.n; i++)
        change += bad->bits_per_byte[i] / good->bits_per_byte[i] - 1;
    return change / (double)d->texts.n;
}

/* Does the version after the rollback equal the one before the bad feed? */
static bool restored(const struct demo *d)
{
    const struct measurement *good = &d->list[d->texts.n], *back = good + 2;
    bool exact = back->version == good->version;

    for (size_t i = 0; i < d->texts.n; i++)
        exact = exact && fabs(back->bits_per_byte[i] -
                              good->bits_per_byte[i]) < 1e-9;
    return exact;
}

static void print_summary(const struct demo *d, double seconds)
{
    size_t n = d->texts.n;
    const struct measurement *good = &d->list[n], *bad = good + 1;
    const struct measurement *back = good + 2;
    double change = harm(d);

    printf("\nSummary: %.0f s, %" PRId64 " records: %" PRId64
           " learned, %" PRId64 " held out, %" PRId64
           " skipped by the rollback; %" PRId64 " steps\n\n"
           "What was learned and kept\n",
           seconds, count(d, "records.consumed"), count(d, "records.learned"),
           count(d, "records.holdout"), count(d, "records.skipped"),
           count(d, "step"));
    print_domains(d);
    printf("\nWhat was refused\n"
           "  %" PRId64 " of %d records of random bytes: %s.\n",
           d->quarantined, BAD_RECORDS,
           d->quarantined == BAD_RECORDS
               ? "they are in the quarantine, not learned"
               : "THE OTHERS WERE LEARNED");
    if (d->served <= d->good) {
        printf("  Version %" PRId64 ", which had learned the shuffled text. "
               "Version %" PRId64 " went on serving.\n  The gate's reason: ",
               bad->version, d->served);
        table_print_name(d->reason, stdout);
        putchar('\n');
    } else {
        printf("  Version %" PRId64 ", which had learned the shuffled text, "
               "was not refused. The domains\n  changed by %+.1f %%: %s\n",
               bad->version, 100 * change,
               change <= MAX_REGRESSION ? "the gate allows that."
                                        : "MORE THAN THE GATE ALLOWS.");
    }
    printf("\nThe way back\n"
           "  The rollback %s version %" PRId64 ". Bits per byte of the "
           "shuffled text: %.3f before\n  the bad feed, %.3f after it, %.3f "
           "after the rollback.\n",
           restored(d) ? "restored" : "DID NOT RESTORE", d->good,
           good->bits_per_byte[n], bad->bits_per_byte[n],
           back->bits_per_byte[n]);
}

/* --- 7: the page -------------------------------------------------------- */

static int serve(struct demo *d, struct err *err)
{
    int rc;

    printf("\nSee it on the page, in a browser: http://%s/\n"
           "The daemon runs until you press Ctrl-C.\n",
           d->http);
    while ((rc = check(d, err)) == 0)
        timing_sleep_ms(POLL_MS);
    return interrupted ? 0 : rc;
}

static void print_next(const struct demo *d)
{
    printf("\nmnemed has been stopped. Its data: %s\n"
           "Start it again, then open the page at the address that "
           "%s/http.addr names:\n  %s -c %s\n"
           "Or keep it running at the end of the demo: mneme demo --serve\n",
           d->daemon.data_dir, d->daemon.data_dir, d->daemon.program,
           d->daemon.conf_path);
}

int cmd_demo(const struct verb_args *args, struct err *err)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    int64_t began = timing_mono_ns();
    double minutes = 3;
    struct demo d;
    int rc = verb_real(args, "minutes", 0.5, 30, &minutes, err);

    memset(&d, 0, sizeof d);
    /* The bad feed, the rollback and the verdicts take the other quarter. */
    d.seconds = minutes * 60 * 0.75;
    d.deadline_ms = timing_mono_ms() + (int64_t)(10 * minutes * 60000);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &action, NULL); /* the daemon must be stopped first */
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (rc == 0 && (rc = start(&d, args, err)) == 0 &&
        (rc = learn(&d, err)) == 0 && (rc = send_bad_feed(&d, err)) == 0 &&
        (rc = roll_back(&d, err)) == 0 && (rc = complete(&d, err)) == 0) {
        print_summary(&d, timing_seconds_since(began));
        if (verb_has(args, "serve"))
            rc = serve(&d, err);
    }
    if (!mnemed_stop(&d.daemon) && rc == 0)
        rc = err_set(err, ERR_IO, "mnemed did not exit with status 0");
    if (rc && d.daemon.log_path) {
        struct err cause = *err;

        rc = err_set(err, ERR_IO, "%.300s; mnemed's log: %s", cause.msg,
                     d.daemon.log_path);
    }
    if (rc == 0)
        print_next(&d);
    producer_free(d.producer);
    client_free(d.client);
    json_decref(d.status);
    demo_texts_release(&d.texts);
    mnemed_release(&d.daemon);
    free(d.http);
    free(d.reason);
    return rc;
}

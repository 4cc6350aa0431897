/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo: shows the main job of mneme in a few minutes.
 *
 *     1  starts mnemed with an embedded broker on a new data directory
 *     2  sends one domain of text after another; after each, pins the newest
 *        version and measures it on text that is never sent
 *     3  sends a bad feed: random bytes, then text with its letters shuffled
 *     4  rolls back to the version before the bad feed
 *     5  completes a prompt
 *     6  prints a summary, which also tells what did not work
 *
 * Every figure comes from the daemon's replies. Each wait ends with an error
 * when the daemon ends, after ten times the intended time, or at Ctrl-C.
 */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
#define SHUFFLED_RECORDS 900
#define SEED 42
#define KEPT 1.05 /* a loss that grows by 5 % counts as forgotten */
#define POLL_MS 50
#define CONNECT_MS 120000
#define OPERATION_MS 600000 /* a busy machine takes long for a verdict */
#define LINE_MS 8000        /* between two lines about progress */

/* Records that may wait in the broker, which keeps about 5 MB. The vocabulary
 * takes more text than that before the first record is consumed. */
#define WAITING 40
#define WAITING_FOR_VOCABULARY 800

/*
 * The model learns within minutes, and a version comes every few seconds. The
 * noise filter is off: it would refuse the shuffled text, so that neither the
 * gate nor the rollback had anything to do.
 */
static const char settings[] =
    "source:\n"
    "  type: kafka\n"
    "  kafka:\n"
    "    topics: [text]\n"
    "    properties: {bootstrap.servers: embedded, group.id: mneme-demo}\n"
    "model:\n"
    "  preset: nano\n"
    "  vocab_size: 1024\n"
    "  tokenizer_bytes: 200000\n"
    "  tokenizer_wait_seconds: 3\n"
    "learner:\n"
    "  flush_seconds: 1\n"
    "  holdout: {fraction: 0.05, capacity: 2000}\n"
    "filter: {surprise: {enabled: false}}\n"
    "publish:\n"
    "  every_seconds: 4\n"
    "  every_tokens: 0\n"
    "  gate: {max_tokens: 8192}\n"
    "  keep: {newest: 60}\n"
    "http: {listen: '127.0.0.1:0'}\n";

/* The losses of a version on the kept-back text of texts.domains[0] to [n]. */
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
};

static volatile int interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

__attribute__((format(printf, 1, 2))) static void print(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    if (fflush(stdout) != 0) /* nobody reads the rest */
        interrupted = 1;
}

static int64_t count(const struct demo *d, const char *path)
{
    return pick_integer(d->status, path, 0);
}

static int check(struct demo *d, struct err *err)
{
    return interrupted ? err_set(err, ERR_IO, "interrupted")
                       : mnemed_check(&d->daemon, err);
}

/* --- measuring ---------------------------------------------------------- */

/* Adds the losses of a version to d->list. version 0: the serving version. */
static int measure(struct demo *d, int64_t version, const char *when,
                   struct err *err)
{
    struct measurement *m = &d->list[d->n];
    int rc = check(d, err);

    BUG_ON(d->n == sizeof d->list / sizeof *d->list);
    snprintf(m->when, sizeof m->when, "%s", when);
    m->version = version;
    for (size_t i = 0; rc == 0 && i <= d->texts.n; i++) {
        const struct demo_domain *domain = &d->texts.domains[i];
        json_t *texts = json_array(), *reply = NULL;
        char model[40] = "mneme";
        double bits = 0, bytes = 0;
        const json_t *row;
        size_t k;

        for (k = 0; k < domain->n_kept_back; k++)
            json_array_append_new(texts, json_string(domain->kept_back[k]));
        if (m->version)
            snprintf(model, sizeof model, "mneme@%" PRId64, m->version);
        rc = client_post(d->client, "/v1/score",
                         json_pack("{s:o, s:s}", "text", texts, "model", model),
                         &reply, err);
        json_array_foreach(pick(reply, "results"), k, row)
        {
            double n = pick_real(row, "bytes");

            bits += pick_real(row, "bits_per_byte") * n;
            bytes += n;
        }
        m->version = pick_integer(reply, "version", 0);
        m->bits_per_byte[i] = bits / bytes;
        json_decref(reply);
    }
    d->n += rc == 0;
    return rc;
}

static void print_measurements(const struct demo *d)
{
    struct table t;

    table_init(&t, "l:__BITS_PER_BYTE r:VERSION");
    for (size_t i = 0; i <= d->texts.n; i++)
        table_column(&t, 'r', d->texts.domains[i].name);
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

static void print_progress(const struct demo *d, const char *domain)
{
    double loss = pick_real(d->status, "loss.prequential_bits_per_byte");

    if (count(d, "head_version") == 0)
        print("  %-16s collecting text for the vocabulary: %" PRId64
              " of %" PRId64 " KB",
              domain, count(d, "vocabulary.bytes") / 1000,
              count(d, "vocabulary.wanted") / 1000);
    else if (isfinite(loss))
        print("  %-16s %.3f bits per byte before learning; %.0f tokens/s, "
              "version %" PRId64 " serves",
              domain, loss, pick_real(d->status, "tokens_per_second"),
              count(d, "serving_version"));
}

static int fetch_status(struct demo *d, struct err *err)
{
    json_t *status = NULL;
    int rc = check(d, err);

    if (rc == 0)
        rc = client_get(d->client, "/v1/status", &status, err);
    if (rc)
        return rc;
    json_decref(d->status);
    d->status = status;
    return 0;
}

/* Waits a little, reads the status, and prints a line now and then. Measures
 * version 1 as soon as it exists. */
static int watch(struct demo *d, const char *domain, struct err *err)
{
    struct producer_counts c;
    int rc;

    producer_poll(d->producer, POLL_MS);
    producer_counts(d->producer, &c);
    if (c.failed)
        return err_set(err, ERR_IO, "a record was not delivered: %s",
                       producer_trouble(d->producer));
    rc = fetch_status(d, err);
    if (rc == 0 && timing_mono_ms() > d->deadline_ms)
        return err_set(err, ERR_IO,
                       "mnemed is too slow: it has consumed %" PRId64
                       " of %" PRId64 " records (%s; %s)",
                       count(d, "records.consumed"), d->sent,
                       pick_text_or(d->status, "state", "no state"),
                       pick_text_or(d->status, "reason", "no reason given"));
    if (rc == 0 && timing_mono_ms() - d->line_ms >= LINE_MS) {
        d->line_ms = timing_mono_ms();
        print_progress(d, domain);
    }
    if (rc == 0 && d->n == 0 && count(d, "head_version") > 0)
        rc = measure(d, 1, "first version", err);
    return rc;
}

/* Waits until all records are consumed, and the gate has judged a version that
 * has learned from them. */
static int settle(struct demo *d, const char *domain, struct err *err)
{
    bool settled = false;
    int rc = 0;

    while (rc == 0 && !settled) {
        int64_t head;
        json_t *version = NULL;
        const char *state;

        rc = watch(d, domain, err);
        head = count(d, "head_version");
        if (rc || head == 0 || count(d, "records.consumed") < d->sent)
            continue;
        rc = client_version(d->client, head, &version, err);
        state = pick_text(version, "state");
        settled = pick_integer(version, "step", -1) == count(d, "step") &&
                  state && strcmp(state, "pending") != 0;
        json_decref(version);
    }
    return rc;
}

/* --- sending ------------------------------------------------------------ */

static int send_bytes(struct demo *d, const char *bytes, size_t n,
                      const char *domain, struct err *err)
{
    int rc = 0;

    while (rc == 0 &&
           d->sent - count(d, "records.consumed") >=
               (count(d, "head_version") ? WAITING : WAITING_FOR_VOCABULARY))
        rc = watch(d, domain, err);
    if (rc == 0)
        rc = producer_send(d->producer, bytes, n, NULL, &interrupted, err);
    d->sent += rc == 0;
    return rc;
}

static int send_text(struct demo *d, const char *text, const char *domain,
                     size_t number, struct err *err)
{
    char *id = xasprintf("%s-%06zu", domain, number);
    json_t *record =
        json_pack("{s:s, s:s, s:s}", "text", text, "domain", domain, "id", id);
    char *value = record ? json_dumps(record, JSON_COMPACT) : NULL;
    int rc = value ? send_bytes(d, value, strlen(value), domain, err)
                   : err_set(err, ERR_INVALID, "domain %s: not UTF-8", domain);

    json_decref(record);
    free(value);
    free(id);
    return rc;
}

/* --- 1: the daemon ------------------------------------------------------ */

static int wait_for_address(struct demo *d, const char *file, char **address,
                            struct err *err)
{
    int64_t began = timing_mono_ms();
    int rc;

    while ((rc = check(d, err)) == 0 &&
           (rc = address_read(d->daemon.data_dir, file, address, err)) == 0 &&
           !*address) {
        if (timing_mono_ms() - began > CONNECT_MS)
            return err_set(err, ERR_IO, "mnemed wrote no %s within %d s", file,
                           CONNECT_MS / 1000);
        timing_sleep_ms(POLL_MS);
    }
    return rc;
}

static int start(struct demo *d, const struct verb_args *args, struct err *err)
{
    struct producer_options options = {.topic = "text", .partition = -1};
    char *http = NULL, *kafka = NULL;
    int rc;

    if ((rc = demo_texts_load(verb_value(args, "texts"), &d->texts, err)) ||
        (rc = mnemed_start(&d->daemon, verb_value(args, "data-dir"), settings,
                           verb_has(args, "keep"), err)))
        return rc;
    print("mneme demo: a model learns from a stream whose subject changes.\n"
          "Data directory: %s\n\n1. A daemon with its own Kafka broker",
          d->daemon.data_dir);
    if ((rc = wait_for_address(d, "kafka.addr", &kafka, err)) == 0 &&
        (rc = wait_for_address(d, "http.addr", &http, err)) == 0 &&
        (rc = client_open_at(http, &d->client, err)) == 0) {
        options.brokers = kafka;
        rc = producer_open(&options, &d->producer, err);
    }
    if (rc == 0)
        rc = fetch_status(d, err);
    if (rc == 0)
        print("  mnemed (pid %ld) answers at http://%s", (long)d->daemon.pid,
              http);
    free(http);
    free(kafka);
    return rc;
}

/* --- 2: learning -------------------------------------------------------- */

static int learn(struct demo *d, struct err *err)
{
    int rc = 0;

    print("\n2. One kind of text after another, through Kafka\n"
          "  Bits per byte: how surprised the model is; lower is better.");
    for (size_t i = 0; rc == 0 && i < d->texts.n; i++) {
        const struct demo_domain *domain = &d->texts.domains[i];
        int64_t began = timing_mono_ns();
        char when[64], path[64];
        size_t n = 0;

        d->line_ms = timing_mono_ms() - LINE_MS / 2;
        for (; rc == 0 && n < domain->n_records &&
               timing_seconds_since(began) < d->seconds / (double)d->texts.n;
             n++)
            rc = send_text(d, domain->records[n], domain->name, n, err);
        if (rc == 0)
            rc = settle(d, domain->name, err);
        if (rc)
            break;
        print("  %-16s %zu records in %.0f s", domain->name, n,
              timing_seconds_since(began));
        d->good = count(d, "head_version");
        snprintf(path, sizeof path, "/v1/versions/%" PRId64 "/pin", d->good);
        snprintf(when, sizeof when, "after %.40s", domain->name);
        rc = client_operate(d->client, path, NULL, OPERATION_MS, NULL, err);
        if (rc == 0)
            rc = measure(d, d->good, when, err);
    }
    if (rc)
        return rc;
    print("\n  Losses of the versions on text that is never sent (shuffled: "
          "%s with the\n  letters in a random order; it should stay "
          "surprising):",
          d->texts.domains[0].name);
    print_measurements(d);
    return 0;
}

/* --- 3: the bad feed ---------------------------------------------------- */

/* Counts the records in quarantine that are no text. */
static int64_t count_binary(const struct demo *d)
{
    return count(d, "quarantine.nul_bytes") + count(d, "quarantine.utf16") +
           count(d, "quarantine.not_utf8");
}

static int send_bad_feed(struct demo *d, struct err *err)
{
    const struct demo_domain *first = &d->texts.domains[0];
    int64_t binary = count_binary(d), began;
    size_t i;
    int rc = 0;

    print("\n3. A bad feed: %d records of random bytes, then %s with the "
          "letters shuffled\n   (filter.surprise is off: it would refuse the "
          "shuffled text)",
          BAD_RECORDS, first->name);
    d->line_ms = timing_mono_ms();
    for (i = 0; rc == 0 && i < BAD_RECORDS; i++) {
        char bytes[512];

        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (char)rng_below(256, SEED, RNG_SAMPLE, i, k);
        bytes[0] = (char)0xff; /* never part of UTF-8 */
        rc = send_bytes(d, bytes, sizeof bytes, first->name, err);
    }
    began = timing_mono_ns();
    for (i = 0; rc == 0 && i < SHUFFLED_RECORDS &&
                timing_seconds_since(began) < d->seconds / 6;
         i++) {
        char *text =
            demo_text_shuffle(first->records[i % first->n_records], SEED + i);

        rc = send_text(d, text, first->name, 500000 + i, err);
        free(text);
    }
    if (rc || (rc = settle(d, first->name, err)) ||
        (rc = measure(d, count(d, "head_version"), "after the bad feed", err)))
        return rc;
    d->quarantined = count_binary(d) - binary;
    d->served = count(d, "serving_version");
    print("  %zu records of shuffled text in %.0f s", i,
          timing_seconds_since(began));
    print("  version %" PRId64 " is the newest, version %" PRId64 " serves",
          count(d, "head_version"), d->served);
    return 0;
}

/* --- 4: the rollback ---------------------------------------------------- */

static int roll_back(struct demo *d, struct err *err)
{
    int64_t skipped = count(d, "records.skipped");
    json_t *body =
        json_pack("{s:I, s:s, s:s}", "version", (json_int_t)d->good, "stream",
                  "skip", "reason", "the bad feed of the demo");
    json_t *operation = NULL;
    int rc;

    print("\n4. mneme rollback %" PRId64 " --stream skip", d->good);
    rc = client_operate(d->client, "/v1/rollback", body, OPERATION_MS,
                        &operation, err);
    if (rc == 0 && (rc = fetch_status(d, err)) == 0)
        rc = measure(d, 0, "after the rollback", err);
    if (rc == 0) {
        const char *detail = pick_text(operation, "detail");

        if (detail && *detail)
            print("  %s", detail);
        print("  version %" PRId64 " serves; %" PRId64
              " records of the bad feed will never be learned",
              d->list[d->n - 1].version, count(d, "records.skipped") - skipped);
        print_measurements(d);
    }
    json_decref(operation);
    return rc;
}

/* --- 5: a prompt -------------------------------------------------------- */

static int complete(struct demo *d, struct err *err)
{
    const char *text = d->texts.domains[0].kept_back[0];
    char *prompt = xstrndup(text, utf8_whole(text, 40)), *completion;
    json_t *reply = NULL;
    int rc;

    print("\n5. A question");
    rc = client_post(d->client, "/v1/completions",
                     json_pack("{s:s, s:s, s:i, s:f, s:i}", "model", "mneme",
                               "prompt", prompt, "max_tokens", 48,
                               "temperature", 0.5, "seed", 1),
                     &reply, err);
    if (rc == 0) {
        text = pick_text(json_array_get(pick(reply, "choices"), 0), "text");
        completion = xasprintf("  prompt and completion: \"%s|%s\"", prompt,
                               text ? text : "");
        for (char *c = completion; *c; c++)
            *c = *c == '\n' ? ' ' : *c;
        table_print_name(completion, stdout);
        putchar('\n');
        free(completion);
    }
    json_decref(reply);
    free(prompt);
    return rc;
}

/* --- 6: the summary ----------------------------------------------------- */

static void print_summary(const struct demo *d, double seconds)
{
    size_t n = d->texts.n;
    const struct measurement *good = &d->list[n], *bad = good + 1;
    const struct measurement *back = good + 2;
    bool exact = back->version == good->version;

    print("\nSummary: %.0f s, %" PRId64 " records: %" PRId64
          " learned, %" PRId64 " held out, %" PRId64 " quarantined, %" PRId64
          " skipped; %" PRId64 " steps",
          seconds, count(d, "records.consumed"), count(d, "records.learned"),
          count(d, "records.holdout"), count(d, "records.quarantined"),
          count(d, "records.skipped"), count(d, "step"));
    for (size_t i = 0; i < n; i++) {
        double before = d->list[i].bits_per_byte[i];
        double then = d->list[i + 1].bits_per_byte[i];
        double now = good->bits_per_byte[i];

        print("  %-9s %s: %.3f to %.3f bits per byte while it was sent, "
              "%.3f after all domains",
              then >= before      ? "NOT"
              : now > KEPT * then ? "FORGOT"
                                  : "learned",
              d->texts.domains[i].name, before, then, now);
        exact = exact && fabs(back->bits_per_byte[i] - now) < 1e-9;
    }
    print("  %-9s %" PRId64 " of %d records of random bytes",
          d->quarantined == BAD_RECORDS ? "refused" : "LEARNED", d->quarantined,
          BAD_RECORDS);
    print("  %-9s version %" PRId64
          " learned the shuffled text, version %" PRId64
          " served;\n            %s changed by %+.1f %%, and the gate "
          "fails only a version that is worse",
          d->served > d->good ? "PASSED" : "withheld", bad->version, d->served,
          d->texts.domains[0].name,
          100 * (bad->bits_per_byte[0] / good->bits_per_byte[0] - 1));
    print("  %-9s version %" PRId64 ": shuffled text %.3f before the bad "
          "feed, %.3f after it,\n            %.3f after the rollback",
          exact ? "restored" : "NOT", d->good, good->bits_per_byte[n],
          bad->bits_per_byte[n], back->bits_per_byte[n]);
}

static void print_commands(const struct demo *d, bool keep)
{
    char self[1024] = "mneme";
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    self[n > 0 ? n : (ssize_t)strlen(self)] = '\0';
    if (keep)
        print("\nmnemed is running at http://%s/. Stop it with: kill %ld",
              client_address(d->client), (long)d->daemon.pid);
    else
        print("\nmnemed has been stopped. Start it again with:\n"
              "  %s -c %s &",
              d->daemon.program, d->daemon.conf_path);
    print("Then open the address in %s/http.addr\nin a browser, or try:\n"
          "  M=%s; D='--data-dir %s'\n"
          "  $M status $D\n"
          "  $M versions $D\n"
          "  $M diff 1 %" PRId64 " $D\n"
          "  $M generate \"Copyright\" $D\n"
          "  $M feed --topic text --domain mine FILE $D\n"
          "  $M verify --all $D",
          d->daemon.data_dir, self, d->daemon.data_dir,
          d->list[d->n - 1].version);
}

static int run(struct demo *d, const struct verb_args *args, struct err *err)
{
    int64_t began = timing_mono_ns();
    double minutes = 3;
    int rc = verb_real(args, "minutes", 0.5, 600, &minutes, err);

    /* The bad feed, the rollback and the verdicts take the other quarter. */
    d->seconds = minutes * 60 * 0.75;
    d->deadline_ms = timing_mono_ms() + (int64_t)(10 * minutes * 60000);
    if (rc || (rc = start(d, args, err)) || (rc = learn(d, err)) ||
        (rc = send_bad_feed(d, err)) || (rc = roll_back(d, err)) ||
        (rc = complete(d, err)))
        return rc;
    print_summary(d, timing_seconds_since(began));
    return 0;
}

int cmd_demo(const struct verb_args *args, struct err *err)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    bool keep = verb_has(args, "keep"), stopped;
    struct demo d;
    int rc;

    memset(&d, 0, sizeof d);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &action, NULL); /* the daemon must be stopped first */
    rc = run(&d, args, err);
    if (rc && ferror(stdout))
        err_set(err, ERR_IO, "the standard output cannot be written");
    stopped = (keep && rc == 0) || mnemed_stop(&d.daemon);
    if (rc && d.daemon.log_path) {
        struct err cause = *err;

        rc = err_set(err, ERR_IO, "%.300s; mnemed's log: %s", cause.msg,
                     d.daemon.log_path);
    } else if (rc == 0 && !stopped) {
        rc = err_set(err, ERR_IO, "mnemed did not exit with status 0; see %s",
                     d.daemon.log_path);
    }
    if (rc == 0)
        print_commands(&d, keep);
    producer_free(d.producer);
    client_free(d.client);
    json_decref(d.status);
    demo_texts_release(&d.texts);
    mnemed_release(&d.daemon);
    return rc;
}

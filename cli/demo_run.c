/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/demo_run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timing.h"
#include "cli/pick.h"

/*
 * The embedded broker keeps about 5 MB of a partition, and a record is 1 KB at
 * most. While the text for the vocabulary is collected nothing is consumed yet,
 * so that the window has to be larger than that.
 */
#define WINDOW_COLLECTING 800
#define WINDOW 40
#define LOOK_MS 50
#define CONNECT_MS 120000
#define STALL_MS 60000
#define STALL_WORKING_MS 600000 /* while it says that it works on a version */
#define SAY_MS 8000 /* between two lines about progress */

/* --- connecting --------------------------------------------------------- */

static int check(struct demo_run *r, struct err *err)
{
    if (*r->interrupted)
        return err_set(err, ERR_IO, "interrupted");
    return demo_daemon_check(&r->daemon, err);
}

static int wait_for_file(struct demo_run *r, const char *file, char **line,
                         struct err *err)
{
    int64_t began = timing_mono_ms();
    int rc;

    while (!(*line = demo_daemon_address(&r->daemon, file))) {
        rc = check(r, err);
        if (rc)
            return rc;
        if (timing_mono_ms() - began > CONNECT_MS)
            return err_set(err, ERR_IO, "mnemed wrote no %s within %d s",
                           file, CONNECT_MS / 1000);
        timing_sleep_ms(LOOK_MS);
    }
    return 0;
}

int demo_run_connect(struct demo_run *r, struct err *err)
{
    struct producer_options options = {.topic = "text", .partition = -1};
    char *http = NULL, *kafka = NULL;
    int rc = wait_for_file(r, "kafka.addr", &kafka, err);

    if (rc == 0)
        rc = wait_for_file(r, "http.addr", &http, err);
    if (rc == 0)
        rc = client_open_at(http, &r->client, err);
    options.brokers = kafka;
    if (rc == 0)
        rc = producer_open(&options, &r->producer, err);
    if (rc == 0)
        rc = demo_run_look(r, err);
    free(http);
    free(kafka);
    return rc;
}

int demo_run_look(struct demo_run *r, struct err *err)
{
    json_t *status = NULL;
    int rc = check(r, err);

    if (rc == 0)
        rc = client_get(r->client, "/v1/status", &status, err);
    if (rc)
        return rc;
    json_decref(r->status);
    r->status = status;
    return 0;
}

/* --- what is seen on the way -------------------------------------------- */

static double loss_of(const struct demo_run *r, const char *domain)
{
    const json_t *row;
    size_t i;

    json_array_foreach(pick(r->status, "domains"), i, row)
    {
        const char *name = pick_text(row, "domain");

        if (name && !strcmp(name, domain))
            return pick_real(row, "prequential_bits_per_byte");
    }
    return NAN;
}

static void describe(const struct demo_run *r, const char *domain, char *text,
                     size_t size)
{
    double loss = loss_of(r, domain);
    int64_t wanted = pick_integer(r->status, "vocabulary.wanted", 0);

    if (wanted > 0)
        snprintf(text, size,
                 "collecting text for the vocabulary: %" PRId64 " of %" PRId64
                 " KB",
                 pick_integer(r->status, "vocabulary.bytes", 0) / 1000,
                 wanted / 1000);
    else if (r->waits_for_version)
        snprintf(text, size,
                 "all of it learned; waiting for the version that has it");
    else if (isfinite(loss))
        snprintf(text, size,
                 "%.3f bits per byte before learning; %.0f tokens/s, version "
                 "%" PRId64 " serves",
                 loss, pick_real(r->status, "tokens_per_second"),
                 pick_integer(r->status, "serving_version", 0));
    else
        snprintf(text, size, "nothing learned yet");
}

/* The bar on a terminal; a line now and then everywhere. */
static void show(struct demo_run *r, const char *domain, double share)
{
    char text[200];

    if (!domain)
        return;
    describe(r, domain, text, sizeof text);
    bar_update(&r->bar, share, "%s", text);
    if (timing_mono_ms() - r->said_ms < SAY_MS)
        return;
    r->said_ms = timing_mono_ms();
    bar_clear(&r->bar);
    printf("  %-16s %s\n", domain, text);
    fflush(stdout);
}

/* --- feeding ------------------------------------------------------------ */

static int64_t consumed(const struct demo_run *r)
{
    return pick_integer(r->status, "records.consumed", 0);
}

/* A sum that grows as long as the daemon makes progress. */
static int64_t progress(const struct demo_run *r)
{
    static const char *const paths[] = {
        "records.consumed", "step", "vocabulary.bytes", "head_version",
        "publish.judged_version", "publish.count"};
    int64_t sum = 0;

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        sum += pick_integer(r->status, paths[i], 0);
    return sum;
}

/* An error with the daemon's own reason for standing still. */
static int stands_still(const struct demo_run *r, int64_t ms, struct err *err)
{
    const char *state = pick_text(r->status, "state");
    const char *reason = pick_text(r->status, "reason");
    const char *next = pick_text(r->status, "publish.next_version.waits_for");

    return err_set(err, ERR_IO,
                   "mnemed has stood still for %d s at %" PRId64 " of %" PRId64
                   " records (%s%s%s; the next version waits for %s)",
                   (int)(ms / 1000), consumed(r), r->sent,
                   state ? state : "no state", reason ? ": " : "",
                   reason ? reason : "", next ? next : "records");
}

/* Sleeps, fetches the status, and fails when the daemon stands still. On a busy
 * machine a step or a verdict takes long. So the limit is longer while a
 * version is waited for, and there is none while the daemon names the time of
 * its end. */
static int wait_a_little(struct demo_run *r, int64_t *moved_ms,
                         struct err *err)
{
    int64_t before = progress(r), limit = STALL_MS, still;
    int rc;

    producer_poll(r->producer, LOOK_MS);
    rc = demo_run_look(r, err);
    if (rc)
        return rc;
    if (progress(r) != before ||
        pick_real(r->status, "publish.next_version.in_seconds") > 0)
        *moved_ms = timing_mono_ms();
    if (pick_text(r->status, "publish.next_version.waits_for"))
        limit = STALL_WORKING_MS;
    still = timing_mono_ms() - *moved_ms;
    return still > limit ? stands_still(r, still, err) : 0;
}

static int64_t window(const struct demo_run *r)
{
    bool is_collecting = pick_integer(r->status, "head_version", 0) == 0;

    return is_collecting ? WINDOW_COLLECTING : WINDOW;
}

int demo_run_send(struct demo_run *r, const char *bytes, size_t n_bytes,
                  const char *domain, double share, struct err *err)
{
    int64_t moved_ms = timing_mono_ms();
    int rc = 0;

    while (rc == 0 && r->sent - consumed(r) >= window(r)) {
        show(r, domain, share);
        rc = wait_a_little(r, &moved_ms, err);
    }
    if (rc == 0)
        rc = producer_send(r->producer, bytes, n_bytes, NULL, r->interrupted,
                           err);
    if (rc == 0)
        r->sent++;
    return rc;
}

int demo_run_send_text(struct demo_run *r, const char *text,
                       const char *domain, size_t number, double share,
                       struct err *err)
{
    char id[160];
    json_t *record;
    char *value;
    int rc;

    snprintf(id, sizeof id, "%.120s-%06zu", domain, number);
    record = json_pack("{s:s, s:s, s:s}", "text", text, "domain", domain,
                       "id", id);
    value = record ? json_dumps(record, JSON_COMPACT) : NULL;
    json_decref(record);
    if (!value)
        return err_set(err, ERR_INVALID, "domain %s: not UTF-8", domain);
    rc = demo_run_send(r, value, strlen(value), domain, share, err);
    free(value);
    return rc;
}

/* --- settling ----------------------------------------------------------- */

static int check_delivered(struct demo_run *r, struct err *err)
{
    struct producer_counts c;

    producer_counts(r->producer, &c);
    if (c.failed == 0)
        return 0;
    return err_set(err, ERR_IO, "%" PRId64 " records were not delivered: %s",
                   c.failed, producer_trouble(r->producer));
}

/* Is everything that was learned in the newest version, and that one judged? */
static int is_settled(struct demo_run *r, bool *settled, struct err *err)
{
    int64_t head = pick_integer(r->status, "head_version", 0);
    json_t *version = NULL;
    const char *state;
    int rc;

    *settled = false;
    if (head == 0)
        return 0;
    rc = client_version(r->client, head, &version, err);
    if (rc)
        return rc;
    state = pick_text(version, "state");
    *settled = pick_integer(version, "step", -1) ==
                   pick_integer(r->status, "step", 0) &&
               state && strcmp(state, "pending") != 0;
    json_decref(version);
    return 0;
}

int demo_run_settle(struct demo_run *r, const char *domain, struct err *err)
{
    int64_t moved_ms = timing_mono_ms();
    bool settled = false;
    int rc = 0;

    while (rc == 0 && consumed(r) < r->sent) {
        show(r, domain, 1);
        rc = wait_a_little(r, &moved_ms, err);
    }
    if (rc == 0)
        rc = check_delivered(r, err);
    r->waits_for_version = true;
    while (rc == 0 && !settled) {
        show(r, domain, 1);
        rc = wait_a_little(r, &moved_ms, err);
        if (rc == 0)
            rc = is_settled(r, &settled, err);
    }
    r->waits_for_version = false;
    bar_clear(&r->bar);
    return rc;
}

/* --- measuring ---------------------------------------------------------- */

static double mean_of_results(const json_t *reply)
{
    const json_t *row;
    double bits = 0, bytes = 0;
    size_t i;

    json_array_foreach(pick(reply, "results"), i, row)
    {
        double n = pick_real(row, "bytes");
        double x = pick_real(row, "bits_per_byte");

        if (isfinite(x) && n > 0) {
            bits += x * n;
            bytes += n;
        }
    }
    return bytes > 0 ? bits / bytes : NAN;
}

int demo_run_score(struct demo_run *r, char *const *texts, size_t n,
                   int64_t *version, double *bits_per_byte, struct err *err)
{
    json_t *list = json_array(), *reply = NULL;
    char model[40] = "mneme";
    int rc;

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(texts[i]));
    if (*version)
        snprintf(model, sizeof model, "mneme@%" PRId64, *version);
    rc = client_post(r->client, "/v1/score",
                     json_pack("{s:o, s:s}", "text", list, "model", model),
                     &reply, err);
    if (rc)
        return rc;
    *version = pick_integer(reply, "version", 0);
    *bits_per_byte = mean_of_results(reply);
    json_decref(reply);
    if (!isfinite(*bits_per_byte))
        return err_set(err, ERR_IO, "/v1/score gave no bits per byte");
    return 0;
}

static void shuffle_once(struct demo_run *r)
{
    const struct demo_domain *d = &r->texts.domains[0];

    for (size_t i = 0; i < d->n_kept_back && !r->shuffled[i]; i++) {
        struct buf text = BUF_INIT;

        demo_text_shuffle(d->kept_back[i], i, &text);
        r->shuffled[i] = buf_detach(&text);
    }
}

int demo_run_measure(struct demo_run *r, int64_t version, const char *when,
                     struct err *err)
{
    struct demo_point *p = &r->points[r->n_points];
    int rc = check(r, err);

    BUG_ON(r->n_points == DEMO_RUN_POINTS);
    shuffle_once(r);
    snprintf(p->when, sizeof p->when, "%s", when);
    p->version = version;
    for (size_t i = 0; rc == 0 && i < r->texts.n; i++) {
        const struct demo_domain *d = &r->texts.domains[i];

        rc = demo_run_score(r, d->kept_back, d->n_kept_back, &p->version,
                            &p->bits_per_byte[i], err);
    }
    if (rc == 0)
        rc = demo_run_score(r, r->shuffled, r->texts.domains[0].n_kept_back,
                            &p->version, &p->shuffled, err);
    if (rc == 0)
        r->n_points++;
    return rc;
}

void demo_run_release(struct demo_run *r)
{
    producer_free(r->producer);
    client_free(r->client);
    json_decref(r->status);
    for (size_t i = 0; i < DEMO_TEXT_KEPT_BACK; i++)
        free(r->shuffled[i]);
    demo_texts_release(&r->texts);
    demo_daemon_release(&r->daemon);
}

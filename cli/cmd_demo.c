/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo: the whole of mneme in a few minutes, told as it happens.
 *
 *     1  mnemed with an embedded broker on a new data directory
 *     2  one domain of text after another; after each, the version is pinned
 *        and measured on text that is never fed
 *     3  garbage: bytes that are no text, and text with its letters shuffled
 *     4  a rollback to the version before the garbage
 *     5  questions to the model
 *     6  a summary of what was measured, also where it did not come out
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
#include "cli/commands.h"
#include "cli/demo_run.h"
#include "cli/pick.h"
#include "cli/table.h"

#define BAD_RECORDS 40       /* bytes that are no text */
#define SHUFFLED_RECORDS 900
#define SEED 42
#define KEPT 1.05 /* a loss up to 5 % higher than its best counts as kept */
#define OPERATION_MS 600000 /* on a busy machine a verdict takes long */

/* A model that learns within minutes; every few seconds a version, of which
 * none goes away while we look. */
/* Without the filter of noise, which would keep the shuffled text from being
 * learned: then there is nothing for the gate to refuse, nor to go back. */
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
    "  gate: {min_chunks: 16, max_tokens: 8192}\n"
    "  keep: {newest: 60}\n"
    "http: {listen: '127.0.0.1:0'}\n";

/* What the summary is made of. */
struct story {
    struct demo_run run;
    double seconds;        /* for learning */
    int64_t first_version; /* before anything was learned */
    int64_t before;        /* the head before the garbage */
    int64_t after;         /* and after it */
    int64_t quarantined, skipped;
    int64_t published, refused, passed, undecided; /* since `before` */
    int64_t restored;      /* what serves after the rollback */
    double damaged_loss;   /* first domain, kept-back text, with the bad feed */
    double sentence, nonsense;          /* bits per byte */
};

static volatile int interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    if (fflush(stdout) != 0) /* nobody would see the rest */
        interrupted = 1;
}

static struct demo_domain *first_domain(struct story *s)
{
    return &s->run.texts.domains[0];
}

static int64_t count(const struct demo_run *r, const char *path)
{
    return pick_integer(r->status, path, 0);
}

/* --- 1: start ----------------------------------------------------------- */

static int start(struct story *s, const struct verb_args *args,
                 struct err *err)
{
    struct demo_run *r = &s->run;
    bool keep = verb_has(args, "keep");
    int rc = demo_texts_load(verb_value(args, "texts"), &r->texts, err);

    if (rc == 0)
        rc = demo_daemon_start(&r->daemon, verb_value(args, "data-dir"),
                               settings, keep, err);
    if (rc)
        return rc;
    say("mneme demo: a model learns from a stream whose subject changes.");
    say("Data directory: %s", r->daemon.data_dir);
    say("\n1. A daemon with a Kafka broker of its own");
    rc = demo_run_connect(r, err);
    if (rc)
        return rc;
    say("  mnemed (pid %ld) answers at http://%s", (long)r->daemon.pid,
        client_address(r->client));
    return 0;
}

/* --- 2: learning -------------------------------------------------------- */

/* Version 1 is the model before it has learned anything: the measure of
 * everything. It is there once the vocabulary is. */
static int measure_beginning(struct story *s, struct err *err)
{
    struct demo_run *r = &s->run;

    if (s->first_version || count(r, "head_version") == 0)
        return 0;
    s->first_version = 1;
    bar_clear(&r->bar);
    return demo_run_measure(r, 1, "before anything", err);
}

static int feed_domain(struct story *s, size_t which, struct err *err)
{
    struct demo_run *r = &s->run;
    struct demo_domain *d = &r->texts.domains[which];
    double seconds = s->seconds / (double)r->texts.n;
    int64_t began = timing_mono_ns();
    size_t i;
    int rc = 0;

    bar_begin(&r->bar, d->name);
    r->said_ms = timing_mono_ms() - 4000;
    for (i = 0; rc == 0 && i < d->n_records; i++) {
        double by_time = timing_seconds_since(began) / seconds;
        double by_text = (double)i / (double)d->n_records;

        if (by_time >= 1)
            break;
        rc = demo_run_send_text(r, d->records[i], d->name, i,
                                by_time > by_text ? by_time : by_text, err);
        if (rc == 0)
            rc = measure_beginning(s, err);
    }
    if (rc == 0)
        rc = demo_run_settle(r, d->name, err);
    if (rc == 0)
        rc = measure_beginning(s, err);
    if (rc == 0)
        say("  %-16s %zu records in %.0f s", d->name, i,
            timing_seconds_since(began));
    return rc;
}

static void print_points(const struct demo_run *r)
{
    struct table t;

    table_init(&t, "l:__BITS_PER_BYTE r:VERSION");
    for (size_t d = 0; d < r->texts.n; d++)
        table_column(&t, 'r', r->texts.domains[d].name);
    table_column(&t, 'r', "shuffled");
    for (size_t i = 0; i < r->n_points; i++) {
        const struct demo_point *p = &r->points[i];

        table_cell(&t, "  %s", p->when);
        table_cell(&t, "%" PRId64, p->version);
        for (size_t d = 0; d < r->texts.n; d++)
            table_real(&t, p->bits_per_byte[d], 3);
        table_real(&t, p->shuffled, 3);
    }
    table_print(&t, stdout);
    table_release(&t);
    fflush(stdout);
}

static int pin(struct demo_run *r, int64_t version, struct err *err)
{
    json_t *reply = NULL, *operation = NULL;
    char path[64];
    int rc;

    snprintf(path, sizeof path, "/v1/versions/%" PRId64 "/pin", version);
    rc = client_post(r->client, path, NULL, &reply, err);
    if (rc == 0)
        rc = client_wait(r->client, reply, OPERATION_MS, &operation, err);
    json_decref(operation);
    return rc;
}

static int learn(struct story *s, struct err *err)
{
    struct demo_run *r = &s->run;
    int rc = 0;

    say("\n2. One kind of text after another, through Kafka");
    say("  Bits per byte: how surprised the model is; lower is better.");
    for (size_t i = 0; rc == 0 && i < r->texts.n; i++) {
        char when[64];
        int64_t head;

        rc = feed_domain(s, i, err);
        head = rc ? 0 : count(r, "head_version");
        snprintf(when, sizeof when, "after %.40s", r->texts.domains[i].name);
        if (rc == 0)
            rc = pin(r, head, err);
        if (rc == 0)
            rc = demo_run_measure(r, head, when, err);
    }
    if (rc)
        return rc;
    say("\n  The same text, kept back from the stream, under the versions "
        "(shuffled: %s with\n  the letters in a random order; it should stay "
        "surprising):",
        first_domain(s)->name);
    print_points(r);
    return 0;
}

/* --- 3: garbage --------------------------------------------------------- */

static int send_bytes(struct demo_run *r, size_t which, struct err *err)
{
    unsigned char bytes[512];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)rng_below(256, SEED, RNG_SAMPLE, which, i);
    bytes[0] = 0xff; /* never part of UTF-8 */
    return demo_run_send(r, (char *)bytes, sizeof bytes, NULL, 0, err);
}

static int send_shuffled(struct story *s, size_t which, struct err *err)
{
    struct demo_domain *d = first_domain(s);
    struct buf text = BUF_INIT;
    int rc;

    demo_text_shuffle(d->records[which % d->n_records], SEED + which, &text);
    rc = demo_run_send_text(&s->run, text.data, d->name, 500000 + which,
                            (double)which / SHUFFLED_RECORDS, err);
    buf_release(&text);
    return rc;
}

/* What the gate said of the versions since `before`. */
static int count_verdicts(struct story *s, struct err *err)
{
    json_t *reply = NULL;
    const json_t *v;
    size_t i;
    int rc = client_get(s->run.client, "/v1/versions", &reply, err);

    json_array_foreach(pick(reply, "versions"), i, v)
    {
        const char *state = pick_text(v, "state");

        if (pick_integer(v, "version", 0) <= s->before || !state)
            continue;
        s->published++;
        s->refused += !strcmp(state, "failed");
        s->passed += !strcmp(state, "passed");
        s->undecided += !strcmp(state, "inconclusive");
    }
    json_decref(reply);
    return rc;
}

static int feed_garbage(struct story *s, struct err *err)
{
    struct demo_run *r = &s->run;
    const char *name = first_domain(s)->name;
    int64_t quarantined = count(r, "records.quarantined"), began;
    size_t i;
    int rc = 0;

    say("\n3. A bad feed: %d records of random bytes, then %s with the letters "
        "shuffled\n   (filter.surprise is off, which would keep it from being "
        "learned)",
        BAD_RECORDS, name);
    s->before = count(r, "head_version");
    bar_begin(&r->bar, "garbage");
    r->said_ms = timing_mono_ms();
    for (i = 0; rc == 0 && i < BAD_RECORDS; i++)
        rc = send_bytes(r, i, err);
    began = timing_mono_ns();
    for (i = 0; rc == 0 && i < SHUFFLED_RECORDS &&
                timing_seconds_since(began) < s->seconds / 6;
         i++)
        rc = send_shuffled(s, i, err);
    if (rc == 0)
        rc = demo_run_settle(r, name, err);
    if (rc)
        return rc;
    s->after = count(r, "head_version");
    s->quarantined = count(r, "records.quarantined") - quarantined;
    rc = count_verdicts(s, err);
    if (rc == 0)
        rc = demo_run_measure(r, s->after, "after the bad feed", err);
    if (rc)
        return rc;
    say("  %zu records of shuffled text in %.0f s", i,
        timing_seconds_since(began));
    say("  quarantined: %" PRId64 " of the %d records of random bytes",
        s->quarantined, BAD_RECORDS);
    say("  versions published since: %" PRId64 "; the gate refused %" PRId64
        ", let pass %" PRId64 ", could not decide on %" PRId64,
        s->published, s->refused, s->passed, s->undecided);
    say("  version %" PRId64 " is the newest, version %" PRId64 " serves",
        s->after, count(r, "serving_version"));
    return 0;
}

/* --- 4: rollback -------------------------------------------------------- */

static int roll_back(struct story *s, struct err *err)
{
    struct demo_run *r = &s->run;
    int64_t skipped = count(r, "records.skipped");
    json_t *reply = NULL, *operation = NULL;
    const char *detail;
    int rc;

    say("\n4. mneme rollback %" PRId64 " --stream skip", s->before);
    rc = client_post(r->client, "/v1/rollback",
                     json_pack("{s:I, s:s, s:s}", "version",
                               (json_int_t)s->before, "stream", "skip",
                               "reason", "the bad feed of the demo"),
                     &reply, err);
    if (rc == 0)
        rc = client_wait(r->client, reply, OPERATION_MS, &operation, err);
    if (rc == 0)
        rc = demo_run_look(r, err);
    if (rc == 0)
        rc = demo_run_measure(r, 0, "after the rollback", err);
    if (rc)
        goto out;
    detail = pick_text(operation, "detail");
    if (detail && *detail)
        say("  %s", detail);
    s->skipped = count(r, "records.skipped") - skipped;
    s->restored = r->points[r->n_points - 1].version;
    s->damaged_loss = r->points[r->n_points - 2].bits_per_byte[0];
    say("  version %" PRId64 " serves; %" PRId64
        " records of the bad feed are marked skipped, for good",
        s->restored, s->skipped);
    print_points(r);
out:
    json_decref(operation);
    return rc;
}

/* --- 5: questions ------------------------------------------------------- */

/* The first words of a text, at most about n bytes, without a line end. */
static char *beginning(const char *text, size_t n)
{
    size_t end;
    char *words;

    text += strspn(text, " \t\r\n");
    end = strcspn(text, "\r\n");
    if (end > n) {
        end = n;
        while (end > 1 && text[end] != ' ')
            end--;
    }
    words = calloc(end + 1, 1);
    if (!words)
        BUG("out of memory");
    memcpy(words, text, end);
    return words;
}

static int ask_completion(struct demo_run *r, const char *prompt,
                          struct err *err)
{
    json_t *reply = NULL;
    const char *text;
    int rc = client_post(r->client, "/v1/completions",
                         json_pack("{s:s, s:s, s:i, s:f, s:i}", "model",
                                   "mneme", "prompt", prompt, "max_tokens",
                                   48, "temperature", 0.5, "seed", 1),
                         &reply, err);

    if (rc)
        return rc;
    text = pick_text(json_array_get(pick(reply, "choices"), 0), "text");
    printf("  go on from    \"");
    table_print_text(prompt, strlen(prompt), stdout);
    printf("\"\n  it says       \"");
    for (const char *line = text ? text : ""; *line;) {
        size_t n = strcspn(line, "\n");

        table_print_text(line, n, stdout);
        line += n + (line[n] == '\n');
        if (*line)
            putchar(' ');
    }
    say("\"");
    json_decref(reply);
    return 0;
}

static int ask(struct story *s, struct err *err)
{
    struct demo_run *r = &s->run;
    char *text = first_domain(s)->kept_back[0];
    char *prompt = beginning(text, 60);
    struct buf shuffled = BUF_INIT;
    int64_t version = 0;
    int rc;

    say("\n5. Questions");
    rc = ask_completion(r, prompt, err);
    demo_text_shuffle(text, SEED, &shuffled);
    if (rc == 0)
        rc = demo_run_score(r, &text, 1, &version, &s->sentence, err);
    if (rc == 0)
        rc = demo_run_score(r, &shuffled.data, 1, &version, &s->nonsense,
                            err);
    if (rc == 0)
        say("  a paragraph of %s it has never seen: %.3f bits per byte; with "
            "its letters shuffled: %.3f",
            first_domain(s)->name, s->sentence, s->nonsense);
    free(prompt);
    buf_release(&shuffled);
    return rc;
}

/* --- 6: the summary ----------------------------------------------------- */

/* points[0] is version 1, points[1 + i] the one after domain i. */
static void sum_up_learning(const struct story *s)
{
    const struct demo_run *r = &s->run;

    for (size_t i = 0; i < r->texts.n; i++) {
        double from = r->points[i].bits_per_byte[i];
        double to = r->points[i + 1].bits_per_byte[i];

        say("  %-9s %s: %.3f to %.3f bits per byte while it was fed",
            to < from ? "learned" : "NOT", r->texts.domains[i].name, from,
            to);
    }
}

static void sum_up_memory(const struct story *s)
{
    const struct demo_run *r = &s->run;
    const struct demo_point *last = &r->points[r->texts.n];

    for (size_t i = 0; i + 1 < r->texts.n; i++) {
        double then = r->points[i + 1].bits_per_byte[i];
        double now = last->bits_per_byte[i];

        say("  %-9s %s: %.3f then, %.3f after what came later (%+.1f %%)",
            now <= then * KEPT ? "kept" : "FORGOT", r->texts.domains[i].name,
            then, now, 100 * (now - then) / then);
    }
}

static void sum_up_garbage(const struct story *s)
{
    double then = s->run.points[s->run.texts.n].bits_per_byte[0];

    say("  %-9s %" PRId64 " of %d records that were no text",
        s->quarantined == BAD_RECORDS ? "stopped" : "STOPPED",
        s->quarantined, BAD_RECORDS);
    if (s->refused)
        say("  %-9s %" PRId64 " of %" PRId64
            " versions with the shuffled text, by the gate%s",
            "refused", s->refused, s->published,
            s->passed ? "; it let others pass" : "");
    else
        say("  %-9s none of the %" PRId64
            " versions with the shuffled text was refused: %" PRId64
            " passed, %" PRId64 " undecided%s;\n            %s changed by "
            "%+.1f %%, and the gate looks only at what gets worse",
            s->passed ? "PASSED" : "withheld", s->published, s->passed,
            s->undecided, s->passed ? "" : ", and so never served",
            s->run.texts.domains[0].name,
            100 * (s->damaged_loss - then) / then);
}

static void sum_up_rollback(const struct story *s)
{
    const struct demo_point *then = &s->run.points[s->run.texts.n];
    const struct demo_point *bad = then + 1, *now = then + 2;
    bool exact = now->version == then->version &&
                 fabs(now->shuffled - then->shuffled) < 1e-9;

    for (size_t i = 0; i < s->run.texts.n; i++)
        exact = exact && fabs(now->bits_per_byte[i] -
                              then->bits_per_byte[i]) < 1e-9;
    say("  %-9s version %" PRId64
        ": shuffled text %.3f before the bad feed, %.3f after it, %.3f after "
        "the rollback",
        exact ? "restored" : "NOT", s->before, then->shuffled, bad->shuffled,
        now->shuffled);
    say("  %-9s a new paragraph %.3f, its letters shuffled %.3f bits per byte",
        s->sentence < s->nonsense ? "tells" : "CANNOT", s->sentence,
        s->nonsense);
}

static void sum_up(const struct story *s, double seconds)
{
    const struct demo_run *r = &s->run;

    say("\nSummary: %.0f s, %" PRId64 " records: %" PRId64 " learned, %" PRId64
        " held out, %" PRId64 " quarantined, %" PRId64 " skipped; %" PRId64
        " steps",
        seconds, count(r, "records.consumed"), count(r, "records.learned"),
        count(r, "records.holdout"), count(r, "records.quarantined"),
        count(r, "records.skipped"), count(r, "step"));
    sum_up_learning(s);
    sum_up_memory(s);
    sum_up_garbage(s);
    sum_up_rollback(s);
}

/* This program as it can be called: it need not be installed. */
static void name_self(char *out, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 1);

    if (n <= 0)
        n = snprintf(out, size, "mneme");
    out[n] = '\0';
}

static void where_to_look(struct story *s, bool keep)
{
    const struct demo_daemon *d = &s->run.daemon;
    char self[1024];

    if (keep)
        say("\nmnemed is running (stop it with: kill %ld). In a browser: "
            "http://%s/",
            (long)d->pid, client_address(s->run.client));
    else
        say("\nmnemed has been stopped. To start it again, and look at it in a "
            "browser at the\naddress that it writes into "
            "%s/http.addr:\n  %s -c %s &",
            d->data_dir, d->program, d->conf_path);
    name_self(self, sizeof self);
    say("Then try:\n"
        "  M=%s; D='--data-dir %s'\n"
        "  $M status $D\n"
        "  $M versions $D\n"
        "  $M diff 1 %" PRId64 " $D\n"
        "  $M generate \"Copyright\" $D\n"
        "  $M feed --topic text --domain mine FILE $D\n"
        "  $M verify --all $D",
        self, d->data_dir, s->restored);
}

/* --- all of it ---------------------------------------------------------- */

/* Whatever went wrong, its log tells more. Exit status 1 from here on. */
static int name_log(const struct demo_daemon *d, struct err *err)
{
    struct err cause = *err;

    return err_set(err, ERR_IO, "%.300s; mnemed's log: %s", cause.msg,
                   d->log_path);
}

static int tell(struct story *s, const struct verb_args *args,
                struct err *err)
{
    int64_t began = timing_mono_ns();
    double minutes = 3;
    int rc = verb_real(args, "minutes", 0.5, 600, &minutes, err);

    /* The rest is for the garbage, the questions, and for settling. */
    s->seconds = minutes * 60 * 0.75;
    if (rc == 0)
        rc = start(s, args, err);
    if (rc == 0)
        rc = learn(s, err);
    if (rc == 0)
        rc = feed_garbage(s, err);
    if (rc == 0)
        rc = roll_back(s, err);
    if (rc == 0)
        rc = ask(s, err);
    if (rc == 0)
        sum_up(s, timing_seconds_since(began));
    return rc;
}

int cmd_demo(const struct verb_args *args, struct err *err)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    bool keep = verb_has(args, "keep");
    struct story s;
    bool ended_well;
    int rc;

    memset(&s, 0, sizeof s);
    s.run.interrupted = &interrupted;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &action, NULL); /* the daemon is stopped first */
    rc = tell(&s, args, err);
    bar_clear(&s.run.bar);
    if (rc && ferror(stdout))
        err_set(err, ERR_IO, "the standard output cannot be written");
    ended_well = (keep && rc == 0) || demo_daemon_stop(&s.run.daemon);
    if (rc && s.run.daemon.log_path)
        rc = name_log(&s.run.daemon, err);
    else if (rc == 0 && !ended_well)
        rc = err_set(err, ERR_IO, "mnemed did not stop in good order; see %s",
                     s.run.daemon.log_path);
    if (rc == 0)
        where_to_look(&s, keep);
    demo_run_release(&s.run);
    return rc;
}

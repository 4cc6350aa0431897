/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed: sends the lines of files to a Kafka topic, or to the daemon.
 *
 * The loop reads a line, waits if the rate requires it, and gives the line to
 * the producer or to http_feed.h, which wait while the broker or the daemon
 * takes no more. The final counts are of the records that the broker or the
 * daemon has confirmed.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/lines.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "cli/address.h"
#include "cli/bar.h"
#include "cli/http_feed.h"
#include "cli/verb.h"
#include "cli/pick.h"
#include "cli/producer.h"
#include "cli/table.h"

/* A little more than Kafka's default limit for a message. */
#define MOST_LINE_BYTES ((size_t)16 << 20)
#define FLUSH_MS 200

struct feed {
    struct producer *producer; /* NULL: over HTTP */
    struct http_feed *http;    /* NULL: to Kafka */
    struct bar bar;
    const char *file;    /* that is read */
    int64_t line;        /* number of its last line */
    const char *domain;
    double rate;         /* records a second; 0: no limit */
    int64_t began_ms;
    int64_t n;           /* records read */
    int64_t bytes_total;  /* of all files; 0: unknown */
    int64_t bytes_before; /* of the finished files */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* --- to Kafka, or over HTTP --------------------------------------------- */

static void get_counts(const struct feed *f, struct producer_counts *counts)
{
    if (f->http)
        http_feed_counts(f->http, counts);
    else
        producer_counts(f->producer, counts);
}

static void refuse_line(struct feed *f, const char *why)
{
    if (f->http)
        http_feed_refuse(f->http, f->file, f->line, why);
    else
        producer_refuse(f->producer, why);
}

static int handle_replies(struct feed *f, int timeout_ms, struct err *err)
{
    if (f->http)
        return http_feed_poll(f->http, timeout_ms, err);
    producer_poll(f->producer, timeout_ms);
    return 0;
}

/* --- options ------------------------------------------------------------ */

/* Asks the daemon whether it takes records over HTTP. */
static int ask_source(struct client *c, bool *takes, struct err *err)
{
    json_t *status = NULL;
    int rc = client_get(c, "/v1/status", &status, err);

    *takes = !strcmp(pick_text_or(status, "source.type", ""), "http");
    json_decref(status);
    return rc;
}

static bool names_address(const struct verb_args *args)
{
    const char *env = getenv("MNEME_ADDR");

    return verb_has(args, "addr") || (env && *env);
}

/* Returns the address of the embedded broker of the daemon on the data
 * directory. NULL: there is none, or an address names another daemon. */
static int read_broker(const struct verb_args *args, char **broker,
                       struct err *err)
{
    *broker = NULL;
    return names_address(args)
               ? 0
               : address_read(verb_data_dir(args), "kafka.addr", broker, err);
}

/* Finds out whether the daemon takes records over HTTP. If no daemon was named
 * and none answers, Kafka is meant. */
static int ask_daemon(const struct verb_args *args, struct client **client,
                      bool *takes, struct err *err)
{
    struct err why = ERR_INIT;
    int rc = client_open(args, client, &why);
    bool answers;

    *takes = verb_has(args, "http");
    if (rc == 0 && !*takes)
        rc = ask_source(*client, takes, &why);
    if (rc == 0)
        return 0;
    answers = *client && (client_last_status(*client) ||
                          client_refused_certificate(*client));
    return *takes || answers || names_address(args) ||
                   verb_has(args, "data-dir")
               ? err_set(err, why.code, "%s", why.msg)
               : 0;
}

/* Opens the way to the daemon. *http stays NULL when records go to Kafka. */
static int open_http(const struct verb_args *args, struct bar *bar,
                     struct http_feed **http, struct err *err)
{
    static const char *const only_kafka[] = {"brokers", "topic", "key",
                                             "partition", "property"};
    bool wanted = verb_has(args, "http"), takes = false;
    struct client *c = NULL;
    char *broker = NULL;
    int rc = 0;

    for (size_t i = 0; i < sizeof only_kafka / sizeof *only_kafka; i++) {
        if (!verb_has(args, only_kafka[i]))
            continue;
        return wanted ? err_set(err, ERR_INVALID, "--%s: not with --http",
                                only_kafka[i])
                      : 0;
    }
    if (!wanted)
        rc = read_broker(args, &broker, err);
    if (rc || broker) {
        free(broker);
        return rc;
    }
    rc = ask_daemon(args, &c, &takes, err);
    if (rc == 0 && takes && verb_has(args, "domain"))
        rc = err_set(err, ERR_INVALID,
                     "--domain: over HTTP, the domain is a field of the "
                     "record");
    if (rc || !takes) {
        client_free(c);
        return rc;
    }
    *http = http_feed_create(c, &interrupted, bar);
    return 0;
}

static int open_producer(const struct verb_args *args,
                         struct producer **producer, struct err *err)
{
    struct producer_options options = {
        .topic = verb_value(args, "topic"),
        .key = verb_value(args, "key"),
    };
    const char **properties = xcalloc(args->n_given + 1, sizeof *properties);
    const char *given = verb_value(args, "brokers");
    char *brokers = NULL;
    int64_t partition = -1;
    int rc = 0;

    if (!given)
        rc = read_broker(args, &brokers, err);
    if (!brokers)
        brokers = xstrdup(given ? given : "localhost:9092");
    if (rc == 0)
        rc = verb_integer(args, "partition", 0, INT32_MAX, &partition, err);
    for (size_t i = 0; i < args->n_given; i++)
        if (!strcmp(args->given[i].option->name, "property"))
            properties[options.n_properties++] = args->given[i].value;
    options.properties = properties;
    options.partition = (int32_t)partition;
    options.brokers = brokers;
    if (!options.topic)
        options.topic = "text";
    if (rc == 0)
        rc = producer_open(&options, producer, err);
    free(brokers);
    free(properties);
    return rc;
}

/* Adds up the sizes of the files. With a pipe, the total is unknown. A missing
 * file is an error before the first record is sent. */
static int add_sizes(struct feed *f, const struct verb_args *args,
                   struct err *err)
{
    bool known = args->n_words > 0;

    for (size_t i = 0; i < args->n_words; i++) {
        struct stat st;

        if (!strcmp(args->words[i], "-")) {
            known = false;
            continue;
        }
        if (stat(args->words[i], &st) != 0)
            return err_set_errno(err, ERR_IO, errno, "%s", args->words[i]);
        known = known && S_ISREG(st.st_mode);
        f->bytes_total += st.st_size;
    }
    if (!known)
        f->bytes_total = 0;
    return 0;
}

/* --- the loop ----------------------------------------------------------- */

static void show(struct feed *f, const struct lines *l)
{
    struct producer_counts c;
    double seconds = bar_seconds(&f->bar);
    double share = NAN;

    get_counts(f, &c);
    if (f->bytes_total)
        share = (double)(f->bytes_before + (l ? lines_bytes_read(l) : 0)) /
                (double)f->bytes_total;
    bar_update(&f->bar, share, "%" PRId64 " delivered, %.0f/s%s", c.delivered,
               seconds > 0 ? (double)c.delivered / seconds : 0.0,
               c.failed ? ", some FAILED" : "");
}

/* Waits until the rate allows the next record. */
static int wait_for_rate(struct feed *f, struct err *err)
{
    int rc = 0;

    while (f->rate > 0 && !interrupted && rc == 0) {
        double due = (double)f->n / f->rate;
        double now = (double)(timing_mono_ms() - f->began_ms) / 1000;
        double wait = due - now;

        if (wait <= 0)
            break;
        rc = handle_replies(f, wait > 0.1 ? 100 : (int)(wait * 1000) + 1, err);
        show(f, NULL);
    }
    return rc;
}

static int send_line(struct feed *f, const struct line *line, struct err *err)
{
    int rc = wait_for_rate(f, err);

    if (rc)
        return rc;
    f->n++;
    f->line++;
    if (line->too_long) {
        refuse_line(f, "a line is longer than 16 MiB");
        return 0;
    }
    if (f->http)
        return http_feed_add(f->http, line->bytes, line->n_bytes, f->file,
                             f->line, err);
    return producer_send(f->producer, line->bytes, line->n_bytes, f->domain,
                         &interrupted, err);
}

static int feed_lines(struct feed *f, struct lines *l, struct err *err)
{
    struct line line;
    int rc = 0;

    while (!interrupted) {
        rc = lines_next(l, &line, err);
        if (rc == ERR_END)
            break;
        if (rc == 0)
            rc = send_line(f, &line, err);
        else if (rc == ERR_AGAIN) /* a pipe that has no line now */
            rc = handle_replies(f, 0, err);
        if (rc)
            return rc;
        show(f, l);
    }
    if (interrupted)
        return err_set(err, ERR_AGAIN, "interrupted");
    rc = lines_rest(l, &line, err);
    if (rc == ERR_END)
        return 0;
    return rc ? rc : send_line(f, &line, err);
}

static int feed_file(struct feed *f, const char *path, struct err *err)
{
    struct lines *l = lines_open(path, MOST_LINE_BYTES, err);
    int rc;

    if (!l)
        return ERR_IO;
    f->file = path ? path : "standard input";
    f->line = 0;
    rc = feed_lines(f, l, err);
    f->bytes_before += lines_bytes_read(l);
    lines_close(l);
    return rc;
}

static int feed_all(struct feed *f, const struct verb_args *args,
                    struct err *err)
{
    int rc = 0;

    if (args->n_words == 0)
        return feed_file(f, NULL, err);
    for (size_t i = 0; rc == 0 && i < args->n_words; i++) {
        bool is_stdin = !strcmp(args->words[i], "-");

        rc = feed_file(f, is_stdin ? NULL : args->words[i], err);
    }
    return rc;
}

/* Ends at the latest after message.timeout.ms (5 minutes), when librdkafka
 * gives up; over HTTP, at an error. */
static int wait_for_reports(struct feed *f, struct err *err)
{
    bool once_more = interrupted;

    if (f->http)
        return http_feed_finish(f->http, err);
    while (!producer_flush(f->producer, FLUSH_MS)) {
        show(f, NULL);
        if (interrupted && !once_more)
            break;
        once_more = false;
    }
    return 0;
}

/* --- the end ------------------------------------------------------------ */

/* Names the refused records on stderr, the first hundred of them. */
static void print_refused(const json_t *refused, int64_t n)
{
    const json_t *row;
    size_t i;

    json_array_foreach(refused, i, row)
    {
        fputs("refused: ", stderr);
        table_print_name(pick_text_or(row, "file", ""), stderr);
        fprintf(stderr, ":%" PRId64 ": ", pick_integer(row, "line", 0));
        table_print_name(pick_text_or(row, "reason", ""), stderr);
        fputc('\n', stderr);
    }
    n -= (int64_t)json_array_size(refused);
    if (n > 0)
        fprintf(stderr, "refused: %" PRId64 " more\n", n);
}

/* trouble: what ended the loop, or code 0. */
static int conclude(struct feed *f, bool json, const struct err *trouble,
                    struct err *err)
{
    struct producer_counts c;
    double seconds = bar_seconds(&f->bar);
    const char *why = f->producer ? producer_trouble(f->producer) : NULL;
    int64_t unknown;

    get_counts(f, &c);
    if (f->http)
        f->n = c.sent; /* without blank lines */
    unknown = f->n - c.delivered - c.failed;
    if (json) {
        json_t *root = json_pack("{s:I, s:I, s:I, s:I, s:f}", "records",
                                 (json_int_t)f->n, "delivered",
                                 (json_int_t)c.delivered, "failed",
                                 (json_int_t)c.failed, "unconfirmed",
                                 (json_int_t)unknown, "seconds", seconds);

        if (f->http)
            json_object_set_new(root, "refused",
                                json_deep_copy(http_feed_refused(f->http)));
        pick_print(root);
        json_decref(root);
    } else {
        if (f->http)
            print_refused(http_feed_refused(f->http), c.failed);
        printf("%" PRId64 " delivered, %" PRId64 " failed", c.delivered,
               c.failed);
        if (unknown > 0)
            printf(", %" PRId64 " unconfirmed", unknown);
        printf(" (%.1f s)\n", seconds);
    }
    if (c.failed == 0 && unknown == 0)
        return 0;
    if (!why)
        why = trouble->code ? trouble->msg
              : f->http     ? "the daemon has refused them"
                            : "interrupted";
    return err_set(err, ERR_IO, "records that were not delivered: %" PRId64
                   "; %s", c.failed + unknown, why);
}

int cmd_feed(const struct verb_args *args, struct err *err)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    struct feed f = {.domain = verb_value(args, "domain")};
    struct err trouble = ERR_INIT, late = ERR_INIT;
    int rc = verb_real(args, "rate", 0.001, 1e9, &f.rate, err), flushed;

    if (rc == 0)
        rc = add_sizes(&f, args, err);
    if (rc == 0)
        rc = open_http(args, &f.bar, &f.http, err);
    if (rc == 0 && !f.http)
        rc = open_producer(args, &f.producer, err);
    if (rc)
        return rc;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    bar_begin(&f.bar, "feed");
    f.began_ms = timing_mono_ms();
    rc = feed_all(&f, args, &trouble);
    flushed = wait_for_reports(&f, rc ? &late : &trouble);
    rc = rc ? rc : flushed;
    bar_clear(&f.bar);
    if (conclude(&f, verb_has(args, "json"), &trouble, err) == 0 && rc)
        *err = trouble;
    producer_free(f.producer);
    http_feed_free(f.http);
    return rc ? ERR_IO : (int)err->code;
}

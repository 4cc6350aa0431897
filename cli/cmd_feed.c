/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed: sends the lines of files to a Kafka topic.
 *
 * The loop reads a line, waits if the rate requires it, and gives the line to
 * the producer, which waits while its queue is full. The final counts are of
 * delivery reports.
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
#include "cli/verb.h"
#include "cli/pick.h"
#include "cli/producer.h"

/* A little more than Kafka's default limit for a message. */
#define MOST_LINE_BYTES ((size_t)16 << 20)
#define FLUSH_MS 200

struct feed {
    struct producer *producer;
    struct bar bar;
    const char *domain;
    double rate;         /* records a second; 0: no limit */
    int64_t began_ms;
    int64_t n;           /* records read */
    int64_t bytes_total;  /* of all files; 0: unknown */
    int64_t bytes_before; /* of the finished files */
};

static volatile int interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* --- options ------------------------------------------------------------ */

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
        rc = address_read(verb_data_dir(args), "kafka.addr", &brokers, err);
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

    producer_counts(f->producer, &c);
    if (f->bytes_total)
        share = (double)(f->bytes_before + (l ? lines_bytes_read(l) : 0)) /
                (double)f->bytes_total;
    bar_update(&f->bar, share, "%" PRId64 " delivered, %.0f/s%s", c.delivered,
               seconds > 0 ? (double)c.delivered / seconds : 0.0,
               c.failed ? ", some FAILED" : "");
}

/* Waits until the rate allows the next record. */
static void wait_for_rate(struct feed *f)
{
    if (f->rate <= 0)
        return;
    while (!interrupted) {
        double due = (double)f->n / f->rate;
        double now = (double)(timing_mono_ms() - f->began_ms) / 1000;
        double wait = due - now;

        if (wait <= 0)
            return;
        producer_poll(f->producer, wait > 0.1 ? 100 : (int)(wait * 1000) + 1);
        show(f, NULL);
    }
}

static int send_line(struct feed *f, const struct line *line, struct err *err)
{
    wait_for_rate(f);
    f->n++;
    if (line->too_long) {
        producer_refuse(f->producer, "a line is longer than 16 MiB");
        return 0;
    }
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
        else if (rc == ERR_AGAIN)
            producer_poll(f->producer, 0);
        if (rc && rc != ERR_AGAIN)
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
 * gives up. */
static void wait_for_reports(struct feed *f)
{
    bool once_more = interrupted;

    while (!producer_flush(f->producer, FLUSH_MS)) {
        show(f, NULL);
        if (interrupted && !once_more)
            break;
        once_more = false;
    }
}

/* --- the end ------------------------------------------------------------ */

static int conclude(struct feed *f, bool json, struct err *err)
{
    struct producer_counts c;
    double seconds = bar_seconds(&f->bar);
    int64_t unknown;

    producer_counts(f->producer, &c);
    unknown = f->n - c.delivered - c.failed;
    if (json) {
        json_t *root = json_pack("{s:I, s:I, s:I, s:I, s:f}", "records",
                                 (json_int_t)f->n, "delivered",
                                 (json_int_t)c.delivered, "failed",
                                 (json_int_t)c.failed, "unconfirmed",
                                 (json_int_t)unknown, "seconds", seconds);

        pick_print(root);
        json_decref(root);
    } else {
        printf("%" PRId64 " delivered, %" PRId64 " failed", c.delivered,
               c.failed);
        if (unknown > 0)
            printf(", %" PRId64 " without a delivery report", unknown);
        printf(" (%.1f s)\n", seconds);
    }
    if (c.failed == 0 && unknown == 0)
        return 0;
    return err_set(err, ERR_IO,
                   "records that were not delivered: %" PRId64 "; %s",
                   c.failed + unknown,
                   producer_trouble(f->producer)
                       ? producer_trouble(f->producer)
                       : "interrupted");
}

int cmd_feed(const struct verb_args *args, struct err *err)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    struct feed f = {.domain = verb_value(args, "domain")};
    struct err trouble = ERR_INIT;
    int rc = verb_real(args, "rate", 0.001, 1e9, &f.rate, err);

    if (rc == 0)
        rc = add_sizes(&f, args, err);
    if (rc == 0)
        rc = open_producer(args, &f.producer, err);
    if (rc)
        return rc;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    bar_begin(&f.bar, "feed");
    f.began_ms = timing_mono_ms();
    rc = feed_all(&f, args, &trouble);
    wait_for_reports(&f);
    bar_clear(&f.bar);
    if (conclude(&f, verb_has(args, "json"), err) == 0 && rc)
        *err = trouble;
    producer_free(f.producer);
    return rc ? ERR_IO : (int)err->code;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/http_feed.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_value.h"
#include "base/timing.h"
#include "base/xalloc.h"

#define BATCH_BYTES ((size_t)256 << 10)
#define BATCH_RECORDS 1000
#define BATCH_MS 200
#define AGAIN_MS 1000
#define NAP_MS 100
#define MOST_REFUSED 100

struct origin {
    size_t end; /* of the record's line in the batch */
    char *file;
    int64_t line;
};

struct http_feed {
    struct client *client;
    const volatile sig_atomic_t *stop;
    struct bar *bar;
    bool failed;  /* a batch could not be sent */
    bool is_last; /* the last batch goes out after an interruption, too */
    bool waits;   /* for a daemon that answers 429 */
    struct buf lines; /* the batch */
    struct origin origins[BATCH_RECORDS];
    size_t n;
    int64_t began_ms; /* when its first record was added */
    struct producer_counts counts;
    json_t *refused;
};

struct http_feed *http_feed_create(struct client *c,
                                   const volatile sig_atomic_t *stop,
                                   struct bar *bar)
{
    struct http_feed *f = xcalloc(1, sizeof *f);

    f->client = c;
    f->stop = stop;
    f->bar = bar;
    f->refused = json_array();
    client_set_stop(c, stop);
    return f;
}

static void empty(struct http_feed *f)
{
    while (f->n)
        free(f->origins[--f->n].file);
    buf_clear(&f->lines);
}

void http_feed_free(struct http_feed *f)
{
    if (!f)
        return;
    empty(f);
    buf_release(&f->lines);
    json_decref(f->refused);
    client_free(f->client);
    free(f);
}

static void refuse(struct http_feed *f, const char *file, int64_t line,
                   const char *why)
{
    f->counts.failed++;
    if (json_array_size(f->refused) < MOST_REFUSED)
        json_array_append_new(f->refused,
                              json_pack("{s:o, s:I, s:o}", "file",
                                        json_value_text(file), "line",
                                        (json_int_t)line, "reason",
                                        json_value_text(why)));
}

void http_feed_refuse(struct http_feed *f, const char *file, int64_t line,
                      const char *why)
{
    f->counts.sent++;
    refuse(f, file, line, why);
}

/* Sleeps, and wakes up for *stop. */
static void nap(const struct http_feed *f, int64_t ms)
{
    for (; ms > 0 && !*f->stop; ms -= NAP_MS)
        timing_sleep_ms(ms < NAP_MS ? ms : NAP_MS);
}

/* Says once why nothing moves: the log of records is full, or the token has a
 * rate. */
static void begin_wait(struct http_feed *f, const struct err *why)
{
    if (f->waits)
        return;
    f->waits = true;
    bar_clear(f->bar);
    fprintf(stderr, "mneme feed: waiting: %s\n", why->msg);
}

/* Posts the records from `first` on. Returns the error of the reply. */
static int post(struct http_feed *f, size_t first, size_t n, struct err *err)
{
    size_t begin = first ? f->origins[first - 1].end : 0;
    size_t n_bytes = f->origins[first + n - 1].end - begin;
    json_t *reply = NULL;
    int rc;

    for (;;) {
        *err = (struct err)ERR_INIT;
        rc = client_send(f->client, "/v1/records", "application/x-ndjson",
                         f->lines.data + begin, n_bytes, &reply, err);
        if (client_last_status(f->client) != 429)
            break;
        begin_wait(f, err);
        nap(f, AGAIN_MS);
        if (*f->stop)
            break;
    }
    f->waits = f->waits && rc;
    if (rc && *f->stop && client_last_status(f->client) == 0)
        rc = err_set(err, ERR_AGAIN, "interrupted");
    if (rc == 0)
        f->counts.delivered += (int64_t)n;
    json_decref(reply);
    return rc;
}

/* Sends n records, in parts where they are too large for one body. */
static int send_records(struct http_feed *f, size_t first, size_t n,
                        struct err *err)
{
    struct err why = ERR_INIT;
    int rc = post(f, first, n, &why);

    if (rc == 0)
        return 0;
    if (rc == ERR_AGAIN || client_last_status(f->client) != 413) {
        *err = why;
        return rc;
    }
    if (n == 1) {
        refuse(f, f->origins[first].file, f->origins[first].line, why.msg);
        return 0;
    }
    rc = send_records(f, first, n / 2, err);
    return rc ? rc : send_records(f, first + n / 2, n - n / 2, err);
}

static int flush(struct http_feed *f, struct err *err)
{
    int rc = 0;

    if (*f->stop && !f->is_last)
        return err_set(err, ERR_AGAIN, "interrupted");
    if (f->n)
        rc = send_records(f, 0, f->n, err);
    f->failed = f->failed || rc;
    empty(f);
    return rc;
}

int http_feed_finish(struct http_feed *f, struct err *err)
{
    if (f->failed)
        return 0;
    f->is_last = true;
    client_set_stop(f->client, NULL);
    return flush(f, err);
}

static bool is_blank(const char *bytes, size_t n)
{
    while (n && (bytes[n - 1] == ' ' || bytes[n - 1] == '\t'))
        n--;
    return n == 0;
}

int http_feed_add(struct http_feed *f, const char *bytes, size_t n_bytes,
                  const char *file, int64_t line, struct err *err)
{
    int rc = 0;

    if (is_blank(bytes, n_bytes)) /* the daemon takes none */
        return 0;
    f->counts.sent++;
    if (f->n == BATCH_RECORDS || f->lines.len + n_bytes >= BATCH_BYTES)
        rc = flush(f, err);
    if (rc)
        return rc;
    if (f->n == 0)
        f->began_ms = timing_mono_ms();
    buf_add(&f->lines, bytes, n_bytes);
    buf_addc(&f->lines, '\n');
    f->origins[f->n++] = (struct origin){f->lines.len, xstrdup(file), line};
    return 0;
}

int http_feed_poll(struct http_feed *f, int sleep_ms, struct err *err)
{
    int rc = 0;

    if (f->n && timing_mono_ms() - f->began_ms >= BATCH_MS)
        rc = flush(f, err);
    if (rc == 0)
        nap(f, sleep_ms);
    return rc;
}

void http_feed_counts(const struct http_feed *f, struct producer_counts *counts)
{
    *counts = f->counts;
}

const json_t *http_feed_refused(const struct http_feed *f)
{
    return f->refused;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_feed.h - sends records to POST /v1/records, in batches.
 *
 * A batch has at most 256 KiB or 1,000 records. It is sent when it is full, and
 * when its first record has waited for 200 ms. A record counts as delivered
 * when the daemon has answered that it is durable. While the daemon answers
 * 429, the batch is sent again once a second; the standard error says so once,
 * with the daemon's reason. A batch that is too large for the
 * daemon is halved; a single record that is too large is refused.
 *
 * Owner:   the caller; records and names are copied
 * Threads: one at a time
 */
#ifndef MNEME_CLI_HTTP_FEED_H
#define MNEME_CLI_HTTP_FEED_H

#include <signal.h>

#include <jansson.h>

#include "cli/bar.h"
#include "cli/client.h"
#include "cli/producer.h"

struct http_feed; /* fields are in http_feed.c */

/*
 * Takes the client over.
 *   stop  becomes non-zero to end all waiting; a signal handler may set it
 *   bar   is cleared before a line goes to the standard error
 */
struct http_feed *http_feed_create(struct client *c,
                                   const volatile sig_atomic_t *stop,
                                   struct bar *bar);
void http_feed_free(struct http_feed *f); /* NULL is fine */

/*
 * Sends the batch if it is full, then adds a record, unless the line is blank.
 *   file, line  where the record is from, for its name when it is refused
 *   returns     0; ERR_AGAIN when *stop is set; the error of a daemon that does
 *               not answer, or takes no records
 */
int http_feed_add(struct http_feed *f, const char *bytes, size_t n_bytes,
                  const char *file, int64_t line, struct err *err);

/* Counts a record that is not sent, with the reason. */
void http_feed_refuse(struct http_feed *f, const char *file, int64_t line,
                      const char *why);

/* Sends a batch that has waited for 200 ms, and then sleeps. */
int http_feed_poll(struct http_feed *f, int sleep_ms, struct err *err);

/* Sends the records of the last batch, also after *stop was set, unless a batch
 * could not be sent before. */
int http_feed_finish(struct http_feed *f, struct err *err);

/* sent: all records that were added or refused. */
void http_feed_counts(const struct http_feed *f,
                      struct producer_counts *counts);

/* The refused records, at most 100: [{"file", "line", "reason"}]. */
const json_t *http_feed_refused(const struct http_feed *f);

#endif

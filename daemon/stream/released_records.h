/* SPDX-License-Identifier: Apache-2.0 */
/*
 * released_records.h - learns quarantined records that an operator released.
 *
 *     released_records_write    publisher: adds rows to the table `releases`
 *                               (store/releases.h), which are durable when it
 *                               returns
 *     released_records_parse    trainer: makes a record of such a row, in the
 *                               topic RELEASES_TOPIC; it passes every filter
 *
 * A record that would be refused again is not released: one that is not UTF-8,
 * too long, empty, kept only in part, or without a label under preset linear.
 * The present configuration decides.
 */
#ifndef MNEME_DAEMON_STREAM_RELEASED_RECORDS_H
#define MNEME_DAEMON_STREAM_RELEASED_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/stream/record.h"
#include "store/releases.h"

/* Makes the record of a released row. Threads: any */
struct record *released_records_parse(struct record_maker *m,
                                      const struct conf *conf,
                                      const struct releases_row *row);

/*
 * Checks whether a row of the quarantine may be released. ERR_STATE with the
 * reason.
 *   n_labels   number of labels that the model knows
 * Threads: any
 */
int released_records_check(const struct conf *conf,
                           const struct catalog_quarantine *row,
                           int64_t n_labels, struct err *err);

/*
 * Releases a row. Row 0 releases all rows that may be released, of one reason
 * or, with "", of any.
 *   detail   out: one line about the result
 *   returns  0; ERR_NOTFOUND; ERR_STATE: the row may not be released, or has
 *            been already; with row 0, there is no such row
 * Threads: publisher
 */
int released_records_write(struct store *store, struct catalog *catalog,
                           const struct conf *conf, int64_t row,
                           const char *reason, int64_t n_labels, char *detail,
                           size_t size, struct err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * release.h - from the quarantine back into the stream.
 *
 *     release_carry_out     publisher: rows of `releases` (store/releases.h),
 *                           durable before anybody is told
 *     release_record        trainer: the row as a record of RELEASES_TOPIC,
 *                           which intake takes like any other, and lets pass
 *                           every filter
 *
 * What is broken in itself - not UTF-8, too long, empty, cut when it was kept,
 * without a label under preset linear - would only be refused again: it is
 * refused here, with the reason. What counts is the configuration of now.
 */
#ifndef MNEME_DAEMON_STREAM_RELEASE_H
#define MNEME_DAEMON_STREAM_RELEASE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/stream/record.h"
#include "store/releases.h"

/* The record of a released row. Any thread. */
struct record *release_record(struct record_maker *m, const struct conf *conf,
                              const struct releases_row *row);

/*
 * Says in a few words what is wrong with a record that was refused for this
 * reason: for bad_field, which field it is and what it holds; for compressed
 * data, how to unpack it. Empty when there is nothing to add to the reason.
 * bytes may be NULL. Threads: any
 */
void release_explain(const char *reason, const char *bytes, size_t n_bytes,
                     char *detail, size_t size);

/* May this row of the quarantine be released? ERR_STATE says why not.
 * n_labels: that the model knows. Any thread. */
int release_check(const struct conf *conf,
                  const struct catalog_quarantine *row, int64_t n_labels,
                  struct err *err);

/*
 * Releases a row; with row 0 all that can be, of one reason or ("") of any.
 *   detail  one line about what it did
 * ERR_NOTFOUND; ERR_STATE: it cannot be, or has been already; with row 0 that
 * there is none.
 * Threads: publisher
 */
int release_carry_out(struct store *store, struct catalog *catalog,
                      const struct conf *conf, int64_t row,
                      const char *reason, int64_t n_labels, char *detail,
                      size_t size, struct err *err);

#endif

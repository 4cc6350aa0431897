/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record_reason.h - explains why record_parse refused a record.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_STREAM_RECORD_REASON_H
#define MNEME_DAEMON_STREAM_RECORD_REASON_H

#include <stddef.h>

/* Returns a clause for a reason, such as "it is not UTF-8". NULL: record_parse
 * gives no such reason. */
const char *record_reason_clause(const char *reason);

/*
 * Explains the reason in a few words. For bad_field it names the field, and for
 * compressed data it says how to unpack them.
 *   bytes    the record's value, or NULL
 *   detail   out; empty when there is nothing to add to the reason
 */
void record_reason_explain(const char *reason, const char *bytes,
                           size_t n_bytes, char *detail, size_t size);

#endif

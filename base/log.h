/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - log lines with levels on stderr, as text or as JSON.
 *
 * A line is an event name and key=value pairs:
 *     log_info("publish", "version=%lld seconds=%.2f", n, s);
 * prints  2026-11-24T01:02:03.456Z info publish version=7 seconds=0.12 In the
 * JSON format all pairs are one string, "fields". A value with blanks is given
 * between quotes: path=\"%s\". A quote within it becomes an apostrophe. A
 * caller that logs user data keeps it short and without secrets.
 *
 * When stderr is a stream of journald ($JOURNAL_STREAM), each line begins with
 * its syslog priority, as <4>, which journald takes off. In the text format the
 * time and the level are then left out, since journald has them, and each line
 * is sent with fields: MNEME_EVENT, and MNEME_NAME for each pair at its
 * beginning, as MNEME_VERSION=7. A line that cannot be sent is written.
 *
 * Threads: any; lines of several threads do not mix
 */
#ifndef MNEME_BASE_LOG_H
#define MNEME_BASE_LOG_H

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* Also looks whether stderr goes to journald. Call it before other threads log;
 * later calls change level and format alone, unless stderr has changed. */
void log_configure(enum log_level level, enum log_format format);
enum log_level log_level(void);

void log_line(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Writes "WHO: TEXT" to stderr, whatever level and format are configured. For
 * the last message of a program. Escapes control characters, as log_line does.
 */
void log_plain(const char *who, const char *text);

/* For tests: the socket of journald. */
void log_set_journal(const char *path);

#define log_error(event, ...) log_line(LOG_ERROR, event, __VA_ARGS__)
#define log_warn(event, ...) log_line(LOG_WARN, event, __VA_ARGS__)
#define log_info(event, ...) log_line(LOG_INFO, event, __VA_ARGS__)
#define log_debug(event, ...) log_line(LOG_DEBUG, event, __VA_ARGS__)

#endif

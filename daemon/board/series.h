/* SPDX-License-Identifier: Apache-2.0 */
/*
 * series.h - the history of some figures, in bounded memory.
 *
 * A table: a column is a figure, a row is a time. series_add adds a row. The
 * rows of the last minutes are kept as they came. Older rows are merged in
 * pairs, and these in pairs again, so that the resolution halves with the age:
 *
 *     SERIES_ROWS rows of one sample, as many of 2, of 4, ... of 2^(LEVELS-1)
 *
 * With a sample every two seconds (SERIES_SAMPLE_MS) the table reaches back 24
 * days. The oldest row is then dropped for each new one.
 *
 * A merged row has the mean of the two values, and the time of the later one.
 * NaN stands for no value. The mean of a value and NaN is the value.
 *
 * Beside the table is a ring of marks: moments that a reader wants to see in
 * the curves, such as drift alarms.
 *
 * The history is in memory only, and begins anew when the process starts.
 *
 * Owner:   the series copies names and marks
 * Threads: any
 */
#ifndef MNEME_DAEMON_BOARD_SERIES_H
#define MNEME_DAEMON_BOARD_SERIES_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define SERIES_SAMPLE_MS 2000
#define SERIES_ROWS 128  /* of each level; even */
#define SERIES_LEVELS 13 /* 128 x (2 + 4 + ... + 8192) s = 24 days */
#define SERIES_MARKS 256

/* The figures of a row. Above them come the columns of domains. */
enum series_figure {
    SERIES_PREQUENTIAL,        /* bits per byte, over all domains */
    SERIES_LAG,                /* records */
    SERIES_TOKENS_PER_SECOND,  /* learned */
    SERIES_RECORDS_PER_SECOND, /* decided */
    SERIES_FIGURES
};

struct series; /* fields are in series.c */

/* max_domains  further domains get no column */
struct series *series_create(size_t max_domains);
void series_free(struct series *s); /* NULL is fine */

/* The most memory of a series with so many domains. */
size_t series_bytes(size_t max_domains);

struct series_domain {
    const char *name;
    double loss; /* bits per byte; of a model without a loss, the percentage of
                    wrong labels; NaN: none */
};

/* Adds a row. A new domain gets a column, which has NaN in the earlier rows. A
 * row whose time is before that of the last row gets the last row's time.
 *   time_ms  wall time */
void series_add(struct series *s, int64_t time_ms,
                const double figures[SERIES_FIGURES],
                const struct series_domain *domains, size_t n_domains);

/* Adds a mark; the oldest one makes room.
 *   kind     a static text: "drift"
 *   version  0: none
 *   domain   "": none
 *   text     what a reader should know; "": nothing */
void series_mark(struct series *s, int64_t time_ms, const char *kind,
                 int64_t version, const char *domain, const char *text);

/*
 * Appends the rows and marks later than after_ms, the oldest first:
 *
 *     {"time_ms": [...],
 *      "prequential_bits_per_byte": [...], "lag": [...],
 *      "tokens_per_second": [...], "records_per_second": [...],
 *      "domains": {NAME: [...]},
 *      "marks": [{"time_ms", "kind", "version", "domain", "text"}]}
 *
 * All arrays have one element for each row; null stands for NaN. A domain
 * without a value in these rows is left out.
 */
void series_to_json(struct series *s, int64_t after_ms, struct buf *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * families.h - texts that are nearly the same, and how many of them may come.
 *
 * A family is a 64-bit hash (simhash.h) and whatever lies within `bits` of it.
 * It may come `burst` times at once, and after that so often as its bucket
 * leaks: `share` for each record of another family since. So a family that is
 * less than about `share` of the stream never loses a record, one that makes
 * up all of it is cut off after the burst, and a stream of ten kinds of lines
 * keeps all ten.
 *
 *     level <- max(0, level - share x others since the last);
 *     level + 1 > burst: too many;  else level <- level + 1
 *
 * The last FAMILIES families are remembered. One is found through any of four
 * tables, by a quarter of its bits each: two hashes within 3 bits agree in one
 * quarter at least. A table's entry is overwritten by the next one to fall on
 * it, so that finding takes four looks; a family that comes often is always
 * found, a rare one may be taken for a new one, which lets it pass.
 *
 * What is done can be taken back, the last first: a version's state is that of
 * its position, and the trainer has looked further ahead.
 *
 * Owner:   the filter
 * Threads: trainer
 */
#ifndef MNEME_DAEMON_INTAKE_FAMILIES_H
#define MNEME_DAEMON_INTAKE_FAMILIES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/tensor.h"

#define FAMILIES 4096
#define FAMILY_TABLES 4
#define FAMILY_BITS_MAX 3 /* that the tables find */

struct family {
    uint64_t hash;
    int64_t last; /* clock when it came last */
    float level;
};

struct families {
    struct family items[FAMILIES];                 /* a ring */
    uint16_t tables[FAMILY_TABLES][FAMILIES];      /* to items */
    int64_t clock; /* records */
    int64_t n;     /* families ever begun */
};

struct family_limits {
    int bits;
    float burst, share;
};

/* What one call has changed. */
struct family_mark {
    struct family was;
    uint64_t hash;
    int32_t item; /* -1: nothing */
    uint16_t tables[FAMILY_TABLES];
    bool began;
};

/* A record comes: is it one too many of its family? */
bool families_too_many(struct families *f, uint64_t hash,
                       const struct family_limits *limits,
                       struct family_mark *mark);

/* Takes back the last call that has not been. */
void families_take_back(struct families *f, const struct family_mark *mark);

/* Tensors filter.families.*; nothing before the first record. An import of
 * nothing is a new table; ERR_CORRUPT changes nothing. */
void families_export(const struct families *f, struct tensor_list *out);
int families_import(struct families *f, const struct tensor_list *in,
                    struct err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * families.h - how many nearly equal texts may be learned.
 *
 * A family is a 64-bit hash (simhash.h) and all hashes within `bits` of it. A
 * leaky bucket limits each family: `burst` texts at once, then `share` texts
 * for each record of another family.
 *
 *     level <- max(0, level - share x others since the last)
 *     level + 1 > burst: too many;  else level <- level + 1
 *
 * So a family of less than about `share` of the stream loses no record, and a
 * family that is the whole stream is cut off after the burst.
 *
 * The last FAMILIES families are kept. Each of four tables finds a family by a
 * quarter of its bits: two hashes within 3 bits agree in at least one quarter.
 * Later families overwrite the entries of the tables. A frequent family is
 * always found; a rare one may count as new, so its text passes.
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
#define FAMILY_BITS_MAX 3 /* the tables find no more */

struct family {
    uint64_t hash;
    int64_t last; /* clock of its newest text */
    float level;
};

struct families {
    struct family items[FAMILIES];                 /* a ring */
    uint16_t tables[FAMILY_TABLES][FAMILIES];      /* to items */
    int64_t clock; /* texts counted */
    int64_t n;     /* families ever made */
};

struct family_limits {
    int bits;
    float burst, share;
};

/* Counts a text; true when its family has had too many. */
bool families_too_many(struct families *f, uint64_t hash,
                       const struct family_limits *limits);

/* Tensors filter.families.*; none before the first text. Without such tensors
 * families_import empties the tables. ERR_CORRUPT changes nothing. */
void families_export(const struct families *f, struct tensor_list *out);
int families_import(struct families *f, const struct tensor_list *in,
                    struct err *err);

#endif

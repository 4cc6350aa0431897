/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict_memory.h - the state that one verdict leaves for the next verdict:
 * the reference, the shadow comparison, the counters.
 *
 * It is stored with the version (versions.guard in store/schema.c), in the
 * transaction of the verdict, and nowhere else. A candidate is compared with
 * the memory of its nearest ancestor that has one. So the memory of version N
 * accounts for the same records as N does, also after a kill. Records that are
 * read again after a restart are compared again, and counted once. A rollback
 * to N writes a new memory for N in its own transaction.
 *
 *     memory(parent) --verdict--> memory(N) --verdict--> memory(N + 1)
 *                                    ^
 *                                    +-- rollback to N: verdict_memory_reset
 *
 * The memory is a column of its own for two reasons. The verdict comes after
 * the version's files are written, and a rollback changes no file. And the
 * column `gate` is for people: a rollback does not change what it says.
 *
 * Versions of older programs may have no memory; then verdict.c takes the
 * reference from the JSON in `gate`.
 *
 * Owner:   a plain struct of the caller
 * Threads: any
 */
#ifndef MNEME_DAEMON_PUBLISH_VERDICT_MEMORY_H
#define MNEME_DAEMON_PUBLISH_VERDICT_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/gate/guard.h"
#include "daemon/gate/shadow.h"
#include "store/catalog.h"

struct verdict_memory {
    int64_t reference; /* 0: none yet */
    /* The version that served after the last verdict. When another version
     * serves at the next verdict, an operator or a rollback has chosen it, and
     * it becomes the reference. -1: after a rollback, the version that serves
     * at the next verdict becomes the reference. 0: an old store, of which
     * nothing is known. */
    int64_t expected;
    /* Holdout rows counted when the reference was made, and at the last
     * candidate. */
    int64_t reference_rows, compared_rows;
    double scale;    /* of the shadow comparison (shadow.h); 0: not known yet */
    int64_t refused; /* candidates in a row that did not pass */
    bool above;      /* the last candidate exceeded a limit (gate.h) */
    struct shadow text, labels;
    int64_t worse_in_a_row;       /* guard.h */
    struct guard_request request; /* open until there is a rollback */
};

/* Empties the memory: nothing is known. */
void verdict_memory_init(struct verdict_memory *m);

/* The memory after a rollback: the next reference is the version that serves
 * then. */
void verdict_memory_reset(struct verdict_memory *m);

/* Sets the reference, and starts the shadow comparison with it. */
void verdict_memory_set_reference(struct verdict_memory *m, int64_t reference,
                                  int64_t reference_rows);

/* ln of the wealth of text and labels together. */
double verdict_memory_log_wealth(const struct verdict_memory *m);

/* The comparison that is shown: of text, or else of labels. */
const struct shadow *verdict_memory_shadow(const struct verdict_memory *m);

/* Loads the memory of the nearest ancestor of a version that has one. Without
 * any, or when it cannot be read, the memory is empty. */
int verdict_memory_load(struct catalog *c, int64_t version,
                        struct verdict_memory *m, struct err *err);

/*
 * Writes the memory as text, to be freed, and reads it, bit for bit.
 *   returns (read)  false, with *m unchanged, when the text is no such memory
 */
char *verdict_memory_write(const struct verdict_memory *m);
bool verdict_memory_read(struct verdict_memory *m, const char *text);

#endif

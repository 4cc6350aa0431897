/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_memory.h - what the judge and the guard know from one candidate to the
 * next: the reference, the evidence of the shadow comparison, the counters.
 *
 * It is kept with the version (versions.guard in store/schema.c), and nowhere
 * else: a candidate is judged with the memory of its nearest ancestor that has
 * one, and what comes of that is written with its verdict, in the same
 * transaction. So the memory of version N is that after the records that N
 * accounts for, whatever is killed; records that come again after a restart are
 * compared again, and counted once. A rollback to N writes, in its transaction,
 * what holds from N on: the comparison begins anew, and the cool-down.
 *
 *     memory(parent) --verdict--> memory(N) --verdict--> memory(N + 1)
 *                                    ^
 *                                    +-- rollback to N: went_back
 *
 * A column beside the verdict, and not tensors in the version: the gate speaks
 * after the files are written, and a rollback changes no file. Beside `gate`,
 * and not in it: that one is for people, rounded, and a rollback does not
 * change what the gate said.
 *
 * Versions of before have none: the judge then begins as it always did, from
 * what the serving version's `gate` notes.
 *
 * Owner:   a plain struct, the caller's
 * Threads: any, pure functions
 */
#ifndef MNEME_DAEMON_PUBLISH_JUDGE_MEMORY_H
#define MNEME_DAEMON_PUBLISH_JUDGE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/gate/guard.h"
#include "daemon/gate/shadow.h"

/* Both margins, of losses and of labels. */
enum judge_margin { JUDGE_ANY_MARGIN, JUDGE_AT_ONCE, JUDGE_MARGINS };

struct judge_memory {
    int64_t reference, expected; /* as in judge.c; 0: not known yet */
    int64_t mark;    /* holdout rows counted when the reference was made */
    int64_t seen;    /* and when the last candidate was */
    double scale;    /* of the shadow comparison; 0: not known yet */
    int64_t refused; /* versions in a row */
    bool above;      /* the last candidate was shown above a limit (gate.h) */
    struct shadow text[JUDGE_MARGINS], labels[JUDGE_MARGINS];
    struct guard_rule rule;
    struct guard_wish wish; /* of the last verdict, until there is a rollback */
};

/* Nothing is known. */
void judge_memory_begin(struct judge_memory *m);

/* There was a rollback, by anybody. */
void judge_memory_went_back(struct judge_memory *m);

/* The comparison begins anew, with this reference. */
void judge_memory_compare_with(struct judge_memory *m, int64_t reference,
                               int64_t mark);

/* ln of the evidence of text and labels together. */
double judge_memory_evidence(const struct judge_memory *m,
                             enum judge_margin margin);

/* What there is to show of it: of text, or else of labels. */
const struct shadow *judge_memory_shown(const struct judge_memory *m);

/* As text, to be freed, and back, bit for bit. read: false, with *m as it was,
 * when the text is no such memory. */
char *judge_memory_write(const struct judge_memory *m);
bool judge_memory_read(struct judge_memory *m, const char *text);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_pass.h - one forward pass for all generations of a version.
 *
 * Reading the weights takes most of the time of a pass over one token, so a
 * pass over the next tokens of several generations costs little more. A
 * generation joins and leaves at any time, and reads tokens by
 * shared_pass_extend. The passes happen in rounds:
 *
 *     a generation   choose a token, send it | wait |  round  | choose ...
 *     another one          choose, send      | wait |  round  | choose ...
 *
 * A round begins when every generation that has joined waits, so all that have
 * one token to read advance at the same pace. A round takes one token of each,
 * and up to SHARED_PASS_PROMPT tokens of prompts. A long prompt takes several
 * rounds, in turn with other prompts, and may miss some. A generation that
 * comes late, by SHARED_PASS_PATIENCE_MS, is not waited for. Its next token is
 * not waited for either. So a listener that blocks delays its own generation
 * only.
 *
 * The threads that wait do the work: a round is divided among up to n_threads
 * of them. A result never depends on the other generations in its round
 * (frozen_extend_all).
 *
 * Owner:   the struct infer, so that a pass never mixes versions
 * Threads: any
 */
#ifndef MNEME_LEARNER_INFER_SHARED_PASS_H
#define MNEME_LEARNER_INFER_SHARED_PASS_H

#include "learner/infer/frozen.h"
#include "learner/infer/infer.h"

#define SHARED_PASS_PROMPT 128
#define SHARED_PASS_PATIENCE_MS 5

struct shared_pass; /* fields are in shared_pass.c */

/*
 *   f            outlives it
 *   n_threads    at most so many threads work on a round
 *   patience_ms  SHARED_PASS_PATIENCE_MS; below 0: a round waits for all
 *   figures      are counted there; may be NULL
 */
struct shared_pass *shared_pass_create(const struct frozen *f, int n_threads,
                                       int64_t patience_ms,
                                       struct infer_figures *figures);
void shared_pass_free(struct shared_pass *p);

/* A generation, from join to leave. The fields are shared_pass.c's. */
struct shared_pass_member {
    bool is_awaited;     /* unless others have given it up since */
    uint64_t n_given_up; /* the pass's, when it became awaited */
    int64_t away_ms;     /* since when, monotonic */
};

/* A generation begins and ends. In between it should soon call
 * shared_pass_extend or shared_pass_leave: others wait for it. */
void shared_pass_join(struct shared_pass *p, struct shared_pass_member *m);
void shared_pass_leave(struct shared_pass *p, struct shared_pass_member *m);

/* Does one frozen_extend, in rounds with other generations. Returns when it is
 * done. */
void shared_pass_extend(struct shared_pass *p, struct shared_pass_member *m,
                        const struct frozen_part *part);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.h - when the daemon goes back by itself: the rule, and its limits.
 *
 * Drift is not damage: that the loss rises says nothing. The older version -
 * the last good one, which the gate compares with - must be better on the same
 * text. After each verdict the publisher asks guard_look:
 *
 *   at once   the older one is more than GUARD_AT_ONCE better on records that
 *             arrived after it (shadow.h, at level GUARD_ALPHA), and worse in
 *             the version before, too: in the first steps after a change of
 *             domain it may look so once; or a tensor is not finite
 *   patiently GUARD_PATIENCE versions in a row were above a limit, and each
 *             time the older one was better at all on such records, or they
 *             were above the limit, too (gate.h). Not the newest held-out ones:
 *             after a change of domain most of those are still of what was
 *             there before
 *   protected GUARD_PATIENCE versions in a row were above that of a domain of
 *             publish.gate.protect
 *
 * Neither of the first two when the live one is better on the very last records
 * (newest_better): the stream has changed its domain, and what came before that
 * is forgotten for the time being.
 *
 * For GUARD_COOL_DOWN versions after a rollback none but the tensor counts.
 *
 * The trainer, which carries it out, asks guard_allow: at most GUARD_MOST an
 * hour; then learning holds.
 *
 * None of it is only in memory. The rule's counters and a wish that has not
 * been carried out are kept with the version (judge_memory.h); when the daemon
 * went back, and that learning holds, is in the control log (catalog_went_back,
 * catalog_hold), where an operator's rollback or promote begins it anew. So a
 * restart changes nothing.
 *
 * Threads: each struct one thread's; pure functions
 */
#ifndef MNEME_DAEMON_GATE_GUARD_H
#define MNEME_DAEMON_GATE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define GUARD_AT_ONCE 0.03
#define GUARD_ALPHA 0.001
#define GUARD_CONFIRMED 2
#define GUARD_PATIENCE 3
#define GUARD_COOL_DOWN 3
#define GUARD_MOST 3
#define GUARD_HOUR_MS INT64_C(3600000)

/* What is known after a verdict. */
struct guard_sight {
    bool above;            /* shown above a limit (gate.h), or broken */
    bool not_finite;
    bool protected_above;  /* that of a protected domain */
    bool since_above;      /* on records that arrived after the older one */
    bool newest_better;    /* the live one, on the very last of these */
    double better;         /* ln of the evidence that the older one is better
                              on records that arrived after it */
    double much_better;    /* by more than GUARD_AT_ONCE */
};

struct guard_rule {
    int64_t versions; /* since the last rollback; with none it begins at the
                         cool-down's end */
    int64_t bad, bad_protected; /* in a row */
};

enum guard_cause {
    GUARD_NO_CAUSE,
    GUARD_NOT_FINITE,
    GUARD_MUCH_BETTER,
    GUARD_BETTER,
    GUARD_PROTECTED
};

void guard_start(struct guard_rule *g);

/* A version has been judged: go back, and why? */
enum guard_cause guard_look(struct guard_rule *g, const struct guard_sight *s);

/* There was a rollback, by anybody: the cool-down begins. */
void guard_went_back(struct guard_rule *g);

/* For people: "the older version is more than 3 % better on ..." */
const char *guard_cause_text(enum guard_cause cause);

/* What the guard wants of the trainer: to go back, where to, and why. */
struct guard_wish {
    enum guard_cause cause; /* GUARD_NO_CAUSE: nothing */
    int64_t version;
    char reason[300];
};

/*
 * May it go back now, when the last times that it did were at_ms[0..n), newest
 * first? Wall clock: times that a clock set back has left in the future count,
 * rather held too long than gone back for ever.
 */
bool guard_allow(const int64_t *at_ms, size_t n, int64_t now_ms);

/* To be kept; from_json: false, with *g as it was, when it is not that. */
json_t *guard_to_json(const struct guard_rule *g);
bool guard_from_json(struct guard_rule *g, const json_t *json);

#endif

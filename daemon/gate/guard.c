/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/guard.h"

#include <math.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "daemon/gate/tails.h"

/* Is the candidate better than the reference on the newest segments? Labels
 * decide when there is no loss. */
static bool is_better_on_newest(const struct gate_chunk *chunks, size_t n)
{
    double nats = 0;
    int64_t gained = 0;

    for (size_t i = 0; i < n; i++) {
        const struct gate_chunk *c = &chunks[i];

        if (!c->newest || c->before)
            continue;
        if (c->bytes > 0)
            nats += c->candidate_nats - c->reference_nats;
        if (c->labelled)
            gained += c->candidate_right - c->reference_right;
    }
    return nats < 0 || (!(nats > 0) && gained > 0);
}

void guard_observe(struct guard_evidence *e, const struct gate_chunk *chunks,
                   size_t n, const struct gate_options *options,
                   enum gate_verdict verdict)
{
    bool *selected = xcalloc(n + 1, sizeof *selected);
    struct gate_part *p = &e->since;

    for (size_t i = 0; i < n; i++)
        selected[i] = !chunks[i].before;
    *p = gate_estimate(chunks, n, selected, 1);
    p->limit = options->max_regression * p->unit;
    free(selected);
    e->above = verdict == GATE_FAIL && p->chunks >= GUARD_FEWEST &&
               p->regression > p->limit &&
               tails_student((p->regression - p->limit) / p->error,
                             p->degrees) <= GUARD_LEVEL;
    e->newest_better = is_better_on_newest(chunks, n);
}

enum guard_cause guard_check(int64_t *worse_in_a_row,
                             const struct guard_evidence *e)
{
    bool worse = e->log_wealth >= -log(GUARD_ALPHA);
    bool counts = (worse || e->above) && !e->newest_better;

    *worse_in_a_row = counts ? *worse_in_a_row + 1 : 0;
    if (e->not_finite)
        return GUARD_NOT_FINITE;
    if (worse && *worse_in_a_row >= GUARD_CONFIRMED)
        return GUARD_WORSE;
    return *worse_in_a_row >= GUARD_PATIENCE ? GUARD_ABOVE : GUARD_NO_CAUSE;
}

const char *guard_cause_text(enum guard_cause cause)
{
    static const char *const texts[] = {
        "nothing",
        "a tensor is not finite",
        "the older version is more than 3 % better on records that arrived "
        "after it",
        "three versions in a row were above a limit, also on records that "
        "arrived after the older version",
    };

    return texts[cause];
}

bool guard_allow(const int64_t *at_ms, size_t n, int64_t now_ms)
{
    return n < GUARD_MOST || now_ms - at_ms[GUARD_MOST - 1] >= GUARD_HOUR_MS;
}

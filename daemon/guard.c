/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/guard.h"

#include <math.h>

void guard_start(struct guard_rule *g)
{
    *g = (struct guard_rule){.versions = GUARD_COOL_DOWN};
}

void guard_went_back(struct guard_rule *g)
{
    *g = (struct guard_rule){0};
}

enum guard_cause guard_look(struct guard_rule *g, const struct guard_sight *s)
{
    const double enough = -log(GUARD_ALPHA);
    bool better = s->older_better || s->better >= enough;

    g->versions++;
    g->bad = s->failed && better ? g->bad + 1 : 0;
    g->bad_protected = s->protected_failed ? g->bad_protected + 1 : 0;
    if (s->not_finite)
        return GUARD_NOT_FINITE;
    if (g->versions <= GUARD_COOL_DOWN)
        return GUARD_NO_CAUSE;
    if (s->much_better >= enough)
        return GUARD_MUCH_BETTER;
    if (g->bad_protected >= GUARD_PATIENCE)
        return GUARD_PROTECTED;
    return g->bad >= GUARD_PATIENCE ? GUARD_BETTER : GUARD_NO_CAUSE;
}

const char *guard_cause_text(enum guard_cause cause)
{
    static const char *const texts[] = {
        "nothing",
        "a tensor is not finite",
        "the older version is more than 3 % better on records that came after "
        "it",
        "three versions in a row failed, and the older one is better on the "
        "newest records",
        "three versions in a row failed on a protected domain",
    };

    return texts[cause];
}

bool guard_allow(struct guard_limit *l, int64_t now_ms)
{
    int64_t *oldest = &l->at_ms[l->n % GUARD_MOST];

    if (l->n >= GUARD_MOST && now_ms - *oldest < GUARD_HOUR_MS)
        return false;
    *oldest = now_ms;
    l->n++;
    return true;
}

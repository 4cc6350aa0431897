/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/guard.h"

#include <math.h>

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

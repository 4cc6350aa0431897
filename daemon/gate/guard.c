/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/guard.h"

#include <math.h>

#include "base/tensor.h"

#define MOST TENSOR_COUNTER_MOST

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

    bool much = s->much_better >= enough;
    bool worse = s->above && (s->since_above || s->better >= enough);

    g->versions++;
    g->bad = (much || worse) && !s->newest_better ? g->bad + 1 : 0;
    g->bad_protected = s->protected_above ? g->bad_protected + 1 : 0;
    if (s->not_finite)
        return GUARD_NOT_FINITE;
    if (g->versions <= GUARD_COOL_DOWN)
        return GUARD_NO_CAUSE;
    if (much && g->bad >= GUARD_CONFIRMED)
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
        "three versions in a row were above a limit, and the older one is "
        "better on records that came after it",
        "three versions in a row were above the limit of a protected domain",
    };

    return texts[cause];
}

bool guard_allow(const int64_t *at_ms, size_t n, int64_t now_ms)
{
    return n < GUARD_MOST || now_ms - at_ms[GUARD_MOST - 1] >= GUARD_HOUR_MS;
}

json_t *guard_to_json(const struct guard_rule *g)
{
    return json_pack("{s:I, s:I, s:I}", "versions", (json_int_t)g->versions,
                     "bad", (json_int_t)g->bad, "bad_protected",
                     (json_int_t)g->bad_protected);
}

bool guard_from_json(struct guard_rule *g, const json_t *json)
{
    json_int_t versions, bad, bad_protected;

    if (json_unpack((json_t *)json, "{s:I, s:I, s:I}", "versions", &versions,
                    "bad", &bad, "bad_protected", &bad_protected) != 0 ||
        versions < 0 || versions > MOST || bad < 0 || bad > MOST ||
        bad_protected < 0 || bad_protected > MOST)
        return false;
    *g = (struct guard_rule){versions, bad, bad_protected};
    return true;
}

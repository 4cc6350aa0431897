/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/publish/judge_memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/tensor.h"

#define MOST TENSOR_COUNTER_MOST
#define DIGITS 17 /* give every double back */

void judge_memory_begin(struct judge_memory *m)
{
    memset(m, 0, sizeof *m);
    guard_start(&m->rule);
    judge_memory_compare_with(m, 0, 0);
}

void judge_memory_went_back(struct judge_memory *m)
{
    judge_memory_begin(m);
    m->expected = -1; /* the reference is whatever serves then */
    guard_went_back(&m->rule);
}

void judge_memory_compare_with(struct judge_memory *m, int64_t reference,
                               int64_t mark)
{
    for (int i = 0; i < JUDGE_MARGINS; i++) {
        double margin = i == JUDGE_AT_ONCE ? GUARD_AT_ONCE : 0;

        shadow_init(&m->text[i], margin);
        shadow_init(&m->labels[i], margin);
    }
    m->reference = reference;
    m->mark = m->seen = mark;
    m->scale = 0;
    m->above = false;
}

/* The mean of two wealths is one, so the level stays what it is. */
double judge_memory_evidence(const struct judge_memory *m,
                             enum judge_margin margin)
{
    return log((exp(fmin(shadow_evidence(&m->text[margin]), 400)) +
                exp(fmin(shadow_evidence(&m->labels[margin]), 400))) /
               2);
}

const struct shadow *judge_memory_shown(const struct judge_memory *m)
{
    return m->text[JUDGE_ANY_MARGIN].records ? &m->text[JUDGE_ANY_MARGIN]
                                             : &m->labels[JUDGE_ANY_MARGIN];
}

/* --- as text ------------------------------------------------------------ */

static json_t *wish_to_json(const struct guard_wish *w)
{
    json_t *reason;

    if (w->cause == GUARD_NO_CAUSE)
        return json_null();
    reason = json_string(w->reason);
    if (!reason) /* a name in it was cut within a character */
        reason = json_string(guard_cause_text(w->cause));
    return json_pack("{s:i, s:I, s:o}", "cause", (int)w->cause, "version",
                     (json_int_t)w->version, "reason", reason);
}

static bool wish_from_json(struct guard_wish *w, const json_t *json)
{
    const char *reason;
    json_int_t version;
    int cause;

    w->cause = GUARD_NO_CAUSE;
    if (json_is_null(json))
        return true;
    if (json_unpack((json_t *)json, "{s:i, s:I, s:s}", "cause", &cause,
                    "version", &version, "reason", &reason) != 0 ||
        cause < GUARD_NO_CAUSE || cause > GUARD_PROTECTED || version < 0 ||
        version > MOST)
        return false;
    w->cause = (enum guard_cause)cause;
    w->version = version;
    snprintf(w->reason, sizeof w->reason, "%s", reason);
    return true;
}

static json_t *shadows_to_json(const struct shadow s[JUDGE_MARGINS])
{
    json_t *list = json_array();

    for (int i = 0; i < JUDGE_MARGINS; i++)
        json_array_append_new(list, shadow_to_json(&s[i]));
    return list;
}

static bool shadows_from_json(struct shadow s[JUDGE_MARGINS],
                              const json_t *list)
{
    bool good = json_array_size(list) == JUDGE_MARGINS;

    for (size_t i = 0; good && i < JUDGE_MARGINS; i++)
        good = shadow_from_json(&s[i], json_array_get(list, i));
    return good;
}

char *judge_memory_write(const struct judge_memory *m)
{
    json_t *root = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:o, s:o, s:o, s:o}", "reference",
        (json_int_t)m->reference, "expected", (json_int_t)m->expected, "mark",
        (json_int_t)m->mark, "seen", (json_int_t)m->seen, "refused",
        (json_int_t)m->refused, "above", m->above, "scale", m->scale, "text",
        shadows_to_json(m->text), "labels", shadows_to_json(m->labels), "rule",
        guard_to_json(&m->rule), "wish", wish_to_json(&m->wish));
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS));

    json_decref(root);
    return text;
}

static bool fill(struct judge_memory *m, json_t *root)
{
    json_int_t n[5];
    int above = false; /* it came later than the rest */

    if (json_unpack(root, "{s:I, s:I, s:I, s:I, s:I, s?b, s:F}", "reference",
                    &n[0], "expected", &n[1], "mark", &n[2], "seen", &n[3],
                    "refused", &n[4], "above", &above, "scale",
                    &m->scale) != 0)
        return false;
    for (int i = 0; i < 5; i++)
        if (n[i] < (i == 1 ? -1 : 0) || n[i] > MOST) /* 1: expected, -1 none */
            return false;
    if (!isfinite(m->scale) || m->scale < 0)
        return false;
    m->reference = n[0];
    m->expected = n[1];
    m->mark = n[2];
    m->seen = n[3];
    m->refused = n[4];
    m->above = above;
    return shadows_from_json(m->text, json_object_get(root, "text")) &&
           shadows_from_json(m->labels, json_object_get(root, "labels")) &&
           guard_from_json(&m->rule, json_object_get(root, "rule")) &&
           wish_from_json(&m->wish, json_object_get(root, "wish"));
}

bool judge_memory_read(struct judge_memory *m, const char *text)
{
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    struct judge_memory read = {0};
    bool good = root && fill(&read, root);

    if (good)
        *m = read;
    json_decref(root);
    return good;
}

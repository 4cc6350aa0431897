/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions of older programs have two comparisons each for `text` and `labels`,
 * with margins 0 and SHADOW_MARGIN; the last one is read. Of their `rule`, only
 * `bad` is read.
 */
#include "config.h"

#include "daemon/publish/verdict_memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "base/tensor.h"

#define MOST TENSOR_COUNTER_MOST
#define DIGITS 17 /* give every double back */

void verdict_memory_init(struct verdict_memory *m)
{
    memset(m, 0, sizeof *m);
}

void verdict_memory_reset(struct verdict_memory *m)
{
    verdict_memory_init(m);
    m->expected = -1;
}

void verdict_memory_set_reference(struct verdict_memory *m, int64_t reference,
                                  int64_t reference_rows)
{
    m->text = m->labels = (struct shadow){0};
    m->reference = reference;
    m->reference_rows = m->compared_rows = reference_rows;
    m->scale = 0;
}

/* The mean of two wealths is a wealth, too, so the level stays the same. */
double verdict_memory_log_wealth(const struct verdict_memory *m)
{
    return log((exp(fmin(shadow_log_wealth(&m->text), 400)) +
                exp(fmin(shadow_log_wealth(&m->labels), 400))) /
               2);
}

const struct shadow *verdict_memory_shadow(const struct verdict_memory *m)
{
    return m->text.records ? &m->text : &m->labels;
}

int verdict_memory_load(struct catalog *c, int64_t version,
                        struct verdict_memory *m, struct err *err)
{
    char *text = NULL;
    int rc = catalog_guard(c, version, &text, err);

    verdict_memory_init(m);
    if (rc == 0 && text && !verdict_memory_read(m, text))
        log_warn("guard",
                 "version=%lld reason=\"the stored comparison cannot be read: "
                 "it starts again\"",
                 (long long)version);
    free(text);
    return rc;
}

/* --- as text ------------------------------------------------------------ */

static json_t *request_to_json(const struct guard_request *r)
{
    json_t *reason;

    if (r->cause == GUARD_NO_CAUSE)
        return json_null();
    reason = json_string(r->reason);
    if (!reason) /* a name in it was cut within a character */
        reason = json_string(guard_cause_text(r->cause));
    return json_pack("{s:i, s:I, s:o}", "cause", (int)r->cause, "version",
                     (json_int_t)r->version, "reason", reason);
}

static bool request_from_json(struct guard_request *r, const json_t *json)
{
    const char *reason;
    json_int_t version;
    int cause;

    r->cause = GUARD_NO_CAUSE;
    if (json_is_null(json))
        return true;
    if (json_unpack((json_t *)json, "{s:i, s:I, s:s}", "cause", &cause,
                    "version", &version, "reason", &reason) != 0 ||
        cause < GUARD_NO_CAUSE || cause > 4 || version < 0 || version > MOST)
        return false;
    r->cause = cause > GUARD_ABOVE ? GUARD_ABOVE : (enum guard_cause)cause;
    r->version = version;
    snprintf(r->reason, sizeof r->reason, "%s", reason);
    return true;
}

char *verdict_memory_write(const struct verdict_memory *m)
{
    json_t *root = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:f, s:[o], s:[o], s:{s:I}, s:o}",
        "reference", (json_int_t)m->reference, "expected",
        (json_int_t)m->expected, "mark", (json_int_t)m->reference_rows, "seen",
        (json_int_t)m->compared_rows, "refused", (json_int_t)m->refused,
        "scale", m->scale, "text", shadow_to_json(&m->text),
        "labels", shadow_to_json(&m->labels), "rule", "bad",
        (json_int_t)m->worse_in_a_row, "wish", request_to_json(&m->request));
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS));

    json_decref(root);
    return text;
}

static bool last_shadow(struct shadow *s, const json_t *list)
{
    size_t n = json_array_size(list);

    return n > 0 && shadow_from_json(s, json_array_get(list, n - 1));
}

static bool fill(struct verdict_memory *m, json_t *root)
{
    json_int_t n[6];

    if (json_unpack(root, "{s:I, s:I, s:I, s:I, s:I, s:F, s:{s:I}}",
                    "reference", &n[0], "expected", &n[1], "mark", &n[2],
                    "seen", &n[3], "refused", &n[4], "scale", &m->scale,
                    "rule", "bad", &n[5]) != 0)
        return false;
    for (int i = 0; i < 6; i++)
        if (n[i] < (i == 1 ? -1 : 0) || n[i] > MOST) /* 1: expected */
            return false;
    if (!isfinite(m->scale) || m->scale < 0)
        return false;
    m->reference = n[0];
    m->expected = n[1];
    m->reference_rows = n[2];
    m->compared_rows = n[3];
    m->refused = n[4];
    m->worse_in_a_row = n[5];
    return last_shadow(&m->text, json_object_get(root, "text")) &&
           last_shadow(&m->labels, json_object_get(root, "labels")) &&
           request_from_json(&m->request, json_object_get(root, "wish"));
}

bool verdict_memory_read(struct verdict_memory *m, const char *text)
{
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    struct verdict_memory read = {0};
    bool good = root && fill(&read, root);

    if (good)
        *m = read;
    json_decref(root);
    return good;
}

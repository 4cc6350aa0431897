/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/gate/shadow.h"

#include <math.h>

#include "base/json_value.h"
#include "base/tensor.h"

#define LN2 0.69314718055994530942
#define MOST 1e200 /* keeps the wealth finite */

static const double stakes[SHADOW_STAKES] = {0.05, 0.1, 0.2, 0.4, 0.8};

/* One step of all S_k, with y in [-1, 1]. */
static void bet(struct shadow *s, double y)
{
    double t = (double)++s->records;

    for (int k = 0; k < SHADOW_STAKES; k++) {
        double sum = (s->sums[k] + 1 / (t * (t + 1))) * (1 + stakes[k] * y);

        s->sums[k] = sum < MOST ? sum : MOST;
    }
}

void shadow_add(struct shadow *s, double live_nats, double reference_nats,
                double bytes, double scale)
{
    double live = live_nats / LN2, reference = reference_nats / LN2, y;

    if (!(bytes > 0) || !(scale > 0))
        return;
    y = (live - (1 + SHADOW_MARGIN) * reference) /
        (bytes * SHADOW_RANGE * scale);
    y = y > 1 ? 1 : y < -1 ? -1 : y;
    if (isnan(y)) /* the live version gives no finite loss */
        y = 1;
    s->live += live;
    s->reference += reference;
    s->bytes += bytes;
    bet(s, y * fmin(1, bytes / SHADOW_WHOLE_BYTES));
}

void shadow_add_label(struct shadow *s, bool live_right, bool reference_right)
{
    s->live += live_right;
    s->reference += reference_right;
    s->bytes += 1;
    bet(s, ((double)reference_right - (double)live_right - SHADOW_MARGIN) /
               (1 + SHADOW_MARGIN));
}

double shadow_log_wealth(const struct shadow *s)
{
    double sum = 0;

    for (int k = 0; k < SHADOW_STAKES; k++)
        sum += s->sums[k];
    return log(1 / (double)(s->records + 1) + sum / SHADOW_STAKES);
}

double shadow_difference(const struct shadow *s)
{
    return s->bytes > 0 && s->reference > 0 ? s->live / s->reference - 1 : NAN;
}

/* --- as JSON ------------------------------------------------------------ */

json_t *shadow_to_json(const struct shadow *s)
{
    json_t *sums = json_array();

    for (int k = 0; k < SHADOW_STAKES; k++)
        json_array_append_new(sums, json_real(s->sums[k]));
    return json_pack("{s:I, s:o, s:o, s:o, s:f}", "records",
                     (json_int_t)s->records, "sums", sums, "live",
                     json_value_real(s->live), "older",
                     json_value_real(s->reference), "bytes", s->bytes);
}

static double number_from(const json_t *json)
{
    return json_is_number(json) ? json_number_value(json) : (double)NAN;
}

bool shadow_from_json(struct shadow *s, const json_t *json)
{
    const json_t *sums = json_object_get(json, "sums");
    struct shadow read = {
        .records = json_integer_value(json_object_get(json, "records")),
        .live = number_from(json_object_get(json, "live")),
        .reference = number_from(json_object_get(json, "older")),
        .bytes = number_from(json_object_get(json, "bytes")),
    };

    if (json_array_size(sums) != SHADOW_STAKES || read.records < 0 ||
        read.records > TENSOR_COUNTER_MOST || !isfinite(read.bytes))
        return false;
    for (size_t k = 0; k < SHADOW_STAKES; k++) {
        read.sums[k] = number_from(json_array_get(sums, k));
        if (!(read.sums[k] >= 0))
            return false;
    }
    *s = read;
    return true;
}

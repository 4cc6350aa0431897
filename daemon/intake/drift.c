/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/intake/drift.h"

#include <math.h>
#include <string.h>

#include "base/tensor.h"

/* The estimated change point is where sum last was 0 (Page 1954): the blocks
 * since then are the run. */
static bool add_block(struct drift *d, double x, struct drift_alarm *alarm)
{
    double deviation = fmax(sqrt(d->variance), DRIFT_DEVIATION);
    double limit = DRIFT_CLIP * deviation, distance = x - d->mean, weight;

    if (d->n >= DRIFT_LEAST) {
        distance = fmin(fmax(distance, -limit), limit);
        d->sum = fmax(0, d->sum + distance / deviation - DRIFT_SLACK);
        d->fall = fmax(0, d->fall - distance / deviation - DRIFT_SLACK);
        d->run = d->sum > 0 ? d->run + 1 : 0;
        d->run_total = d->sum > 0 ? d->run_total + x : 0;
    }
    if (d->sum > DRIFT_ALARM) {
        alarm->before = d->mean;
        alarm->after = d->run_total / d->run;
        memset(d, 0, sizeof *d);
        return true;
    }
    if (d->fall > DRIFT_ALARM) {
        d->n = DRIFT_LEAST;
        d->sum = d->fall = d->run = d->run_total = 0;
    }
    d->n++;
    weight = 1 / fmin(d->n, DRIFT_MEMORY);
    d->mean += weight * distance;
    d->variance = (1 - weight) * (d->variance + weight * distance * distance);
    return false;
}

bool drift_add(struct drift *d, double nats, double bytes,
               struct drift_alarm *alarm)
{
    double x;

    if (!isfinite(nats))
        return false;
    d->nats += fmax(nats, 0); /* rounding may give less */
    d->bytes += bytes;
    if (d->bytes < DRIFT_BLOCK_BYTES)
        return false;
    x = d->nats / d->bytes / log(2.0);
    d->nats = d->bytes = 0;
    return add_block(d, x, alarm);
}

/* --- a version's state -------------------------------------------------- */

json_t *drift_json(const struct drift *d)
{
    return json_pack("[f, f, f, f, f, f, f, f, f]", d->nats, d->bytes, d->n,
                     d->mean, d->variance, d->sum, d->fall, d->run,
                     d->run_total);
}

int drift_from_json(const json_t *list, struct drift *d)
{
    struct drift r;
    double *fields[] = {&r.nats, &r.bytes, &r.n,   &r.mean,     &r.variance,
                        &r.sum,  &r.fall,  &r.run, &r.run_total};
    const size_t n = sizeof fields / sizeof *fields;

    if (json_array_size(list) != n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);

        *fields[i] = json_number_value(item);
        if (!json_is_number(item) || !(*fields[i] >= 0) ||
            !(*fields[i] <= (double)TENSOR_COUNTER_MOST))
            return -1;
    }
    if (r.bytes >= DRIFT_BLOCK_BYTES || r.sum > DRIFT_ALARM ||
        r.fall > DRIFT_ALARM || r.run > r.n || (r.sum > 0) != (r.run > 0))
        return -1;
    *d = r;
    return 0;
}

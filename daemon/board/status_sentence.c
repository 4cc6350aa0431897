/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of the daemon in one plain sentence, for the service manager:
 *
 *   Learning from 3 partitions, 2.10 bits per byte; version 42 serves; 120
 *   records behind.
 */
#include "config.h"

#include "daemon/board/status.h"

#include <math.h>
#include <stdlib.h>

static void add_state(const struct status *s, size_t n_partitions,
                      struct buf *out)
{
    buf_adds(out, status_state_words(s->state));
    if (s->state == STATUS_LEARNING && n_partitions)
        buf_addf(out, " from %zu partition%s", n_partitions,
                 n_partitions == 1 ? "" : "s");
    if (s->reason[0])
        buf_addf(out, ": %s", s->reason);
    if (s->state == STATUS_LEARNING && isfinite(s->prequential_bits_per_byte))
        buf_addf(out, ", %.2f bits per byte", s->prequential_bits_per_byte);
}

void status_to_sentence(struct status_board *b, struct buf *out)
{
    struct status *s = status_copy(b);
    size_t n_partitions;
    int64_t lag = status_lag(b, &n_partitions);

    add_state(s, n_partitions, out);
    if (s->serving_version)
        buf_addf(out, "; version %lld serves", (long long)s->serving_version);
    else
        buf_adds(out, "; no version serves yet");
    if (lag > 0)
        buf_addf(out, "; %lld records behind", (long long)lag);
    buf_addc(out, '.');
    free(s);
}

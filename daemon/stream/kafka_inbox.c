/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/stream/kafka_inbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/xalloc.h"

#define PATIENCE_MS 1000
#define SLICE_MS 50 /* between two looks at what ends a wait */

/* The header `domain`, as a string: header values are any bytes. */
static char *domain_header(const rd_kafka_message_t *m)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t n;

    if (rd_kafka_message_headers(m, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_last(headers, "domain", &value, &n) !=
            RD_KAFKA_RESP_ERR_NO_ERROR ||
        !value)
        return NULL;
    return xstrndup(value, n);
}

/* Of a value that is too long only the beginning travels on. */
static struct record *make_record(const struct kafka_inbox *in,
                                  const rd_kafka_message_t *m,
                                  const struct kafka_part *part)
{
    const struct conf_source *conf = &in->source->options.conf->source;
    size_t max_bytes = (size_t)conf->max_record_bytes;
    struct record *r =
        record_create_data(&in->source->maker, m->payload,
                           m->len < max_bytes ? m->len : max_bytes);
    char *domain = domain_header(m);
    int64_t time_ms = rd_kafka_message_timestamp(m, NULL);

    r->epoch = in->epoch;
    r->topic = part->topic;
    r->partition = part->partition;
    r->offset = m->offset;
    r->time_ms = time_ms > 0 ? time_ms : 0;
    r->value_hash = checksum_xxh3(m->payload ? m->payload : "", m->len, 0);
    if (m->len > max_bytes)
        r->reason = "too_long";
    source_parse(in->source, r, domain);
    free(domain);
    return r;
}

/* Waits for room a little before it is held: a pause throws away what
 * librdkafka has fetched ahead. */
static void push_or_hold(struct kafka_inbox *in, struct record *r)
{
    struct queue *q = in->source->options.queue;

    if (!in->n_held && queue_try_push(q, r))
        return;
    for (int64_t waited = 0; !in->n_held && waited < PATIENCE_MS &&
                             !atomic_load(in->stopping) &&
                             !atomic_load(in->has_order);
         waited += SLICE_MS)
        if (queue_push(q, r, SLICE_MS))
            return;
    XGROW(in->held, in->n_held, in->capacity);
    in->held[in->n_held++] = r;
}

/* In order; what does not fit stays. */
void kafka_inbox_push(struct kafka_inbox *in)
{
    struct queue *q = in->source->options.queue;
    size_t done = 0;

    if (!in->n_held || !queue_has_room(q))
        return;
    while (done < in->n_held && queue_try_push(q, in->held[done]))
        done++;
    in->n_held -= done;
    memmove(in->held, in->held + done, in->n_held * sizeof *in->held);
}

bool kafka_inbox_is_holding(const struct kafka_inbox *in)
{
    return in->n_held > 0;
}

void kafka_inbox_restart(struct kafka_inbox *in, int64_t epoch)
{
    for (size_t i = 0; i < in->n_held; i++)
        record_free(in->held[i]);
    in->n_held = 0;
    in->epoch = epoch;
}

void kafka_inbox_release(struct kafka_inbox *in)
{
    kafka_inbox_restart(in, in->epoch);
    free(in->held);
}

void kafka_inbox_take(struct kafka_inbox *in, const rd_kafka_message_t *m,
                      struct kafka_part *part)
{
    struct record *r;

    if (m->offset < atomic_load(&part->next))
        return;
    r = make_record(in, m, part);
    if (r->reason && in->letters)
        kafka_letters_send(in->letters, m, r);
    part->last_read = m->offset;
    part->last_hash = r->value_hash;
    push_or_hold(in, r);
    atomic_store(&part->next, m->offset + 1);
    atomic_fetch_add(&in->source->records_read, 1);
}

void kafka_inbox_reach_end(struct kafka_inbox *in, int64_t end,
                           struct kafka_part *part)
{
    int64_t next = atomic_load(&part->next);
    struct record *r;

    atomic_store(&part->end, end);
    if (next < 0 || end <= next)
        return;
    r = record_create(RECORD_HOLE);
    r->epoch = in->epoch;
    r->topic = part->topic;
    r->partition = part->partition;
    r->first_offset = next;
    r->offset = end - 1;
    push_or_hold(in, r);
    atomic_store(&part->next, end);
}

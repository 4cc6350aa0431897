/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/stream/source.h"

#include <string.h>

#include "daemon/stream/source_private.h"

int source_create(const struct source_options *options, struct source **source,
                  struct err *err)
{
    if (options->conf->source.type == CONF_SOURCE_KAFKA)
        return source_kafka_create(source, options, err);
    if (options->conf->source.type == CONF_SOURCE_HTTP)
        return source_http_create(source, options, err);
    return source_file_create(source, options, err);
}

void source_free(struct source *s)
{
    if (s)
        s->ops->free(s);
}

int source_begin(struct source *s, const struct source_position *positions,
                 size_t n, int64_t epoch, struct err *err)
{
    return s->ops->begin(s, positions, n, epoch, err);
}

int source_seek(struct source *s, const struct source_position *positions,
                size_t n, int64_t epoch, struct err *err)
{
    return s->ops->seek(s, positions, n, epoch, err);
}

int source_append(struct source *s, const char *lines, size_t n_bytes,
                  int64_t n, int64_t *first, struct err *err)
{
    if (!s || !s->ops->append)
        return err_set(err, ERR_INVALID,
                       "the records of this daemon do not come over HTTP "
                       "(source.type)");
    return s->ops->append(s, lines, n_bytes, n, first, err);
}

void source_published(struct source *s,
                      const struct source_position *positions, size_t n)
{
    s->ops->published(s, positions, n);
}

size_t source_get_partitions(struct source *s, struct source_partition **rows)
{
    return s->ops->get_partitions(s, rows);
}

void source_get_health(struct source *s, struct source_health *health)
{
    pthread_mutex_lock(&s->mutex);
    health->state = s->state;
    memcpy(health->reason, s->reason, sizeof health->reason);
    health->gaps = s->gaps;
    pthread_mutex_unlock(&s->mutex);
    health->records_read = atomic_load(&s->records_read);
    health->times_cut = atomic_load(&s->times_cut);
    health->time_cut_ms = atomic_load(&s->time_cut_ms);
    health->dead_lettered = atomic_load(&s->dead_letters.delivered);
    health->dead_letters_failed = atomic_load(&s->dead_letters.failed);
    health->dead_letters_waiting = atomic_load(&s->dead_letters.waiting);
}

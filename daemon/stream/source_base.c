/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/source_private.h"

void source_init(struct source *s, const struct source_ops *ops,
                 const struct source_options *options)
{
    s->ops = ops;
    s->options = *options;
    s->options.data_dir = xstrdup(options->data_dir ? options->data_dir : ".");
    s->options.store_id = xstrdup(options->store_id ? options->store_id : "");
    record_maker_init(&s->maker,
                      options->conf->model.preset == CONF_PRESET_LINEAR);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
}

void source_release(struct source *s)
{
    free((char *)s->options.data_dir);
    free((char *)s->options.store_id);
    record_maker_release(&s->maker);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
}

void source_parse(struct source *s, struct record *r, const char *domain)
{
    const struct conf_source *conf = &s->options.conf->source;

    record_parse(&s->maker, r, conf->format, (size_t)conf->max_record_bytes,
                 domain);
    if (!r->time_cut)
        return;
    atomic_store(&s->time_cut_ms, timing_mono_ms());
    if (atomic_fetch_add(&s->times_cut, 1) == 0)
        log_warn("time",
                 "topic=%s partition=%d offset=%lld: the event time is "
                 "in the future, so the present time replaces it; later cases "
                 "are only counted",
                 r->topic, (int)r->partition, (long long)r->offset);
}

void source_set_state(struct source *s, enum source_state state,
                      const char *fmt, ...)
{
    char reason[sizeof s->reason];
    enum source_state before;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&s->mutex);
    before = s->state;
    s->state = state;
    memcpy(s->reason, reason, sizeof reason);
    pthread_mutex_unlock(&s->mutex);
    if (before != state)
        log_line(state == SOURCE_STOPPED    ? LOG_ERROR
                 : state == SOURCE_RETRYING ? LOG_WARN
                                            : LOG_INFO,
                 "source", "state=%s%s%s%s", source_state_name(state),
                 *reason ? " reason=\"" : "", reason, *reason ? "\"" : "");
}

void source_count_gap(struct source *s, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&s->mutex);
    s->gaps++;
    pthread_mutex_unlock(&s->mutex);
    log_warn("gap", "%s", text);
}

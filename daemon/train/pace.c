/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/train/pace.h"

#include <math.h>

#define PAUSE_MS 2000 /* a pause, when learner.flush_seconds is 0 */
#define REFUSED_MS INT64_C(60000)

void pace_start(struct pace *p, int64_t now_ms)
{
    *p = (struct pace){PACE_PAUSES, now_ms};
}

double pace_interval_seconds(const struct conf *conf, double cpu_seconds)
{
    return fmax(conf->publish.every_seconds, cpu_seconds / PUBLISH_SHARE);
}

static int64_t after(int64_t ms, double seconds)
{
    return ms + (int64_t)(1000 * seconds);
}

/* Keeps the wait that ends later. Returns true when it is over. */
static bool wait_is_over(struct pace_wait *w, const struct pace_input *in,
                         int64_t until_ms, const char *reason)
{
    if (until_ms >= w->until_ms)
        *w = (struct pace_wait){reason, until_ms};
    return w->until_ms <= in->now_ms;
}

/* Uses up one version at a pause. False: the stream does not pause, records are
 * not learned yet, or no such version is left. */
static bool use_pause(struct pace *p, const struct conf *conf,
                      const struct pace_input *in)
{
    double flush = conf->learner.flush_seconds;
    int64_t pause_ms = flush > 0 ? (int64_t)(1000 * flush) : PAUSE_MS;
    double seconds = (double)(in->now_ms - p->at_ms) / 1000;
    double left;

    if (!(conf->publish.every_seconds > 0) || in->has_more ||
        in->now_ms - in->record_ms < pause_ms)
        return false;
    left = fmin(PACE_PAUSES,
                p->pauses_left + seconds / conf->publish.every_seconds);
    if (left < 1)
        return false;
    *p = (struct pace){left - 1, in->now_ms};
    return true;
}

/* Decides without a step: only refused records make a version due. */
static bool refused_due(const struct conf *conf, const struct pace_input *in,
                        struct pace_wait *w)
{
    double flush = conf->learner.flush_seconds;

    if (!in->has_refused) {
        if (in->has_more)
            *w = (struct pace_wait){
                "a full batch, or a pause of learner.flush_seconds",
                flush > 0 ? after(in->record_ms, flush) : 0};
        return false;
    }
    if (in->last_only_refused || in->now_ms - in->published_ms >= REFUSED_MS)
        return wait_is_over(w, in, in->published_ms + REFUSED_MS,
                            "a minute since the last version of refused "
                            "records");
    return wait_is_over(w, in, in->record_ms + PAUSE_MS,
                        "a pause in the refused records");
}

bool pace_due(struct pace *p, const struct conf *conf,
              const struct pace_input *in, struct pace_wait *w)
{
    const struct conf_publish *c = &conf->publish;
    double seconds = in->is_untrained
                         ? fmin(c->every_seconds, PACE_FIRST_SECONDS)
                         : c->every_seconds;
    bool over = true;

    *w = (struct pace_wait){NULL, 0};
    if (in->has_step && use_pause(p, conf, in))
        return true;
    if (in->has_step || in->has_refused)
        over = wait_is_over(
            w, in, after(in->published_ms, in->cpu_seconds / PUBLISH_SHARE),
            "publishing to take at most 5 % of the time");
    if (!in->has_step)
        return refused_due(conf, in, w);
    if (c->every_tokens > 0 && in->tokens >= c->every_tokens)
        return over;
    if (c->every_seconds > 0)
        return wait_is_over(w, in, after(in->published_ms, seconds),
                            "publish.every_seconds");
    if (over)
        *w = (struct pace_wait){"publish.every_tokens", 0};
    return false;
}

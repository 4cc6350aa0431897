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

/* Of two things that a version waits for, keeps the later one. */
static void wait_until(struct pace_wait *w, int64_t until_ms, const char *what)
{
    if (until_ms >= w->until_ms)
        *w = (struct pace_wait){what, until_ms};
}

static bool is_over(const struct pace_wait *w, const struct pace_sight *s)
{
    return w->until_ms <= s->now_ms;
}

static double pauses_left(const struct pace *p, const struct conf *conf,
                          int64_t now_ms)
{
    double seconds = (double)(now_ms - p->at_ms) / 1000;

    return fmin(PACE_PAUSES,
                p->pauses + seconds / conf->publish.every_seconds);
}

/* Uses up one of the versions at a pause: the stream pauses, everything is
 * learned, and one is left. */
static bool take_pause(struct pace *p, const struct conf *conf,
                       const struct pace_sight *s)
{
    double flush = conf->learner.flush_seconds;
    int64_t pause_ms = flush > 0 ? (int64_t)(1000 * flush) : PAUSE_MS;
    double left;

    if (!(conf->publish.every_seconds > 0) || s->has_more ||
        s->now_ms - s->record_ms < pause_ms)
        return false;
    left = pauses_left(p, conf, s->now_ms);
    if (left < 1)
        return false;
    *p = (struct pace){left - 1, s->now_ms};
    return true;
}

static bool refused_due(const struct conf *conf, const struct pace_sight *s,
                        struct pace_wait *w)
{
    double flush = conf->learner.flush_seconds;

    if (!s->has_refused) {
        if (s->has_more)
            *w = (struct pace_wait){
                "a full batch, or a pause of learner.flush_seconds",
                flush > 0 ? after(s->record_ms, flush) : 0};
        return false;
    }
    if (s->was_refused || s->now_ms - s->published_ms >= REFUSED_MS)
        wait_until(w, s->published_ms + REFUSED_MS,
                   "a minute since the last version of refused records");
    else
        wait_until(w, s->record_ms + PAUSE_MS,
                   "a pause in the refused records");
    return is_over(w, s);
}

bool pace_due(struct pace *p, const struct conf *conf,
              const struct pace_sight *s, struct pace_wait *w)
{
    const struct conf_publish *c = &conf->publish;

    *w = (struct pace_wait){NULL, 0};
    if (s->has_step && take_pause(p, conf, s))
        return true;
    if (s->has_step || s->has_refused)
        wait_until(w, after(s->published_ms, s->cpu_seconds / PUBLISH_SHARE),
                   "publishing to take at most 5 % of the time");
    if (!s->has_step)
        return refused_due(conf, s, w);
    if (c->every_tokens > 0 && s->tokens >= c->every_tokens)
        return is_over(w, s);
    if (c->every_seconds > 0) {
        wait_until(w, after(s->published_ms, c->every_seconds),
                   "publish.every_seconds");
        return is_over(w, s);
    }
    if (is_over(w, s))
        *w = (struct pace_wait){"publish.every_tokens", 0};
    return false;
}

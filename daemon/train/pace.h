/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace.h - when the next version is made, and what it waits for.
 *
 * While the stream goes on, a version is made publish.every_seconds after the
 * last one, or after publish.every_tokens. Publishing takes at most 5 % of the
 * time, counted by the processor time of the last version: that is what
 * publishing takes from learning. On a busy machine a cheap version takes long,
 * but costs no more.
 *
 * When the stream pauses for learner.flush_seconds and everything is learned, a
 * version is made at once: waiting would gain nothing. If records trickle in,
 * each is followed by a pause. So there are at most PACE_PAUSES such versions
 * in a row, and one more for each publish.every_seconds that goes by.
 *
 * Without a step only refused records can be published: two seconds after the
 * last of them, and then once a minute.
 *
 * The pace has no influence on what is learned.
 *
 * Threads: each struct one thread's; pure functions
 */
#ifndef MNEME_DAEMON_TRAIN_PACE_H
#define MNEME_DAEMON_TRAIN_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"

#define PACE_PAUSES 10
#ifndef PUBLISH_SHARE /* bench/clean_stream.py wants more */
#define PUBLISH_SHARE 0.05
#endif

struct pace {
    double pauses; /* how many versions pauses could make at once, */
    int64_t at_ms; /* at this time */
};

/* All times are monotonic. */
struct pace_sight {
    int64_t now_ms;
    int64_t published_ms; /* the last version was submitted */
    int64_t record_ms;    /* the last record came */
    double cpu_seconds;   /* processor time of the last version */
    int64_t tokens;       /* learned since then */
    bool has_step;        /* since then */
    bool has_refused;     /* records, since then */
    bool was_refused;     /* the last version had refused records only */
    bool has_more;        /* records at hand that are not learned yet */
};

struct pace_wait {
    const char *what; /* a static text; NULL: there is nothing to publish */
    int64_t until_ms; /* at the latest, monotonic; 0: not known */
};

void pace_start(struct pace *p, int64_t now_ms);

/* Is a version due? If not, *w says what it waits for. */
bool pace_due(struct pace *p, const struct conf *conf,
              const struct pace_sight *s, struct pace_wait *w);

/* The least time between two versions while the stream goes on. */
double pace_interval_seconds(const struct conf *conf, double cpu_seconds);

#endif

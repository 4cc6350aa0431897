/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace.h - decides when the next version is made.
 *
 * While records arrive, a version is made publish.every_seconds after the last
 * one, or after publish.every_tokens. Publishing takes at most 5 % of the time,
 * counted in processor time of the last version. Processor time is what
 * publishing takes from learning: on a busy machine a cheap version takes long,
 * but costs no more.
 *
 * When the stream pauses for learner.flush_seconds and everything is learned, a
 * version is made at once: waiting would gain nothing. In a slow stream a pause
 * follows each record. So at most PACE_PAUSES versions in a row are made at
 * pauses, and one more for each publish.every_seconds.
 *
 * An untrained version is replaced soon: the next one comes PACE_FIRST_SECONDS
 * after it, even if publish.every_seconds is longer.
 *
 * Without a step, a version can only hold refused records. It is made two
 * seconds after the last refused record, and then once a minute.
 *
 * The pace has no influence on what is learned.
 *
 * Threads: each struct belongs to one thread; no global state
 */
#ifndef MNEME_DAEMON_TRAIN_PACE_H
#define MNEME_DAEMON_TRAIN_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"

#define PACE_PAUSES 10
#define PACE_FIRST_SECONDS 3.0
#ifndef PUBLISH_SHARE /* bench/clean_stream.py sets a larger share */
#define PUBLISH_SHARE 0.05
#endif

struct pace {
    /* How many versions in a row may be made at pauses, as of at_ms: at most
     * PACE_PAUSES. It grows by 1 each publish.every_seconds. */
    double pauses_left;
    int64_t at_ms;
};

/* All times are monotonic. "Since" means since the last version. */
struct pace_input {
    int64_t now_ms;
    int64_t published_ms; /* when the last version was submitted */
    int64_t record_ms;    /* when the last record came */
    double cpu_seconds;   /* processor time of the last version */
    int64_t tokens;       /* learned since */
    bool has_step;        /* a step was made since */
    bool is_untrained;    /* the last version has learned nothing */
    bool has_refused;     /* records were refused since */
    bool last_only_refused; /* the last version had refused records only */
    bool has_more;        /* there are records that are not learned yet */
};

struct pace_wait {
    const char *reason; /* static text; NULL: there is nothing to publish */
    int64_t until_ms;   /* monotonic: the wait's end at the latest; 0: not
                           known */
};

void pace_start(struct pace *p, int64_t now_ms);

/* Returns true when a version is due. If not, *w tells what it waits for. */
bool pace_due(struct pace *p, const struct conf *conf,
              const struct pace_input *in, struct pace_wait *w);

/* The shortest time between two versions while records arrive. */
double pace_interval_seconds(const struct conf *conf, double cpu_seconds);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo_run.h - the demo's hands and eyes: feeding, waiting, measuring.
 *
 * Every number comes from the daemon's answers. Each wait ends with an error
 * when the daemon ends, when nothing moves any more, or at Ctrl-C.
 *
 * Owner:   cmd_demo.c
 * Threads: the main one
 */
#ifndef MNEME_CLI_DEMO_RUN_H
#define MNEME_CLI_DEMO_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "cli/bar.h"
#include "cli/client.h"
#include "cli/demo_daemon.h"
#include "cli/demo_text.h"
#include "cli/producer.h"

#define DEMO_RUN_POINTS (DEMO_TEXT_DOMAINS + 4)

/* A version, measured on the text that was kept back. */
struct demo_point {
    char when[64];
    int64_t version;
    double bits_per_byte[DEMO_TEXT_DOMAINS];
    double shuffled; /* the first domain's, with its letters shuffled */
};

struct demo_run {
    struct demo_texts texts;
    struct demo_daemon daemon;
    struct client *client;
    struct producer *producer;
    json_t *status; /* the last look */
    int64_t sent;   /* records */
    char *shuffled[DEMO_TEXT_KEPT_BACK]; /* of texts.domains[0].kept_back */
    struct demo_point points[DEMO_RUN_POINTS];
    size_t n_points;
    struct bar bar;
    bool waits_for_version;
    int64_t said_ms; /* when the last line about progress was printed */
    volatile int *interrupted;
};

/* Waits until the daemon answers, and connects client and producer. */
int demo_run_connect(struct demo_run *r, struct err *err);

/* A new r->status. */
int demo_run_look(struct demo_run *r, struct err *err);

/* One record, once the daemon is no more than a window behind. domain: for the
 * progress display, or NULL. */
int demo_run_send(struct demo_run *r, const char *bytes, size_t n_bytes,
                  const char *domain, double share, struct err *err);

/* A good record of a domain. number: becomes part of its id. */
int demo_run_send_text(struct demo_run *r, const char *text,
                       const char *domain, size_t number, double share,
                       struct err *err);

/* Until all that was sent has been consumed and stands in a version that the
 * gate has judged. */
int demo_run_settle(struct demo_run *r, const char *domain, struct err *err);

/* Bits per byte of a few texts under a version (0: the serving one); *version
 * is the one that answered. */
int demo_run_score(struct demo_run *r, char *const *texts, size_t n,
                   int64_t *version, double *bits_per_byte, struct err *err);

/* Measures a version (0: the serving one) on every domain; it becomes the next
 * of r->points. */
int demo_run_measure(struct demo_run *r, int64_t version, const char *when,
                     struct err *err);

void demo_run_release(struct demo_run *r);

#endif

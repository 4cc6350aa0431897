/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/train/inbox.h"

#include <string.h>

#include "base/timing.h"
#include "daemon/stream/released_records.h"

#define WAIT_MS 20
#define ENDED_WAIT_MS 100

void inbox_init(struct inbox *b, struct learning *learning,
                struct queue *queue, struct source *source)
{
    memset(b, 0, sizeof *b);
    b->learning = learning;
    b->queue = queue;
    b->source = source;
    b->next_release = -1;
    b->check_releases = true; /* some may have come in an earlier process */
    record_maker_init(&b->maker, !learning->has_model);
}

void inbox_release(struct inbox *b)
{
    while (b->next < b->n)
        record_free(b->records[b->next++]);
    record_maker_release(&b->maker);
}

struct record *inbox_next(struct inbox *b, int64_t wait_ms)
{
    for (;;) {
        struct record *rec;

        if (b->next == b->n) {
            b->next = 0;
            b->n = queue_pop_many(b->queue, b->records, INBOX_MAX, wait_ms);
            if (b->n == 0)
                return NULL;
        }
        rec = b->records[b->next++];
        b->record_ms = timing_mono_ms();
        if (rec->epoch == b->epoch && rec->kind != RECORD_END) {
            b->ended = false;
            return rec;
        }
        if (rec->epoch == b->epoch)
            b->ended = b->end_is_new = true;
        record_free(rec);
    }
}

int inbox_add(struct inbox *b, struct record *rec, struct err *err)
{
    return intake_add(b->learning->intake, rec,
                      learner_steps(b->learning->learner), err);
}

int64_t inbox_next_release(struct inbox *b)
{
    if (b->next_release < 0)
        b->next_release = progress_next_offset(&b->learning->progress,
                                               RELEASES_TOPIC, 0);
    return b->next_release;
}

static int add_released(struct inbox *b, bool *added, struct err *err)
{
    struct releases_row *rows = NULL;
    size_t n = 0;
    int rc = releases_read(b->learning->catalog, inbox_next_release(b),
                           INBOX_MAX, &rows, &n, err);

    b->check_releases = n == INBOX_MAX;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        b->next_release = rows[i].id + 1;
        b->record_ms = timing_mono_ms();
        rc = inbox_add(b, released_records_parse(
            &b->maker, b->learning->conf, &rows[i]), err);
    }
    *added = n > 0;
    releases_free(rows, n);
    return rc;
}

int inbox_fill(struct inbox *b, bool *added, struct err *err)
{
    struct record *rec;
    int rc = 0;

    *added = b->meets_tombstone = false;
    if (b->check_releases)
        rc = add_released(b, added, err);
    if (rc || *added)
        return rc;
    rec = inbox_next(b, b->ended ? ENDED_WAIT_MS : WAIT_MS);
    while (rec) {
        if (rec->forgets && !rec->has_forgotten) {
            b->next--; /* it stays the next one */
            b->meets_tombstone = true;
            break;
        }
        *added = true;
        rc = inbox_add(b, rec, err);
        rec = rc == 0 && b->next < b->n && !learning_ready(b->learning)
                  ? inbox_next(b, 0)
                  : NULL;
    }
    return rc;
}

struct record **inbox_ahead(struct inbox *b, size_t *n)
{
    *n = b->n - b->next;
    return b->records + b->next;
}

bool inbox_has_records(const struct inbox *b)
{
    return b->next < b->n || queue_length(b->queue);
}

/* The order matters: the source stops after it has pushed its last record. */
bool inbox_has_stopped(const struct inbox *b, struct source_health *health)
{
    if (b->learning->conf->source.at_end != CONF_AT_END_EXIT)
        return false;
    source_get_health(b->source, health);
    return health->state == SOURCE_STOPPED && !inbox_has_records(b);
}

void inbox_rolled_back(struct inbox *b, bool skip)
{
    b->check_releases = true;
    if (skip)
        return;
    b->ended = false;
    b->next_release = -1;
}

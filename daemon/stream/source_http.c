/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the records that clients send over HTTP. An HTTP thread appends them to
 * the log (record_log.h); the reading thread follows the log. So a restart, a
 * rewind and a retrained version read the same records at the same offsets as
 * the first time.
 *
 *     waiting for a request --> reading <--> waiting for an append
 *                                  |
 *                                  v
 *                               stopped      (a record is not in the log)
 *
 * Threads: the reading thread owns h->reader and the fields after it. Other
 * threads leave a request under the mutex.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/board/pulse.h"
#include "daemon/stream/record_log.h"
#include "daemon/stream/source_private.h"

#define PUSH_WAIT_MS 100
#define WAIT_MS 1000
#define RECORDS_A_TURN 256 /* between two checks for requests */

struct http_seek {
    bool is_set;
    int64_t offset, hole; /* hole: the first offset that is skipped, or -1 */
    int64_t epoch;
};

struct source_http {
    struct source base;
    struct record_log *log;
    pthread_t thread;
    bool has_thread;

    /* Locks: base.mutex */
    bool stopping;
    bool has_begun; /* the position is known: records may be appended */
    struct http_seek request;

    _Atomic int64_t offset; /* of the next record to read */

    /* Only the reading thread uses the fields below. */
    struct record_log_reader *reader; /* NULL: stopped, until a seek */
    int64_t epoch;
};

static struct source_http *http_of(struct source *s)
{
    return (struct source_http *)s;
}

static size_t max_bytes(const struct source_http *h)
{
    return (size_t)h->base.options.conf->source.max_record_bytes;
}

/* --- the reading thread ------------------------------------------------- */

static bool is_interrupted(struct source_http *h)
{
    bool yes;

    pthread_mutex_lock(&h->base.mutex);
    yes = h->stopping || h->request.is_set;
    pthread_mutex_unlock(&h->base.mutex);
    return yes;
}

/* Waits for room. False: a request or a stop came first, and the record is
 * freed. */
static bool push(struct source_http *h, struct record *r, int64_t offset)
{
    struct queue *q = h->base.options.queue;

    r->epoch = h->epoch;
    r->topic = SOURCE_HTTP_TOPIC;
    r->offset = offset;
    if (queue_try_push(q, r))
        return true;
    while (!is_interrupted(h)) {
        pulse_beat(PULSE_SOURCE, PULSE_LOOP_MS);
        if (queue_push(q, r, PUSH_WAIT_MS))
            return true;
    }
    record_free(r);
    return false;
}

static bool push_line(struct source_http *h, const struct line *line)
{
    struct record *r =
        record_create_data(&h->base.maker, line->bytes, line->n_bytes);

    r->value_hash = checksum_xxh3(line->bytes, line->n_bytes, 0);
    r->topic = SOURCE_HTTP_TOPIC;
    r->offset = atomic_load(&h->offset);
    if (line->too_long)
        r->reason = "too_long";
    source_parse(&h->base, r, SOURCE_HTTP_TOPIC);
    if (!push(h, r, r->offset))
        return false;
    atomic_fetch_add(&h->offset, 1);
    atomic_fetch_add_explicit(&h->base.records_read, 1, memory_order_relaxed);
    return true;
}

/* Sleeps until an append, a request or a stop. */
static void wait_for_append(struct source_http *h)
{
    struct timespec deadline = timing_deadline(WAIT_MS);

    pthread_mutex_lock(&h->base.mutex);
    if (!h->stopping && !h->request.is_set &&
        record_log_end(h->log) == atomic_load(&h->offset))
        timing_wait(&h->base.changed, &h->base.mutex, &deadline);
    pthread_mutex_unlock(&h->base.mutex);
}

static void stop_reading(struct source_http *h, const char *reason)
{
    record_log_reader_free(h->reader);
    h->reader = NULL;
    source_set_state(&h->base, SOURCE_STOPPED, "%s", reason);
}

static void read_records(struct source_http *h)
{
    struct err err = ERR_INIT;
    struct line line;
    int rc = 0;

    pulse_beat(PULSE_SOURCE, PULSE_LOOP_MS);
    for (int n = 0; n < RECORDS_A_TURN && rc == 0; n++) {
        rc = record_log_read(h->reader, &line, &err);
        if (rc == 0 && !push_line(h, &line))
            return;
    }
    if (rc == ERR_END)
        wait_for_append(h);
    else if (rc)
        stop_reading(h, err.msg);
}

/* Continues where a request says. */
static void follow_request(struct source_http *h, const struct http_seek *at)
{
    record_log_reader_free(h->reader);
    h->reader = record_log_read_from(h->log, at->offset, max_bytes(h));
    h->epoch = at->epoch;
    atomic_store(&h->offset, at->offset);
    if (at->hole >= 0) {
        struct record *r = record_create(RECORD_HOLE);

        r->first_offset = at->hole;
        push(h, r, at->offset - 1);
    }
    source_set_state(&h->base, SOURCE_RUNNING, "%s", "");
}

/* Waits while the thread has nothing to read, and takes a request. False:
 * stop. */
static bool wait_for_request(struct source_http *h, struct http_seek *request)
{
    bool go_on;

    pthread_mutex_lock(&h->base.mutex);
    if (!h->reader)
        pulse_rest(PULSE_SOURCE);
    while (!h->stopping && !h->request.is_set && !h->reader)
        pthread_cond_wait(&h->base.changed, &h->base.mutex);
    go_on = !h->stopping;
    *request = h->request;
    memset(&h->request, 0, sizeof h->request);
    pthread_mutex_unlock(&h->base.mutex);
    return go_on;
}

static void *run(void *arg)
{
    struct source_http *h = arg;
    struct http_seek request;

    pthread_setname_np(pthread_self(), "source");
    while (wait_for_request(h, &request)) {
        if (request.is_set)
            follow_request(h, &request);
        else
            read_records(h);
    }
    pulse_rest(PULSE_SOURCE);
    return NULL;
}

/* --- positions ---------------------------------------------------------- */

/* Finds the position; without one, the stream is read from its first record. */
static struct source_position
find_position(const struct source_position *positions, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(positions[i].topic, SOURCE_HTTP_TOPIC) == 0 &&
            positions[i].partition == 0)
            return positions[i];
    return (struct source_position){.topic = SOURCE_HTTP_TOPIC,
                                    .last_learned = -1};
}

/* Compares the last learned record with the log, if the log has it. The
 * record may have been learned when source.max_record_bytes was larger, so the
 * whole line is compared. ERR_STATE: they differ. */
static int compare_last(struct source_http *h, const struct source_position *at,
                        struct err *err)
{
    struct record_log_reader *r;
    struct line line;
    int rc;

    if (at->last_learned < record_log_first(h->log))
        return 0;
    r = record_log_read_from(h->log, at->last_learned,
                             CONF_MAX_RECORD_BYTES);
    rc = record_log_read(r, &line, err);
    if (rc == ERR_END || rc == ERR_STATE)
        rc = 0; /* not in the log; the caller compares the end */
    else if (rc == 0 && (line.too_long ||
                         checksum_xxh3(line.bytes, line.n_bytes, 0) !=
                             at->last_hash))
        rc = err_set(err, ERR_STATE,
                     "http: the record with offset %" PRId64
                     " is not the one that was learned: this is another log",
                     at->last_learned);
    record_log_reader_free(r);
    return rc;
}

static void leave_request(struct source_http *h, int64_t offset, int64_t hole,
                          int64_t epoch)
{
    pthread_mutex_lock(&h->base.mutex);
    h->request = (struct http_seek){true, offset, hole, epoch};
    h->has_begun = true;
    pthread_cond_broadcast(&h->base.changed);
    pthread_mutex_unlock(&h->base.mutex);
}

/* --- the functions of source.h ------------------------------------------ */

static int http_seek(struct source *s, const struct source_position *positions,
                     size_t n, int64_t epoch, struct err *err)
{
    struct source_http *h = http_of(s);
    struct source_position at = find_position(positions, n);
    int rc = compare_last(h, &at, err);

    if (rc == 0)
        rc = record_log_keep_from(h->log, at.next_offset, err);
    if (rc)
        return rc == ERR_IO ? rc : ERR_STATE;
    leave_request(h, at.next_offset, -1, epoch);
    return 0;
}

/* Starts at a position. If the log ends before the position, the next record
 * gets the position's offset: a restored backup has no log. If the log begins
 * after the position, source.kafka.on_gap decides. */
static int begin_at(struct source_http *h, const struct source_position *at,
                    int64_t epoch, struct err *err)
{
    int64_t end = record_log_end(h->log), first = record_log_first(h->log);
    int64_t offset = at->next_offset, hole = -1;
    struct err why = ERR_INIT;
    int rc = compare_last(h, at, &why);

    if (rc == 0 && at->next_offset > end && !h->base.options.reads_only) {
        if (end > 0)
            log_warn("records",
                     "result=\"the log ends at offset %" PRId64
                     "; it goes on at offset %" PRId64
                     ", the position of the newest version\"",
                     end, at->next_offset);
        rc = record_log_begin_at(h->log, at->next_offset, err);
        if (rc)
            return rc;
    } else if (rc == 0 && at->next_offset < first &&
               h->base.options.conf->source.kafka.on_gap == CONF_ON_GAP_SKIP) {
        rc = record_log_keep_from(h->log, first, &why);
        source_count_gap(&h->base,
                         "http: offsets %" PRId64 " to %" PRId64
                         " are not in the log",
                         at->next_offset, first - 1);
        hole = at->next_offset;
        offset = first;
    } else if (rc == 0) {
        rc = record_log_keep_from(h->log, offset, &why);
    }
    if (rc == 0)
        leave_request(h, offset, hole, epoch);
    else
        source_set_state(&h->base, SOURCE_STOPPED, "%s", why.msg);
    return 0;
}

static int http_begin(struct source *s, const struct source_position *positions,
                      size_t n, int64_t epoch, struct err *err)
{
    struct source_http *h = http_of(s);
    struct source_position at = find_position(positions, n);
    int rc = begin_at(h, &at, epoch, err);

    BUG_ON(h->has_thread);
    if (rc)
        return rc;
    rc = pthread_create(&h->thread, NULL, run, h);
    if (rc != 0)
        return err_set_errno(err, ERR_IO, rc, "cannot start a thread");
    h->has_thread = true;
    return 0;
}

static void http_published(struct source *s,
                           const struct source_position *positions, size_t n)
{
    struct source_position at = find_position(positions, n);

    record_log_keep_from(http_of(s)->log, at.next_offset, NULL);
}

static size_t http_get_partitions(struct source *s,
                                  struct source_partition **rows)
{
    struct source_http *h = http_of(s);

    *rows = xcalloc(1, sizeof **rows);
    **rows = (struct source_partition){
        .topic = SOURCE_HTTP_TOPIC,
        .start = record_log_first(h->log),
        .offset = atomic_load(&h->offset),
        .end = record_log_end(h->log),
    };
    return 1;
}

static int http_append(struct source *s, const char *lines, size_t n_bytes,
                       int64_t n, int64_t *first, struct err *err)
{
    struct source_http *h = http_of(s);
    bool may_append;
    int rc;

    pthread_mutex_lock(&s->mutex);
    may_append = h->has_begun && !h->stopping;
    pthread_mutex_unlock(&s->mutex);
    if (!may_append)
        return err_set(err, ERR_STATE,
                       "records cannot be taken now: the source is not "
                       "reading; see mneme status");
    rc = record_log_append(h->log, lines, n_bytes, n, first, err);
    pthread_mutex_lock(&s->mutex);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

static void http_free(struct source *s)
{
    struct source_http *h = http_of(s);

    pthread_mutex_lock(&s->mutex);
    h->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    if (h->has_thread)
        pthread_join(h->thread, NULL);
    record_log_reader_free(h->reader);
    record_log_close(h->log);
    source_release(s);
    free(h);
}

int source_http_create(struct source **source,
                       const struct source_options *options, struct err *err)
{
    static const struct source_ops ops = {
        .free = http_free,
        .begin = http_begin,
        .seek = http_seek,
        .published = http_published,
        .get_partitions = http_get_partitions,
        .append = http_append,
    };
    const struct record_log_options log = {
        .data_dir = options->data_dir,
        .limit_bytes = options->conf->source.http.log_bytes,
        .reads_only = options->reads_only,
    };
    struct source_http *h = xcalloc(1, sizeof *h);
    int rc = record_log_open(&log, &h->log, err);

    if (rc) {
        free(h);
        return rc;
    }
    source_init(&h->base, &ops, options);
    *source = &h->base;
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/stream/kafka_partitions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "daemon/stream/kafka_conf.h"

void kafka_partitions_init(struct kafka_partitions *parts,
                           const struct conf_strings *topics,
                           const char *store_id)
{
    parts->topics = topics;
    parts->store_id = store_id;
    pthread_mutex_init(&parts->mutex, NULL);
}

void kafka_partitions_release(struct kafka_partitions *parts)
{
    for (size_t i = 0; i < parts->n; i++) {
        free(parts->items[i]->topic);
        free(parts->items[i]);
    }
    free(parts->items);
    pthread_mutex_destroy(&parts->mutex);
}

struct kafka_partition *
kafka_partitions_find(const struct kafka_partitions *parts, const char *topic,
                      int32_t partition)
{
    for (size_t i = 0; i < parts->n; i++)
        if (parts->items[i]->partition == partition &&
            strcmp(parts->items[i]->topic, topic) == 0)
            return parts->items[i];
    return NULL;
}

struct kafka_partition *kafka_partitions_get(struct kafka_partitions *parts,
                                             const char *topic,
                                             int32_t partition)
{
    struct kafka_partition *part =
        kafka_partitions_find(parts, topic, partition);

    if (part)
        return part;
    part = xcalloc(1, sizeof *part);
    part->topic = xstrdup(topic);
    part->partition = partition;
    atomic_store(&part->start, -1);
    atomic_store(&part->resume, -1);
    atomic_store(&part->next, -1);
    atomic_store(&part->end, -1);
    part->last_read = -1;
    pthread_mutex_lock(&parts->mutex);
    XGROW(parts->items, parts->n, parts->capacity);
    parts->items[parts->n++] = part;
    pthread_mutex_unlock(&parts->mutex);
    return part;
}

/* --- positions ---------------------------------------------------------- */

static bool is_configured(const struct kafka_partitions *parts,
                          const char *topic)
{
    for (size_t i = 0; i < parts->topics->n; i++)
        if (strcmp(parts->topics->items[i], topic) == 0)
            return true;
    return false;
}

bool kafka_partitions_has_begun(const struct kafka_partitions *parts,
                                const char *topic)
{
    for (size_t i = 0; i < parts->n; i++)
        if ((parts->items[i]->has_position ||
             atomic_load(&parts->items[i]->start) >= 0) &&
            strcmp(parts->items[i]->topic, topic) == 0)
            return true;
    return false;
}

void kafka_partitions_miss_topic(struct kafka_partitions *parts,
                                 const char *topic)
{
    for (size_t i = 0; i < parts->n; i++)
        if (!topic || strcmp(parts->items[i]->topic, topic) == 0)
            parts->items[i]->needs_check = parts->items[i]->may_be_recreated =
                true;
}

void kafka_partitions_set_listed(struct kafka_partitions *parts,
                                 const rd_kafka_topic_partition_list_t *list)
{
    for (size_t i = 0; i < parts->n; i++) {
        struct kafka_partition *part = parts->items[i];
        bool is_listed = rd_kafka_topic_partition_list_find(
                             (rd_kafka_topic_partition_list_t *)list,
                             part->topic, part->partition) != NULL;

        if (is_listed && !part->was_listed)
            part->needs_check = true;
        part->was_listed = is_listed;
    }
}

void kafka_partitions_set_positions(struct kafka_partitions *parts,
                                    const struct source_position *positions,
                                    size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_configured(parts, positions[i].topic))
            kafka_partitions_get(parts, positions[i].topic,
                                 positions[i].partition);
    pthread_mutex_lock(&parts->mutex);
    for (size_t i = 0; i < parts->n; i++) {
        parts->items[i]->has_position = false;
        parts->items[i]->last_read = -1;
        atomic_store(&parts->items[i]->next, -1);
    }
    for (size_t i = 0; i < n; i++) {
        struct kafka_partition *part = kafka_partitions_find(
            parts, positions[i].topic, positions[i].partition);

        if (!part)
            continue;
        part->position = positions[i];
        part->position.topic = part->topic;
        part->has_position = true;
    }
    pthread_mutex_unlock(&parts->mutex);
}

void kafka_partitions_set_assigned(struct kafka_partitions *parts,
                                   const rd_kafka_topic_partition_list_t *list)
{
    pthread_mutex_lock(&parts->mutex);
    for (size_t i = 0; i < parts->n && !list; i++)
        parts->items[i]->is_assigned = false;
    for (int i = 0; list && i < list->cnt; i++)
        kafka_partitions_find(parts, list->elems[i].topic,
                              list->elems[i].partition)
            ->is_assigned = true;
    pthread_mutex_unlock(&parts->mutex);
}

struct source_position *
kafka_partitions_complete(struct kafka_partitions *parts,
                          const struct source_position *positions, size_t *n)
{
    struct source_position *all;
    size_t m = 0;

    pthread_mutex_lock(&parts->mutex);
    all = xcalloc(*n + parts->n + 1, sizeof *all);
    for (size_t i = 0; i < *n; i++)
        if (is_configured(parts, positions[i].topic))
            all[m++] = positions[i];
    *n = m;
    for (size_t i = 0; i < parts->n; i++) {
        const struct kafka_partition *part = parts->items[i];
        int64_t start = atomic_load(&part->start);
        bool is_named = start < 0;

        for (size_t j = 0; j < *n && !is_named; j++)
            is_named = all[j].partition == part->partition &&
                       strcmp(all[j].topic, part->topic) == 0;
        if (!is_named)
            all[m++] = (struct source_position){.topic = part->topic,
                                                .partition = part->partition,
                                                .next_offset = start,
                                                .last_learned = -1};
    }
    pthread_mutex_unlock(&parts->mutex);
    *n = m;
    return all;
}

size_t kafka_partitions_get_rows(struct kafka_partitions *parts, rd_kafka_t *rk,
                                 struct source_partition **rows)
{
    size_t n;

    pthread_mutex_lock(&parts->mutex);
    n = parts->n;
    *rows = xcalloc(n ? n : 1, sizeof **rows);
    for (size_t i = 0; i < n; i++) {
        const struct kafka_partition *part = parts->items[i];
        struct source_partition *row = &(*rows)[i];
        int64_t next = atomic_load(&part->next);
        int64_t resume = atomic_load(&part->resume);
        int64_t low, high = -1; /* by the last fetch */

        row->topic = part->topic;
        row->partition = part->partition;
        row->start = resume >= 0 ? resume : atomic_load(&part->start);
        row->offset = next >= 0            ? next
                      : part->has_position ? part->position.next_offset
                                           : 0;
        rd_kafka_get_watermark_offsets(rk, part->topic, part->partition, &low,
                                       &high);
        row->end = atomic_load(&part->end);
        if (high > row->end)
            row->end = high;
    }
    pthread_mutex_unlock(&parts->mutex);
    return n;
}

/* --- commits ------------------------------------------------------------ */

/* Takes the start from one commit. A commit of another program has none. */
static int read_mark(struct kafka_partitions *parts,
                     const struct kafka_position_query *query,
                     const rd_kafka_topic_partition_t *row, struct err *err)
{
    struct kafka_partition *part =
        kafka_partitions_get(parts, row->topic, row->partition);
    char store_id[80];
    int64_t start;

    if (row->err)
        return err_set(err, ERR_AGAIN, "%s [%d]: %s", row->topic,
                       (int)row->partition, rd_kafka_err2str(row->err));
    if (row->offset < 0)
        part->may_be_recreated = true;
    if (!kafka_position_read_mark(row->metadata, row->metadata_size, store_id,
                                  &start))
        return 0;
    if (strcmp(store_id, parts->store_id) != 0)
        return err_set(err, ERR_STATE,
                       "%s [%d]: group %s belongs to another data directory "
                       "(%s); set another group.id",
                       row->topic, (int)row->partition,
                       kafka_conf_get(query->conf, "group.id"), store_id);
    atomic_store(&part->start, start);
    return 0;
}

int kafka_partitions_read_marks(struct kafka_partitions *parts,
                                const struct kafka_position_query *query,
                                const rd_kafka_topic_partition_list_t *list,
                                struct err *err)
{
    rd_kafka_topic_partition_list_t *rows =
        rd_kafka_topic_partition_list_copy(list);
    rd_kafka_resp_err_t e =
        rd_kafka_committed(query->rk, rows, KAFKA_POSITION_WAIT_MS);
    int rc = 0;

    if (e)
        rc = err_set(err, ERR_AGAIN, "%s: cannot read the group's offsets: %s",
                     kafka_position_servers(query), rd_kafka_err2str(e));
    for (int i = 0; i < rows->cnt && rc == 0; i++)
        rc = read_mark(parts, query, &rows->elems[i], err);
    rd_kafka_topic_partition_list_destroy(rows);
    return rc;
}

void kafka_partitions_add_commit(const struct kafka_partitions *parts,
                                 const struct kafka_partition *part,
                                 int64_t start, int64_t offset,
                                 rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_t *row =
        rd_kafka_topic_partition_list_add(list, part->topic, part->partition);

    row->offset = offset;
    row->metadata = kafka_position_mark(parts->store_id, start);
    row->metadata_size = strlen(row->metadata);
}

int kafka_partitions_commit_starts(struct kafka_partitions *parts,
                                   rd_kafka_t *rk,
                                   rd_kafka_topic_partition_list_t *starts,
                                   struct err *err)
{
    rd_kafka_queue_t *answers;
    rd_kafka_event_t *answer = NULL;
    rd_kafka_resp_err_t e;

    if (!starts->cnt)
        return 0;
    /* rd_kafka_commit would wait for the answer without limit. */
    answers = rd_kafka_queue_new(rk);
    e = rd_kafka_commit_queue(rk, starts, answers, NULL, NULL);
    if (!e) {
        answer = rd_kafka_queue_poll(answers, KAFKA_POSITION_WAIT_MS);
        e = answer ? rd_kafka_event_error(answer)
                   : RD_KAFKA_RESP_ERR__TIMED_OUT;
    }
    if (answer)
        rd_kafka_event_destroy(answer);
    rd_kafka_queue_destroy(answers);
    if (e)
        return err_set(err, ERR_AGAIN, "cannot commit the first offsets: %s",
                       rd_kafka_err2str(e));
    for (int i = 0; i < starts->cnt; i++)
        atomic_store(&kafka_partitions_get(parts, starts->elems[i].topic,
                                           starts->elems[i].partition)
                          ->start,
                     starts->elems[i].offset);
    return 0;
}

void kafka_partitions_commit_published(struct kafka_partitions *parts,
                                       rd_kafka_t *rk,
                                       const struct source_position *positions,
                                       size_t n)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)n);

    pthread_mutex_lock(&parts->mutex);
    for (size_t i = 0; i < n; i++) {
        const struct kafka_partition *part = kafka_partitions_find(
            parts, positions[i].topic, positions[i].partition);

        if (part && part->is_assigned)
            kafka_partitions_add_commit(parts, part, atomic_load(&part->start),
                                        positions[i].next_offset, list);
    }
    pthread_mutex_unlock(&parts->mutex);
    if (list->cnt)
        rd_kafka_commit(rk, list, 1);
    rd_kafka_topic_partition_list_destroy(list);
}

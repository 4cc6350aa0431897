/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_client ADDRESS VERB... - what the flow tests ask of a broker and no
 * client at hand does, or does within milliseconds.
 *
 *     topic NAME PARTITIONS [REPLICAS]
 *                                   make a topic, wait until it can be used
 *     delete NAME                   delete it with its records, wait
 *     partitions NAME TOTAL         more partitions
 *     trim NAME PARTITION OFFSET    expire the records before OFFSET
 *     produce NAME                  stdin, a line each: `begin`, `commit`,
 *                                   `abort` (a transaction), or
 *                                   PARTITION TAB TEXT; TEXT `null`: no value;
 *                                   PARTITION:KEY gives the message a key
 *     group NAME                    its state TAB its coordinator; then a line
 *                                   a member: MEMBER TAB CLIENT TAB bytes of
 *                                   its assignment
 *     leaders NAME                  a line a partition: PARTITION TAB BROKER
 *
 * Exit: 0 done, 1 not, with the reason on stderr.
 */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#define WAIT_MS 30000

static void check(rd_kafka_resp_err_t e, const char *what)
{
    if (!e)
        return;
    fprintf(stderr, "kafka_client: %s: %s\n", what, rd_kafka_err2str(e));
    exit(1);
}

static void check_error(rd_kafka_error_t *e, const char *what)
{
    if (!e)
        return;
    fprintf(stderr, "kafka_client: %s: %s\n", what, rd_kafka_error_string(e));
    exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) ==
        RD_KAFKA_CONF_OK)
        return;
    fprintf(stderr, "kafka_client: %s\n", why);
    exit(1);
}

static rd_kafka_t *open_client(const char *address, const char *transaction)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    rd_kafka_t *rk;

    set(conf, "bootstrap.servers", address);
    set(conf, "linger.ms", "5");
    set(conf, "enable.idempotence", "true"); /* a line is one record */
    if (transaction)
        set(conf, "transactional.id", transaction);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!rk) {
        fprintf(stderr, "kafka_client: %s\n", why);
        exit(1);
    }
    return rk;
}

/* --- topics ------------------------------------------------------------- */

static rd_kafka_event_t *answer_of(rd_kafka_queue_t *q, const char *what)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(q, WAIT_MS);

    check(event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT,
          what);
    return event;
}

static void check_topics(const rd_kafka_topic_result_t **rows, size_t n,
                         const char *what)
{
    for (size_t i = 0; i < n; i++)
        check(rd_kafka_topic_result_error(rows[i]), what);
}

static const struct rd_kafka_metadata *metadata_of(rd_kafka_t *rk,
                                                   const char *name)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    const struct rd_kafka_metadata *m;

    check(rd_kafka_metadata(rk, 0, topic, &m, WAIT_MS), name);
    rd_kafka_topic_destroy(topic);
    return m;
}

/* Is the topic there, with a leader for each partition? */
static int count_partitions(rd_kafka_t *rk, const char *name)
{
    const struct rd_kafka_metadata *m = metadata_of(rk, name);
    int n = 0;

    for (int i = 0; m->topic_cnt && i < m->topics[0].partition_cnt; i++)
        n += m->topics[0].partitions[i].leader >= 0;
    rd_kafka_metadata_destroy(m);
    return n;
}

static void list_leaders(rd_kafka_t *rk, const char *name)
{
    const struct rd_kafka_metadata *m = metadata_of(rk, name);

    for (int i = 0; m->topic_cnt && i < m->topics[0].partition_cnt; i++)
        printf("%d\t%d\n", (int)m->topics[0].partitions[i].id,
               (int)m->topics[0].partitions[i].leader);
    rd_kafka_metadata_destroy(m);
}

static void wait_for_partitions(rd_kafka_t *rk, const char *name, int n)
{
    for (int i = 0; i < 1000 && count_partitions(rk, name) != n; i++)
        rd_kafka_poll(rk, 20);
}

static void make_topic(rd_kafka_t *rk, rd_kafka_queue_t *q, const char *name,
                       int n, int n_replicas)
{
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(name, n, n_replicas, NULL, 0);
    rd_kafka_event_t *event;
    size_t n_rows;

    rd_kafka_NewTopic_set_config(topic, "max.message.bytes", "30000000");
    rd_kafka_CreateTopics(rk, &topic, 1, NULL, q);
    event = answer_of(q, name);
    check_topics(rd_kafka_CreateTopics_result_topics(
                     rd_kafka_event_CreateTopics_result(event), &n_rows),
                 n_rows, name);
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(topic);
    wait_for_partitions(rk, name, n);
}

static void delete_topic(rd_kafka_t *rk, rd_kafka_queue_t *q, const char *name)
{
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
    rd_kafka_event_t *event;
    size_t n_rows;

    rd_kafka_DeleteTopics(rk, &topic, 1, NULL, q);
    event = answer_of(q, name);
    check_topics(rd_kafka_DeleteTopics_result_topics(
                     rd_kafka_event_DeleteTopics_result(event), &n_rows),
                 n_rows, name);
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteTopic_destroy(topic);
    wait_for_partitions(rk, name, 0);
}

static void add_partitions(rd_kafka_t *rk, rd_kafka_queue_t *q,
                           const char *name, int total)
{
    rd_kafka_NewPartitions_t *more =
        rd_kafka_NewPartitions_new(name, (size_t)total, NULL, 0);
    rd_kafka_event_t *event;
    size_t n_rows;

    rd_kafka_CreatePartitions(rk, &more, 1, NULL, q);
    event = answer_of(q, name);
    check_topics(rd_kafka_CreatePartitions_result_topics(
                     rd_kafka_event_CreatePartitions_result(event), &n_rows),
                 n_rows, name);
    rd_kafka_event_destroy(event);
    rd_kafka_NewPartitions_destroy(more);
    wait_for_partitions(rk, name, total);
}

static void trim(rd_kafka_t *rk, rd_kafka_queue_t *q, const char *name,
                 int partition, long long offset)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(1);
    const rd_kafka_topic_partition_list_t *done;
    rd_kafka_DeleteRecords_t *request;
    rd_kafka_event_t *event;

    rd_kafka_topic_partition_list_add(list, name, partition)->offset = offset;
    request = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(rk, &request, 1, NULL, q);
    event = answer_of(q, name);
    done = rd_kafka_DeleteRecords_result_offsets(
        rd_kafka_event_DeleteRecords_result(event));
    check(done->elems[0].err, name);
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteRecords_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
}

/* --- records ------------------------------------------------------------ */

static void send_line(rd_kafka_t *rk, const char *topic, char *line)
{
    char *text = strchr(line, '\t'), *key;
    bool is_null;

    if (!text)
        check(RD_KAFKA_RESP_ERR__INVALID_ARG, line);
    *text++ = '\0';
    key = strchr(line, ':');
    is_null = strcmp(text, "null") == 0;
    check(
        rd_kafka_producev(
            rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(atoi(line)),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(key ? key + 1 : NULL, key ? strlen(key + 1) : 0),
            RD_KAFKA_V_VALUE(is_null ? NULL : text, is_null ? 0 : strlen(text)),
            RD_KAFKA_V_END),
        topic);
}

static void produce(const char *address, const char *topic)
{
    rd_kafka_t *plain = open_client(address, NULL), *in_txn = NULL, *to;
    static char line[1 << 20];

    to = plain;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "begin") == 0) {
            if (!in_txn) {
                in_txn = open_client(address, "kafka_client");
                check_error(rd_kafka_init_transactions(in_txn, WAIT_MS),
                            "init_transactions");
            }
            check(rd_kafka_flush(plain, WAIT_MS), topic);
            check_error(rd_kafka_begin_transaction(in_txn), line);
            to = in_txn;
        } else if (strcmp(line, "commit") == 0) {
            check_error(rd_kafka_commit_transaction(to, WAIT_MS), line);
            to = plain;
        } else if (strcmp(line, "abort") == 0) {
            check(rd_kafka_flush(to, WAIT_MS), line); /* it has been there */
            check_error(rd_kafka_abort_transaction(to, WAIT_MS), line);
            to = plain;
        } else {
            send_line(to, topic, line);
        }
    }
    check(rd_kafka_flush(plain, WAIT_MS), topic);
    rd_kafka_destroy(plain);
    if (in_txn)
        rd_kafka_destroy(in_txn);
}

static void list_group(rd_kafka_t *rk, const char *name)
{
    const struct rd_kafka_group_list *list;

    check(rd_kafka_list_groups(rk, name, &list, WAIT_MS), name);
    for (int i = 0; i < list->group_cnt; i++) {
        const struct rd_kafka_group_info *g = &list->groups[i];

        printf("%s\t%d\n", g->state, (int)g->broker.id);
        for (int j = 0; j < g->member_cnt; j++)
            printf("%s\t%s\t%d\n", g->members[j].member_id,
                   g->members[j].client_id,
                   g->members[j].member_assignment_size);
    }
    rd_kafka_group_list_destroy(list);
}

int main(int argc, char **argv)
{
    const char *verb = argc > 3 ? argv[2] : "", *name = argc > 3 ? argv[3] : "";
    rd_kafka_t *rk;
    rd_kafka_queue_t *q;

    if (strcmp(verb, "produce") == 0) {
        produce(argv[1], name);
        return 0;
    }
    if (argc < 4) {
        fprintf(stderr, "usage: kafka_client ADDRESS VERB NAME...\n");
        return 2;
    }
    rk = open_client(argv[1], NULL);
    q = rd_kafka_queue_new(rk);
    if (strcmp(verb, "topic") == 0 && (argc == 5 || argc == 6))
        make_topic(rk, q, name, atoi(argv[4]), argc == 6 ? atoi(argv[5]) : 1);
    else if (strcmp(verb, "delete") == 0)
        delete_topic(rk, q, name);
    else if (strcmp(verb, "partitions") == 0 && argc == 5)
        add_partitions(rk, q, name, atoi(argv[4]));
    else if (strcmp(verb, "trim") == 0 && argc == 6)
        trim(rk, q, name, atoi(argv[4]), atoll(argv[5]));
    else if (strcmp(verb, "group") == 0)
        list_group(rk, name);
    else if (strcmp(verb, "leaders") == 0)
        list_leaders(rk, name);
    else
        check(RD_KAFKA_RESP_ERR__INVALID_ARG, verb);
    rd_kafka_queue_destroy(q);
    rd_kafka_destroy(rk);
    return 0;
}

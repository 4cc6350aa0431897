/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of the source: is the broker there, do the topics exist, can the
 * file be read? A running daemon says itself how its source is.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "cli/address.h"
#include "cli/doctor.h"
#include "cli/pick.h"
#include "daemon/stream/kafka_conf.h"

#define BROKER_MS 5000

/* Finds what is wrong with a topic. */
static void check_topic(struct doctor *d, rd_kafka_t *rk, const char *topic,
                        const char *servers, const char *key)
{
    const struct rd_kafka_metadata *answer = NULL;
    rd_kafka_topic_t *t = rd_kafka_topic_new(rk, topic, NULL);
    rd_kafka_resp_err_t rc = t ? rd_kafka_metadata(rk, 0, t, &answer, BROKER_MS)
                               : RD_KAFKA_RESP_ERR__INVALID_ARG;
    char *quoted = doctor_quote(topic), *at = doctor_quote(servers);
    char *command;

    if (rc == 0 && answer->topic_cnt == 1)
        rc = answer->topics[0].err;
    if (rc == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
        rc == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) {
        command = xasprintf("kafka-topics.sh --bootstrap-server %s --create "
                            "--topic %s",
                            at, quoted);
        doctor_find(d, command, "%s: the topic %s does not exist", key, topic);
        free(command);
    } else if (rc == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        command = xasprintf("kafka-acls.sh --bootstrap-server %s --list "
                            "--topic %s",
                            at, quoted);
        doctor_find(d, command,
                    "%s: the broker does not let this user read the topic %s",
                    key, topic);
        free(command);
    } else if (rc) {
        command = xasprintf("kcat -L -b %s -t %s", at, quoted);
        doctor_find(d, command, "%s: %s: %s", key, topic, rd_kafka_err2str(rc));
        free(command);
    }
    if (answer)
        rd_kafka_metadata_destroy(answer);
    if (t)
        rd_kafka_topic_destroy(t);
    free(quoted);
    free(at);
}

static void check_broker(struct doctor *d, const char *servers)
{
    const struct conf_kafka *conf = &d->conf->source.kafka;
    const struct rd_kafka_metadata *answer = NULL;
    struct err err = ERR_INIT;
    rd_kafka_conf_t *to =
        kafka_conf_create(conf, RD_KAFKA_CONSUMER, servers, NULL, &err);
    rd_kafka_t *rk = to ? kafka_conf_open(RD_KAFKA_CONSUMER, to, &err) : NULL;
    rd_kafka_resp_err_t rc;
    char *at = doctor_quote(servers), *command;

    if (!rk) {
        doctor_find(d, "mnemed -t", "%s", err.msg);
        free(at);
        return;
    }
    rc = rd_kafka_metadata(rk, 0, NULL, &answer, BROKER_MS);
    if (rc) {
        command = xasprintf("kcat -L -b %s", at);
        doctor_find(d, command,
                    "no Kafka broker answers at %s (%s): start it, or change "
                    "source.kafka.properties.bootstrap.servers",
                    servers, rd_kafka_err2str(rc));
        free(command);
    } else {
        rd_kafka_metadata_destroy(answer);
        for (size_t i = 0; i < conf->topics.n; i++)
            if (conf->topics.items[i][0] != '^') /* a pattern */
                check_topic(d, rk, conf->topics.items[i], servers,
                            "source.kafka.topics");
        if (conf->dead_letter)
            check_topic(d, rk, conf->dead_letter, servers,
                        "source.kafka.dead_letter");
    }
    kafka_conf_close(rk);
    free(at);
}

static void check_kafka(struct doctor *d)
{
    const struct conf_kafka *conf = &d->conf->source.kafka;
    char *embedded = NULL;

    if (!kafka_conf_is_embedded(conf)) {
        const char *servers = kafka_conf_get(conf, "bootstrap.servers");

        check_broker(d, servers ? servers : "localhost:9092");
        return;
    }
    address_read(d->data_dir, "kafka.addr", &embedded, NULL);
    if (d->status && embedded)
        check_broker(d, embedded);
    else
        doctor_skip(d, "the embedded broker runs only with the daemon");
    free(embedded);
}

static void check_file(struct doctor *d)
{
    const char *path = d->conf->source.path;
    char *quoted, *command;

    if (!path || !strcmp(path, "-") || access(path, R_OK) == 0)
        return;
    quoted = doctor_quote(path);
    command = xasprintf("ls -l %s", quoted);
    doctor_find(d, command, "source.path: %s: %s", path, strerror(errno));
    free(quoted);
    free(command);
}

/* Finds nothing unless the daemon's source retries or has stopped. */
static void check_running(struct doctor *d)
{
    const char *state = pick_text_or(d->status, "source.state", "running");
    const char *reason = pick_text_or(d->status, "source.reason", "");

    if (!strcmp(state, "retrying"))
        doctor_find(d, "journalctl -u mnemed -p warning",
                    "the source cannot be reached, and is tried again: %s",
                    reason);
    else if (!strcmp(state, "stopped"))
        doctor_find(d, "man mneme.yaml # source.kafka.on_gap",
                    "reading has stopped, and an operator must decide: %s",
                    reason);
}

void doctor_check_source(struct doctor *d)
{
    const char *runs = pick_text(d->status, "source.type");

    if (d->status)
        check_running(d);
    if (!d->conf)
        return;
    if (!d->knows_conf ||
        (runs && strcmp(runs, conf_source_name(d->conf->source.type)) != 0)) {
        if (!d->status)
            doctor_skip(d, "no configuration file was found: give --conf");
        return;
    }
    log_configure(LOG_ERROR, LOG_TEXT); /* librdkafka has its own words */
    if (d->conf->source.type == CONF_SOURCE_KAFKA)
        check_kafka(d);
    else if (d->conf->source.type == CONF_SOURCE_FILE)
        check_file(d);
}

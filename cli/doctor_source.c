/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of the source: is the broker there, do the topics exist, can the
 * file be read, does POST /v1/records answer? A running daemon says itself how
 * its source is.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "cli/address.h"
#include "cli/client.h"
#include "cli/doctor.h"
#include "cli/pick.h"
#include "daemon/stream/kafka_conf.h"
#include "daemon/stream/record_log.h"
#include "daemon/stream/source.h"

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

/* A daemon that is stopped reads on at the position of the newest version, so
 * the log must have it. A log that ends before is no fault: that of a restored
 * backup is empty. */
static void check_log(struct doctor *d, struct record_log *log)
{
    struct catalog_pointers p;
    struct catalog_version v = {0};
    int64_t first = record_log_first(log);

    if (!d->catalog || catalog_pointers(d->catalog, &p, NULL) != 0 || !p.head ||
        catalog_get(d->catalog, p.head, &v, NULL) != 0)
        return;
    for (size_t i = 0; i < v.n_offsets; i++)
        if (!strcmp(v.offsets[i].topic, SOURCE_HTTP_TOPIC) &&
            v.offsets[i].next_offset < first &&
            d->conf->source.kafka.on_gap != CONF_ON_GAP_SKIP)
            doctor_find(d, "man mneme.yaml # source.kafka.on_gap",
                        "the records from offset %" PRId64 " to %" PRId64
                        " are not learned, and no longer in the log: the "
                        "daemon will stop reading",
                        v.offsets[i].next_offset, first - 1);
    catalog_version_release(&v);
}

/* Sends no record: the daemon refuses an empty body with 400. So the reply
 * tells whether the endpoint answers and the token may use it. Only a record
 * would tell whether the log takes one. */
static void check_endpoint(struct doctor *d)
{
    struct client *c = NULL;
    struct err err = ERR_INIT;
    json_t *reply = NULL;
    long status = 0;

    if (client_open_at(d->args, d->address, &c, &err) == 0) {
        client_send(c, "/v1/records", "application/x-ndjson", "", 0, &reply,
                    &err);
        status = client_last_status(c);
    }
    if (status == 401 || status == 403)
        doctor_skip(d, "the token may not send records (scope feed)");
    else if (status == 429)
        doctor_skip(d, "the daemon takes no more requests now; try again");
    else if (status != 400)
        doctor_find(d, "mneme status", "POST /v1/records: %s", err.msg);
    json_decref(reply);
    client_free(c);
}

static void check_http(struct doctor *d)
{
    const struct record_log_options options = {
        .data_dir = d->data_dir,
        .limit_bytes = d->conf->source.http.log_bytes,
        .reads_only = true,
    };
    struct record_log *log = NULL;
    struct err err = ERR_INIT;

    if (d->conf->source.max_record_bytes > d->conf->http.max_body_bytes)
        doctor_find(d, "man mneme.yaml # http.max_body_bytes",
                    "a record may have %" PRId64 " bytes "
                    "(source.max_record_bytes), and a request only %" PRId64
                    " (http.max_body_bytes)",
                    d->conf->source.max_record_bytes,
                    d->conf->http.max_body_bytes);
    if (d->status) {
        check_endpoint(d);
    } else if (record_log_open(&options, &log, &err) == 0) {
        check_log(d, log);
        record_log_close(log);
    } else {
        char *dir = doctor_quote(d->data_dir);
        char *command = xasprintf("ls -l %s/records", dir);

        doctor_find(d, command, "%s", err.msg);
        free(command);
        free(dir);
    }
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
    if (!d->conf) {
        if (!d->status)
            doctor_skip(d, "the configuration is not valid");
        return;
    }
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
    else if (d->conf->source.type == CONF_SOURCE_HTTP)
        check_http(d);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/producer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "base/xalloc.h"

#define METADATA_MS 10000
#define WAIT_FOR_ROOM_MS 100

struct producer {
    rd_kafka_t *rk;
    char *topic, *key;
    int32_t partition;
    struct producer_counts counts;
    char failure[256];    /* error of the first failed record */
    char connection[256]; /* last error of the connection */
};

/* --- callbacks, all from rd_kafka_poll and rd_kafka_flush --------------- */

static void note_failure(struct producer *p, const char *why)
{
    p->counts.failed++;
    if (!p->failure[0])
        snprintf(p->failure, sizeof p->failure, "%s", why);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message,
                        void *arg)
{
    struct producer *p = arg;

    (void)rk;
    if (message->err)
        note_failure(p, rd_kafka_err2str(message->err));
    else
        p->counts.delivered++;
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *arg)
{
    struct producer *p = arg;

    (void)rk;
    (void)code;
    snprintf(p->connection, sizeof p->connection, "%s", reason);
}

/* Drops log lines, which would break the progress bar. on_error gets the
 * errors. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility,
                   const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

/* --- opening ------------------------------------------------------------ */

static int set(rd_kafka_conf_t *conf, const char *name, const char *value,
               struct err *err)
{
    char why[256];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) ==
        RD_KAFKA_CONF_OK)
        return 0;
    return err_set(err, ERR_INVALID, "%s: %s", name, why);
}

static int set_property(rd_kafka_conf_t *conf, const char *property,
                        struct err *err)
{
    const char *equals = strchr(property, '=');
    char *name;
    int rc;

    if (!equals || equals == property)
        return err_set(err, ERR_INVALID,
                       "-X: NAME=VALUE is needed, such as "
                       "security.protocol=ssl");
    name = xstrndup(property, (size_t)(equals - property));
    rc = set(conf, name, equals + 1, err);
    free(name);
    return rc;
}

static int configure(const struct producer_options *o, rd_kafka_conf_t *conf,
                     struct err *err)
{
    int rc = set(conf, "bootstrap.servers", o->brokers, err);

    /* Records arrive in order and once, even when a broker's reply is lost. */
    if (rc == 0)
        rc = set(conf, "enable.idempotence", "true", err);
    if (rc == 0)
        rc = set(conf, "linger.ms", "20", err);
    if (rc == 0)
        rc = set(conf, "queue.buffering.max.kbytes", "32768", err);
    for (size_t i = 0; rc == 0 && i < o->n_properties; i++)
        rc = set_property(conf, o->properties[i], err);
    return rc;
}

/* Finds a wrong address or topic before any record is read. */
static int check_topic(struct producer *p, const char *brokers,
                       struct err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(p->rk, p->topic, NULL);
    rd_kafka_resp_err_t code;
    int rc = 0;

    if (!topic)
        return err_set(err, ERR_INVALID, "topic %s: %s", p->topic,
                       rd_kafka_err2str(rd_kafka_last_error()));
    code = rd_kafka_metadata(p->rk, 0, topic, &metadata, METADATA_MS);
    rd_kafka_poll(p->rk, 0);
    if (code)
        rc = err_set(err, ERR_IO, "no Kafka answers at %s: %s", brokers,
                     p->connection[0] ? p->connection
                                      : rd_kafka_err2str(code));
    /* A broker that creates topics may still be creating this one. */
    else if (metadata->topic_cnt == 1 && metadata->topics[0].err &&
             metadata->topics[0].err !=
                 RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
        rc = err_set(err, ERR_IO, "topic %s at %s: %s", p->topic, brokers,
                     rd_kafka_err2str(metadata->topics[0].err));
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    return rc;
}

int producer_open(const struct producer_options *options,
                  struct producer **producer, struct err *err)
{
    struct producer *p = xcalloc(1, sizeof *p);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    int rc;

    p->topic = xstrdup(options->topic);
    p->key = options->key ? xstrdup(options->key) : NULL;
    p->partition = options->partition;
    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rc = configure(options, conf, err);
    if (rc)
        goto out;
    p->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!p->rk) {
        rc = err_set(err, ERR_INVALID, "Kafka: %s", why);
        goto out;
    }
    conf = NULL; /* the handle owns it now */
    rc = check_topic(p, options->brokers, err);
out:
    if (conf)
        rd_kafka_conf_destroy(conf);
    if (rc)
        producer_free(p);
    else
        *producer = p;
    return rc;
}

void producer_free(struct producer *p)
{
    if (!p)
        return;
    if (p->rk)
        rd_kafka_destroy(p->rk);
    free(p->topic);
    free(p->key);
    free(p);
}

/* --- sending ------------------------------------------------------------ */

static rd_kafka_resp_err_t produce(struct producer *p, const void *value,
                                   size_t n_bytes, const char *domain)
{
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_resp_err_t code;

    if (domain) {
        headers = rd_kafka_headers_new(1);
        rd_kafka_header_add(headers, "domain", -1, domain, -1);
    }
    code = rd_kafka_producev(
        p->rk, RD_KAFKA_V_TOPIC(p->topic),
        RD_KAFKA_V_PARTITION(p->partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(p->key, p->key ? strlen(p->key) : 0),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)value, n_bytes),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (code && headers)
        rd_kafka_headers_destroy(headers);
    return code;
}

int producer_send(struct producer *p, const void *value, size_t n_bytes,
                  const char *domain, const volatile int *stop,
                  struct err *err)
{
    rd_kafka_resp_err_t code;

    while ((code = produce(p, value, n_bytes, domain)) ==
           RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        if (stop && *stop)
            return err_set(err, ERR_AGAIN, "interrupted");
        rd_kafka_poll(p->rk, WAIT_FOR_ROOM_MS);
    }
    if (code)
        note_failure(p, rd_kafka_err2str(code));
    else
        p->counts.sent++;
    rd_kafka_poll(p->rk, 0);
    return 0;
}

void producer_refuse(struct producer *p, const char *why)
{
    note_failure(p, why);
}

void producer_poll(struct producer *p, int timeout_ms)
{
    rd_kafka_poll(p->rk, timeout_ms);
}

bool producer_flush(struct producer *p, int timeout_ms)
{
    return rd_kafka_flush(p->rk, timeout_ms) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

void producer_counts(const struct producer *p, struct producer_counts *counts)
{
    *counts = p->counts;
}

const char *producer_trouble(const struct producer *p)
{
    if (p->failure[0])
        return p->failure;
    return p->connection[0] ? p->connection : NULL;
}

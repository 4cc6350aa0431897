/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/stream/broker.h"

#include <stdlib.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
#ifdef HAVE_LIBRDKAFKA_RDKAFKA_MOCK_H
#include <librdkafka/rdkafka_mock.h>
#endif

#include "base/buf.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "daemon/stream/kafka_conf.h"

struct broker {
    rd_kafka_t *handle; /* a mock cluster needs a client */
#ifdef HAVE_LIBRDKAFKA_RDKAFKA_MOCK_H
    rd_kafka_mock_cluster_t *cluster;
#endif
    char *address_path;
};

#ifdef HAVE_LIBRDKAFKA_RDKAFKA_MOCK_H

static int open_cluster(struct broker *b, struct err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];

    rd_kafka_conf_set_log_cb(conf, kafka_conf_log);
    b->handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!b->handle) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, ERR_STATE, "embedded broker: %s", why);
    }
    b->cluster = rd_kafka_mock_cluster_new(b->handle, 1);
    if (!b->cluster)
        return err_set(err, ERR_STATE, "embedded broker: cannot listen");
    return 0;
}

static int create_topics(struct broker *b, const char *const *topics, size_t n,
                         struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t e =
            rd_kafka_mock_topic_create(b->cluster, topics[i], 1, 1);

        if (e)
            return err_set(err, ERR_INVALID, "embedded broker: topic %s: %s",
                           topics[i], rd_kafka_err2str(e));
    }
    return 0;
}

const char *broker_address(const struct broker *b)
{
    return rd_kafka_mock_cluster_bootstraps(b->cluster);
}

static void close_cluster(struct broker *b)
{
    if (b->cluster)
        rd_kafka_mock_cluster_destroy(b->cluster);
    if (b->handle)
        rd_kafka_destroy(b->handle);
}

#else

static int open_cluster(struct broker *b, struct err *err)
{
    (void)b;
    return err_set(err, ERR_STATE,
                   "bootstrap.servers: embedded needs a librdkafka with "
                   "rdkafka_mock.h, and this program was built without it");
}

static int create_topics(struct broker *b, const char *const *topics, size_t n,
                         struct err *err)
{
    (void)topics;
    (void)n;
    return open_cluster(b, err);
}

const char *broker_address(const struct broker *b)
{
    (void)b;
    return "";
}

static void close_cluster(struct broker *b)
{
    (void)b;
}

#endif

static int write_address(struct broker *b, const char *data_dir,
                         struct err *err)
{
    struct buf text = BUF_INIT;
    int rc;

    b->address_path = fileio_join(data_dir, "kafka.addr");
    buf_addf(&text, "%s\n", broker_address(b));
    rc = fileio_write_atomic(b->address_path, text.data, text.len, err);
    buf_release(&text);
    return rc;
}

int broker_start(const char *const *topics, size_t n, const char *data_dir,
                 struct broker **broker, struct err *err)
{
    struct broker *b = xcalloc(1, sizeof *b);
    int rc = open_cluster(b, err);

    if (rc == 0)
        rc = create_topics(b, topics, n, err);
    if (rc == 0)
        rc = write_address(b, data_dir, err);
    if (rc != 0) {
        broker_stop(b);
        return rc;
    }
    log_warn("embedded",
             "kafka=%s: for trials only; its records are lost "
             "when this process ends",
             broker_address(b));
    *broker = b;
    return 0;
}

void broker_stop(struct broker *b)
{
    if (!b)
        return;
    close_cluster(b);
    if (b->address_path)
        unlink(b->address_path);
    free(b->address_path);
    free(b);
}

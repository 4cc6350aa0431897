/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three layers, and each overrides the one before: defaults that suit mneme,
 * the user's properties, and the settings that exactly-once learning depends
 * on. conf_load refuses user properties that the third layer sets.
 */
#include "config.h"

#include "daemon/stream/kafka_conf.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/source.h"

struct setting {
    const char *name, *value;
};

static const struct setting defaults[] = {
    {"isolation.level", "read_committed"},
    {"queued.max.messages.kbytes", "16384"}, /* mneme has a queue of its own */
    {"queue.buffering.max.kbytes", "16384"}, /* for dead letters */
    {"topic.metadata.refresh.interval.ms", "30000"}, /* finds new partitions */
    {"client.id", "mneme"},
};

static const struct setting required[] = {
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "error"},
    {"partition.assignment.strategy", "range,roundrobin"},
    {"enable.partition.eof", "true"},
};

#define N(array) (sizeof(array) / sizeof *(array))

const char *kafka_conf_get(const struct conf_kafka *conf, const char *name)
{
    for (size_t i = 0; i < conf->properties.n; i++)
        if (strcmp(conf->properties.items[i].name, name) == 0)
            return conf->properties.items[i].value;
    return NULL;
}

bool kafka_conf_is_embedded(const struct conf_kafka *conf)
{
    const char *servers = kafka_conf_get(conf, "bootstrap.servers");

    return servers && strcmp(servers, "embedded") == 0;
}

void kafka_conf_log(const rd_kafka_t *rk, int level, const char *facility,
                    const char *text)
{
    (void)rk;
    (void)level;
    log_debug("librdkafka", "%s: %s", facility, text);
}

static int set_table(rd_kafka_conf_t *to, const struct setting *table,
                     size_t n, struct err *err)
{
    char why[256];

    for (size_t i = 0; i < n; i++)
        if (rd_kafka_conf_set(to, table[i].name, table[i].value, why,
                              sizeof why) != RD_KAFKA_CONF_OK)
            return err_set(err, ERR_INVALID, "librdkafka: %s", why);
    return 0;
}

/* librdkafka's message may contain the value, so a secret gets none. */
static int set_property(rd_kafka_conf_t *to, const struct conf_property *p,
                        struct err *err)
{
    char why[256];

    if (rd_kafka_conf_set(to, p->name, p->value, why, sizeof why) ==
        RD_KAFKA_CONF_OK)
        return 0;
    return err_set(err, ERR_INVALID, "%s: source.kafka.properties.%s: %s",
                   p->where ? p->where : "", p->name,
                   p->is_secret ? "librdkafka refuses the value" : why);
}

static int set_all(rd_kafka_conf_t *to, const struct conf_kafka *conf,
                   const char *servers, struct err *err)
{
    int rc = set_table(to, defaults, N(defaults), err);

    for (size_t i = 0; i < conf->properties.n && rc == 0; i++)
        if (!servers ||
            strcmp(conf->properties.items[i].name, "bootstrap.servers") != 0)
            rc = set_property(to, &conf->properties.items[i], err);
    if (rc == 0)
        rc = set_table(to, required, N(required), err);
    if (rc == 0 && servers &&
        rd_kafka_conf_set(to, "bootstrap.servers", servers, NULL, 0) !=
            RD_KAFKA_CONF_OK)
        rc = err_set(err, ERR_INVALID, "bootstrap.servers: %s", servers);
    return rc;
}

rd_kafka_conf_t *kafka_conf_create(const struct conf_kafka *conf,
                                   rd_kafka_type_t type, const char *servers,
                                   const char *instance, struct err *err)
{
    rd_kafka_conf_t *to = rd_kafka_conf_new();
    int rc = set_all(to, conf, servers, err);

    if (rc == 0 && type == RD_KAFKA_CONSUMER && instance &&
        !kafka_conf_get(conf, "group.instance.id") &&
        rd_kafka_conf_set(to, "group.instance.id", instance, NULL, 0) !=
            RD_KAFKA_CONF_OK)
        rc = err_set(err, ERR_INVALID, "group.instance.id: %s", instance);
    if (rc != 0) {
        rd_kafka_conf_destroy(to);
        return NULL;
    }
    rd_kafka_conf_set_log_cb(to, kafka_conf_log);
    return to;
}

rd_kafka_t *kafka_conf_open(rd_kafka_type_t type, rd_kafka_conf_t *conf,
                            struct err *err)
{
    char why[256];
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);

    if (rk)
        return rk;
    rd_kafka_conf_destroy(conf);
    err_set(err, ERR_INVALID, "source.kafka.properties: %s", why);
    return NULL;
}

/* --- destroying a handle ------------------------------------------------ */

#define CLOSE_MS 5000
#define CHECK_MS 5

struct closing {
    rd_kafka_t *rk;
    _Atomic bool is_done;
};

static void *close_handle(void *arg)
{
    struct closing *c = arg;

    rd_kafka_destroy(c->rk);
    atomic_store(&c->is_done, true);
    return NULL;
}

void kafka_conf_close(rd_kafka_t *rk)
{
    int64_t until = timing_mono_ms() + CLOSE_MS;
    struct closing *c = xcalloc(1, sizeof *c);
    pthread_t thread;

    c->rk = rk;
    if (pthread_create(&thread, NULL, close_handle, c) != 0) {
        close_handle(c);
        free(c);
        return;
    }
    while (!atomic_load(&c->is_done) && timing_mono_ms() < until)
        timing_sleep_ms(CHECK_MS);
    if (!atomic_load(&c->is_done)) { /* the thread still uses c */
        log_debug("kafka", "librdkafka does not end");
        pthread_detach(thread);
        return;
    }
    pthread_join(thread, NULL);
    free(c);
}

/* --- for conf_load ------------------------------------------------------ */

/* Tells whether a value may be a secret, which no message may repeat. */
static bool is_private(const char *name)
{
    return strstr(name, "password") || strstr(name, "secret") ||
           strstr(name, "key") || strstr(name, "oauthbearer") ||
           strstr(name, "token");
}

int source_property_check(const char *name, const char *value, char *why,
                          size_t why_size)
{
    rd_kafka_conf_t *scratch = rd_kafka_conf_new();
    rd_kafka_conf_res_t res =
        rd_kafka_conf_set(scratch, name, value, why, why_size);

    rd_kafka_conf_destroy(scratch);
    if (res == RD_KAFKA_CONF_INVALID && is_private(name))
        snprintf(why, why_size, "librdkafka refuses the value");
    if (res == RD_KAFKA_CONF_UNKNOWN)
        snprintf(why, why_size, "librdkafka %s knows no such property",
                 rd_kafka_version_str());
    return res == RD_KAFKA_CONF_OK ? 0 : -1;
}

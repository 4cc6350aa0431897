/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data directory may come from somebody else, with correct checksums. So only
 * keys that decide what is learned are taken from it, each with a value that
 * the key can have. The operator's configuration alone decides which files,
 * brokers and programs are used.
 */
#include "config.h"

#include "daemon/train/retrain.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/kafka_conf.h"
#include "daemon/stream/source.h"
#include "store/catalog.h"
#include "store/store.h"

#define AVERAGE "learner.average.enabled"
#define NGRAM "learner.ngram.enabled"
#define PROPERTIES "source.kafka.properties."

static int find_settings(struct catalog *c, int64_t *version, json_t **settings,
                         struct err *err)
{
    struct catalog_pointers pointers;
    struct catalog_version v;
    json_t *metadata;
    int rc = catalog_pointers(c, &pointers, err);

    if (rc)
        return rc;
    if (*version == 0)
        *version = pointers.head;
    if (*version == 0)
        return err_set(err, ERR_NOTFOUND, "%s: no version yet", catalog_dir(c));
    rc = catalog_get(c, *version, &v, err);
    if (rc)
        return rc;
    metadata = json_loads(v.metadata_json ? v.metadata_json : "",
                          JSON_REJECT_DUPLICATES, NULL);
    *settings = json_incref(json_object_get(metadata, "settings"));
    json_decref(metadata);
    catalog_version_release(&v);
    return store_check_metadata(c, *version, err);
}

static int apply_settings(struct conf *conf, int64_t version,
                          const json_t *settings, struct err *err)
{
    const char *adaptive =
        json_string_value(json_object_get(settings, "learner.replay.adaptive"));
    const char *key;
    json_t *value;

    if (!json_is_object(settings))
        return err_set(err, ERR_STATE,
                       "version %lld does not say with which settings it was "
                       "learned: they changed while the disk was full, or it "
                       "was made by an earlier mneme",
                       (long long)version);
    if (adaptive && strcmp(adaptive, "true") == 0)
        return err_set(err, ERR_STATE,
                       "version %lld was learned with learner.replay.adaptive, "
                       "which depends on the time: nothing can repeat it",
                       (long long)version);
    /* Versions of a mneme that kept no average, or had no n-gram memory, do not
     * have the keys. */
    if (!json_object_get(settings, AVERAGE))
        conf_set_stored(conf, AVERAGE, "false", NULL);
    if (!json_object_get(settings, NGRAM))
        conf_set_stored(conf, NGRAM, "false", NULL);
    json_object_foreach((json_t *)settings, key, value)
    {
        struct err why = ERR_INIT;
        int rc = conf_set_stored(conf, key, json_string_value(value), &why);

        if (rc == ERR_NOTFOUND)
            log_info("retrain", "version=%lld: a stored setting is ignored: %s",
                     (long long)version, why.msg);
        else if (rc)
            return err_set(err, rc,
                           "version %lld: mneme cannot have written its stored "
                           "settings: %s",
                           (long long)version, why.msg);
    }
    return 0;
}

/*
 * The broker of a running daemon; its records exist nowhere else. mnemed writes
 * the broker's address as 127.0.0.1:PORT, and no other is accepted: a data
 * directory from elsewhere must not name another machine.
 *   *set  the override with the address, to be freed
 */
static int find_embedded(const struct conf *conf, char **set, struct err *err)
{
    static const char host[] = "127.0.0.1:";
    char *path = fileio_join(conf->data_dir, "kafka.addr");
    struct buf address = BUF_INIT;
    const char *port = NULL;
    int rc = 0;

    if (fileio_read(path, 4096, &address, NULL) != 0) {
        rc = err_set(err, ERR_STATE,
                     "the embedded broker is not running, and its records "
                     "ended with it");
    } else if (address.data) {
        address.data[strcspn(address.data, "\r\n")] = '\0';
        if (strncmp(address.data, host, strlen(host)) == 0)
            port = address.data + strlen(host);
    }
    if (rc == 0 && (!port || !*port || strlen(port) > 5 ||
                    strspn(port, "0123456789") != strlen(port)))
        rc = err_set(err, ERR_CORRUPT,
                     "%s: not the address of an embedded broker: delete it",
                     path);
    if (rc == 0)
        *set = xasprintf(PROPERTIES "bootstrap.servers=%s", address.data);
    buf_release(&address);
    free(path);
    return rc;
}

/* Makes the source one that only reads: without dead letters, and with a
 * consumer group of its own, so that the daemon's group keeps its partitions.
 * Then checks the settings against each other. */
static int make_read_only(struct conf *conf, int64_t version, struct err *err)
{
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    long pid = (long)getpid();
    long long now = (long long)timing_wall_ms();
    char *sets[5] = {
        xasprintf(PROPERTIES "group.id=mneme-retrain-%ld-%lld", pid, now),
        xasprintf(PROPERTIES "group.instance.id=mneme-retrain-%ld-%lld", pid,
                  now),
        xstrdup("source.kafka.dead_letter=null"),
        xstrdup("source.kafka.on_gap=stop"),
    };
    size_t n = 4;
    int rc = 0;

    if (conf->source.type == CONF_SOURCE_KAFKA &&
        kafka_conf_is_embedded(&conf->source.kafka)) {
        rc = find_embedded(conf, &sets[n], err);
        n += rc == 0;
    }
    if (rc == 0 && conf_load(conf, NULL, (const char *const *)sets, n,
                             source_property_check, &problems) != 0)
        rc = err_set(err, ERR_STATE,
                     "version %lld: its settings contradict this "
                     "configuration: %s",
                     (long long)version, problems.items[0].text);
    conf_problems_release(&problems);
    for (size_t i = 0; i < n; i++)
        free(sets[i]);
    return rc;
}

int retrain_settings(struct conf *conf, int64_t *version, struct err *err)
{
    struct catalog *c = NULL;
    json_t *settings = NULL;
    int rc = catalog_open(conf->data_dir, &c, err);

    if (rc)
        return rc;
    rc = find_settings(c, version, &settings, err);
    if (rc == 0)
        rc = apply_settings(conf, *version, settings, err);
    if (rc == 0)
        rc = make_read_only(conf, *version, err);
    json_decref(settings);
    catalog_close(c);
    return rc;
}

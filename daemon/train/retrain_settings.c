/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings that a version was learned with, from its metadata, as overrides
 * of the configuration; and overrides that make the source only read.
 *
 * A data directory may come from somebody else, with checksums that are right.
 * So only keys that decide what is learned are taken from it, with values that
 * such a key can have. Only the operator's configuration says which files,
 * brokers and programs are used.
 */
#include "config.h"

#include "daemon/train/retrain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/kafka_conf.h"
#include "store/catalog.h"
#include "store/store.h"

static json_t *stored_settings(const struct catalog_version *v)
{
    json_t *root = json_loads(v->metadata_json ? v->metadata_json : "",
                              JSON_REJECT_DUPLICATES, NULL);
    json_t *settings = json_incref(json_object_get(root, "settings"));

    json_decref(root);
    return settings;
}

static void add_set(struct conf_strings *sets, const char *key,
                    const char *value)
{
    char *set = xasprintf("%s=%s", key, value);

    conf_strings_add(sets, set);
    free(set);
}

/* mnemed writes its embedded broker's address as 127.0.0.1:PORT. A data
 * directory that came from elsewhere must not name another machine. */
static bool is_own_address(const char *address)
{
    static const char host[] = "127.0.0.1:";
    const char *port = address + strlen(host);

    return strncmp(address, host, strlen(host)) == 0 && *port &&
           strlen(port) <= 5 && strspn(port, "0123456789") == strlen(port);
}

/* The broker of a daemon that runs, which alone has its records. */
static int find_embedded(const struct conf *conf, struct conf_strings *sets,
                         struct err *err)
{
    char *path = fileio_join(conf->data_dir, "kafka.addr");
    struct buf address = BUF_INIT;
    int rc = fileio_read(path, 4096, &address, NULL);

    if (address.data)
        address.data[strcspn(address.data, "\r\n")] = '\0';
    if (rc == 0 && address.data && is_own_address(address.data)) {
        add_set(sets, "source.kafka.properties.bootstrap.servers",
                address.data);
    } else if (rc == 0) {
        rc = err_set(err, ERR_CORRUPT,
                     "%s: not the address of an embedded broker: delete it",
                     path);
    } else {
        rc = err_set(err, ERR_STATE,
                     "the embedded broker does not run: its records went with "
                     "it");
    }
    buf_release(&address);
    free(path);
    return rc;
}

/* Another group than the daemon's, which keeps its partitions; and nothing but
 * reading. */
static int only_read(const struct conf *conf, struct conf_strings *sets,
                     struct err *err)
{
    char *group = xasprintf("mneme-retrain-%ld-%lld", (long)getpid(),
                            (long long)timing_wall_ms());

    add_set(sets, "source.kafka.properties.group.id", group);
    add_set(sets, "source.kafka.properties.group.instance.id", group);
    add_set(sets, "source.kafka.dead_letter", "null");
    add_set(sets, "source.kafka.on_gap", "stop");
    free(group);
    if (conf->source.type == CONF_SOURCE_KAFKA &&
        kafka_conf_is_embedded(&conf->source.kafka))
        return find_embedded(conf, sets, err);
    return 0;
}

static int list_settings(int64_t version, json_t *settings,
                         struct conf_strings *sets, struct err *err)
{
    const char *adaptive = json_string_value(
        json_object_get(settings, "learner.replay.adaptive"));
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
    json_object_foreach(settings, key, value)
    {
        struct err why = ERR_INIT;
        int rc = conf_check_stored(key, json_string_value(value), &why);

        if (rc == ERR_NOTFOUND)
            log_info("retrain", "version=%lld: a stored setting is ignored: %s",
                     (long long)version, why.msg);
        else if (rc)
            return err_set(err, rc,
                           "version %lld: mneme cannot have written its stored "
                           "settings: %s",
                           (long long)version, why.msg);
        else
            add_set(sets, key, json_string_value(value));
    }
    return 0;
}

static int find_version(struct catalog *c, int64_t *version,
                        struct catalog_version *v, struct err *err)
{
    struct catalog_pointers pointers;
    int rc = catalog_pointers(c, &pointers, err);

    if (rc)
        return rc;
    if (*version == 0)
        *version = pointers.head;
    if (*version == 0)
        return err_set(err, ERR_NOTFOUND, "%s: no version yet",
                       catalog_dir(c));
    return catalog_get(c, *version, v, err);
}

int retrain_settings(const struct conf *conf, int64_t *version,
                     struct conf_strings *sets, struct err *err)
{
    struct catalog *c = NULL;
    struct catalog_version v;
    json_t *settings;
    int rc = catalog_open(conf->data_dir, &c, err);

    if (rc)
        return rc;
    rc = find_version(c, version, &v, err);
    if (rc == 0) {
        settings = stored_settings(&v);
        rc = store_check_metadata(c, *version, err);
        if (rc == 0)
            rc = list_settings(*version, settings, sets, err);
        json_decref(settings);
        catalog_version_release(&v);
    }
    catalog_close(c);
    return rc ? rc : only_read(conf, sets, err);
}

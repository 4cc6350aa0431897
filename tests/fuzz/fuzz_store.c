/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/fuzz/fuzz_store.h"

#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/xalloc.h"
#include "store/store_private.h"

static struct fuzz_store fuzz;
static char *folder;

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void close_all(void)
{
    catalog_close(fuzz.catalog);
    store_close(fuzz.store);
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(folder);
}

static void publish(struct err *err)
{
    struct tensor_list none = TENSOR_LIST_INIT;
    struct store_offset offset = {0, "text", 0, 10, 0, -1, 0};
    struct store_domain_result result = {"news", 1.5, 0.5, 40};
    struct store_publication p = {.created_ms = 1700000000000,
                                  .step = 10,
                                  .tokens_seen = 100,
                                  .state = &none,
                                  .anchor = &none,
                                  .head = &none,
                                  .labels_json = "[\"red\",\"blue\"]",
                                  .metadata_json = "{}",
                                  .offsets = &offset,
                                  .n_offsets = 1};
    int64_t version;

    if (store_add_partitions(fuzz.store, &offset, 1, err) != 0 ||
        store_publish(fuzz.store, &p, &version, err) != 0 || version != 1 ||
        store_verdict(fuzz.store, version, STORE_PASSED,
                      "{\"verdict\":\"pass\"}", NULL, &result, 1, true,
                      "better", err) != 0)
        abort();
}

const struct fuzz_store *fuzz_store(void)
{
    const char *top = getenv("TMPDIR");
    struct err err = ERR_INIT;

    if (folder)
        return &fuzz;
    folder = xasprintf("%s/mneme-fuzz-XXXXXX", top ? top : "/tmp");
    if (!mkdtemp(folder) ||
        store_open(folder, NULL, 0, &fuzz.store, &err) != 0)
        abort();
    publish(&err);
    /* No target needs the store after a crash of the machine. */
    sqlite3_exec(db_handle(fuzz.store->db), "PRAGMA synchronous = OFF", NULL,
                 NULL, NULL);
    if (catalog_open(folder, &fuzz.catalog, &err) != 0)
        abort();
    atexit(close_all);
    return &fuzz;
}

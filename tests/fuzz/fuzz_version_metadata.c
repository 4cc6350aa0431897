/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The texts that are stored with a version, as a data directory from elsewhere
 * may have them. The first byte picks the parser: '0' is the progress.
 *
 * Needs the publisher's private header: the JSON of the gate is read by
 * publisher_show_versions, which shows it on the board.
 */
#include "config.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/names.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "daemon/intake/progress.h"
#include "daemon/publish/publisher_private.h"
#include "daemon/publish/verdict_memory.h"
#include "store/safetensors.h"
#include "store/store_private.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_store.h"

/* What is accepted is written, and read again. */
static void parse_progress(const char *text, size_t n)
{
    struct progress progress;
    struct buf json = BUF_INIT;

    progress_init(&progress);
    if (progress_import(&progress, text, n, NULL) == 0) {
        progress_export(&progress, 1, "fuzz", NULL, &json);
        if (progress_import(&progress, json.data, json.len, NULL) != 0)
            abort();
    }
    progress_release(&progress);
    buf_release(&json);
}

static void parse_memory(const char *text, size_t n)
{
    struct verdict_memory memory, again;
    char *written;

    (void)n;
    if (!verdict_memory_read(&memory, text))
        return;
    verdict_memory_log_wealth(&memory);
    written = verdict_memory_write(&memory);
    if (!written || !verdict_memory_read(&again, written))
        abort();
    free(written);
}

/* The JSON of the gate is read from the database. */
static void parse_gate(const char *text, size_t n)
{
    static const char sql[] = "UPDATE versions SET gate = ?1";
    static struct status_board board;
    static bool begun;
    const struct fuzz_store *fuzz = fuzz_store();
    sqlite3_stmt *update;

    if (!begun)
        status_board_init(&board);
    begun = true;
    if (sqlite3_prepare_v2(db_handle(fuzz->store->db), sql, -1, &update,
                           NULL) != SQLITE_OK)
        abort();
    sqlite3_bind_text(update, 1, text, (int)n, SQLITE_STATIC);
    if (sqlite3_step(update) != SQLITE_DONE)
        abort();
    sqlite3_finalize(update);
    publisher_show_versions(fuzz->catalog, 1, NULL, &board);
}

/* The settings of the metadata. A value that is accepted can be stored again
 * in the form in which a version would keep it. */
static void parse_settings(const char *text, size_t n)
{
    json_t *settings = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    struct conf *conf = conf_create();
    const char *key;
    json_t *value;

    json_object_foreach(settings, key, value)
    {
        char *kept;

        if (conf_set_stored(conf, key, json_string_value(value), NULL) != 0)
            continue;
        kept = conf_text(conf, key);
        if (conf_set_stored(conf, key, kept, NULL) != 0)
            abort();
        free(kept);
    }
    conf_free(conf);
    json_decref(settings);
}

static void parse_labels(const char *text, size_t n)
{
    struct names labels = NAMES_INIT;

    names_from_json(&labels, text, n, 65536, NULL);
    names_release(&labels);
}

/* The header of a tensor file, behind which there are as many bytes as the
 * first one says. */
static void parse_tensors(const char *text, size_t n)
{
    struct tensor_list tensors = TENSOR_LIST_INIT;
    struct buf file = BUF_INIT, metadata = BUF_INIT;
    size_t n_data = n ? (unsigned char)text[0] : 0, n_json = n ? n - 1 : 0;

    for (int i = 0; i < 64; i += 8)
        buf_addc(&file, (char)((uint64_t)n_json >> i & 0xff));
    if (n)
        buf_add(&file, text + 1, n_json);
    while (n_data--)
        buf_addc(&file, '\0');
    safetensors_read(fuzz_file((const void *)file.data, file.len), NULL,
                     UINT64_MAX, &tensors, &metadata, NULL);
    tensor_list_release(&tensors);
    buf_release(&metadata);
    buf_release(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const parsers[])(const char *text, size_t n) = {
        parse_progress, parse_memory, parse_gate,
        parse_settings, parse_labels, parse_tensors,
    };
    size_t n_parsers = sizeof parsers / sizeof *parsers;
    char *text;

    if (size < 1)
        return 0;
    log_configure(LOG_ERROR, LOG_TEXT);
    text = xmalloc(size); /* a NUL follows it, as in memory of the catalog */
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    parsers[(uint8_t)(data[0] - '0') % n_parsers](text, size - 1);
    free(text);
    return 0;
}

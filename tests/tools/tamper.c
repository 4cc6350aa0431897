/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tamper DB SQL... - changes a store with SQL (-: from the standard input), and
 * makes every checksum right again: those of pages as the daemon does, and
 * those of rows by the function rowsum(). For flow_tamper.py.
 *
 *     rowsum(key, domain, label, n_tokens, n_masked, n_bytes, ends, tokens,
 *            text, logits, partition_id, record_offset, part, time_ms,
 *            text_hash, id)
 *
 * Nothing is checked but what SQLite checks: triggers and constraints are off
 * or dropped by the caller.
 */
#include "config.h"

#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/checksum.h"
#include "store/pages.h"

#define N_ARGUMENTS 16

static uint64_t add_bytes(uint64_t sum, sqlite3_value *v)
{
    const void *bytes = sqlite3_value_blob(v);
    size_t n = (size_t)sqlite3_value_bytes(v);

    return bytes && n ? checksum_xxh3(bytes, n, sum) : sum;
}

/* row_checksum() of replay/row.h, of any numbers and blobs whatever. */
static void rowsum(sqlite3_context *context, int n, sqlite3_value **v)
{
    static const int order[] = {0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14};
    int64_t numbers[sizeof order / sizeof *order];
    uint64_t sum;

    (void)n;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        numbers[i] = order[i] == 8 ? sqlite3_value_bytes(v[8])
                     : order[i] == 9
                         ? sqlite3_value_bytes(v[9]) / (int)sizeof(float)
                         : sqlite3_value_int64(v[order[i]]);
    sum = checksum_xxh3(numbers, sizeof numbers, 0);
    sum = add_bytes(sum, v[7]);
    sum = add_bytes(sum, v[8]);
    sum = add_bytes(sum, v[9]);
    sum = add_bytes(sum, v[15]);
    sqlite3_result_int64(context, (int64_t)sum);
}

static int show(void *arg, int n, char **values, char **names)
{
    (void)arg;
    (void)names;
    for (int i = 0; i < n; i++)
        printf("%s%s", i ? "\t" : "", values[i] ? values[i] : "");
    putchar('\n');
    return 0;
}

static void read_all(struct buf *text)
{
    char piece[65536];
    size_t n;

    while ((n = fread(piece, 1, sizeof piece, stdin)) > 0)
        buf_add(text, piece, n);
}

int main(int argc, char **argv)
{
    struct buf given = BUF_INIT;
    sqlite3 *db = NULL;
    char *why = NULL;
    int rc;

    if (argc < 3)
        return 2;
    rc = sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE, pages_vfs());
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function(db, "rowsum", N_ARGUMENTS, SQLITE_UTF8,
                                     NULL, rowsum, NULL, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    for (int i = 2; i < argc && rc == SQLITE_OK; i++) {
        if (strcmp(argv[i], "-") == 0)
            read_all(&given);
        rc = sqlite3_exec(db, given.data ? given.data : argv[i], show, NULL,
                          &why);
    }
    if (rc == SQLITE_OK) /* else the change is in the log alone */
        rc = sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL,
                          &why);
    if (rc != SQLITE_OK)
        fprintf(stderr, "tamper: %s\n", why ? why : sqlite3_errmsg(db));
    sqlite3_close(db);
    buf_release(&given);
    return rc == SQLITE_OK ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row of the replay buffer, as a damaged or foreign database has it. The input
 * is a list of columns: a byte for the type, a byte for the length, the bytes.
 */
#include "config.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "replay/replay_db.h"
#include "tests/fuzz/fuzz.h"

#define COLUMNS                                                                \
    "key, domain, label, partition_id, record_offset, part, id, text_hash, "   \
    "time_ms, n_tokens, n_masked, n_bytes, ends, tokens, text, logits, loss, " \
    "checksum"
enum { N_COLUMNS = 18 };

static sqlite3 *db;
static sqlite3_stmt *insert;
static struct sqlite3_stmt *fetch;

static void open_database(void)
{
    if (sqlite3_open(":memory:", &db) != SQLITE_OK ||
        sqlite3_exec(db, "CREATE TABLE replay_rows (" COLUMNS ")", NULL, NULL,
                     NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db,
                           "INSERT INTO replay_rows (" COLUMNS ") VALUES "
                           "(1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,"
                           "?16,?17,?18)",
                           -1, &insert, NULL) != SQLITE_OK ||
        replay_db_prepare_fetch(db, REPLAY_ROWS, &fetch, NULL) != 0)
        abort();
}

static void bind(int column, int type, const uint8_t *bytes, size_t n)
{
    int64_t number = 0;

    for (size_t i = 0; i < n && i < sizeof number; i++)
        number |= (int64_t)((uint64_t)bytes[i] << 8 * i);
    switch (type % 5) {
    case 0:
        sqlite3_bind_int64(insert, column, number);
        break;
    case 1:
        sqlite3_bind_blob(insert, column, bytes, (int)n, SQLITE_TRANSIENT);
        break;
    case 2:
        sqlite3_bind_text(insert, column, (const char *)bytes, (int)n,
                          SQLITE_TRANSIENT);
        break;
    case 3:
        sqlite3_bind_double(insert, column, (double)number / 1000.0);
        break;
    default:
        sqlite3_bind_null(insert, column);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct row *row = NULL;

    if (!db)
        open_database();
    sqlite3_reset(insert);
    sqlite3_clear_bindings(insert);
    for (int column = 2; column <= N_COLUMNS && size >= 2; column++) {
        size_t n = data[1] < size - 2 ? data[1] : size - 2;

        bind(column, data[0], data + 2, n);
        data += 2 + n;
        size -= 2 + n;
    }
    if (sqlite3_step(insert) != SQLITE_DONE ||
        replay_db_fetch(fetch, 1, &row, NULL) != 0)
        abort();
    free(row);
    sqlite3_exec(db, "DELETE FROM replay_rows", NULL, NULL, NULL);
    return 0;
}

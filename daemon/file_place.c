/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/file_place.h"

#include "base/checksum.h"

/* The line at hand of `l` is what was learned last? ERR_STATE: it is not. One
 * that is too long by now was learned under another limit: nobody can tell. */
static int compare_last(struct lines *l, const struct source_position *at,
                        struct err *err)
{
    struct line line;
    int rc = lines_next(l, &line, err);

    if (rc == ERR_END)
        rc = lines_rest(l, &line, err);
    if (rc != 0)
        return rc;
    if (!line.too_long &&
        checksum_xxh3(line.bytes, line.n_bytes, 0) != at->last_hash)
        return err_set(err, ERR_STATE,
                       "%s: line %lld is not the one that was learned: "
                       "another file",
                       at->topic, (long long)at->last_learned + 1);
    return 0;
}

int file_place_open(struct lines **reader, const struct source_position *at,
                    size_t line_bytes, struct err *err)
{
    struct lines *l = lines_open(at->topic, line_bytes, err);
    int64_t line = 0;
    int rc = 0;

    if (!l)
        return ERR_IO;
    if (at->last_learned >= 0) {
        rc = lines_skip(l, at->last_learned, err);
        if (rc == 0)
            rc = compare_last(l, at, err);
        line = at->last_learned + 1;
    }
    if (rc == 0 && line > at->next_offset) {
        lines_close(l);
        l = lines_open(at->topic, line_bytes, err);
        if (!l)
            return ERR_IO;
        line = 0;
    }
    if (rc == 0)
        rc = lines_skip(l, at->next_offset - line, err);
    if (rc == ERR_END)
        rc = err_set(err, ERR_STATE,
                     "%s: fewer than the %lld lines that were read: another "
                     "file, or a truncated one",
                     at->topic, (long long)at->next_offset);
    if (rc != 0)
        lines_close(l);
    else
        *reader = l;
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/stream/file_position.h"

#include "base/checksum.h"
#include "conf/conf.h"

#define MOST_GROWN 65536 /* bytes */

/* Opens the file of `l` a second time, at its first line. ERR_STATE: the path
 * names another file now. */
static int open_again(struct lines **again, const struct lines *l,
                      const struct source_position *at, size_t line_bytes,
                      struct err *err)
{
    *again = lines_open(at->topic, line_bytes, err);
    if (!*again)
        return ERR_IO;
    if (lines_same_file(*again, lines_device(l), lines_inode(l)))
        return 0;
    lines_close(*again);
    *again = NULL;
    return err_set(err, ERR_STATE, "%s: it has just been replaced", at->topic);
}

static int read_line(struct lines *l, struct line *line, struct err *err)
{
    int rc = lines_next(l, line, err);

    return rc == ERR_END ? lines_rest(l, line, err) : rc;
}

/* Tells whether the line begins with the text that was learned: then its end
 * was written later. Only prefixes up to MOST_GROWN are tried. */
static bool has_grown(const struct line *line, uint64_t last_hash)
{
    for (size_t n = 1; n < line->n_bytes && n < MOST_GROWN; n++)
        if (checksum_xxh3(line->bytes, n, 0) == last_hash)
            return true;
    return false;
}

/* Compares the next line of `l` with the last learned one. ERR_STATE: they
 * differ. */
static int compare_last(struct lines *l, const struct source_position *at,
                        struct err *err)
{
    struct lines *again = NULL;
    struct line line;
    int rc = read_line(l, &line, err);

    if (rc == 0 && line.too_long) { /* learned under a larger limit? */
        rc = open_again(&again, l, at, CONF_MAX_RECORD_BYTES, err);
        if (rc == 0)
            rc = lines_skip(again, at->last_learned, err);
        if (rc == 0)
            rc = read_line(again, &line, err);
    }
    if (rc == 0 && (line.too_long || checksum_xxh3(line.bytes, line.n_bytes,
                                                   0) != at->last_hash))
        rc = err_set(err, ERR_STATE,
                     has_grown(&line, at->last_hash)
                         ? "%s: line %lld has grown since it was learned: its "
                           "end had not been written then"
                         : "%s: line %lld is not the one that was learned: "
                           "this is another file",
                     at->topic, (long long)at->last_learned + 1);
    lines_close(again);
    return rc;
}

int file_position_open(struct lines **reader, const struct source_position *at,
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
        struct lines *again = NULL;

        rc = open_again(&again, l, at, line_bytes, err);
        lines_close(l);
        l = again;
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

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/stream/file_rotation.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/stream/file_position.h"

#define GRACE_MS 1500
#define QUIET_MS 1000
#define GRACE_MOST_MS 10000
#define OLD_MS 60000

void file_rotation_init(struct file_rotation *r, const char *path)
{
    static const char *const endings[FILE_ROTATION_COPIES] = {"", ".gz",
                                                              ".zst"};

    *r = (struct file_rotation){.path = path};
    for (size_t i = 0; i < FILE_ROTATION_COPIES; i++)
        r->copies[i] = xasprintf("%s.1%s", path, endings[i]);
}

void file_rotation_release(struct file_rotation *r)
{
    for (size_t i = 0; i < FILE_ROTATION_COPIES; i++)
        free(r->copies[i]);
    lines_close(r->old);
}

struct lines *file_rotation_open_copy(const struct file_rotation *r,
                                      const struct source_position *at,
                                      size_t line_bytes, const char **path)
{
    struct source_position in_copy = *at;
    struct lines *l = NULL;

    for (size_t i = 0; i < FILE_ROTATION_COPIES && !l && at->last_learned >= 0;
         i++) {
        in_copy.topic = *path = r->copies[i];
        if (file_position_open(&l, &in_copy, line_bytes, NULL) != 0)
            l = NULL;
    }
    if (l)
        log_info("rotated",
                 "path=%s generation=%d: its rest is read from "
                 "%s",
                 r->path, (int)at->partition, *path);
    return l;
}

void file_rotation_check(struct file_rotation *r, const struct lines *reader)
{
    struct stat st;
    bool is_same;

    if (stat(r->path, &st) != 0)
        is_same = errno != ENOENT;
    else
        is_same = lines_same_file(reader, st.st_dev, st.st_ino);
    if (is_same)
        r->renamed_ms = 0;
    else if (!r->renamed_ms)
        r->renamed_ms = timing_mono_ms();
}

bool file_rotation_may_grow(const struct file_rotation *r,
                            const char *open_path, int64_t line_ms)
{
    int64_t now = timing_mono_ms(), since = now - r->renamed_ms;

    if (open_path != r->path && open_path != r->copies[0])
        return false;
    return since < GRACE_MS ||
           (now - line_ms < QUIET_MS && since < GRACE_MOST_MS);
}

void file_rotation_watch_old(struct file_rotation *r, struct lines *reader)
{
    lines_close(r->old);
    r->old = reader;
    r->old_ms = timing_mono_ms();
}

bool file_rotation_old_has_grown(struct file_rotation *r)
{
    bool has_grown = r->old && lines_has_grown(r->old);

    if (has_grown || (r->old && timing_mono_ms() - r->old_ms > OLD_MS)) {
        lines_close(r->old);
        r->old = NULL;
    }
    return has_grown;
}

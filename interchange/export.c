/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "interchange/export_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/hf.h"

#define ASIDE ".exporting"

void export_model_release(struct export_model *m)
{
    tensor_list_release(&m->weights);
    buf_release(&m->config_json);
    buf_release(&m->generation_config_json);
    buf_release(&m->tokenizer_json);
    buf_release(&m->tokenizer_config_json);
}

int export_unfit(const struct tensor *t, enum gguf_type type, struct err *err)
{
    return err_set(err, ERR_INVALID, "tensor %s: a number is too large for %s",
                   t->name, gguf_type_name(type));
}

int export_check_type(enum export_format format, enum gguf_type type,
                      struct err *err)
{
    if (format == EXPORT_GGUF || type == GGUF_F32 || type == GGUF_F16 ||
        type == GGUF_BF16)
        return 0;
    return err_set(err, ERR_INVALID,
                   "type %s needs format gguf; hf has f32, f16 and bf16",
                   gguf_type_name(type));
}

int export_check(const struct export_model *m, enum export_format format,
                 enum gguf_type type, struct err *err)
{
    int rc = export_check_type(format, type, err);

    if (rc == 0 && format == EXPORT_GGUF)
        rc = export_gguf_check(m, type, err);
    return rc;
}

int export_check_target(const char *dir, struct err *err)
{
    struct stat st;

    if (lstat(dir, &st) != 0)
        return errno == ENOENT ? 0
                               : err_set_errno(err, ERR_IO, errno, "%s", dir);
    if (!S_ISDIR(st.st_mode) || fileio_has_entries(dir))
        return err_set(err, ERR_STATE,
                       "%s: exists; an export needs a new name or an empty "
                       "folder",
                       dir);
    return 0;
}

/* The path without slashes at its end. A folder that exists gets its full path:
 * "." has no neighbour. */
static char *plain_path(const char *dir)
{
    char *path = realpath(dir, NULL);
    size_t n;

    if (path)
        return path;
    path = xstrdup(dir);
    for (n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = '\0';
    return path;
}

static int sync_parent(const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    char *parent = !slash ? xstrdup(".")
                   : slash == path
                       ? xstrdup("/")
                       : xstrndup(path, (size_t)(slash - path));
    int rc = fileio_sync_dir(parent, err);

    free(parent);
    return rc;
}

int export_write(struct export_model *m, enum export_format format,
                 enum gguf_type type, const char *dir,
                 struct export_report *report, struct err *err)
{
    char *path = plain_path(dir), *aside = xasprintf("%s" ASIDE, path);
    int rc = export_check_type(format, type, err);

    *report = (struct export_report){0};
    if (rc == 0)
        rc = hf_check_weights(&m->shape, &m->weights, err);
    if (rc == 0)
        rc = export_check_target(path, err);
    if (rc == 0 && fileio_exists(aside))
        rc = err_set(err, ERR_STATE,
                     "%s: an export to %s was interrupted, or is still "
                     "running; remove this folder if none is running",
                     aside, path);
    if (rc == 0)
        rc = fileio_mkdir(aside, err);
    if (rc)
        goto out;
    rc = format == EXPORT_HF ? export_hf(m, type, aside, report, err)
                             : export_gguf(m, type, aside, report, err);
    if (rc == 0)
        rc = fileio_sync_dir(aside, err);
    if (rc == 0)
        rc = fileio_rename(aside, path, err);
    if (rc)
        fileio_remove_dir(aside, NULL);
    else
        rc = sync_parent(path, err);
out:
    free(aside);
    free(path);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the files of a version, on any thread, while the publisher may remove
 * it. When a file differs from its row, the row is read once more: if the row
 * has been deleted, the version is not damaged but removed (ERR_NOTFOUND).
 */
#include "config.h"

#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/catalog_private.h"
#include "store/hf.h"
#include "store/safetensors.h"
#include "store/version_files.h"

static const char *const part_names[] = {
    [STORE_WEIGHTS] = VERSION_FILES_WEIGHTS,
    [STORE_STATE] = VERSION_FILES_STATE,
    [STORE_HOLDOUT] = VERSION_FILES_HOLDOUT,
    [STORE_ANCHOR] = VERSION_FILES_ANCHOR,
    [STORE_HEAD] = VERSION_FILES_HEAD,
    [STORE_NGRAM] = VERSION_FILES_NGRAM,
};

/* The files of a version, as its rows name them. */
struct listing {
    struct catalog_file *files;
    size_t n;
    char weights_sha256[SHA256_HEX];
};

static int list_files(struct catalog *c, int64_t version, struct listing *l,
                      struct err *err)
{
    return catalog_files(c, version, &l->files, &l->n, l->weights_sha256, err);
}

static const struct catalog_file *find(const struct listing *l,
                                       const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->files[i].name, name) == 0)
            return &l->files[i];
    return NULL;
}

static char *path_of(struct catalog *c, int64_t version, const char *name)
{
    char *dir = version_files_path(catalog_dir(c), version);
    char *path = fileio_join(dir, name);

    free(dir);
    return path;
}

/* An invalid file of a version is damage, not a mistake of the user. */
static int as_damage(int rc, struct err *err)
{
    if (rc != ERR_INVALID)
        return rc;
    if (err)
        err->code = ERR_CORRUPT;
    return ERR_CORRUPT;
}

/* Changes the error of a missing or larger file to ERR_CORRUPT, or to
 * ERR_NOTFOUND when the version has been removed meanwhile. */
static int explain(struct catalog *c, int64_t version, const char *path, int rc,
                   struct err *err)
{
    struct listing again = {0};

    rc = as_damage(rc, err);
    if (rc == ERR_NOTFOUND || rc == ERR_LIMIT)
        rc = err_set(err, ERR_CORRUPT, "%s: damaged: %s", path,
                     rc == ERR_LIMIT ? "larger than before" : "missing");
    if (rc == ERR_CORRUPT && list_files(c, version, &again, NULL) != 0)
        rc = err_set(err, ERR_NOTFOUND, "there is no version %lld any more",
                     (long long)version);
    catalog_files_free(again.files, again.n);
    return rc;
}

/* Checks that a file of a version is a plain file of the size in its row. So no
 * link or pipe is opened, and no memory is allocated for a wrong size. */
static int check_plain(const char *path, const struct catalog_file *f,
                       struct err *err)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return err_set_errno(
            err, errno == ENOENT || errno == ENOTDIR ? ERR_NOTFOUND : ERR_IO,
            errno, "%s: cannot open", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CORRUPT, "%s: damaged: not a plain file", path);
    if (st.st_size != f->bytes)
        return err_set(err, ERR_CORRUPT,
                       "%s: damaged: %lld bytes instead of %lld", path,
                       (long long)st.st_size, (long long)f->bytes);
    return 0;
}

int store_load(struct catalog *c, int64_t version, enum store_part part,
               struct tensor_list *out, struct err *err)
{
    const char *name = part_names[part];
    const struct catalog_file *f;
    struct listing l = {0};
    char *path = NULL;
    int rc = list_files(c, version, &l, err);

    if (rc)
        goto out;
    f = find(&l, name);
    if (!f) {
        if (part == STORE_STATE)
            rc = err_set(err, ERR_CORRUPT, "version %lld has no %s",
                         (long long)version, name);
        goto out;
    }
    path = path_of(c, version, name);
    rc = check_plain(path, f, err);
    if (rc == 0)
        rc = safetensors_read(path, f->sha256, (uint64_t)f->bytes, out, NULL,
                              err);
    if (rc)
        rc = explain(c, version, path, rc, err);
out:
    catalog_files_free(l.files, l.n);
    free(path);
    return rc;
}

static int check_text(const char *path, const struct catalog_file *f,
                      const struct buf *out, size_t before, struct err *err)
{
    char sha256[SHA256_HEX];

    checksum_sha256(out->data ? out->data + before : "", out->len - before,
                    sha256);
    if (strcmp(sha256, f->sha256) == 0)
        return 0;
    return err_set(err, ERR_CORRUPT,
                   "%s: damaged: its SHA-256 is not %.16s... any more", path,
                   f->sha256);
}

int store_load_text(struct catalog *c, int64_t version, const char *name,
                    struct buf *out, struct err *err)
{
    const struct catalog_file *f;
    struct listing l = {0};
    size_t before = out->len;
    char *path = path_of(c, version, name);
    int rc = list_files(c, version, &l, err);

    if (rc)
        goto out;
    f = find(&l, name);
    if (!f) {
        rc = err_set(err, ERR_NOTFOUND, "version %lld has no %s",
                     (long long)version, name);
        goto out;
    }
    rc = check_plain(path, f, err);
    if (rc == 0)
        rc = fileio_read(path, (size_t)f->bytes, out, err);
    if (rc == 0)
        rc = check_text(path, f, out, before, err);
    if (rc)
        rc = explain(c, version, path, rc, err);
out:
    if (rc && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    catalog_files_free(l.files, l.n);
    free(path);
    return rc;
}

int store_load_shape(struct catalog *c, int64_t version,
                     struct model_shape *shape, struct err *err)
{
    char *path = path_of(c, version, VERSION_FILES_WEIGHTS);
    struct buf config = BUF_INIT;
    int64_t end_of_text;
    int rc = store_load_text(c, version, "config.json", &config, err);

    if (rc == 0)
        rc = hf_parse_config(config.data ? config.data : "", config.len, shape,
                             &end_of_text, err);
    if (rc == 0)
        rc = hf_check_size(path, shape, err);
    buf_release(&config);
    free(path);
    return as_damage(rc, err);
}

/* --- verifying ---------------------------------------------------------- */

static int verify_file(struct catalog *c, int64_t version,
                       const struct catalog_file *f, struct err *err)
{
    char *path = path_of(c, version, f->name);
    char sha256[SHA256_HEX];
    int rc = check_plain(path, f, err);

    if (rc == 0)
        rc = checksum_sha256_file(path, sha256, err);
    if (rc == 0 && strcmp(sha256, f->sha256) != 0)
        rc = err_set(err, ERR_CORRUPT,
                     "%s: damaged: its SHA-256 is not %.16s... any more", path,
                     f->sha256);
    if (rc)
        rc = explain(c, version, path, rc, err);
    free(path);
    return rc;
}

/* Compares the digest in the version's row with the digests in its files'
 * rows. */
static int verify_digest(const struct listing *l, int64_t version,
                         struct err *err)
{
    struct version_files files = {0};
    char sha256[SHA256_HEX];

    for (size_t i = 0; i < l->n; i++) {
        struct version_file *f = &files.items[files.n];

        if (strcmp(l->files[i].name, VERSION_FILES_WEIGHTS) != 0 &&
            strcmp(l->files[i].name, VERSION_FILES_HEAD) != 0 &&
            strcmp(l->files[i].name, VERSION_FILES_NGRAM) != 0)
            continue;
        f->name = l->files[i].name;
        snprintf(f->sha256, sizeof f->sha256, "%s", l->files[i].sha256);
        files.n++;
    }
    version_files_weights_sha256(&files, sha256);
    if (strcmp(sha256, l->weights_sha256) == 0)
        return 0;
    return err_set(err, ERR_CORRUPT,
                   "version %lld: weights_sha256 differs from its files",
                   (long long)version);
}

int store_check_metadata(struct catalog *c, int64_t version, struct err *err)
{
    char *path = path_of(c, version, VERSION_FILES_STATE);
    struct buf text = BUF_INIT;
    struct catalog_version v;
    const char *written;
    json_t *pairs = NULL;
    int rc = catalog_get(c, version, &v, err);

    if (rc)
        goto out;
    rc = safetensors_read_metadata(path, UINT64_MAX, &text, err);
    if (rc == 0)
        pairs = json_loadb(text.data, text.len, 0, NULL);
    /* Versions of the oldest programs have no copy. */
    written = json_string_value(json_object_get(pairs, "metadata"));
    if (rc == 0 && written && *v.metadata_json &&
        strcmp(written, v.metadata_json) != 0)
        rc = err_set(err, ERR_CORRUPT,
                     "version %lld: its metadata in mneme.db differs from the "
                     "copy in " VERSION_FILES_STATE,
                     (long long)version);
    json_decref(pairs);
    catalog_version_release(&v);
out:
    buf_release(&text);
    free(path);
    return rc;
}

int store_verify(struct catalog *c, int64_t version, struct err *err)
{
    struct listing l = {0};
    int rc = list_files(c, version, &l, err);

    for (size_t i = 0; i < l.n && rc == 0; i++)
        rc = verify_file(c, version, &l.files[i], err);
    if (rc == 0)
        rc = verify_digest(&l, version, err);
    if (rc == 0)
        rc = store_check_metadata(c, version, err);
    catalog_files_free(l.files, l.n);
    return rc;
}

/* Makes a list of the file alone. ERR_NOTFOUND. */
static int find_file(struct catalog *c, int64_t version, const char *name,
                     struct catalog_file **file, struct err *err)
{
    struct catalog_file *files, found = {NULL, 0, NULL};
    char sha256[65];
    size_t n;
    int rc = catalog_files(c, version, &files, &n, sha256, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < n && !found.name; i++)
        if (strcmp(files[i].name, name) == 0)
            found = (struct catalog_file){xstrdup(name), files[i].bytes,
                                          xstrdup(files[i].sha256)};
    catalog_files_free(files, n);
    if (!found.name)
        return err_set(err, ERR_NOTFOUND, "version %lld has no file %.60s",
                       (long long)version, name);
    *file = xmalloc(sizeof found);
    **file = found;
    return 0;
}

int store_open_file(struct catalog *c, int64_t version, const char *name,
                    struct catalog_file **file, int *fd, struct err *err)
{
    struct catalog_file *found = NULL;
    char *dir, *path;
    struct stat st;
    int rc = find_file(c, version, name, &found, err);

    if (rc)
        return rc;
    dir = version_files_path(catalog_dir(c), version);
    path = fileio_join(dir, name);
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (*fd < 0)
        rc = err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, errno,
                           "%s", path);
    else if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode) ||
             st.st_size != found->bytes)
        rc = err_set(err, ERR_CORRUPT,
                     "version %lld: %.60s is not the file that was published",
                     (long long)version, name);
    if (rc && *fd >= 0)
        close(*fd);
    if (rc)
        catalog_files_free(found, 1);
    else
        *file = found;
    free(path);
    free(dir);
    return rc;
}

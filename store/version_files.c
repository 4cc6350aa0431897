/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every file is synced when it is written, and the directory after its last
 * file. store_publish renames the directory. Digests are computed from the
 * bytes that are written, so that a later check finds what the disk has
 * changed.
 */
#include "config.h"

#include "store/version_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/hf.h"
#include "store/safetensors.h"

#define PROGRAM PACKAGE_NAME " " PACKAGE_VERSION
#define NEW ".new-"
#define COPY_BYTES ((size_t)1 << 20)

/* --- names -------------------------------------------------------------- */

char *version_files_top(const char *dir)
{
    return fileio_join(dir, "versions");
}

static char *version_path(const char *dir, const char *prefix, int64_t version)
{
    char *top = version_files_top(dir);
    char name[40];
    char *path;

    snprintf(name, sizeof name, "%s%06lld", prefix, (long long)version);
    path = fileio_join(top, name);
    free(top);
    return path;
}

char *version_files_new(const char *dir, int64_t n)
{
    return version_path(dir, NEW, n);
}

char *version_files_path(const char *dir, int64_t n)
{
    return version_path(dir, "", n);
}

int64_t version_files_number(const char *name, bool *unfinished)
{
    char again[40];
    const char *digits = name;
    long long number;

    *unfinished = strncmp(name, NEW, strlen(NEW)) == 0;
    if (*unfinished)
        digits += strlen(NEW);
    number = strtoll(digits, NULL, 10);
    snprintf(again, sizeof again, "%06lld", number);
    return number > 0 && strcmp(again, digits) == 0 ? number : 0;
}

char *version_files_aside(const char *dir, const char *name)
{
    char *aside = xasprintf(VERSION_FILES_ASIDE "%s", name);
    char *top = version_files_top(dir);
    char *path = fileio_join(top, aside);

    free(top);
    free(aside);
    return path;
}

char *version_files_store_id(const char *path)
{
    char *state = fileio_join(path, VERSION_FILES_STATE);
    struct buf text = BUF_INIT;
    json_t *metadata = NULL;
    const char *id;
    char *copy = NULL;

    if (safetensors_read_metadata(state, UINT64_MAX, &text, NULL) == 0)
        metadata = json_loadb(text.data, text.len, 0, NULL);
    id = json_string_value(json_object_get(metadata, "store"));
    if (id)
        copy = xstrdup(id);
    json_decref(metadata);
    buf_release(&text);
    free(state);
    return copy;
}

bool version_files_is_name(const char *name)
{
    static const char *const names[] = {
        "config.json",         "generation_config.json",
        "tokenizer.json",      "tokenizer_config.json",
        "labels.json",         VERSION_FILES_WEIGHTS,
        VERSION_FILES_STATE,   VERSION_FILES_HOLDOUT,
        VERSION_FILES_ANCHOR,  VERSION_FILES_HEAD,
        VERSION_FILES_NGRAM,
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* --- writing ------------------------------------------------------------ */

/* Version numbers depend on when versions are made, but the weights do not. So
 * only state.safetensors has number, parent, store and metadata: then equal
 * weights have equal digests. */
#define PAIRS_OF_CONTENT 2
#define PAIRS_ALL 6

struct writer {
    const struct store_publication *p;
    const char *dir; /* the new one */
    const char *store_id;
    struct version_files *files;
    struct safetensors_pair lineage[PAIRS_ALL];
    char version[24], parent[24], step[24];
};

static struct version_file *add_file(struct writer *w, const char *name)
{
    BUG_ON(w->files->n == VERSION_FILES_MAX);
    w->files->items[w->files->n].name = name;
    return &w->files->items[w->files->n++];
}

static int write_text(struct writer *w, const char *name, const char *text,
                      size_t n_bytes, struct err *err)
{
    char *path = fileio_join(w->dir, name);
    struct version_file *f;
    int rc = fileio_write_sync(path, text, n_bytes, err);

    if (rc == 0) {
        f = add_file(w, name);
        f->bytes = n_bytes;
        checksum_sha256(text, n_bytes, f->sha256);
    }
    free(path);
    return rc;
}

static int write_buf(struct writer *w, const char *name, struct buf *text,
                     struct err *err)
{
    int rc = write_text(w, name, text->data, text->len, err);

    buf_release(text);
    return rc;
}

/* n_pairs: PAIRS_OF_CONTENT or PAIRS_ALL. */
static int write_tensors(struct writer *w, const char *name,
                         const struct tensor_list *tensors, size_t n_pairs,
                         struct err *err)
{
    char *path = fileio_join(w->dir, name);
    struct safetensors_file written;
    struct version_file *f;
    int rc =
        safetensors_write(path, tensors, w->lineage, n_pairs, &written, err);

    if (rc == 0) {
        f = add_file(w, name);
        f->bytes = written.bytes;
        memcpy(f->sha256, written.sha256, sizeof f->sha256);
    }
    free(path);
    return rc;
}

static int write_model(struct writer *w, struct err *err)
{
    const struct store_publication *p = w->p;
    const struct hf_text own = HF_TEXT_OWN(p->end_of_text);
    const struct hf_text *tokens = p->text ? p->text : &own;
    struct buf text = BUF_INIT;
    int rc;

    if (!p->shape)
        return 0;
    hf_config_json(p->shape, tokens, &text);
    rc = write_buf(w, "config.json", &text, err);
    if (rc)
        return rc;
    hf_generation_config_json(tokens, &text);
    rc = write_buf(w, "generation_config.json", &text, err);
    if (rc)
        return rc;
    hf_tokenizer_config_json(p->shape, tokens, &text);
    rc = write_buf(w, "tokenizer_config.json", &text, err);
    if (rc == 0)
        rc = write_text(w, "tokenizer.json", p->tokenizer_json,
                        p->tokenizer_json_bytes, err);
    if (rc == 0)
        rc = write_tensors(w, VERSION_FILES_WEIGHTS, p->weights,
                           PAIRS_OF_CONTENT, err);
    return rc;
}

/* --- the parent's anchor ------------------------------------------------ */

static int copy_pieces(int in, int out, const char *from, const char *to,
                       struct err *err)
{
    char *piece = xmalloc(COPY_BYTES);
    size_t n = 1;
    int rc = 0;

    while (rc == 0 && n) {
        rc = fileio_read_piece(in, piece, COPY_BYTES, &n, from, err);
        if (rc == 0)
            rc = fileio_write_all(out, piece, n, to, err);
    }
    free(piece);
    return rc;
}

/* For file systems without hard links. */
static int copy_file(const char *from, const char *to, struct err *err)
{
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int out = -1;
    int rc;

    if (in < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot open", from);
    rc = fileio_create(to, &out, err);
    if (rc == 0)
        rc = copy_pieces(in, out, from, to, err);
    if (rc == 0)
        rc = fileio_fsync(out, to, err);
    if (out >= 0 && close(out) != 0 && rc == 0)
        rc = err_set_errno(err, ERR_IO, errno, "%s: cannot close", to);
    close(in);
    return rc;
}

static int link_file(const char *from, const char *to, struct err *err)
{
    int errnum = fileio_fault ? fileio_fault("link", to) : 0;

    if (!errnum) {
        if (link(from, to) == 0)
            return 0;
        errnum = errno;
    }
    if (errnum == EPERM || errnum == EOPNOTSUPP || errnum == EMLINK)
        return copy_file(from, to, err);
    return err_set_errno(err, errnum == ENOENT ? ERR_CORRUPT : ERR_IO, errnum,
                         "%s: cannot link to it", from);
}

static int link_anchor(struct writer *w, const char *data_dir,
                       const struct version_file *anchor, struct err *err)
{
    char *parent = version_files_path(data_dir, w->p->parent);
    char *from = fileio_join(parent, VERSION_FILES_ANCHOR);
    char *to = fileio_join(w->dir, VERSION_FILES_ANCHOR);
    int rc = link_file(from, to, err);

    if (rc == 0) {
        struct version_file *f = add_file(w, VERSION_FILES_ANCHOR);

        f->bytes = anchor->bytes;
        memcpy(f->sha256, anchor->sha256, sizeof f->sha256);
    }
    free(to);
    free(from);
    free(parent);
    return rc;
}

static int write_anchor(struct writer *w, const char *data_dir,
                        const struct version_file *anchor, struct err *err)
{
    if (w->p->anchor)
        return w->p->anchor->n
                   ? write_tensors(w, VERSION_FILES_ANCHOR, w->p->anchor,
                                   PAIRS_OF_CONTENT, err)
                   : 0;
    return anchor ? link_anchor(w, data_dir, anchor, err) : 0;
}

/* --- a version ---------------------------------------------------------- */

static void set_lineage(struct writer *w, int64_t version)
{
    const struct store_publication *p = w->p;

    snprintf(w->version, sizeof w->version, "%" PRId64, version);
    snprintf(w->parent, sizeof w->parent, "%" PRId64, p->parent);
    snprintf(w->step, sizeof w->step, "%" PRId64, p->step);
    w->lineage[0] = (struct safetensors_pair){"program", PROGRAM};
    w->lineage[1] = (struct safetensors_pair){"step", w->step};
    w->lineage[2] = (struct safetensors_pair){"version", w->version};
    w->lineage[3] = (struct safetensors_pair){"parent", w->parent};
    w->lineage[4] = (struct safetensors_pair){"store", w->store_id};
    w->lineage[5] = (struct safetensors_pair){
        "metadata", p->metadata_json ? p->metadata_json : "{}"};
}

static int write_files(struct writer *w, const char *data_dir,
                       const struct version_file *anchor, struct err *err)
{
    const struct store_publication *p = w->p;
    int rc = write_model(w, err);

    if (rc == 0)
        rc = write_tensors(w, VERSION_FILES_STATE, p->state, PAIRS_ALL, err);
    if (rc == 0 && p->holdout)
        rc = write_tensors(w, VERSION_FILES_HOLDOUT, p->holdout,
                           PAIRS_OF_CONTENT, err);
    if (rc == 0)
        rc = write_anchor(w, data_dir, anchor, err);
    if (rc == 0 && p->head)
        rc = write_tensors(w, VERSION_FILES_HEAD, p->head, PAIRS_OF_CONTENT,
                           err);
    if (rc == 0 && p->ngram && p->ngram->n)
        rc = write_tensors(w, VERSION_FILES_NGRAM, p->ngram, PAIRS_OF_CONTENT,
                           err);
    if (rc == 0 && p->labels_json)
        rc = write_text(w, "labels.json", p->labels_json,
                        strlen(p->labels_json), err);
    return rc;
}

int version_files_write(const char *dir, const char *store_id, int64_t version,
                        const struct store_publication *p,
                        const struct version_file *anchor,
                        struct version_files *files, struct err *err)
{
    struct writer w = {.p = p, .files = files, .store_id = store_id};
    char *path = version_files_new(dir, version);
    int rc;

    w.dir = path;
    files->n = 0;
    set_lineage(&w, version);
    rc = fileio_mkdir(path, err);
    if (rc == 0)
        rc = write_files(&w, dir, anchor, err);
    if (rc == 0)
        rc = fileio_sync_dir(path, err);
    free(path);
    return rc;
}

void version_files_weights_sha256(const struct version_files *files,
                                  char hex[SHA256_HEX])
{
    static const char *const names[] = {
        VERSION_FILES_WEIGHTS, VERSION_FILES_HEAD, VERSION_FILES_NGRAM};
    struct buf digests = BUF_INIT;

    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        for (size_t i = 0; i < files->n; i++)
            if (strcmp(files->items[i].name, names[k]) == 0)
                buf_adds(&digests, files->items[i].sha256);
    checksum_sha256(digests.data ? digests.data : "", digests.len, hex);
    buf_release(&digests);
}

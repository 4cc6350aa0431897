/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version_files.h - names and writes the files of a version.
 *
 *     versions/.new-000042/   while it is written
 *     versions/.swept-NAME/   the directory NAME had no row in the database; it
 *                             is removed with the next version, or at a start
 *     versions/000042/        config.json, generation_config.json,
 *                             tokenizer_config.json, tokenizer.json,
 *                             model.safetensors (none of these when linear),
 *                             state.safetensors, holdout.safetensors,
 *                             anchor.safetensors, head.safetensors,
 *                             labels.json, ngram.safetensors (not when linear)
 *
 * store_load, store_load_text and store_verify (store.h) read these files.
 *
 * Threads: publisher; any for the functions that make names
 */
#ifndef MNEME_STORE_VERSION_FILES_H
#define MNEME_STORE_VERSION_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "base/checksum.h"
#include "base/err.h"
#include "store/store.h"

#define VERSION_FILES_MAX 11
#define VERSION_FILES_ASIDE ".swept-"

#define VERSION_FILES_WEIGHTS "model.safetensors"
#define VERSION_FILES_STATE "state.safetensors"
#define VERSION_FILES_HOLDOUT "holdout.safetensors"
#define VERSION_FILES_ANCHOR "anchor.safetensors"
#define VERSION_FILES_HEAD "head.safetensors"
#define VERSION_FILES_NGRAM "ngram.safetensors"

struct version_file {
    const char *name; /* a literal */
    uint64_t bytes;
    char sha256[SHA256_HEX];
};

struct version_files {
    struct version_file items[VERSION_FILES_MAX];
    size_t n;
};

/* Paths in a data directory, to be freed. */
char *version_files_top(const char *dir);             /* versions */
char *version_files_new(const char *dir, int64_t n);  /* versions/.new-N */
char *version_files_path(const char *dir, int64_t n); /* versions/N */

/* versions/.swept-NAME */
char *version_files_aside(const char *dir, const char *name);

/* The id of the store that wrote the directory at `path`, to be freed. NULL:
 * the directory names no store, as those of older programs. */
char *version_files_store_id(const char *path);

/* Can a version have a file of this name? Names come from the database, which
 * may come from anybody, so no other file may be opened. */
bool version_files_is_name(const char *name);

/* The version number in the name of a directory; 0: it is no version's name.
 * *unfinished: the name begins with .new-. */
int64_t version_files_number(const char *name, bool *unfinished);

/*
 * Writes and syncs every file of a version in versions/.new-N, and syncs that
 * directory. After a failure the caller removes the directory.
 *   anchor  the parent's anchor file, which is linked when p->anchor is NULL;
 *           NULL: the parent has none
 */
int version_files_write(const char *dir, const char *store_id, int64_t version,
                        const struct store_publication *p,
                        const struct version_file *anchor,
                        struct version_files *files, struct err *err);

/* SHA-256 over the digests of weights, class head and n-gram memory, as far as
 * they exist. */
void version_files_weights_sha256(const struct version_files *files,
                                  char hex[SHA256_HEX]);

#endif

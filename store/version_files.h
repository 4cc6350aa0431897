/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version_files.h - the directory of a version: its name, its files written.
 *
 *     versions/.new-000042/   while it is written
 *     versions/.swept-NAME/   NAME had no row in the database; removed with the
 *                             next version, or at the next start
 *     versions/000042/        config.json, generation_config.json,
 *                             tokenizer_config.json, tokenizer.json,
 *                             model.safetensors (none of these when linear),
 *                             state.safetensors, holdout.safetensors,
 *                             anchor.safetensors, head.safetensors, labels.json
 *
 * Reading them is store.h's: store_load, store_load_text, store_verify.
 *
 * Threads: publisher; the names any
 */
#ifndef MNEME_STORE_VERSION_FILES_H
#define MNEME_STORE_VERSION_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "base/checksum.h"
#include "base/err.h"
#include "store/store.h"

#define VERSION_FILES_MAX 10
#define VERSION_FILES_ASIDE ".swept-"

#define VERSION_FILES_WEIGHTS "model.safetensors"
#define VERSION_FILES_STATE "state.safetensors"
#define VERSION_FILES_HOLDOUT "holdout.safetensors"
#define VERSION_FILES_ANCHOR "anchor.safetensors"
#define VERSION_FILES_HEAD "head.safetensors"

struct version_file {
    const char *name; /* a literal */
    uint64_t bytes;
    char sha256[SHA256_HEX];
};

struct version_files {
    struct version_file items[VERSION_FILES_MAX];
    size_t n;
};

/* Paths below a data directory, to be freed. */
char *version_files_top(const char *dir);             /* versions */
char *version_files_new(const char *dir, int64_t n);  /* versions/.new-N */
char *version_files_path(const char *dir, int64_t n); /* versions/N */

/* versions/.swept-NAME */
char *version_files_aside(const char *dir, const char *name);

/* The id of the store that wrote the directory at `path`, to be freed. NULL: it
 * names none, as versions of older programs do. */
char *version_files_store_id(const char *path);
/* Is it the name of a file of versions? Names come from the database, so no
 * other file may be opened. */
bool version_files_is_name(const char *name);

/* The number in a directory's name, 0 for anything else; *unfinished: it is
 * a .new- one. */
int64_t version_files_number(const char *name, bool *unfinished);

/*
 * Writes and syncs every file, and the directory itself, as .new-N.
 *   anchor  the parent's anchor file, linked when p->anchor is NULL; NULL:
 *           the parent has none
 * What is there after a failure is the caller's to remove.
 */
int version_files_write(const char *dir, const char *store_id, int64_t version,
                        const struct store_publication *p,
                        const struct version_file *anchor,
                        struct version_files *files, struct err *err);

/* SHA-256 over the digests of weights and head, an absent one left out. */
void version_files_weights_sha256(const struct version_files *files,
                                  char hex[SHA256_HEX]);

#endif

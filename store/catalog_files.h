/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalog_files.h - what the catalog knows of a version's files: for store_load
 * and store_verify.
 *
 * Threads: any
 */
#ifndef MNEME_STORE_CATALOG_FILES_H
#define MNEME_STORE_CATALOG_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/catalog.h"

struct catalog_file {
    char *name;
    int64_t bytes;
    char *sha256;
};

/* Every version has files: ERR_NOTFOUND when there are none. sha256: the one
 * of the weights, in the version's row. */
int catalog_files(struct catalog *c, int64_t version,
                  struct catalog_file **files, size_t *n, char sha256[65],
                  struct err *err);
void catalog_files_free(struct catalog_file *files, size_t n);

#endif

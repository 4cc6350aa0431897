/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_store.h - a store for fuzz targets, with version 1, which has passed and
 * serves. Its preset is linear, so that it has no weights.
 *
 * Owner:   the process; the folder is removed when the process exits
 * Threads: any, after the first call has returned
 */
#ifndef MNEME_TESTS_FUZZ_FUZZ_STORE_H
#define MNEME_TESTS_FUZZ_FUZZ_STORE_H

#include "store/catalog.h"
#include "store/store.h"

struct fuzz_store {
    struct store *store;
    struct catalog *catalog;
};

/* The same store at every call. */
const struct fuzz_store *fuzz_store(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_util.h - a temporary store, and versions to publish into it.
 */
#ifndef MNEME_TESTS_UTIL_STORE_UTIL_H
#define MNEME_TESTS_UTIL_STORE_UTIL_H

#include <stdint.h>

#include "store/store.h"

/* cmocka set-up and tear-down: *state is the path of an empty directory. */
int util_make_temp(void **state);
int util_remove_temp(void **state);

/* A store; its readers' side; both together. Each fails the test otherwise. */
struct store *util_open_store(const char *dir);
struct catalog *util_open_catalog(const char *dir);

struct util_both {
    struct store *s;
    struct catalog *c;
};

struct util_both util_open_both(const char *dir);
void util_close_both(struct util_both *b);

/* A small version: everything in it is derived from `seed`. */
struct util_version {
    struct model_shape shape;
    struct tensor_list weights, state, holdout, anchor, head;
    struct store_offset offsets[2];
    struct store_ledger_run ledger[3];
    struct store_quarantine_row quarantine[1];
    struct store_publication p;
};

/* Ledger: 10 learned, 2 held out, 1 quarantined, in two partitions. The
 * anchor is its own; set v->p.anchor to NULL for the parent's. */
void util_version_init(struct util_version *v, int64_t parent, int64_t seed);
void util_version_release(struct util_version *v);

/* Publishes such a version; fails the test otherwise. */
int64_t util_publish(struct store *s, int64_t parent, int64_t seed);

/* ... as a child of the head, passed and, with serve, serving. */
int64_t util_pass(struct store *s, int64_t seed, bool serve);

/* Opens the store, publishes version 1 and closes it. */
void util_make_first(const char *dir);

/* Calls safetensors_read with a file of these bytes in memory. */
int util_read_tensors(const void *bytes, size_t n_bytes,
                      struct tensor_list *out, struct buf *metadata_json,
                      struct err *err);

int64_t util_head(struct store *s);

int util_rewind_to(struct store *s, int64_t version);

void util_assert_state(struct catalog *c, int64_t version,
                       enum store_state state);

/* The first number of a query on the writer's connection. */
int64_t util_number(struct store *s, const char *sql);

/* The records that the ledgers of a version and its ancestors account for. */
struct util_totals {
    int64_t learned, holdout, quarantined, skipped;
};

struct util_totals util_totals(struct catalog *c, int64_t version);

/* A version's file, to be freed. */
char *util_file_of(const char *dir, int64_t version, const char *name);

/* How many entries versions/ has, finished and not, but for those that were
 * moved aside. */
int util_count_dirs(const char *dir);

/* Every row has its directory with every file undamaged, and every directory
 * its row. *head out. Opens the store anew. */
void util_check_whole(const char *dir, int64_t *head, int64_t *n_versions);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serving.h - the versions that answer requests.
 *
 * One version serves. Readers take a counted reference, and a switch replaces
 * the pointer (store/current.h). A request may name another version: that one
 * is loaded from its files, which are checked against their checksums. The few
 * versions that were used last stay in memory.
 *
 * Threads: any; serving_switch and serving_retain the publisher
 */
#ifndef MNEME_DAEMON_PUBLISH_SERVING_H
#define MNEME_DAEMON_PUBLISH_SERVING_H

#include <stdint.h>

#include "base/err.h"
#include "learner/infer/infer.h"
#include "store/catalog.h"

struct serving;

/* options: how weights are held, copied; NULL: the defaults. */
struct serving *serving_create(struct catalog *catalog,
                               const struct infer_options *options);
void serving_free(struct serving *s);
const struct infer_options *serving_options(const struct serving *s);

/* Sets shape and tokenizer, which stay the caller's, before the first version
 * is durable. NULL: preset linear. While the vocabulary is not learned yet,
 * requests may come before this call. */
void serving_prepare(struct serving *s, const struct model_shape *shape,
                     const struct tokenizer *tokenizer);

/* Loads a version, without making it serve. ERR_CORRUPT when a checksum is
 * wrong, ERR_NOTFOUND. */
int serving_load(struct serving *s, int64_t version, struct infer **infer,
                 struct err *err);

/* Makes a loaded version serve. Takes infer over. */
void serving_switch(struct serving *s, int64_t version, struct infer *infer);

/*
 * Makes a version serve before the store names it. So a user who rolls back
 * does not wait for a step and a verdict. An operation then makes the choice
 * durable. When the operation fails, or the process ends before it, the version
 * that the store names serves again. ERR_STATE when the version has no verdict
 * yet; else errors as serving_get.
 */
int serving_choose(struct serving *s, int64_t version, struct err *err);

/*
 * A reference to a version, for serving_put; 0 is the serving version.
 *   *got   its number
 *   returns NULL with ERR_STATE when no version serves yet, ERR_NOTFOUND when
 *           there is no such version, ERR_CORRUPT when its files are damaged
 */
const struct infer *serving_get(struct serving *s, int64_t version,
                                int64_t *got, struct err *err);
void serving_put(struct serving *s, const struct infer *infer);

/* Only these versions (ascending) and the serving one may be requested from now
 * on. */
void serving_retain(struct serving *s, const int64_t *versions, size_t n);

int64_t serving_version(struct serving *s); /* 0: none */

#endif

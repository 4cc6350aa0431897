/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serving.h - the versions that answer.
 *
 * One version serves: readers take a counted reference, a switch replaces the
 * pointer (store/current.h). Others are loaded from their files when a request
 * names them, checked against their checksums, and the few used last are kept.
 *
 * Threads: any; serving_switch the publisher
 */
#ifndef MNEME_DAEMON_PUBLISH_SERVING_H
#define MNEME_DAEMON_PUBLISH_SERVING_H

#include <stdint.h>

#include "base/err.h"
#include "learner/infer/infer.h"
#include "store/catalog.h"

struct serving;

/* options: how versions are held, copied; NULL: the defaults. serving_prepare
 * sets tokenizer and shape (NULL: preset linear; both belong to the caller)
 * before the first version is durable. With a learned vocabulary they are not
 * known at start, while requests come already. */
struct serving *serving_create(struct catalog *catalog,
                               const struct infer_options *options);
void serving_prepare(struct serving *s, const struct model_shape *shape,
                     const struct tokenizer *tokenizer);
void serving_free(struct serving *s);
const struct infer_options *serving_options(const struct serving *s);

/* Loads a version's files into something that answers; nothing is switched.
 * ERR_CORRUPT when a checksum fails, ERR_NOTFOUND. */
int serving_load(struct serving *s, int64_t version, struct infer **infer,
                 struct err *err);

/* Makes `infer` (now the serving's own) the one that answers. */
void serving_switch(struct serving *s, int64_t version, struct infer *infer);

/*
 * Makes a version the one that answers before the store says so: who rolls back
 * does not wait for the learner's step and the gate's verdict on another. The
 * operation that makes it last follows; when that fails, or the process ends
 * first, what the store says serves again. ERR_STATE when it has no verdict
 * yet, else as serving_get.
 */
int serving_choose(struct serving *s, int64_t version, struct err *err);

/*
 * A version to answer with: 0 is the one that serves.
 *   *got   its number
 *   returns NULL with ERR_STATE when none serves yet, ERR_NOTFOUND when there
 *           is no such version, ERR_CORRUPT when its files are damaged
 */
const struct infer *serving_get(struct serving *s, int64_t version,
                                int64_t *got, struct err *err);
void serving_put(struct serving *s, const struct infer *infer);

/* Versions that are kept (ascending); none but these and the one that serves
 * can be asked for any more. */
void serving_retain(struct serving *s, const int64_t *versions, size_t n);

int64_t serving_version(struct serving *s); /* 0: none */

#endif

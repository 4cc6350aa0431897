/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - turns the configuration into the options of each part.
 *
 * Threads: any; pure functions
 */
#ifndef MNEME_DAEMON_TRAIN_OPTIONS_H
#define MNEME_DAEMON_TRAIN_OPTIONS_H

#include <jansson.h>

#include "base/model_shape.h"
#include "conf/conf.h"
#include "learner/infer/infer.h"
#include "learner/learner.h"
#include "replay/replay.h"

/* The model's shape with this vocabulary. Not for preset linear. ERR_INVALID:
 * the configured shape is impossible. */
int options_shape(const struct conf *conf, int vocab_size,
                  struct model_shape *shape, struct err *err);

/* The context of a published model: model.context, or at most
 * OPTIONS_INIT_CONTEXT; never more than the model's own. */
#define OPTIONS_INIT_CONTEXT 2048
void options_limit_context(const struct conf *conf, struct model_shape *shape);

/* The shape of a new directory: that of model.init, or the configured one. Not
 * for preset linear. */
int options_first_shape(const struct conf *conf, struct model_shape *shape,
                        struct err *err);

/* The configured learning rate, or the one that suits the model's width. */
float options_rate(const struct conf *conf, const struct model_shape *shape);

/* shape and tokenizer are NULL with preset linear. */
void options_learner(const struct conf *conf, const struct model_shape *shape,
                     const struct tokenizer *tokenizer, int threads,
                     int shards, struct learner_options *out);

void options_infer(const struct conf *conf, struct infer_options *out);

void options_replay(const struct conf *conf, enum replay_kind kind,
                    struct replay_options *out);

/* The settings that decide what is learned from given records: an object of
 * keys and texts. A version keeps them, so that it can be learned again. */
json_t *options_settings(const struct conf *conf);

/* The number of cores that this process may use. */
int options_cores(void);

/* The most memory that all request bodies together may take, raw and parsed. */
size_t options_http_bytes(const struct conf *conf);

/* The number of completions that are generated at the same time. NULL: preset
 * linear */
int options_generations(const struct model_shape *shape);

/* The most memory that the daemon will use, in bytes. */
size_t options_memory(const struct conf *conf,
                      const struct learner_options *learner);

/* The most memory of learned segments that are staged for the next version. A
 * version is made at half of it. At all of it, learning waits for that version.
 */
#define OPTIONS_STAGED_BYTES ((size_t)64 << 20)

/* Records and bytes in the queue between source and trainer. */
#define OPTIONS_QUEUE_RECORDS 8192
#define OPTIONS_QUEUE_BYTES ((size_t)32 << 20)

#endif

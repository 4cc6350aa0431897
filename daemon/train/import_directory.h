/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import_directory.h - makes a data directory of a published model.
 *
 * Its version 1 has the model's weights and tokenizer. It has learned nothing:
 * it has no records, no positions in a stream, and an empty replay buffer. The
 * gate has not judged it; the daemon does so at its first start.
 *
 * Threads: main
 */
#ifndef MNEME_DAEMON_TRAIN_IMPORT_DIRECTORY_H
#define MNEME_DAEMON_TRAIN_IMPORT_DIRECTORY_H

#include <stdint.h>

#include "base/err.h"
#include "base/model_shape.h"
#include "conf/conf.h"

struct import_report {
    struct model_shape shape; /* as it will learn */
    int model_context;        /* the context of the source, at most
                                 MODEL_MAX_CONTEXT */
    int64_t n_params;
    int64_t memory_bytes; /* that mnemed will announce with this conf */
};

/*
 * Reads conf->model.init and publishes it in dir.
 *   conf  with model.init; its data_dir is not used
 *   dir   a new directory, or an empty one. After an error there is none, or it
 *         is empty again
 * ERR_STATE: dir is not empty. Other errors: import_read(), store_open(),
 * store_publish().
 */
int import_directory(struct conf *conf, const char *dir,
                     struct import_report *report, struct err *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operation.h - asking the daemon to do something, and waiting until it has.
 *
 * Threads: the main one
 */
#ifndef MNEME_CLI_OPERATION_H
#define MNEME_CLI_OPERATION_H

#include <jansson.h>

#include "cli/verb.h"

/* Posts (body is taken over, NULL: empty) and waits for the end. *operation
 * out, to be released with json_decref. */
int operation_run(const struct verb_args *args, const char *path,
                  json_t *body, json_t **operation, struct err *err);

/* The same, and prints it: as JSON, or the daemon's own line, or `otherwise`
 * when it has none. */
int operation_carry_out(const struct verb_args *args, const char *path,
                        json_t *body, const char *otherwise,
                        struct err *err);

#endif

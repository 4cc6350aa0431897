/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion.h - the table of verbs as completion for bash, zsh and fish.
 *
 * Verbs, options, and values are completed. The words of a synopsis and the
 * name of an option's value say what fits: a lower-case word stands for itself
 * ("rewind|skip|keep"); FILE and FOLDER are paths, DIR is a folder, VERB is a
 * verb. Other names in capitals have no completion.
 */
#ifndef MNEME_CLI_COMPLETION_H
#define MNEME_CLI_COMPLETION_H

#include <stdio.h>

#include "base/err.h"

/* Prints the completion for a shell. ERR_INVALID: not for this one. */
int completion_print(const char *shell, FILE *out, struct err *err);

#endif

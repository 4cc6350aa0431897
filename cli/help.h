/* SPDX-License-Identifier: Apache-2.0 */
/*
 * help.h - the table of verbs as help, manual page and shell completion.
 */
#ifndef MNEME_CLI_HELP_H
#define MNEME_CLI_HELP_H

#include <stddef.h>
#include <stdio.h>

#include "cli/verb.h"

void help_all(const struct verb *verbs, size_t n, FILE *out);
void help_verb(const struct verb *verb, FILE *out);

/* man/mneme.1: `mneme help --man`. */
void help_man(const struct verb *verbs, size_t n, FILE *out);

/* For bash: `mneme help --completion`. */
void help_completion(const struct verb *verbs, size_t n, FILE *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * help.h - the table of verbs as help and manual page.
 */
#ifndef MNEME_CLI_HELP_H
#define MNEME_CLI_HELP_H

#include <stdio.h>

#include "cli/verb.h"

void help_all(FILE *out);
void help_verb(const struct verb *verb, FILE *out);
void help_man(FILE *out);        /* man/mneme.1, in roff */

#endif

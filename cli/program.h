/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program.h - where the other program of this build is.
 *
 * Threads: any
 */
#ifndef MNEME_CLI_PROGRAM_H
#define MNEME_CLI_PROGRAM_H

/* $MNEMED, beside this program in a build tree or an installation, or what
 * PATH has. To be freed. */
char *program_mnemed(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.h - what the verbs run. Each prints what it is for on stdout and
 * returns 0 or an error code.
 */
#ifndef MNEME_CLI_COMMANDS_H
#define MNEME_CLI_COMMANDS_H

#include "cli/verb.h"

verb_fn cmd_status, cmd_top;                                 /* cmd_status.c */
verb_fn cmd_versions, cmd_show, cmd_diff, cmd_history;     /* cmd_versions.c */
verb_fn cmd_rollback, cmd_pin, cmd_unpin, cmd_promote,     /* cmd_rollback.c */
    cmd_ranges;
verb_fn cmd_quarantine, cmd_forget;                    /* cmd_quarantine.c */
verb_fn cmd_generate, cmd_score, cmd_classify, cmd_embed;       /* cmd_ask.c */
verb_fn cmd_backup, cmd_restore;                             /* cmd_backup.c */
verb_fn cmd_bench, cmd_demo, cmd_feed, cmd_verify; /* a file each */

#endif

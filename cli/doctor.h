/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.h - the checks of `mneme doctor`, and what they find.
 *
 * A check is a function. It adds findings (doctor_find), or says why it could
 * not look (doctor_skip). It changes nothing. The table of checks is in
 * cmd_doctor.c.
 *
 * Owner:   cmd_doctor.c makes and frees struct doctor
 * Threads: the main one
 */
#ifndef MNEME_CLI_DOCTOR_H
#define MNEME_CLI_DOCTOR_H

#include <stdbool.h>

#include <jansson.h>

#include "cli/verb.h"
#include "conf/conf.h"
#include "store/catalog.h"

struct doctor {
    const struct verb_args *args;
    const char *conf_path; /* NULL: none was found */
    struct conf *conf;     /* NULL: it is not valid */
    bool knows_conf;       /* a file or --set says how the daemon runs */
    const char *data_dir;
    struct catalog *catalog; /* NULL: there is no store */
    char *address;           /* of the daemon; NULL: it does not run here */
    json_t *status;          /* of the running daemon; NULL: none answers */
    int64_t pid;             /* of the daemon; 0: none runs */

    const char *check; /* that runs now */
    json_t *findings;  /* [{"check", "problem", "command"}] */
    json_t *checked;   /* ["name"] */
    json_t *skipped;   /* [{"check", "reason"}] */
};

/*
 * Adds a finding.
 *   command  mends it, or shows what has to be decided
 *   fmt      one line: what is wrong
 */
void doctor_find(struct doctor *d, const char *command, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The check cannot be made. */
void doctor_skip(struct doctor *d, const char *reason);

/* Text for a shell: quoted when it has other characters than names of files
 * usually have. To be freed. */
char *doctor_quote(const char *text);

typedef void doctor_check_fn(struct doctor *d);

/* doctor_checks.c */
doctor_check_fn doctor_check_daemon, doctor_check_permissions,
    doctor_check_disk, doctor_check_memory, doctor_check_clock,
    doctor_check_versions, doctor_check_gate, doctor_check_tokens,
    doctor_check_quarantine, doctor_check_erasure;
/* doctor_source.c */
doctor_check_fn doctor_check_source;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress_private.h - what progress.c and progress_json.c share.
 *
 * Threads: trainer
 */
#ifndef MNEME_DAEMON_INTAKE_PROGRESS_PRIVATE_H
#define MNEME_DAEMON_INTAKE_PROGRESS_PRIVATE_H

#include "daemon/intake/progress.h"

/* Room for the domain that p->domains has got last, zeroed. */
void progress_grow_domains(struct progress *p);

/* One more quarantined record for that reason, added when new. */
void progress_count_reason(struct progress *p, const char *reason);

#endif

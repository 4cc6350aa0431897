/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_parent.h - what a candidate takes over from the version before it.
 *
 * Threads: publisher
 */
#ifndef MNEME_DAEMON_PUBLISH_JUDGE_PARENT_H
#define MNEME_DAEMON_PUBLISH_JUDGE_PARENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/publish/judge.h"
#include "store/catalog.h"

/* The memory of the nearest ancestor that has one; nothing known without. */
int judge_recall(struct catalog *c, int64_t version, struct judge_memory *m,
                 struct err *err);

/*
 * A version without a step of its own (records that were refused or held out)
 * has the weights of its parent, which has been judged: its verdict is the
 * parent's, and so is what the guard knows, a wish that is not carried out yet
 * among it. Nothing counts a second time. False: it is not such a version, or
 * the parent has no verdict that holds; *out is as it was.
 */
bool judge_as_parent(struct catalog *c, int64_t version,
                     struct judgement *out);

#endif

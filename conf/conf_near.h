/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_near.h - what the user may have meant by a name that is not there.
 *
 * Near is a third of the letters at most: added, left out, changed, or swapped
 * with their neighbour.
 *
 * Threads: any
 */
#ifndef MNEME_CONF_CONF_NEAR_H
#define MNEME_CONF_CONF_NEAR_H

#include <stdbool.h>

#include "conf/conf_map.h"

/* The row whose name is nearest to a wrong one, in the same section if
 * anything there is near; NULL when nothing is. */
const struct conf_key *conf_near_key(const char *name);

/* The nearest of "a | b | c:N" to a wrong word; false: none, and nearest is
 * not touched. */
bool conf_near_word(const char *words, const char *word,
                    char nearest[CONF_MAX_WORD + 1]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_near.h - suggests a name for one that does not exist.
 *
 * A name is near when at most a third of its letters differ: added, left out,
 * changed, or swapped with their neighbour.
 *
 * Threads: any
 */
#ifndef MNEME_CONF_CONF_NEAR_H
#define MNEME_CONF_CONF_NEAR_H

#include <stdbool.h>

#include "conf/conf_map.h"

/* Returns the row with the nearest name, or NULL. A near name in the same
 * section wins. */
const struct conf_key *conf_near_key(const char *name);

/* Finds the word of "a | b | c:N" that is nearest to a wrong word. False: none
 * is near, and nearest is unchanged. */
bool conf_near_word(const char *words, const char *word,
                    char nearest[CONF_MAX_WORD + 1]);

#endif

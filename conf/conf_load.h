/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_load.h - sets defaults, and parses the value of one key. conf_load
 * itself is in conf.h.
 *
 * Threads: any, one at a time for a struct conf
 */
#ifndef MNEME_CONF_CONF_LOAD_H
#define MNEME_CONF_CONF_LOAD_H

#include "conf/conf.h"
#include "conf/conf_map.h"
#include "conf/conf_yaml.h"

/* Parses the value of one key into a tree. A text is not parsed as YAML, unless
 * it begins with a quote. Errors are those of conf_tree_parse. */
int conf_tree_of_value(struct conf_tree *t, const struct conf_key *key,
                       const char *value);

/* Sets every key to its default. */
void conf_load_defaults(struct conf *c);

#endif

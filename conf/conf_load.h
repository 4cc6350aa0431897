/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_load.h - defaults, and the value of a command line; conf.h has what
 * others need.
 *
 * Threads: any, one at a time for a struct conf
 */
#ifndef MNEME_CONF_CONF_LOAD_H
#define MNEME_CONF_CONF_LOAD_H

#include "conf/conf.h"
#include "conf/conf_map.h"
#include "conf/conf_yaml.h"

/* A tree of the one value that a key is given on a command line: texts as they
 * stand unless they begin with a quote, everything else as YAML. ERR_INVALID
 * as conf_tree_parse. */
int conf_tree_of_value(struct conf_tree *t, const struct conf_key *key,
                       const char *value);

/* Sets every key to the default of the table. */
void conf_load_defaults(struct conf *c);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_value.h - the value of a key: described, set from a node, printed,
 * released, by the type that the table gives it.
 *
 * What is printed reads back to the same value, so that comparing and copying
 * values goes by way of their text.
 *
 * Threads: any, one at a time for a struct conf
 */
#ifndef MNEME_CONF_CONF_VALUE_H
#define MNEME_CONF_CONF_VALUE_H

#include <stdbool.h>

#include "base/buf.h"
#include "conf/conf.h"
#include "conf/conf_map.h"
#include "conf/conf_yaml.h"

/* "a whole number from 0 to 256" and so on. */
void conf_value_describe(const struct conf_key *key, struct buf *out);

/*
 * Gives the field of a key the value of a node. Not for sections and
 * properties.
 *   why      what is wrong with the value, appended, when it is refused
 *   returns  0 or ERR_INVALID with the field as it was
 */
int conf_value_set(const struct conf_key *key, struct conf *c,
                   const struct conf_node *value, struct buf *why);

/* Appends the value of a key as YAML on one line. Not for sections and
 * properties. */
void conf_value_print(const struct conf_key *key, const struct conf *c,
                      struct buf *out);

/* Appends what follows "name:" of properties: one a line, depth steps in, or
 * {} when there is none; secrets are CONF_MASK if is_masked. */
void conf_value_print_properties(const struct conf_properties *p, int depth,
                                 bool is_masked, struct buf *out);

/* Frees what the fields of a key own. */
void conf_value_release(const struct conf_key *key, struct conf *c);

#endif

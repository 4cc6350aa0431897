/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_value.h - describes, sets, prints and frees the value of a key, by its
 * type in the table.
 *
 * A printed value is parsed to the same value. So values are compared and
 * copied as text.
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

/* Appends what values are allowed: "a whole number from 0 to 256". */
void conf_value_describe(const struct conf_key *key, struct buf *out);

/*
 * Sets the field of a key from a node. Not for sections and properties.
 *   why      out: what is wrong with the value, appended
 *   returns  0, or ERR_INVALID with the field unchanged
 */
int conf_value_set(const struct conf_key *key, struct conf *c,
                   const struct conf_node *value, struct buf *why);

/* Appends the value of a key as YAML on one line. Not for sections and
 * properties. */
void conf_value_print(const struct conf_key *key, const struct conf *c,
                      struct buf *out);

/* Appends the part behind "name:" of properties: one a line, indented by depth
 * steps, or {}. With is_masked, secrets are CONF_MASK. */
void conf_value_print_properties(const struct conf_properties *p, int depth,
                                 bool is_masked, struct buf *out);

/* Frees the memory that the field of a key owns. */
void conf_value_release(const struct conf_key *key, struct conf *c);

#endif

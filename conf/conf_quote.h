/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_quote.h - quotes a text for YAML, and for a message.
 *
 * Threads: any
 */
#ifndef MNEME_CONF_CONF_QUOTE_H
#define MNEME_CONF_CONF_QUOTE_H

#include "base/buf.h"

/* Appends a text (UTF-8) as a YAML scalar, in quotes if it needs them. */
void conf_quote_yaml(const char *text, struct buf *out);

/* Appends a text from the user in quotes: shortened, without control
 * characters.
 */
void conf_quote_short(const char *text, struct buf *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_quote.h - a text as YAML, and a text in a message.
 *
 * Threads: any
 */
#ifndef MNEME_CONF_CONF_QUOTE_H
#define MNEME_CONF_CONF_QUOTE_H

#include "base/buf.h"

/* Appends a text (UTF-8) as a YAML scalar, in quotes where it needs them. */
void conf_quote_yaml(const char *text, struct buf *out);

/* Appends a text from the user for a message: short, without control
 * characters, in quotes. */
void conf_quote_short(const char *text, struct buf *out);

#endif

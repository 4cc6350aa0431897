/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nfc.h - Unicode's normalization form C (UAX #15), which tokenizers of the
 * Qwen family apply to a text.
 *
 * The tables are those of Unicode 14, so that a text always has the same ids.
 * Unicode promises that the form of an assigned character never changes. A byte
 * that is not part of a valid character stays, and nothing is composed across
 * it.
 *
 * Threads: any, pure functions
 */
#ifndef MNEME_LEARNER_TOKENIZER_NFC_H
#define MNEME_LEARNER_TOKENIZER_NFC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* Returns true if the text is surely in form C (NFC_Quick_Check). False: it may
 * or may not be. */
bool nfc_is_normal(const char *text, size_t n_bytes);

/* Appends the text in form C. */
void nfc_add(const char *text, size_t n_bytes, struct buf *out);

#endif

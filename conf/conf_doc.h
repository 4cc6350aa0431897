/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_doc.h - makes documents from the table of keys.
 *
 * The documents are in the repository. test_conf_doc compares them with the
 * output of these functions. With MNEME_WRITE_DOCS=1 it writes them instead.
 *
 * Threads: any
 */
#ifndef MNEME_CONF_CONF_DOC_H
#define MNEME_CONF_CONF_DOC_H

#include "base/buf.h"

/* Appends conf/mneme.yaml: each key with its default and its explanation. */
void conf_doc_sample(struct buf *out);

/* Appends the KEYS section of mneme.yaml(5), in roff. */
void conf_doc_man(struct buf *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_doc.h - the documents that are made from the table: they are in the
 * repository, and test_conf_doc compares them with what comes from here (and
 * writes them with MNEME_WRITE_DOCS=1 in its environment).
 *
 * Threads: any
 */
#ifndef MNEME_CONF_CONF_DOC_H
#define MNEME_CONF_CONF_DOC_H

#include "base/buf.h"

/* Appends conf/mneme.yaml: each key explained in place, at its default. */
void conf_doc_sample(struct buf *out);

/* Appends the KEYS section of mneme.yaml(5), in roff. */
void conf_doc_man(struct buf *out);

#endif

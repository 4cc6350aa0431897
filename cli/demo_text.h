/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo_text.h - text for the demo and for `mneme bench`.
 *
 * Text files of a few domains are cut into records of 500 to 1,000 bytes, at
 * ends of paragraphs or lines. Some records of each domain are kept back: the
 * demo never sends them, and measures versions on them.
 *
 * Owner:   struct demo_texts owns everything in it
 * Threads: one at a time
 */
#ifndef MNEME_CLI_DEMO_TEXT_H
#define MNEME_CLI_DEMO_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define DEMO_TEXT_DOMAINS 8    /* at most */
#define DEMO_TEXT_KEPT_BACK 16 /* records of each domain, at most */

struct demo_domain {
    char *name;
    char **records; /* UTF-8 */
    size_t n_records, cap_records;
    char *kept_back[DEMO_TEXT_KEPT_BACK];
    size_t n_kept_back;
    size_t n_bytes; /* of the records */
};

/* domains[n] is no domain of the stream: it has the kept-back records of the
 * first domain with their letters shuffled. */
struct demo_texts {
    struct demo_domain domains[DEMO_TEXT_DOMAINS + 1];
    size_t n;
};

/*
 * Reads a folder with one folder of text files for each domain, in the order
 * of the file `order` there, else by name. dir NULL: text that most Debian
 * machines have. Files that are not UTF-8 are left out. ERR_NOTFOUND when
 * fewer than two domains have enough text.
 */
int demo_texts_load(const char *dir, struct demo_texts *texts,
                    struct err *err);
void demo_texts_release(struct demo_texts *texts);

/* Appends text of this machine to out, until out has n_bytes. There may be
 * less. */
void demo_text_found(size_t n_bytes, struct buf *out);

/* A copy of a record with its ASCII letters in a random order: still UTF-8, but
 * without words. To be freed. */
char *demo_text_shuffle(const char *record, uint64_t seed);

#endif

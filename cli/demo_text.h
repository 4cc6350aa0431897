/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo_text.h - text for the demo and for `mneme bench`.
 *
 * Text files of a few domains are cut into records of at most 1,000 bytes, at
 * ends of lines.
 *
 * Owner:   struct demo_texts owns everything in it
 * Threads: one at a time
 */
#ifndef MNEME_CLI_DEMO_TEXT_H
#define MNEME_CLI_DEMO_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DEMO_TEXT_DOMAINS 8    /* at most */
#define DEMO_TEXT_KEPT_BACK 16 /* records of each domain */

struct demo_domain {
    char *name;
    /* UTF-8. The first DEMO_TEXT_KEPT_BACK are from all parts of the text: the
     * demo never sends them, and measures versions on them. */
    char **records;
    size_t n_records, cap_records;
    size_t n_bytes; /* of the records */
};

struct demo_texts {
    struct demo_domain domains[DEMO_TEXT_DOMAINS];
    size_t n;
};

/*
 * Reads n folders of text files, each of which is a domain with the folder's
 * name. n 0: text that most Debian machines have. Files that are not UTF-8 are
 * left out. ERR_NOTFOUND when a folder has too little text, or there are fewer
 * than two domains; ERR_INVALID when there are too many. demo_texts_release
 * also after an error.
 */
int demo_texts_load(char **folders, size_t n, struct demo_texts *texts,
                    struct err *err);
void demo_texts_release(struct demo_texts *texts);

/* A copy of a record with its ASCII letters in a random order: still UTF-8, but
 * without words. To be freed. */
char *demo_text_shuffle(const char *record, uint64_t seed);

#endif

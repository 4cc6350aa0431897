/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo_text.h - the demo's text: files of a few domains, cut into records.
 *
 * A record is a paragraph or a few, 500 to 1,000 bytes, whole lines where
 * lines are not longer than that. Some of each domain are kept back: they are
 * never fed, and every version is measured on them.
 *
 * Owner:   a struct demo_texts owns everything in it
 * Threads: one at a time
 */
#ifndef MNEME_CLI_DEMO_TEXT_H
#define MNEME_CLI_DEMO_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define DEMO_TEXT_DOMAINS 8   /* at most */
#define DEMO_TEXT_KEPT_BACK 16 /* of each domain, at most */

struct demo_domain {
    char *name;
    char **records; /* UTF-8 */
    size_t n_records, cap_records;
    char *kept_back[DEMO_TEXT_KEPT_BACK];
    size_t n_kept_back;
    size_t n_bytes; /* of the records */
};

struct demo_texts {
    struct demo_domain domains[DEMO_TEXT_DOMAINS];
    size_t n;
};

/*
 * dir has a folder for each domain (in the order of the file `order` there,
 * else by name); NULL: what this machine has. Files that are not UTF-8 are
 * left out. ERR_NOTFOUND when there are fewer than two domains with enough
 * text to show anything.
 */
int demo_texts_load(const char *dir, struct demo_texts *texts,
                    struct err *err);
void demo_texts_release(struct demo_texts *texts);

/* Text that this machine has, one kind after another, until there are n_bytes
 * of it; appended to out. There may be none. */
void demo_text_found(size_t n_bytes, struct buf *out);

/* The text with its ASCII letters in a random order: still UTF-8, as many of
 * each letter, no words. Appended to out. */
void demo_text_shuffle(const char *text, uint64_t seed, struct buf *out);

#endif

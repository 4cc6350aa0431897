/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_files.h - the files of the folder page, built into the program.
 *
 * page_files.awk makes page_files.c from them.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_HTTP_API_PAGE_FILES_H
#define MNEME_DAEMON_HTTP_API_PAGE_FILES_H

struct page_file {
    const char *name;         /* NULL ends the table */
    const char *const *lines; /* NULL is the end */
};

extern const struct page_file page_files[];

#endif

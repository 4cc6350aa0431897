/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.h - a checksum in each page of the database.
 *
 * SQLite finds damage in the structure of a page, but reads a flipped bit in a
 * number as another number. So the last 8 bytes of each page, which SQLite can
 * reserve for such use, are the XXH3 of the other bytes, seeded with the page's
 * offset in the file. A write to the database file stores the checksum, and a
 * read checks it. SQLITE_CORRUPT: the page was changed. Frames of the log have
 * SQLite's own checksums.
 *
 * The file is a plain SQLite database that any program can read. A program that
 * writes to it leaves wrong checksums, so only mnemed may write.
 *
 * Threads: any
 */
#ifndef MNEME_STORE_PAGES_H
#define MNEME_STORE_PAGES_H

#define PAGES_RESERVED 8 /* bytes of a page; other numbers: no checks */

/* The name of a VFS over the default one, for sqlite3_open_v2. */
const char *pages_vfs(void);

#endif

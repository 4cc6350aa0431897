/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.h - database pages with a checksum each.
 *
 * SQLite notices a damaged page only where its structure breaks; a bit that
 * flips inside a number is read as another number. So the last 8 bytes of each
 * page, which SQLite reserves for this, are the XXH3 of the rest, with the
 * page's place as seed: written when a page goes to the database file, checked
 * when one is read from it. A page that is not what was written is
 * SQLITE_CORRUPT. Frames of the log have checksums of SQLite's own.
 *
 * The file stays a plain SQLite database that any program reads. One that
 * writes to it leaves checksums behind that do not fit: nobody but mnemed does.
 *
 * Threads: any
 */
#ifndef MNEME_STORE_PAGES_H
#define MNEME_STORE_PAGES_H

#define PAGES_RESERVED 8 /* bytes of a page; any other number: not checked */

/* The name of a VFS over the default one, for sqlite3_open_v2. */
const char *pages_vfs(void);

#endif

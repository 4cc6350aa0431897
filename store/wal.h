/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal.h - is the end of SQLite's log torn, as after a crash, or damaged?
 *
 * SQLite reads its log up to the first frame whose checksum is wrong, and takes
 * what follows for a transaction that a crash cut off. A transaction is synced
 * before the next one begins: when the commits of two or more can be read
 * behind that frame, the earlier was on the disk, and the disk has changed it.
 *
 * Threads: before the database is opened: that empties the log
 */
#ifndef MNEME_STORE_WAL_H
#define MNEME_STORE_WAL_H

/* How many transactions the log has lost to damage; 0 also for no log, and
 * where it cannot be told from a crash (the last one). */
int wal_lost(const char *path);

#endif

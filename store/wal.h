/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal.h - tells a damaged end of SQLite's log from the end that a crash leaves.
 *
 * SQLite reads its log up to the first frame with a wrong checksum, and ignores
 * the rest as a transaction that a crash has interrupted. But each transaction
 * is synced before the next one begins. So when the rest has two or more
 * readable commits, the disk has changed a transaction that was complete.
 *
 * Threads: any, before the database is opened, which empties the log
 */
#ifndef MNEME_STORE_WAL_H
#define MNEME_STORE_WAL_H

/* Returns the number of transactions that damage has taken from the log. 0 also
 * when there is no log, and when the damage looks like a crash (in the last
 * transaction). */
int wal_lost(const char *path);

#endif

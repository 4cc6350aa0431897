/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - reads a daemon's address from a file in its data directory.
 *
 * The client sends its token to that address. Another person may have made the
 * data directory, so only an address of this machine is accepted.
 */
#ifndef MNEME_CLI_ADDRESS_H
#define MNEME_CLI_ADDRESS_H

#include "base/err.h"

/*
 * Reads the first line of data_dir/name.
 *   address   to be freed; NULL when the file is missing or empty
 *   returns   0; ERR_CORRUPT when the line is neither unix:PATH nor a numeric
 *             address of an interface of this machine with a port, which
 *             https:// may precede
 */
int address_read(const char *data_dir, const char *name, char **address,
                 struct err *err);

/* Reads the address of the daemon: that of its admin socket (admin.addr) where
 * this user may open it, else http.addr. As address_read. */
int address_of_daemon(const char *data_dir, char **address, struct err *err);

#endif

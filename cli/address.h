/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - the address of a daemon, from a file in its data directory.
 *
 * The client sends a token there. A data directory may come from somebody
 * else, so the address counts only when it stays on this machine.
 */
#ifndef CLI_ADDRESS_H
#define CLI_ADDRESS_H

#include "base/err.h"

/*
 * The first line of data_dir/name.
 *   address   to be freed; NULL when there is no such file, or an empty one
 *   returns   0; ERR_CORRUPT when the line is neither unix:PATH nor the
 *             number and port of an interface of this machine
 */
int address_read(const char *data_dir, const char *name, char **address,
                 struct err *err);

#endif

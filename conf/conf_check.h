/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_check.h - one setting against another, after all have been loaded.
 *
 * Threads: any, one at a time for a struct conf
 */
#ifndef MNEME_CONF_CONF_CHECK_H
#define MNEME_CONF_CONF_CHECK_H

#include "conf/conf.h"

void conf_check(struct conf *c, struct conf_problems *problems);

/* Takes http.listen apart. False: it is not an address, and nothing changed. */
bool conf_listen_parse(struct conf_http *http);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_check.h - checks values against each other, after all are loaded.
 *
 * Threads: any, one at a time for a struct conf
 */
#ifndef MNEME_CONF_CONF_CHECK_H
#define MNEME_CONF_CONF_CHECK_H

#include "conf/conf.h"

void conf_check(struct conf *c, struct conf_problems *problems);

/* Parses http.listen. False: it is no address, and nothing has changed. */
bool conf_listen_parse(struct conf_http *http);

#endif

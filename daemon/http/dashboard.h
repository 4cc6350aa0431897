/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dashboard.h - the page at GET /: dashboard.html, built in.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_HTTP_DASHBOARD_H
#define MNEME_DAEMON_HTTP_DASHBOARD_H

extern const char *const dashboard_lines[]; /* NULL is the end */

#endif

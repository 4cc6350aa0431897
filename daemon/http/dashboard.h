/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dashboard.h - the lines of dashboard.html, the page at GET /.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_HTTP_DASHBOARD_H
#define MNEME_DAEMON_HTTP_DASHBOARD_H

extern const char *const dashboard_lines[]; /* NULL is the end */

#endif

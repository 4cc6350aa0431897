/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.h - telling the service manager how we are (sd_notify(3)'s protocol:
 * a datagram to the socket in $NOTIFY_SOCKET). Does nothing without one.
 *
 * Threads: main
 */
#ifndef MNEME_DAEMON_NOTIFY_H
#define MNEME_DAEMON_NOTIFY_H

/* Lines of sd_notify(3): "READY=1", "STOPPING=1", "EXTEND_TIMEOUT_USEC=...",
 * "STATUS=..." */
void notify_send(const char *state);

#endif

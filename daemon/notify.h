/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.h - tells the service manager the state of the daemon.
 *
 * This is the protocol of sd_notify(3): a datagram to the socket that
 * $NOTIFY_SOCKET names. Without $NOTIFY_SOCKET nothing is sent.
 *
 * Threads: any
 */
#ifndef MNEME_DAEMON_NOTIFY_H
#define MNEME_DAEMON_NOTIFY_H

/* Sends lines of sd_notify(3): "READY=1", "STOPPING=1",
 * "EXTEND_TIMEOUT_USEC=...", "STATUS=...". Errors are ignored. */
void notify_send(const char *state);

#endif

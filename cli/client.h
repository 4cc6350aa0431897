/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the daemon's HTTP interface, from the other end.
 *
 * A reply that is an error becomes a struct err with the server's own words:
 * 404 ERR_NOTFOUND, 409 and 503 ERR_STATE, 400, 401, 403 and 413 ERR_INVALID,
 * 429 ERR_AGAIN, anything else and no reply at all ERR_IO.
 *
 * Owner:   the caller; replies are the caller's to json_decref
 * Threads: one at a time for a client
 */
#ifndef MNEME_CLI_CLIENT_H
#define MNEME_CLI_CLIENT_H

#include <signal.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "cli/verb.h"

struct client;

/*
 * Finds the address: --addr, $MNEME_ADDR, http.addr in the data directory,
 * 127.0.0.1:6636. Connects to nothing yet. $MNEME_TOKEN goes along as a bearer
 * token. ERR_IO when --data-dir was given and no daemon runs there.
 */
int client_open(const struct verb_args *args, struct client **client,
                struct err *err);
/* The same at a known address. */
int client_open_at(const char *address, struct client **client,
                   struct err *err);
void client_free(struct client *c);
const char *client_address(const struct client *c);

/* The HTTP status of the last reply; 0: there was none. */
long client_last_status(const struct client *c);

/* From now on, requests end with ERR_IO within a second or so after *stop
 * becomes non-zero. A signal handler may set it. */
void client_set_stop(struct client *c, const volatile sig_atomic_t *stop);

int client_get(struct client *c, const char *path, json_t **reply,
               struct err *err);

/* The whole way for a verb: the reply to a GET, printed by `print`, or as it is
 * with --json. */
int client_show(const struct verb_args *args, const char *path,
                void (*print)(const json_t *reply), struct err *err);

/* body is taken over, whatever happens; NULL: an empty object. */
int client_post(struct client *c, const char *path, json_t *body,
                json_t **reply, struct err *err);

/* GET /v1/versions/N. */
int client_version(struct client *c, int64_t version, json_t **reply,
                   struct err *err);

/*
 * Waits for an operation that a POST began, by the reply to it (which is taken
 * over), and gives back its last state. ERR_STATE with the daemon's reason
 * when it failed; ERR_AGAIN when it still runs after timeout_ms. A reply that
 * names no operation is one that was done at once.
 */
int client_wait(struct client *c, json_t *begun, int64_t timeout_ms,
                json_t **operation, struct err *err);

#endif

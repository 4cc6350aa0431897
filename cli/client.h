/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - HTTP requests to the daemon.
 *
 * An error reply becomes a struct err with the daemon's message: 404
 * ERR_NOTFOUND, 409 and 503 ERR_STATE, 400, 401, 403, 405 and 413 ERR_INVALID,
 * 429 ERR_AGAIN; any other status, and no reply at all, ERR_IO.
 *
 * Owner:   the caller, who also frees replies with json_decref
 * Threads: one at a time for a client
 */
#ifndef MNEME_CLI_CLIENT_H
#define MNEME_CLI_CLIENT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "cli/verb.h"

struct client;

/*
 * Takes the address from --addr, else $MNEME_ADDR, else the data directory
 * (address_of_daemon: admin.addr or http.addr), else 127.0.0.1:6636. Does not
 * connect yet. Each request carries $MNEME_TOKEN as a bearer token. With https,
 * the certificate has to be signed by one of --ca or $MNEME_CA, and to name the
 * host. ERR_IO when --data-dir was given and no daemon runs on it.
 */
int client_open(const struct verb_args *args, struct client **client,
                struct err *err);
int client_open_at(const struct verb_args *args, const char *address,
                   struct client **client, struct err *err);
void client_free(struct client *c);
const char *client_address(const struct client *c);

/* The HTTP status of the last reply; 0: there was none. */
long client_last_status(const struct client *c);

/* True when the last request failed because the daemon's certificate was not
 * accepted. */
bool client_refused_certificate(const struct client *c);

/* Later requests end with ERR_IO about a second after *stop becomes non-zero.
 * A signal handler may set it; NULL: nothing does. */
void client_set_stop(struct client *c, const volatile sig_atomic_t *stop);

int client_get(struct client *c, const char *path, json_t **reply,
               struct err *err);

/* Sends bytes of a content type with POST. n_bytes 0: an empty body. */
int client_send(struct client *c, const char *path, const char *content_type,
                const char *bytes, size_t n_bytes, json_t **reply,
                struct err *err);

/* Sends a GET for a verb, and prints the reply with `print`, or with --json
 * as it is. */
int client_show(const struct verb_args *args, const char *path,
                void (*print)(const json_t *reply), struct err *err);

/* Takes body over, also when it fails. NULL: an empty object. */
int client_post(struct client *c, const char *path, json_t *body,
                json_t **reply, struct err *err);

/* Sends GET /v1/versions/N. */
int client_version(struct client *c, int64_t version, json_t **reply,
                   struct err *err);

/*
 * Starts an operation with a POST (which takes body over), and waits for its
 * end.
 *   operation  its last state, for json_decref; may be NULL
 *   returns    ERR_STATE with the daemon's reason when the operation failed;
 *              ERR_AGAIN when it still runs after timeout_ms
 */
int client_operate(struct client *c, const char *path, json_t *body,
                   int64_t timeout_ms, json_t **operation, struct err *err);

/* Does the same for a verb, and prints the operation: its detail, or JSON. */
int client_run(const struct verb_args *args, const char *path, json_t *body,
               struct err *err);
/* The same with another method than POST. */
int client_run_by(const struct verb_args *args, const char *method,
                  const char *path, json_t *body, struct err *err);

#endif

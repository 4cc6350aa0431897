/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_util.h - a server with a store of two versions, and a client.
 */
#ifndef MNEME_TESTS_UTIL_HTTP_UTIL_H
#define MNEME_TESTS_UTIL_HTTP_UTIL_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "daemon/http/http.h"
#include "learner/tokenizer/tokenizer.h"
#include "store/store.h"

#define UTIL_MAX_BODY 4096

extern struct model_shape util_shape;

extern struct http_fixture {
    char *dir;
    struct store *store;
    struct catalog *catalog;
    struct tokenizer *tokenizer;
    struct prefix_cache *prefixes;
    struct serving *serving;
    struct control *control;
    struct status_board board;
    struct source *source; /* of the next util_start; or NULL */
    struct conf *conf;
    struct http *http;
    int port;
} fix;

/* Set-up and tear-down of a CMocka group: fills fix; version 2 serves. */
int util_open_all(void **state);
int util_close_all(void **state);

/* http.max_request_seconds of the next util_start. 0, which is no valid
 * configuration, cancels every request that computes. */
extern int64_t util_most_seconds;

/* Starts and stops only the server. token_file NULL: no token is needed. */
void util_start(const char *listen, const char *token_file);
void util_stop(void);
void util_restart(void); /* at a new port of 127.0.0.1, without tokens */

/* --- a client ----------------------------------------------------------- */

struct util_answer {
    int status;
    char *text; /* with headers */
    const char *body;
    json_t *json; /* NULL: the body is not JSON */
};

int util_dial(void);
int util_dial_from(const char *address); /* of 127.0.0.0/8 */
void util_send_all(int fd, const char *bytes, size_t n);

/* Reads until the server closes the connection; util_release frees the answer.
 */
struct util_answer util_read_answer(int fd);
void util_release(struct util_answer *a);

struct util_answer util_ask_raw(const char *request, size_t n);
struct util_answer util_ask(const char *method, const char *path,
                            const char *token, const char *body, size_t n);
struct util_answer util_get(const char *path);
struct util_answer util_post(const char *path, const char *body);

/* The value at a path of names and indices: "choices.0.text". The last two fail
 * the test when it is missing. */
const json_t *util_at(const json_t *j, const char *path);
const char *util_text_at(const struct util_answer *a, const char *path);
int64_t util_number_at(const struct util_answer *a, const char *path);

/* Checks the status and OpenAI's shape of an error, and its param (NULL: any).
 * Both functions release the answer. */
void util_check_error(struct util_answer a, int status, const char *param);
void util_check_ok(struct util_answer a);

#endif

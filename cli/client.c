/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One handle of libcurl's easy interface, which keeps its connection open.
 */
#include "config.h"

#include "cli/client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "cli/address.h"
#include "cli/pick.h"
#include "cli/table.h"

#define DEFAULT_ADDRESS "127.0.0.1:6636"
#define MOST_REPLY_BYTES ((size_t)256 << 20)
#define CONNECT_SECONDS 10L
#define REPLY_SECONDS 300L
#define ASK_AGAIN_MS 100
/* Enough for the source to answer (10 s) and a version to be written. */
#define OPERATION_MS 120000

struct client {
    CURL *curl;
    struct curl_slist *headers;
    char *address; /* HOST:PORT, unix:PATH or a URL */
    long last_status;
    bool refused_certificate; /* by the last request */
    const volatile sig_atomic_t *stop; /* or NULL */
    struct buf body;
    char why[CURL_ERROR_SIZE]; /* of the last failure, or "" */
};

/* --- the address -------------------------------------------------------- */

static int find_address(const struct verb_args *args, char **address,
                        struct err *err)
{
    const char *given = verb_value(args, "addr");
    const char *dir = verb_value(args, "data-dir");
    const char *env = getenv("MNEME_ADDR");

    if (given && !*given)
        return err_set(err, ERR_INVALID, "--addr: an address is needed");
    if (!given && env && *env)
        given = env;
    if (given) {
        *address = xstrdup(given);
        return 0;
    }
    if (address_of_daemon(verb_data_dir(args), address, err) != 0)
        return ERR_CORRUPT;
    if (!*address && dir)
        return err_set(err, ERR_IO,
                       "no daemon is running on %s (no http.addr there); "
                       "start it with: mnemed --data-dir %s",
                       dir, dir);
    if (!*address)
        *address = xstrdup(DEFAULT_ADDRESS);
    return 0;
}

long client_last_status(const struct client *c)
{
    return c->last_status;
}

bool client_refused_certificate(const struct client *c)
{
    return c->refused_certificate;
}

/* curl calls this at least once a second. */
static int must_stop(void *arg, curl_off_t a, curl_off_t b, curl_off_t c,
                     curl_off_t d)
{
    const struct client *client = arg;

    (void)a, (void)b, (void)c, (void)d;
    return client->stop && *client->stop;
}

void client_set_stop(struct client *c, const volatile sig_atomic_t *stop)
{
    c->stop = stop;
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, must_stop);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, c);
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
}

/* --- opening ------------------------------------------------------------ */

static size_t add_to_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct buf *body = arg;

    if (body->len + size * n > MOST_REPLY_BYTES)
        return 0;
    buf_add(body, bytes, size * n);
    return size * n;
}

static void set_headers(struct client *c, const char *content_type)
{
    const char *token = getenv("MNEME_TOKEN");
    char *type = xasprintf("Content-Type: %s", content_type);

    curl_slist_free_all(c->headers);
    c->headers = curl_slist_append(NULL, type);
    c->headers = curl_slist_append(c->headers, "Expect:");
    if (token && *token) {
        char *header = xasprintf("Authorization: Bearer %s", token);

        c->headers = curl_slist_append(c->headers, header);
        free(header);
    }
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    free(type);
}

int client_open_at(const struct verb_args *args, const char *address,
                   struct client **client, struct err *err)
{
    const char *ca = verb_value(args, "ca");
    struct client *c;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return err_set(err, ERR_IO, "libcurl cannot be initialized");
    c = xcalloc(1, sizeof *c);
    c->address = xstrdup(address);
    c->curl = curl_easy_init();
    if (!c->curl) {
        client_free(c);
        return err_set(err, ERR_IO, "libcurl cannot be initialized");
    }
    set_headers(c, "application/json");
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, add_to_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &c->body);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, REPLY_SECONDS);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    /* No proxy may see prompts and texts for a local daemon. */
    curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
    if (!strncmp(c->address, "unix:", 5))
        curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->address + 5);
    if (!ca)
        ca = getenv("MNEME_CA");
    if (ca && *ca)
        curl_easy_setopt(c->curl, CURLOPT_CAINFO, ca);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->why);
    *client = c;
    return 0;
}

int client_open(const struct verb_args *args, struct client **client,
                struct err *err)
{
    char *address = NULL;
    int rc = find_address(args, &address, err);

    if (rc == 0)
        rc = client_open_at(args, address, client, err);
    free(address);
    return rc;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    if (c->curl)
        curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    buf_release(&c->body);
    free(c->address);
    free(c);
}

const char *client_address(const struct client *c)
{
    return c->address;
}

/* --- requests ----------------------------------------------------------- */

static char *make_url(const struct client *c, const char *path)
{
    if (!strncmp(c->address, "unix:", 5))
        return xasprintf("http://localhost%s", path);
    if (strstr(c->address, "://")) {
        size_t n = strlen(c->address);

        while (n && c->address[n - 1] == '/')
            n--;
        return xasprintf("%.*s%s", (int)n, c->address, path);
    }
    return xasprintf("http://%s%s", c->address, path);
}

static int code_of_status(long status)
{
    switch (status) {
    case 400:
    case 401:
    case 403:
    case 405:
    case 413:
        return ERR_INVALID;
    case 404:
        return ERR_NOTFOUND;
    case 409:
    case 503:
        return ERR_STATE;
    case 429:
        return ERR_AGAIN;
    default:
        return ERR_IO;
    }
}

static int server_error(struct client *c, long status, const json_t *reply,
                        struct err *err)
{
    const char *message = pick_text(reply, "error.message");
    const char *hint =
        status == 401 ? " (put a token into $MNEME_TOKEN)" : "";

    if (message)
        return err_set(err, (enum err_code)code_of_status(status), "%s%s",
                       message, hint);
    return err_set(err, (enum err_code)code_of_status(status),
                   "%s: the daemon answered with status %ld%s", c->address,
                   status, hint);
}

static int perform(struct client *c, json_t **reply, struct err *err)
{
    json_error_t why;
    long status = 0;
    CURLcode code;
    json_t *j;
    int rc = 0;

    buf_clear(&c->body);
    c->last_status = 0;
    c->why[0] = '\0';
    code = curl_easy_perform(c->curl);
    c->refused_certificate = code == CURLE_PEER_FAILED_VERIFICATION ||
                             code == CURLE_SSL_CACERT_BADFILE;
    if (code == CURLE_COULDNT_CONNECT)
        return err_set(err, ERR_IO,
                       "no daemon answers at %s; is mnemed running? (set the "
                       "address with --addr, --data-dir or $MNEME_ADDR)",
                       c->address);
    if (c->refused_certificate)
        return err_set(err, ERR_IO,
                       "%s: %s (name who signed the daemon's certificate with "
                       "--ca or $MNEME_CA, and the host as the certificate has "
                       "it with --addr)",
                       c->address, c->why[0] ? c->why : curl_easy_strerror(code));
    if (code != CURLE_OK)
        return err_set(err, ERR_IO, "%s: %s", c->address,
                       c->why[0] ? c->why : curl_easy_strerror(code));
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    c->last_status = status;
    j = json_loadb(c->body.data ? c->body.data : "", c->body.len,
                   JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (status < 200 || status > 299)
        rc = server_error(c, status, j, err);
    else if (!j)
        rc = err_set(err, ERR_IO, "%s: the answer is not JSON: %s",
                     c->address, why.text);
    if (rc)
        json_decref(j);
    else
        *reply = j;
    return rc;
}

int client_get(struct client *c, const char *path, json_t **reply,
               struct err *err)
{
    char *url = make_url(c, path);
    int rc;

    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    rc = perform(c, reply, err);
    free(url);
    return rc;
}

int client_send(struct client *c, const char *path, const char *content_type,
                const char *bytes, size_t n_bytes, json_t **reply,
                struct err *err)
{
    char *url = make_url(c, path);
    int rc;

    set_headers(c, content_type);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n_bytes);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, n_bytes ? bytes : "");
    rc = perform(c, reply, err);
    set_headers(c, "application/json");
    free(url);
    return rc;
}

/* Takes body over, also when it fails. NULL: an empty object. */
static int send_body(struct client *c, const char *method, const char *path,
                     json_t *body, json_t **reply, struct err *err)
{
    char *url = make_url(c, path);
    char *text = body ? json_dumps(body, JSON_COMPACT) : xstrdup("{}");
    int rc;

    json_decref(body);
    if (!text) {
        free(url);
        return err_set(err, ERR_INVALID, "the text is not UTF-8");
    }
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE,
                     (curl_off_t)strlen(text));
    curl_easy_setopt(c->curl, CURLOPT_COPYPOSTFIELDS, text);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    rc = perform(c, reply, err);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, NULL);
    free(text);
    free(url);
    return rc;
}

int client_post(struct client *c, const char *path, json_t *body,
                json_t **reply, struct err *err)
{
    return send_body(c, "POST", path, body, reply, err);
}

int client_version(struct client *c, int64_t version, json_t **reply,
                   struct err *err)
{
    char path[64];

    snprintf(path, sizeof path, "/v1/versions/%lld", (long long)version);
    return client_get(c, path, reply, err);
}

int client_show(const struct verb_args *args, const char *path,
                void (*print)(const json_t *reply), struct err *err)
{
    struct client *c = NULL;
    json_t *reply = NULL;
    int rc = client_open(args, &c, err);

    if (rc == 0)
        rc = client_get(c, path, &reply, err);
    if (rc == 0 && verb_has(args, "json"))
        pick_print(reply);
    else if (rc == 0)
        print(reply);
    json_decref(reply);
    client_free(c);
    return rc;
}

/* --- operations --------------------------------------------------------- */

/* Returns 0 when the operation is done, ERR_AGAIN while it runs. */
static int operation_state(const json_t *operation, struct err *err)
{
    const char *state = pick_text(operation, "state");
    const char *why = pick_text(operation, "error.message");

    if (!why)
        why = pick_text(operation, "error");
    if (!why)
        why = pick_text(operation, "detail");
    if (state && !strcmp(state, "done"))
        return 0;
    if (state && !strcmp(state, "failed"))
        return err_set(err, ERR_STATE, "%s",
                       why ? why : "the operation failed");
    return err_set(err, ERR_AGAIN,
                   "the operation still runs; see: mneme status");
}

static int operate(struct client *c, const char *method, const char *path,
                   json_t *body, int64_t timeout_ms, json_t **operation,
                   struct err *err)
{
    int64_t began = timing_mono_ms(), id;
    json_t *reply = NULL;
    char state_path[64];
    int rc = send_body(c, method, path, body, &reply, err);

    /* Without an id, the daemon has finished the operation already. */
    id = pick_integer(reply, "operation", pick_integer(reply, "id", 0));
    snprintf(state_path, sizeof state_path, "/v1/operations/%lld",
             (long long)id);
    while (rc == 0 && id && (rc = operation_state(reply, err)) == ERR_AGAIN &&
           timing_mono_ms() - began <= timeout_ms) {
        timing_sleep_ms(ASK_AGAIN_MS);
        json_decref(reply);
        reply = NULL;
        rc = client_get(c, state_path, &reply, err);
    }
    if (rc == 0 && operation)
        *operation = json_incref(reply);
    json_decref(reply);
    return rc;
}

int client_operate(struct client *c, const char *path, json_t *body,
                   int64_t timeout_ms, json_t **operation, struct err *err)
{
    return operate(c, "POST", path, body, timeout_ms, operation, err);
}

int client_run(const struct verb_args *args, const char *path, json_t *body,
               struct err *err)
{
    return client_run_by(args, "POST", path, body, err);
}

int client_run_by(const struct verb_args *args, const char *method,
                  const char *path, json_t *body, struct err *err)
{
    struct client *c = NULL;
    json_t *operation = NULL;
    int rc = client_open(args, &c, err);

    if (rc)
        json_decref(body);
    else
        rc = operate(c, method, path, body, OPERATION_MS, &operation, err);
    client_free(c);
    if (rc)
        return rc;
    if (verb_has(args, "json")) {
        pick_print(operation);
    } else {
        table_print_name(pick_text_or(operation, "detail", "done"), stdout);
        putchar('\n');
    }
    json_decref(operation);
    return 0;
}

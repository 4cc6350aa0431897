/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks that concern more than one row of the table. A check is left out when
 * one of its keys has a problem already.
 */
#include "config.h"

#include "conf/conf_check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/xalloc.h"
#include "conf/conf_problems.h"
#include "conf/conf_quote.h"

#define TOPIC_MAX 249 /* Kafka's limit for a name */
#define MIN_BPE_VOCAB 300
#define MAX_HOST 253

struct check {
    struct conf *c;
    struct conf_problems *problems;
};

static struct conf_origin *origin_of(const struct check *k, const char *key)
{
    const struct conf_key *row = conf_map_find(key);

    BUG_ON(!row);
    return conf_origin_of(k->c, row);
}

static bool is_sound(const struct check *k, const char *key)
{
    return !origin_of(k, key)->is_wrong;
}

/* Adds the problem "ORIGIN: key: text".
 *   at   the key whose origin is shown */
static void __attribute__((format(printf, 4, 5)))
add_problem(const struct check *k, const char *key, const char *at,
            const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    conf_problem_add(k->problems, k->c->origins, origin_of(k, at), key, "%s",
                     text);
}

/* --- source ------------------------------------------------------------- */

static bool is_topic(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return n > 0 && n <= TOPIC_MAX && name[n] == '\0' &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static void refuse_topic(const struct check *k, const char *key,
                         const char *name)
{
    struct buf shown = BUF_INIT;

    conf_quote_short(name, &shown);
    add_problem(k, key, key,
                "%s is no topic name: letters, digits, '.', '_' and '-', at "
                "most %d of them",
                shown.data, TOPIC_MAX);
    buf_release(&shown);
}

static bool has_string(const struct conf_strings *l, size_t n, const char *s)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(l->items[i], s) == 0)
            return true;
    }
    return false;
}

static void check_topics(const struct check *k)
{
    const struct conf_strings *topics = &k->c->source.kafka.topics;
    const char *key = "source.kafka.topics";

    if (!is_sound(k, key))
        return;
    if (topics->n == 0)
        add_problem(k, key, key, "needs at least one topic");
    for (size_t i = 0; i < topics->n; i++) {
        if (!is_topic(topics->items[i]))
            refuse_topic(k, key, topics->items[i]);
        else if (has_string(topics, i, topics->items[i]))
            add_problem(k, key, key, "topic '%s' is given twice",
                        topics->items[i]);
    }
}

static void check_dead_letter(const struct check *k)
{
    const char *name = k->c->source.kafka.dead_letter;
    const struct conf_strings *topics = &k->c->source.kafka.topics;
    const char *key = "source.kafka.dead_letter";

    if (!name || !is_sound(k, key))
        return;
    if (!is_topic(name))
        refuse_topic(k, key, name);
    else if (has_string(topics, topics->n, name))
        add_problem(
            k, key, key,
            "bad records from '%s' would be sent to it again: name another "
            "topic",
            name);
}

static void check_source(const struct check *k)
{
    const struct conf_source *s = &k->c->source;

    if (!is_sound(k, "source.type"))
        return;
    if (s->type == CONF_SOURCE_KAFKA) {
        check_topics(k);
        check_dead_letter(k);
    }
    if (s->type == CONF_SOURCE_FILE && strcmp(s->path, "-") == 0 &&
        is_sound(k, "source.path"))
        add_problem(k, "source.path", "source.type",
                    "source.type: file needs the path of a file (for the "
                    "standard input: source.type: stdin)");
}

/* --- model -------------------------------------------------------------- */

static bool check_custom_given(const struct check *k)
{
    static const char *const keys[] = {"model.dim",     "model.layers",
                                       "model.heads",   "model.kv_heads",
                                       "model.ffn_dim", "model.context"};
    const struct conf_model *m = &k->c->model;
    const int64_t values[] = {m->dim,      m->layers,  m->heads,
                              m->kv_heads, m->ffn_dim, m->context};
    bool is_custom = m->preset == CONF_PRESET_CUSTOM;
    bool all = true;

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!is_sound(k, keys[i])) {
            all = false;
        } else if (is_custom && values[i] == 0) {
            add_problem(k, keys[i], "model.preset",
                        "needed with model.preset: custom");
            all = false;
        } else if (m->init && strcmp(keys[i], "model.context") == 0) {
            continue; /* it limits the context of that model */
        } else if (!is_custom && values[i] != 0) {
            add_problem(k, keys[i], keys[i],
                        "only with model.preset: custom; a preset has its own");
        }
    }
    return is_custom && all;
}

static void check_shape(const struct check *k)
{
    const struct conf_model *m = &k->c->model;

    if (m->dim % m->heads != 0)
        add_problem(k, "model.dim", "model.dim",
                    "%lld is not a multiple of model.heads, %lld",
                    (long long)m->dim, (long long)m->heads);
    else if (m->dim / m->heads % 2 != 0)
        add_problem(k, "model.dim", "model.dim",
                    "model.dim / model.heads is %lld, which is not even",
                    (long long)(m->dim / m->heads));
    if (m->heads % m->kv_heads != 0)
        add_problem(k, "model.kv_heads", "model.kv_heads",
                    "%lld does not divide model.heads, %lld",
                    (long long)m->kv_heads, (long long)m->heads);
    if (m->context < 2)
        add_problem(k, "model.context", "model.context", "at least 2 tokens");
}

static void check_model(const struct check *k)
{
    const struct conf_model *m = &k->c->model;

    if (is_sound(k, "model.preset") && check_custom_given(k))
        check_shape(k);
    if (m->tokenizer != CONF_TOKENIZER_BYTES &&
        m->vocab_size < MIN_BPE_VOCAB && is_sound(k, "model.tokenizer") &&
        is_sound(k, "model.vocab_size"))
        add_problem(k, "model.vocab_size", "model.vocab_size",
                    "model.tokenizer: %s needs at least %d",
                    m->tokenizer == CONF_TOKENIZER_BPE ? "bpe" : "builtin",
                    MIN_BPE_VOCAB);
}

/* --- learner, publish --------------------------------------------------- */

static void check_learner(const struct check *k)
{
    const struct conf_ewc *ewc = &k->c->learner.ewc;
    const char *key = "learner.ewc.consolidate";

    if (ewc->consolidate.kind == CONF_CONSOLIDATE_EVERY &&
        ewc->consolidate.every_steps < 1)
        add_problem(k, key, key,
                    "every:STEPS needs at least 1; to switch it off: off");
}

static void check_publish(const struct check *k)
{
    const struct conf_publish *p = &k->c->publish;

    if (p->every_seconds == 0 && p->every_tokens == 0)
        add_problem(k, "publish.every_tokens", "publish.every_tokens",
                    "publish.every_seconds is 0, too, so no version would be "
                    "published: set one of them above 0");
    if (p->gate.enabled && k->c->learner.holdout.fraction == 0 &&
        is_sound(k, "publish.gate.enabled"))
        add_problem(k, "learner.holdout.fraction", "learner.holdout.fraction",
                    "the gate needs held-out records: set it above 0, or "
                    "publish.gate.enabled: false");
}

/* --- http --------------------------------------------------------------- */

static bool parse_port(const char *s, int *port)
{
    size_t n = strspn(s, "0123456789");

    if (n == 0 || n > 5 || s[n] != '\0')
        return false;
    *port = (int)strtol(s, NULL, 10);
    return *port <= 65535;
}

/* Checks that a host can be listened on. *is_local: only this machine reaches
 * it. */
static bool parse_host(const char *host, bool is_v6, bool *is_local)
{
    struct in6_addr a6;
    struct in_addr a4;

    if (is_v6) {
        if (inet_pton(AF_INET6, host, &a6) != 1)
            return false;
        *is_local = IN6_IS_ADDR_LOOPBACK(&a6);
        return true;
    }
    if (inet_pton(AF_INET, host, &a4) == 1) {
        *is_local = ntohl(a4.s_addr) >> 24 == 127;
        return true;
    }
    *is_local = strcmp(host, "localhost") == 0;
    /* A name has more than digits: those would be a part of an address. */
    return strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789.-") == strlen(host) &&
           strlen(host) <= MAX_HOST && host[strspn(host, "0123456789.")];
}

static bool parse_unix(struct conf_http *http)
{
    const char *path = http->listen + strlen("unix:");
    struct sockaddr_un a;

    if (*path == '\0' || strlen(path) >= sizeof a.sun_path)
        return false;
    free(http->listen_host);
    http->listen_host = xstrdup(path);
    http->listen_kind = CONF_LISTEN_UNIX;
    http->listen_port = 0;
    http->listen_local = true;
    return true;
}

bool conf_listen_parse(struct conf_http *http)
{
    const char *colon = strrchr(http->listen, ':');
    bool is_v6 = http->listen[0] == '[';
    bool is_local;
    char *host;
    int port;

    if (strncmp(http->listen, "unix:", 5) == 0)
        return parse_unix(http);
    if (!colon || !parse_port(colon + 1, &port))
        return false;
    if (is_v6 && colon[-1] != ']')
        return false;
    host = is_v6
               ? xstrndup(http->listen + 1, (size_t)(colon - http->listen) - 2)
               : xstrndup(http->listen, (size_t)(colon - http->listen));
    if (!parse_host(host, is_v6, &is_local)) {
        free(host);
        return false;
    }
    free(http->listen_host);
    http->listen_host = host;
    http->listen_kind = CONF_LISTEN_TCP;
    http->listen_port = port;
    http->listen_local = is_local;
    return true;
}

/* An origin as browsers write it: scheme://host or scheme://host:port. */
static bool is_origin(const char *text)
{
    const char *host = strstr(text, "://");
    size_t n = host ? (size_t)(host - text) : 0;

    if ((n != 4 || strncmp(text, "http", 4)) &&
        (n != 5 || strncmp(text, "https", 5)))
        return false;
    host += 3;
    return *host &&
           strspn(host,
                  "abcdefghijklmnopqrstuvwxyz"
                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]_") == strlen(host);
}

static void check_origins(const struct check *k)
{
    const struct conf_http *http = &k->c->http;
    const struct conf_strings *list = &http->cors_origins;

    if (!is_sound(k, "http.cors_origins"))
        return;
    for (size_t i = 0; i < list->n; i++) {
        struct buf shown = BUF_INIT;
        bool is_all = strcmp(list->items[i], "*") == 0;

        conf_quote_short(list->items[i], &shown);
        if (!is_all && !is_origin(list->items[i]))
            add_problem(k, "http.cors_origins", "http.cors_origins",
                        "expected http://HOST[:PORT], https://HOST[:PORT] or "
                        "\"*\", found %s",
                        shown.data);
        else if (is_all && !http->token_file && is_sound(k, "http.token_file"))
            add_problem(k, "http.cors_origins", "http.cors_origins",
                        "with \"*\" and without http.token_file, any web page "
                        "could roll back and read completions: set "
                        "http.token_file, or name the origins");
        buf_release(&shown);
    }
}

static void check_tls(const struct check *k)
{
    const struct conf_http *http = &k->c->http;

    if (!is_sound(k, "http.tls.cert") || !is_sound(k, "http.tls.key"))
        return;
    if (!http->tls.cert != !http->tls.key)
        add_problem(k, http->tls.cert ? "http.tls.key" : "http.tls.cert",
                    http->tls.cert ? "http.tls.cert" : "http.tls.key",
                    "a certificate and its key are needed together");
    else if (http->tls.cert && is_sound(k, "http.listen") &&
             strncmp(http->listen, "unix:", 5) == 0)
        add_problem(k, "http.tls.cert", "http.tls.cert",
                    "a unix socket (http.listen) needs no TLS");
}

static void check_admin(const struct check *k)
{
    const struct conf_http *http = &k->c->http;
    struct sockaddr_un a;

    if (!is_sound(k, "http.admin_socket"))
        return;
    if (http->admin_socket && strlen(http->admin_socket) >= sizeof a.sun_path)
        add_problem(k, "http.admin_socket", "http.admin_socket",
                    "the path of a socket has at most %zu bytes",
                    sizeof a.sun_path - 1);
    if (!http->admin_socket && http->admin == CONF_ADMIN_SOCKET &&
        is_sound(k, "http.admin"))
        add_problem(k, "http.admin_socket", "http.admin",
                    "needed with http.admin: socket");
    if (!http->admin_socket && http->admin_group &&
        is_sound(k, "http.admin_group"))
        add_problem(k, "http.admin_socket", "http.admin_group",
                    "needed with http.admin_group");
}

static void check_http(const struct check *k)
{
    struct conf_http *http = &k->c->http;
    struct buf shown = BUF_INIT;

    check_origins(k);
    check_tls(k);
    check_admin(k);
    if (!is_sound(k, "http.listen"))
        return;
    if (!conf_listen_parse(http)) {
        conf_quote_short(http->listen, &shown);
        add_problem(k, "http.listen", "http.listen",
                    "expected HOST:PORT, [IPV6]:PORT or unix:PATH, found %s",
                    shown.data);
        buf_release(&shown);
    } else if (!http->listen_local && !http->token_file &&
               is_sound(k, "http.token_file")) {
        add_problem(
            k, "http.listen", "http.listen",
            "anybody who reaches this address could send requests and roll "
            "back: set http.token_file, or listen on 127.0.0.1 or "
            "unix:PATH");
    }
}

void conf_check(struct conf *c, struct conf_problems *problems)
{
    struct check k = {c, problems};

    check_source(&k);
    check_model(&k);
    check_learner(&k);
    check_publish(&k);
    check_http(&k);
}

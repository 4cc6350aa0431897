/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS: the files of http.tls, a reload, and clients that stop halfway. The
 * certificates are made here. tests/flows/flow_tls.py has real clients.
 */
#include "config.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define ERR_STATE openssl_err_state
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#undef ERR_STATE

#include <cmocka.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/http/wire/http_tls.h"
#include "tests/util/http_util.h"

/* --- certificates ------------------------------------------------------- */

/* Writes NAME.crt and NAME.key of a new pair; name is its common name, too. */
static void make_pair(const char *name, const char *password)
{
    char *crt = xasprintf("%s/%s.crt", fix.dir, name);
    char *pem = xasprintf("%s/%s.key", fix.dir, name);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    FILE *f;

    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    f = fopen(crt, "w");
    assert_int_equal(PEM_write_X509(f, x), 1);
    fclose(f);
    f = fopen(pem, "w");
    assert_int_equal(
        PEM_write_PrivateKey(f, key, password ? EVP_aes_128_cbc() : NULL,
                             (const unsigned char *)password,
                             password ? (int)strlen(password) : 0, NULL, NULL),
        1);
    fclose(f);
    chmod(pem, 0600);
    X509_free(x);
    EVP_PKEY_free(key);
    free(crt);
    free(pem);
}

static void set_text(char **to, const char *name)
{
    free(*to);
    *to = name ? fileio_join(fix.dir, name) : NULL;
}

static void set_pair(struct conf *conf, const char *cert, const char *key)
{
    set_text(&conf->http.tls.cert, cert);
    set_text(&conf->http.tls.key, key);
}

/* Starts the server with TLS. */
static void restart(const char *cert, const char *key)
{
    struct http_context context;
    struct err err = ERR_INIT;

    http_stop(fix.http);
    set_pair(fix.conf, cert, key);
    context = (struct http_context){fix.conf,    &fix.board,  fix.serving,
                                    fix.catalog, fix.control, fix.source, 8};
    if (http_start(&context, &fix.http, &err) != 0)
        fail_msg("%s", err.msg);
    fix.port = atoi(strrchr(http_address(fix.http), ':') + 1);
}

/* --- a client ----------------------------------------------------------- */

/* A handshake; *name is the common name of the certificate, to be freed. */
static SSL *greet(SSL_CTX *context, char **name)
{
    SSL *ssl = SSL_new(context);
    char text[64] = "";
    X509 *x;

    SSL_set_fd(ssl, util_dial());
    assert_int_equal(SSL_connect(ssl), 1);
    x = SSL_get1_peer_certificate(ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, text,
                              sizeof text);
    X509_free(x);
    if (name)
        *name = xstrdup(text);
    return ssl;
}

static void leave(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_free(ssl);
    close(fd);
}

/* Sends a request, and returns what comes until `mark`, or to the end. */
static char *ask(SSL *ssl, const char *request, const char *mark)
{
    struct buf got = BUF_INIT;
    char bytes[4096];
    int n;

    assert_int_equal(SSL_write(ssl, request, (int)strlen(request)),
                     strlen(request));
    buf_adds(&got, "");
    while (!(mark && strstr(got.data, mark)) &&
           (n = SSL_read(ssl, bytes, sizeof bytes)) > 0)
        buf_add(&got, bytes, (size_t)n);
    return buf_detach(&got);
}

static void check_name(const char *wanted)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    char *name;

    leave(greet(context, &name));
    assert_string_equal(name, wanted);
    free(name);
    SSL_CTX_free(context);
}

/* --- the files ---------------------------------------------------------- */

static void check_refused(const char *cert, const char *key, const char *why)
{
    struct http_tls *tls = NULL;
    struct err err = ERR_INIT;
    struct conf *conf = conf_create();

    set_pair(conf, cert, key);
    assert_int_not_equal(http_tls_load(&conf->http, &tls, &err), 0);
    assert_null(tls);
    if (!strstr(err.msg, "http.tls") || !strstr(err.msg, why))
        fail_msg("%s", err.msg);
    assert_null(strchr(err.msg, '\n'));
    conf_free(conf);
}

static void test_files(void **state)
{
    struct conf *conf = conf_create();
    struct http_tls *tls = NULL;
    char *text = fileio_join(fix.dir, "text");
    char *pipe = fileio_join(fix.dir, "pipe");

    (void)state;
    make_pair("one", NULL);
    make_pair("two", NULL);
    make_pair("locked", "secret");
    assert_int_equal(fileio_write_atomic(text, "no PEM\n", 7, NULL), 0);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    check_refused("none.crt", "one.key", "none.crt");
    check_refused("one.crt", "none.key", "none.key");
    check_refused("text", "one.key", "http.tls.cert: ");
    check_refused("one.crt", "text", "http.tls.key: ");
    check_refused("one.key", "one.key", "http.tls.cert: ");
    check_refused("one.crt", "one.crt", "http.tls.key: ");
    check_refused("one.crt", "two.key", "does not belong to");
    check_refused("locked.crt", "locked.key", "is encrypted");
    check_refused("pipe", "one.key", "pipe");
    check_refused("one.crt", "pipe", "pipe");
    assert_int_equal(http_tls_load(&conf->http, &tls, NULL), 0);
    assert_null(tls);
    set_pair(conf, "one.crt", "one.key");
    assert_int_equal(http_tls_load(&conf->http, &tls, NULL), 0);
    assert_non_null(tls);
    http_tls_free(tls);
    conf_free(conf);
    free(text);
    free(pipe);
}

/* --- requests ----------------------------------------------------------- */

static void test_requests(void **state)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    struct util_answer plain;
    SSL *ssl;
    char *got;

    (void)state;
    restart("one.crt", "one.key");
    assert_memory_equal(http_address(fix.http), "https://127.0.0.1:", 18);
    ssl = greet(context, NULL);
    /* Two requests on one connection, then a stream of events. */
    got = ask(ssl, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "}");
    assert_non_null(strstr(got, "HTTP/1.1 200"));
    free(got);
    got = ask(ssl,
              "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
              "Content-Length: 60\r\nConnection: close\r\n\r\n"
              "{\"prompt\":\"a\",\"max_tokens\":4,\"seed\":1,\"stream\":true}"
              "        ",
              NULL);
    assert_non_null(strstr(got, "HTTP/1.1 200"));
    assert_non_null(strstr(got, "data: [DONE]"));
    /* The end mark of TLS tells the end from an attacker's cut. */
    assert_int_equal(SSL_get_shutdown(ssl), SSL_RECEIVED_SHUTDOWN);
    free(got);
    leave(ssl);
    plain = util_get("/healthz");
    assert_int_equal(plain.status, 400);
    assert_string_equal(util_text_at(&plain, "error.code"), "https_needed");
    util_release(&plain);
    SSL_CTX_free(context);
}

/* The reply to a request without TLS arrives, although the request is larger
 * than what the server reads of it. */
static void test_plain(void **state)
{
    enum { BODY = 1 << 20 };
    static const char head[] = "POST /v1/score HTTP/1.1\r\nHost: a\r\n"
                               "Content-Length: 1048576\r\n\r\n";
    char *body = xcalloc(1, BODY), reply[1024] = "";
    int fd = util_dial();

    (void)state;
    assert_int_equal(send(fd, head, sizeof head - 1, MSG_NOSIGNAL),
                     sizeof head - 1);
    for (size_t n = 0; n < BODY;) {
        ssize_t sent = send(fd, body + n, BODY - n, MSG_NOSIGNAL);

        assert_true(sent > 0);
        n += (size_t)sent;
    }
    assert_true(recv(fd, reply, sizeof reply - 1, 0) > 0);
    assert_memory_equal(reply, "HTTP/1.1 400 ", 13);
    assert_non_null(strstr(reply, "https_needed"));
    close(fd);
    free(body);
}

static void test_old_protocols(void **state)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);

    (void)state;
    SSL_set_security_level(ssl, 0);
    SSL_set_min_proto_version(ssl, TLS1_VERSION);
    SSL_set_max_proto_version(ssl, TLS1_1_VERSION);
    SSL_set_fd(ssl, util_dial());
    assert_int_not_equal(SSL_connect(ssl), 1);
    leave(ssl);
    SSL_CTX_free(context);
}

/* A reload takes a new pair, or refuses it and keeps the old one. A connection
 * that is open goes on with the old one. */
static void test_reload(void **state)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    struct conf *next = conf_create();
    struct err err = ERR_INIT;
    SSL *open = greet(context, NULL);
    char *got;

    (void)state;
    check_name("one");
    set_pair(next, "two.crt", "one.key");
    assert_int_equal(http_reload_check(fix.conf, next, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "does not belong to"));
    set_pair(fix.conf, "two.crt", "one.key");
    assert_int_equal(http_reload(fix.http, NULL), ERR_INVALID);
    check_name("one");
    set_pair(next, "two.crt", "two.key");
    assert_int_equal(http_reload_check(fix.conf, next, NULL), 0);
    set_pair(fix.conf, "two.crt", "two.key");
    assert_int_equal(http_reload(fix.http, NULL), 0);
    check_name("two");
    got = ask(open, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "}");
    assert_non_null(strstr(got, "HTTP/1.1 200"));
    free(got);
    leave(open);
    conf_free(next);
    SSL_CTX_free(context);
}

/* Reads to the end of a connection; the number of bytes. */
static size_t read_all(int fd)
{
    char bytes[256];
    size_t n_all = 0;
    ssize_t n;

    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        n_all += (size_t)n;
    close(fd);
    return n_all;
}

/* A handshake has the time of a request, and slow bytes do not extend it. */
static void test_slow_handshake(void **state)
{
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    static _Atomic int64_t now;
    int silent, slow, halfway;
    SSL *ssl;
    char *got;

    (void)state;
    http_stop(fix.http);
    fix.http = NULL;
    now = timing_wall_ms();
    timing_set_fake(&now);
    restart("one.crt", "one.key");
    silent = util_dial();
    slow = util_dial();
    halfway = util_dial();
    util_send_all(slow, hello, 1);
    util_send_all(halfway, hello, sizeof hello - 1);
    timing_sleep_ms(50);
    now += 20000;
    util_send_all(slow, hello + 1, 1);
    timing_sleep_ms(50);
    now += 11000;
    send(slow, hello + 2, 1, MSG_NOSIGNAL);
    read_all(silent);
    read_all(slow);
    read_all(halfway);
    /* An incomplete request after a handshake gets 408. */
    ssl = greet(context, NULL);
    SSL_write(ssl, "GET /healthz HT", 15);
    timing_sleep_ms(50);
    now += 31000;
    got = ask(ssl, "T", NULL);
    assert_non_null(strstr(got, "HTTP/1.1 408"));
    free(got);
    leave(ssl);
    http_stop(fix.http);
    fix.http = NULL;
    timing_set_fake(NULL);
    restart("one.crt", "one.key");
    SSL_CTX_free(context);
}

/* Connections in a handshake are evicted when a client needs the room. */
static void test_many_handshakes(void **state)
{
    int fds[64];

    (void)state;
    for (int i = 0; i < 64; i++)
        fds[i] = util_dial();
    check_name("one");
    for (int i = 0; i < 64; i++)
        close(fds[i]);
    /* The server's tear-down is the one without TLS. */
    restart(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_old_protocols),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_slow_handshake),
        cmocka_unit_test(test_many_handshakes),
    };

    return cmocka_run_group_tests(tests, util_open_all, util_close_all);
}

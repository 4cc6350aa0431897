/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's libssl. Its context (the certificate and the key) is counted: each
 * session has a reference, so a reload may free the old one.
 *
 * Both files are read before they are parsed, because OpenSSL would wait for
 * the writer of a pipe, and would ask at the terminal for the password of a
 * key.
 */
#include "config.h"

#include "daemon/http/wire/http_tls.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* OpenSSL has a type with the name of one of mneme's error codes. */
#define ERR_STATE openssl_err_state
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#undef ERR_STATE

#include "base/buf.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "conf/conf.h"

#define MAX_PEM_BYTES (256 * 1024)

struct http_tls {
    SSL_CTX *context;
};

struct http_tls_session {
    SSL *ssl;
    int fd;
    bool broken; /* nothing can be written any more */
};

/* --- the certificate and the key ---------------------------------------- */

/* Sets err to what OpenSSL says about a file, and clears its queue. */
static int pem_error(const char *name, const char *path, struct err *err)
{
    unsigned long code = ERR_peek_error();
    const char *why = ERR_reason_error_string(code);
    bool is_no_pem = ERR_GET_LIB(code) == ERR_LIB_PEM &&
                     ERR_GET_REASON(code) == PEM_R_NO_START_LINE;

    ERR_clear_error();
    if (is_no_pem || !why)
        why = "the file has no such block in PEM form";
    return err_set(err, ERR_INVALID, "http.tls.%s: %s: %s", name, path, why);
}

/* Encrypted keys are refused: nobody is there to type the password. *arg tells
 * that OpenSSL has asked. */
static int no_password(char *to, int size, int writing, void *arg)
{
    (void)to, (void)size, (void)writing;
    *(bool *)arg = true;
    return -1;
}

static int read_pem(const char *name, const char *path, struct buf *text,
                    BIO **bio, struct err *err)
{
    int rc = fileio_read(path, MAX_PEM_BYTES, text, err);

    if (rc) {
        err_prefix(err, "http.tls");
        return rc;
    }
    *bio = BIO_new_mem_buf(text->len ? text->data : "", (int)text->len);
    if (!*bio)
        return err_set(err, ERR_INVALID, "http.tls.%s: %s: no memory", name,
                       path);
    return 0;
}

/* Adds the certificates after the first one, to the end of the file. */
static bool add_chain(SSL_CTX *context, BIO *bio, bool *asked)
{
    X509 *x;

    while ((x = PEM_read_bio_X509(bio, NULL, no_password, asked))) {
        if (SSL_CTX_add0_chain_cert(context, x) != 1) {
            X509_free(x);
            return false;
        }
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return false;
    ERR_clear_error();
    return true;
}

static int load_certificate(SSL_CTX *context, const char *path, struct err *err)
{
    struct buf text = BUF_INIT;
    bool asked = false;
    BIO *bio = NULL;
    X509 *x = NULL;
    int rc = read_pem("cert", path, &text, &bio, err);

    if (rc)
        goto out;
    x = PEM_read_bio_X509_AUX(bio, NULL, no_password, &asked);
    if (!x || SSL_CTX_use_certificate(context, x) != 1 ||
        !add_chain(context, bio, &asked)) {
        rc = pem_error("cert", path, err);
        goto out;
    }
    if (X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
        log_warn("tls",
                 "file=\"%s\" error=\"the certificate has expired: clients "
                 "refuse it\"",
                 path);
    else if (X509_cmp_current_time(X509_get0_notBefore(x)) > 0)
        log_warn("tls",
                 "file=\"%s\" error=\"the certificate is not valid yet: "
                 "clients refuse it\"",
                 path);
out:
    X509_free(x);
    BIO_free(bio);
    buf_release(&text);
    return rc;
}

static int load_key(SSL_CTX *context, const char *path, struct err *err)
{
    struct buf text = BUF_INIT;
    bool asked = false;
    EVP_PKEY *key = NULL;
    BIO *bio = NULL;
    struct stat st;
    int rc = read_pem("key", path, &text, &bio, err);

    if (rc)
        goto out;
    key = PEM_read_bio_PrivateKey(bio, NULL, no_password, &asked);
    if (!key && asked) {
        ERR_clear_error();
        rc = err_set(err, ERR_INVALID,
                     "http.tls.key: %s: the key is encrypted; mnemed cannot "
                     "ask for its password",
                     path);
    } else if (!key) {
        rc = pem_error("key", path, err);
    } else if (SSL_CTX_use_PrivateKey(context, key) != 1 ||
               SSL_CTX_check_private_key(context) != 1) {
        ERR_clear_error();
        rc = err_set(err, ERR_INVALID,
                     "http.tls.key: %s: the key does not belong to the "
                     "certificate of http.tls.cert",
                     path);
    }
    if (rc == 0 && stat(path, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH)))
        log_warn("tls",
                 "file=\"%s\" error=\"every user of this machine can read or "
                 "write the key; run chmod o= on it\"",
                 path);
out:
    EVP_PKEY_free(key);
    BIO_free(bio);
    if (text.len)
        OPENSSL_cleanse(text.data, text.len);
    buf_release(&text);
    return rc;
}

int http_tls_load(const struct conf_http *conf, struct http_tls **tls,
                  struct err *err)
{
    SSL_CTX *context;
    int rc;

    if (!conf->tls.cert || !conf->tls.key) {
        *tls = NULL;
        return 0;
    }
    ERR_clear_error();
    context = SSL_CTX_new(TLS_server_method());
    if (!context)
        return err_set(err, ERR_INVALID, "http.tls: OpenSSL cannot begin");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    /* Sessions are kept in tickets at the client, not in memory here. */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    rc = load_certificate(context, conf->tls.cert, err);
    if (rc == 0)
        rc = load_key(context, conf->tls.key, err);
    if (rc) {
        SSL_CTX_free(context);
        return rc;
    }
    *tls = xcalloc(1, sizeof **tls);
    (*tls)->context = context;
    return 0;
}

void http_tls_free(struct http_tls *tls)
{
    if (!tls)
        return;
    SSL_CTX_free(tls->context);
    free(tls);
}

/* --- a session ---------------------------------------------------------- */

struct http_tls_session *http_tls_session_create(struct http_tls *tls, int fd)
{
    SSL *ssl = SSL_new(tls->context);
    struct http_tls_session *s;

    if (!ssl || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        ERR_clear_error();
        return NULL;
    }
    s = xcalloc(1, sizeof *s);
    s->ssl = ssl;
    s->fd = fd;
    return s;
}

void http_tls_session_free(struct http_tls_session *s)
{
    if (!s)
        return;
    SSL_free(s->ssl);
    free(s);
}

/* True when a signal has ended a call, which is then repeated. A write that
 * waited too long for the client (SO_SNDTIMEO) is not repeated. */
static bool is_interrupted(struct http_tls_session *s, int rc)
{
    int errnum = errno;
    int why = SSL_get_error(s->ssl, rc);

    return (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) &&
           errnum == EINTR;
}

/* The client has sent an HTTP request where TLS has to begin. */
static void answer_plain(int fd)
{
    static const char body[] =
        "{\"error\":{\"message\":\"this address speaks https only\","
        "\"type\":\"invalid_request_error\",\"code\":\"https_needed\","
        "\"param\":null}}";
    char reply[sizeof body + 128];
    int n = snprintf(reply, sizeof reply,
                     "HTTP/1.1 400 Bad Request\r\n"
                     "Content-Type: application/json\r\n"
                     "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                     sizeof body - 1, body);

    send(fd, reply, (size_t)n, MSG_NOSIGNAL);
}

bool http_tls_session_accept(struct http_tls_session *s)
{
    int rc;

    ERR_clear_error();
    do
        rc = SSL_accept(s->ssl);
    while (rc != 1 && is_interrupted(s, rc));
    if (rc == 1)
        return true;
    s->broken = true;
    if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST)
        answer_plain(s->fd);
    ERR_clear_error();
    return false;
}

ssize_t http_tls_session_read(struct http_tls_session *s, char *bytes,
                              size_t size)
{
    int n;

    ERR_clear_error();
    do
        n = SSL_read(s->ssl, bytes, size > INT_MAX ? INT_MAX : (int)size);
    while (n <= 0 && is_interrupted(s, n));
    if (n > 0)
        return n;
    if (SSL_get_error(s->ssl, n) == SSL_ERROR_ZERO_RETURN)
        return 0;
    s->broken = true;
    return -1;
}

bool http_tls_session_write(struct http_tls_session *s, const char *bytes,
                            size_t n)
{
    size_t n_sent = 0;
    int rc;

    if (n == 0 || s->broken)
        return !s->broken;
    ERR_clear_error();
    /* Without SSL_MODE_ENABLE_PARTIAL_WRITE, all bytes are sent, or none. */
    do
        rc = SSL_write_ex(s->ssl, bytes, n, &n_sent);
    while (rc != 1 && is_interrupted(s, rc));
    s->broken = rc != 1;
    return !s->broken;
}

void http_tls_session_end(struct http_tls_session *s)
{
    if (!s->broken)
        SSL_shutdown(s->ssl);
    s->broken = true;
    ERR_clear_error();
}

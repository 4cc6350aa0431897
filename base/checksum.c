/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

/* OpenSSL has a type with the name of one of mneme's error codes. */
#define ERR_STATE openssl_err_state
#include <openssl/evp.h>
#undef ERR_STATE

#include "base/fileio.h"
#include "base/xalloc.h"

#define PIECE_BYTES (256 * 1024)

uint64_t checksum_xxh3(const void *bytes, size_t n_bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, n_bytes, seed);
}

static void to_hex(const unsigned char digest[SHA256_BYTES],
                   char hex[SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < SHA256_BYTES; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[SHA256_HEX - 1] = '\0';
}

void checksum_sha256(const void *bytes, size_t n_bytes, char hex[SHA256_HEX])
{
    unsigned char digest[SHA256_BYTES];

    if (!EVP_Digest(bytes, n_bytes, digest, NULL, EVP_sha256(), NULL))
        BUG("libcrypto has no SHA-256");
    to_hex(digest, hex);
}

struct checksum_stream {
    EVP_MD_CTX *ctx;
};

struct checksum_stream *checksum_stream_create(void)
{
    struct checksum_stream *s = xmalloc(sizeof *s);

    s->ctx = EVP_MD_CTX_new();
    if (!s->ctx || !EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL))
        BUG("libcrypto has no SHA-256");
    return s;
}

void checksum_stream_add(struct checksum_stream *s, const void *bytes,
                         size_t n_bytes)
{
    if (!EVP_DigestUpdate(s->ctx, bytes, n_bytes))
        BUG("EVP_DigestUpdate");
}

void checksum_stream_finish(struct checksum_stream *s, char hex[SHA256_HEX])
{
    unsigned char digest[SHA256_BYTES];

    if (!s)
        return;
    if (hex) {
        if (!EVP_DigestFinal_ex(s->ctx, digest, NULL))
            BUG("EVP_DigestFinal_ex");
        to_hex(digest, hex);
    }
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

/* Adds the bytes from fd's position to its end. */
static int digest_fd(struct checksum_stream *s, int fd, const char *path,
                     struct err *err)
{
    unsigned char *piece = xmalloc(PIECE_BYTES);
    size_t n;
    int rc;

    while ((rc = fileio_read_piece(fd, piece, PIECE_BYTES, &n, path, err)) ==
               0 && n)
        checksum_stream_add(s, piece, n);
    free(piece);
    return rc;
}

int checksum_sha256_file(const char *path, char hex[SHA256_HEX],
                         struct err *err)
{
    struct checksum_stream *s;
    int fd, rc;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set_errno(
            err, errno == ENOENT || errno == ENOTDIR ? ERR_NOTFOUND : ERR_IO,
            errno, "%s: cannot open", path);
    s = checksum_stream_create();
    rc = digest_fd(s, fd, path, err);
    checksum_stream_finish(s, rc ? NULL : hex);
    close(fd);
    return rc;
}

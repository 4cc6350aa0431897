/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checksum.h - XXH3 to detect damage, SHA-256 to identify contents.
 *
 * Threads: any
 */
#ifndef MNEME_BASE_CHECKSUM_H
#define MNEME_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SHA256_BYTES 32
#define SHA256_HEX 65 /* with the NUL */

/* XXH3 with 64 bits. */
uint64_t checksum_xxh3(const void *bytes, size_t n_bytes, uint64_t seed);

void checksum_sha256(const void *bytes, size_t n_bytes, char hex[SHA256_HEX]);

/* Computes a SHA-256 in pieces. finish returns it in hex, if hex is not NULL,
 * and frees the stream; NULL as the stream is fine. */
struct checksum_stream;
struct checksum_stream *checksum_stream_create(void);
void checksum_stream_add(struct checksum_stream *s, const void *bytes,
                         size_t n_bytes);
void checksum_stream_finish(struct checksum_stream *s, char hex[SHA256_HEX]);

/* Computes the SHA-256 of a file, read in pieces. ERR_IO, ERR_NOTFOUND. */
int checksum_sha256_file(const char *path, char hex[SHA256_HEX],
                         struct err *err);

#endif

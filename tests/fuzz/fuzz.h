/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - a fuzz target: code that parses bytes from outside, given any bytes.
 *
 * With --enable-fuzzing (clang) libFuzzer calls the target with bytes of its
 * own making. In every other build replay_corpus.c calls it once with each file
 * of its corpus, so that `make check` repeats what fuzzing has found.
 *
 * A target returns 0. It fails by crashing: an assertion, a sanitizer, a signal.
 */
#ifndef MNEME_TESTS_FUZZ_FUZZ_H
#define MNEME_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file with these bytes in memory; its path is valid until the next call. */
const char *fuzz_file(const uint8_t *data, size_t size);

#endif

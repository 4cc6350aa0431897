/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checksum.h: known digests of memory and of files.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/err.h"
#include "base/fileio.h"
#include "base/xalloc.h"
#include "tests/util/base_util.h"

#define SHA_EMPTY                                                              \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SHA_ABC                                                                \
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SHA_MILLION_A                                                          \
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

/* The vectors of FIPS 180. */
static void test_checksum_sha256(void **state)
{
    char hex[SHA256_HEX];

    (void)state;
    checksum_sha256("abc", 3, hex);
    assert_string_equal(hex, SHA_ABC);
    checksum_sha256("", 0, hex);
    assert_string_equal(hex, SHA_EMPTY);
}

static void test_checksum_sha256_file(void **state)
{
    char *path = fileio_join(*state, "file");
    char *million = xmalloc(1000000);
    char hex[SHA256_HEX] = "untouched";
    struct err e = ERR_INIT;

    assert_int_equal(checksum_sha256_file(path, hex, &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.msg, path));
    assert_int_equal(checksum_sha256_file(*state, hex, &e), ERR_IO);
    assert_string_equal(hex, "untouched");

    assert_int_equal(fileio_write_sync(path, "", 0, &e), 0);
    assert_int_equal(checksum_sha256_file(path, hex, &e), 0);
    assert_string_equal(hex, SHA_EMPTY);
    memset(million, 'a', 1000000);
    assert_int_equal(fileio_write_sync(path, million, 1000000, &e), 0);
    assert_int_equal(checksum_sha256_file(path, hex, &e), 0);
    assert_string_equal(hex, SHA_MILLION_A);
    free(million);
    free(path);
}

/* Stored in files: the function may not change. */
static void test_checksum_xxh3(void **state)
{
    (void)state;
    assert_true(checksum_xxh3("", 0, 0) == 0x2d06800538d394c2);
    assert_true(checksum_xxh3("abc", 3, 0) == 0x78af5f94892f3950);
    assert_true(checksum_xxh3("abc", 3, 1) != checksum_xxh3("abc", 3, 0));
    assert_true(checksum_xxh3("abd", 3, 0) != checksum_xxh3("abc", 3, 0));
}

int main(void)
{
#define T(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, base_make_temp, base_remove_temp)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksum_sha256),
        T(test_checksum_sha256_file),
        cmocka_unit_test(test_checksum_xxh3),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

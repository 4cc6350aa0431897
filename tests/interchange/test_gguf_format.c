/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of GGUF against plain loops, and against the bytes of another program.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/rng.h"
#include "interchange/gguf_format.h"

#define N 4096

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(rng_normal(3, RNG_INIT, 0, i) *
                       exp(rng_normal(3, RNG_INIT, 1, i / GGUF_BLOCK)));
}

static void types_have_names_and_sizes(void **state)
{
    enum gguf_type type;

    (void)state;
    assert_true(gguf_type_find("q8_0", &type) && type == GGUF_Q8_0);
    assert_false(gguf_type_find("q4_k", &type));
    assert_string_equal(gguf_type_name(GGUF_BF16), "bf16");
    assert_true(gguf_type_is_known(2) && !gguf_type_is_known(3));
    assert_int_equal(gguf_row_bytes(GGUF_F32, 3), 12);
    assert_int_equal(gguf_row_bytes(GGUF_BF16, 3), 6);
    assert_int_equal(gguf_row_bytes(GGUF_Q8_0, 64), 68);
    assert_int_equal(gguf_row_bytes(GGUF_Q4_0, 64), 36);
    assert_int_equal(gguf_row_bytes(GGUF_Q4_0, 33), 0);
}

/* A rounded number is the nearest one of its block's grid. */
static void q8_0_rounds_to_the_grid(void **state)
{
    static float x[N], y[N];
    static unsigned char bytes[N / GGUF_BLOCK * 34];

    (void)state;
    fill(x, N);
    assert_true(gguf_encode(GGUF_Q8_0, x, N, bytes));
    gguf_decode(GGUF_Q8_0, bytes, N, y);
    for (size_t b = 0; b < N; b += GGUF_BLOCK) {
        double most = 0, d;

        for (size_t i = 0; i < GGUF_BLOCK; i++)
            most = fmax(most, fabs((double)x[b + i]));
        d = most / 127;
        for (size_t i = 0; i < GGUF_BLOCK; i++) {
            double q = round((double)x[b + i] / d);

            assert_true(fabs((double)x[b + i] / d - q) > 0.4999 ||
                        (double)y[b + i] ==
                            q * (double)half_to_float(
                                    half_from_float((float)d)));
        }
    }
}

static void q4_0_rounds_to_the_grid(void **state)
{
    static float x[N], y[N];
    static unsigned char bytes[N / GGUF_BLOCK * 18];

    (void)state;
    fill(x, N);
    assert_true(gguf_encode(GGUF_Q4_0, x, N, bytes));
    gguf_decode(GGUF_Q4_0, bytes, N, y);
    for (size_t b = 0; b < N; b += GGUF_BLOCK) {
        double most = 0, d;

        for (size_t i = 0; i < GGUF_BLOCK; i++)
            if (fabs((double)x[b + i]) > fabs(most))
                most = (double)x[b + i];
        d = most / -8; /* the largest becomes exactly -8 */
        for (size_t i = 0; i < GGUF_BLOCK; i++) {
            double q = fmin(floor((double)x[b + i] / d + 0.5), 7);

            assert_true(fabs((double)x[b + i] / d - q) > 0.4999 ||
                        (double)y[b + i] ==
                            q * (double)half_to_float(
                                    half_from_float((float)d)));
        }
    }
}

static void zeros_and_tiny_numbers_are_zeros(void **state)
{
    const enum gguf_type both[] = {GGUF_Q8_0, GGUF_Q4_0};
    float x[GGUF_BLOCK] = {0}, y[GGUF_BLOCK];
    unsigned char bytes[34];

    (void)state;
    for (int k = 0; k < 4; k++) {
        x[3] = k / 2 ? 1e-42f : 0.0f;
        assert_true(gguf_encode(both[k % 2], x, GGUF_BLOCK, bytes));
        gguf_decode(both[k % 2], bytes, GGUF_BLOCK, y);
        for (int i = 0; i < GGUF_BLOCK; i++)
            assert_true(y[i] == 0.0f);
    }
}

static void numbers_that_do_not_fit_are_reported(void **state)
{
    float x[GGUF_BLOCK] = {0};
    unsigned char bytes[4 * GGUF_BLOCK];

    (void)state;
    x[5] = 1e38f;
    assert_true(gguf_encode(GGUF_F32, x, GGUF_BLOCK, bytes));
    assert_true(gguf_encode(GGUF_BF16, x, GGUF_BLOCK, bytes));
    assert_false(gguf_encode(GGUF_F16, x, GGUF_BLOCK, bytes));
    assert_false(gguf_encode(GGUF_Q8_0, x, GGUF_BLOCK, bytes));
    assert_false(gguf_encode(GGUF_Q4_0, x, GGUF_BLOCK, bytes));
    x[5] = NAN;
    assert_false(gguf_encode(GGUF_F32, x, GGUF_BLOCK, bytes));
    assert_false(gguf_encode(GGUF_BF16, x, GGUF_BLOCK, bytes));
    assert_false(gguf_encode(GGUF_Q8_0, x, GGUF_BLOCK, bytes));
    assert_false(gguf_encode(GGUF_Q4_0, x, GGUF_BLOCK, bytes));
}

/*
 * What gguf.quants.quantize of the PyPI package gguf 0.19.0 makes of 64
 * numbers, in hexadecimal.
 */
static const char q8_0_bytes[] =
    "9c288518ad40d467fc9124b94be073089d30c457ec7f14a93cd063f88d20b547"
    "dc6ff94204952dbe56e77f10a239cb62f4851dae46d76f009129ba52e37b0c9e"
    "35c75ef0";
static const char q4_0_bytes[] =
    "92b8cf379d047be248bf269df36ad148ae15ebd248bf158cf35ac037ae047be2"
    "59cf269d";
static const char f16_bytes[] =
    "6ec4db3a00c2924049be6e4392b000c4253d25c16e4192bc2544923425c3db3e"
    "49c04942b7b99244b73949c24940dbbe254392b425c4923c6ec1254125bd0044"
    "254bcedde95825dbb05c5bd5eb5e255322dd405aced95b5d5bd1b2de405677dc"
    "975b77d8075e000007de775897db775c40d6b25e5b515bddce5940da225d25d3";
static const char bf16_bytes[] =
    "8ec05b3f40c01240c9bf6e4012be80c0a53f25c02e4092bf8540923e65c0db3f"
    "09c0494037bf9240373f49c00940dbbf654092be85c0923f2ec02540a5bf8040"
    "6541bac31d4365c39643abc2dd436542a4c348433ac3ab432bc2d6c3c8428fc3"
    "73430fc3c1430000c1c30f4373c38f43c8c2d6432b42abc33a4348c3a44365c2";

static void check_bytes(enum gguf_type type, const char *expected)
{
    float x[2 * GGUF_BLOCK];
    unsigned char bytes[sizeof x];
    char hex[2 * sizeof x + 1] = "";

    for (int i = 0; i < 2 * GGUF_BLOCK; i++)
        x[i] = (float)(i * 37 % 64 - 31) / 7.0f * (float)(1 + i / 32 * 99);
    assert_true(gguf_encode(type, x, 2 * GGUF_BLOCK, bytes));
    for (size_t i = 0; i < gguf_row_bytes(type, 2 * GGUF_BLOCK); i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(hex, expected);
}

static void another_program_writes_the_same_bytes(void **state)
{
    (void)state;
    check_bytes(GGUF_Q8_0, q8_0_bytes);
    check_bytes(GGUF_Q4_0, q4_0_bytes);
    check_bytes(GGUF_F16, f16_bytes);
    check_bytes(GGUF_BF16, bf16_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_names_and_sizes),
        cmocka_unit_test(q8_0_rounds_to_the_grid),
        cmocka_unit_test(q4_0_rounds_to_the_grid),
        cmocka_unit_test(another_program_writes_the_same_bytes),
        cmocka_unit_test(zeros_and_tiny_numbers_are_zeros),
        cmocka_unit_test(numbers_that_do_not_fit_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

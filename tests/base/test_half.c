/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16-bit floats: each of the 65536 numbers, and the numbers halfway between two
 * neighbours, whose order is that of their bits.
 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/half.h"

/* The value of a number by its definition. */
static double value(unsigned bits, int n_exponent, int n_fraction)
{
    int bias = (1 << (n_exponent - 1)) - 1;
    int exponent = (int)(bits >> n_fraction & ((1u << n_exponent) - 1));
    double fraction = bits & ((1u << n_fraction) - 1);
    double size = exponent == 0 ? ldexp(fraction, 1 - bias - n_fraction)
                                : ldexp(fraction + ldexp(1, n_fraction),
                                        exponent - bias - n_fraction);

    return bits >> 15 ? -size : size;
}

struct format {
    int n_exponent, n_fraction;
    float (*to_float)(uint16_t);
    uint16_t (*from_float)(float);
};

static void check(const struct format *f)
{
    unsigned infinite = ((1u << f->n_exponent) - 1) << f->n_fraction;

    for (unsigned sign = 0; sign <= 0x8000; sign += 0x8000) {
        for (unsigned b = 0; b < infinite; b++) {
            uint16_t h = (uint16_t)(sign | b);
            double x = value(h, f->n_exponent, f->n_fraction);
            double next = value(h + 1, f->n_exponent, f->n_fraction);
            float middle = (float)((x + next) / 2);

            assert_true((double)f->to_float(h) == x);
            assert_int_equal(f->from_float((float)x), h);
            if (!isfinite(middle)) /* above the largest float */
                continue;
            assert_int_equal(f->from_float(middle), h + (b & 1));
            assert_int_equal(f->from_float(nextafterf(middle, 0)), h);
            assert_int_equal(
                f->from_float(nextafterf(middle, 2 * (float)next)), h + 1);
        }
        assert_true(isinf(f->to_float((uint16_t)(sign | infinite))));
        assert_int_equal(f->from_float(sign ? -INFINITY : INFINITY),
                         sign | infinite);
    }
    assert_true(isnan(f->to_float((uint16_t)(infinite + 1))));
    assert_true(isnan(f->to_float(f->from_float(NAN))));
}

static void f16_rounds_to_the_nearest(void **state)
{
    (void)state;
    check(&(struct format){5, 10, half_to_float, half_from_float});
}

static void bf16_rounds_to_the_nearest(void **state)
{
    (void)state;
    check(&(struct format){8, 7, half_bf16_to_float, half_bf16_from_float});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_rounds_to_the_nearest),
        cmocka_unit_test(bf16_rounds_to_the_nearest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/util/near_util.h"

void util_expect_near(const char *what, const float *got, const float *want,
                      size_t n, double tolerance)
{
    for (size_t i = 0; i < n; i++) {
        double off = fabs((double)got[i] - want[i]);

        if (!(off <= tolerance * (1.0 + fabs((double)want[i]))))
            fail_msg("%s[%zu] is %.9g, not %.9g", what, i, (double)got[i],
                     (double)want[i]);
    }
}

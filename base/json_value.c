/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/json_value.h"

#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"

json_t *json_value_real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *json_value_text(const char *s)
{
    return json_value_bytes(s, strlen(s));
}

json_t *json_value_bytes(const char *s, size_t n)
{
    struct buf text = BUF_INIT;
    json_t *json;

    buf_adds(&text, "");
    utf8_repair(s, n, &text);
    json = json_stringn(text.data, text.len);
    buf_release(&text);
    return json;
}

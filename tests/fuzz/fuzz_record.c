/* SPDX-License-Identifier: Apache-2.0 */
/* A record's value, in each format, and the search for its id. */
#include "config.h"

#include "base/utf8.h"
#include "daemon/stream/record.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void parse(struct record_maker *m, const char *bytes, size_t n,
                  enum conf_format format)
{
    struct record *r = record_create_data(m, bytes, n);

    r->topic = "topic";
    record_parse(m, r, format, 1 << 20, NULL);
    if (!r->reason && !utf8_valid(r->text, r->text_bytes))
        abort();
    record_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct record_maker m;
    static int begun;
    const char *bytes = (const char *)data;

    if (!begun++)
        record_maker_init(&m, true);
    parse(&m, bytes, size, CONF_FORMAT_AUTO);
    parse(&m, bytes, size, CONF_FORMAT_JSON);
    parse(&m, bytes, size, CONF_FORMAT_TEXT);
    record_has_id(bytes, size, "id-1");
    record_text_has_id(bytes, size, true, "id-1");
    return 0;
}

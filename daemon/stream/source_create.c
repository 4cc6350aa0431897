/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/stream/source.h"

#include "daemon/stream/source_private.h"

int source_create(const struct source_options *options,
                  struct source **source, struct err *err)
{
    if (options->conf->source.type == CONF_SOURCE_KAFKA)
        return source_kafka_create(source, options, err);
    return source_file_create(source, options, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/source.h"

#include "daemon/source_impl.h"

int source_create(const struct source_options *options,
                  struct source **source, struct err *err)
{
    if (options->conf->source.type == CONF_SOURCE_KAFKA)
        return source_kafka_create(source, options, err);
    return source_file_create(source, options, err);
}

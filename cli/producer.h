/* SPDX-License-Identifier: Apache-2.0 */
/*
 * producer.h - records to Kafka, each with a delivery report.
 *
 * What librdkafka takes is bounded: when its queue is full producer_send waits
 * for room. A record counts as delivered when the broker has said so.
 *
 * Owner:   the caller; values and keys are copied
 * Threads: one at a time
 */
#ifndef MNEME_CLI_PRODUCER_H
#define MNEME_CLI_PRODUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct producer;

struct producer_options {
    const char *brokers;
    const char *topic;
    int32_t partition; /* -1: librdkafka's choice */
    const char *key;   /* or NULL */
    const char *const *properties; /* NAME=VALUE, after ours */
    size_t n_properties;
};

struct producer_counts {
    int64_t sent, delivered, failed; /* sent: handed to librdkafka */
};

/* ERR_INVALID for a wrong property; ERR_IO when no broker answers within 10 s
 * or the topic is not there. */
int producer_open(const struct producer_options *options,
                  struct producer **producer, struct err *err);
void producer_free(struct producer *p);

/*
 * One record; domain is sent as the header of that name, NULL: none. Waits
 * while the queue is full, until *stop (may be NULL) is set: ERR_AGAIN. A
 * record that librdkafka refuses counts as failed, which is no error here.
 */
int producer_send(struct producer *p, const void *value, size_t n_bytes,
                  const char *domain, const volatile int *stop,
                  struct err *err);

/* A record that was not even handed over. */
void producer_refuse(struct producer *p, const char *why);

/* Serves delivery reports for up to timeout_ms. */
void producer_poll(struct producer *p, int timeout_ms);

/* true: every record has its report. */
bool producer_flush(struct producer *p, int timeout_ms);

void producer_counts(const struct producer *p, struct producer_counts *counts);

/* Why the first record failed, or what the connection last complained of; NULL
 * when all is well. */
const char *producer_trouble(const struct producer *p);

#endif

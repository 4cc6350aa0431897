/* SPDX-License-Identifier: Apache-2.0 */
/*
 * producer.h - sends records to Kafka, and counts delivery reports.
 *
 * The queue of librdkafka is bounded: producer_send waits while it is full. A
 * record counts as delivered when the broker has confirmed it.
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
    int32_t partition; /* -1: librdkafka chooses */
    const char *key;   /* or NULL */
    const char *const *properties; /* NAME=VALUE; they override ours */
    size_t n_properties;
};

struct producer_counts {
    int64_t sent, delivered, failed; /* sent: handed to librdkafka */
};

/* ERR_INVALID for a wrong property; ERR_IO when no broker answers within 10 s,
 * or there is no such topic. */
int producer_open(const struct producer_options *options,
                  struct producer **producer, struct err *err);
void producer_free(struct producer *p);

/*
 * Sends one record. domain becomes its header `domain`; NULL: none. Waits while
 * the queue is full; when *stop (may be NULL) is set, ERR_AGAIN. A record that
 * librdkafka refuses counts as failed, which is no error here.
 */
int producer_send(struct producer *p, const void *value, size_t n_bytes,
                  const char *domain, const volatile int *stop,
                  struct err *err);

/* Counts a record that was not sent as failed. */
void producer_refuse(struct producer *p, const char *why);

/* Handles delivery reports for up to timeout_ms. */
void producer_poll(struct producer *p, int timeout_ms);

/* True when every record has its delivery report. */
bool producer_flush(struct producer *p, int timeout_ms);

void producer_counts(const struct producer *p, struct producer_counts *counts);

/* The error of the first failed record, else the last error of the connection,
 * else NULL. */
const char *producer_trouble(const struct producer *p);

#endif

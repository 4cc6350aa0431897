/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - one message or line on its way to the trainer.
 *
 * record_parse takes the value apart by the format that was asked for and does
 * the stateless checks. What fails gets a reason and still travels to the
 * trainer, in its place in the stream, to be counted and quarantined there.
 *
 * A record is one block of memory, with room for what is decoded of the value
 * behind it, and a second one for the n-grams: it is made by one thread and
 * freed by another, where each block costs.
 *
 * Owner:   whoever holds it; the queue hands it over
 * Threads: one at a time
 */
#ifndef MNEME_DAEMON_RECORD_H
#define MNEME_DAEMON_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "learner/grams.h"

enum record_kind {
    RECORD_DATA, /* a message or a line */
    RECORD_HOLE, /* offsets first..offset that hold no message (compaction,
                    transactions): moves the position, counts nothing */
    RECORD_END   /* the source has ended; topic and partition tell where */
};

struct record {
    enum record_kind kind;
    int64_t epoch;     /* of the source; an older one is stale (source.h) */
    const char *topic; /* the source's own, lives as long as the source */
    int32_t partition;
    int64_t offset;
    int64_t first_offset; /* RECORD_HOLE only */
    int64_t time_ms;      /* event time; Kafka's or 0 until parsed */
    const char *value;    /* as it came, n_bytes and a NUL; NULL for null */
    size_t n_bytes;
    uint64_t value_hash;  /* XXH3 of value */

    const char *reason; /* NULL: good. Else a word of the quarantine:
                           null, empty, too_long, not_utf8, not_json, no_text,
                           bad_field */
    const char *text;   /* to learn from; with prompt: the completion. May lie
                           in value: no NUL behind it */
    size_t text_bytes;
    const char *prompt; /* or NULL; like text */
    size_t prompt_bytes;
    const char *label;  /* or NULL */
    const char *domain; /* never NULL when good: field, header or topic */
    const char *id;     /* or NULL */
    uint32_t *grams;    /* n_grams hashes of text, or NULL: not asked for */
    size_t n_grams;

    char *room; /* for what is decoded: what is left of it */
    size_t memory;
};

/* Bytes of a label, a domain or an id; a longer one is a bad_field. */
#define RECORD_NAME_MAX 255

/* For holes and ends: no value. */
struct record *record_create(enum record_kind kind);

/* RECORD_DATA with a copy of the value, which may be NULL. */
struct record *record_create_data(const char *value, size_t n_bytes);
void record_free(struct record *r);

/*
 * Fills the second half from value. A reason that is set already stays (a
 * line that was not kept whole).
 *   domain  the Kafka header `domain`, or NULL; the topic is the last resort.
 *           A file's records fall back to the file's name without folders
 *           and endings.
 *   grams   preset linear: the caller's list to work with; else NULL
 */
void record_parse(struct record *r, enum conf_format format,
                  size_t max_bytes, const char *domain,
                  struct gram_list *grams);

size_t record_memory(const struct record *r); /* bytes it takes */

#endif

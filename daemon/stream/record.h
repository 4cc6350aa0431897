/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - one message or line on its way to the trainer.
 *
 * record_parse fills the fields from the value, by the configured format, and
 * does the checks that need no state. A record that fails one gets a reason. It
 * stays in its order in the stream, and the trainer counts and quarantines it.
 * record_reason.h explains reasons, and json_scan.h reads the JSON.
 *
 * One thread makes records and another frees them, where each malloc would
 * cost. So a maker allocates records, with their strings, from blocks of many.
 * A block is freed with its last record.
 *
 * Owner:   the thread that holds the record; the queue passes it on
 * Threads: one at a time
 */
#ifndef MNEME_DAEMON_STREAM_RECORD_H
#define MNEME_DAEMON_STREAM_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "learner/tokenizer/grams.h"

struct record_block; /* fields are in record.c */

enum record_kind {
    RECORD_DATA, /* a message or a line */
    RECORD_HOLE, /* offsets first_offset..offset have no message, because of
                    compaction or transactions; only the position moves */
    RECORD_END   /* the source has ended at this topic and partition */
};

struct record {
    enum record_kind kind;
    int64_t epoch;     /* of the source (source.h) */
    const char *topic; /* lives as long as the source */
    int32_t partition;
    int64_t offset;
    int64_t first_offset; /* RECORD_HOLE only */
    int64_t time_ms;      /* event time. Before record_parse: Kafka's, or 0.
                             After it: not more than RECORD_AHEAD_MS in the
                             future */
    const char *value;    /* unchanged, n_bytes and a NUL; NULL for null */
    size_t n_bytes;
    uint64_t value_hash;  /* XXH3 of value */

    const char *reason; /* why the record is refused; NULL: it is good */
    const char *text;   /* to be learned; with prompt: the completion. No NUL
                           follows, since text may be a part of value */
    size_t text_bytes;
    const char *prompt; /* or NULL; like text */
    size_t prompt_bytes;
    const char *label;  /* or NULL */
    const char *domain; /* field, header or topic; NULL: none is valid */
    const char *id;     /* or NULL; a JSON object that is learned as plain text
                           may have one, too */
    const char *forgets; /* a tombstone: the id of the records before it that
                            are to be forgotten. It has no value. Or NULL */
    bool has_forgotten;  /* the trainer has done so */
    bool time_cut; /* the present time replaced an event time in the future */
    bool released; /* passes every filter (released_records.h) */
    const uint32_t *grams; /* n_grams hashes of text, or NULL */
    size_t n_grams;

    char *room; /* free bytes for decoded strings and names */
    size_t memory;
    struct record_block *block, *grams_block; /* hold the record, or NULL */
};

/* Allocates records. Each reading thread has one. */
struct record_maker {
    bool hashes;            /* also computes grams */
    struct gram_list grams; /* scratch */
    int64_t now_ms;         /* last reading of the clock */
    struct record_block *block;
    size_t given; /* pieces of block that records hold */
};

void record_maker_init(struct record_maker *m, bool hashes);
void record_maker_release(struct record_maker *m); /* keeps its records */

#define RECORD_AHEAD_MS 60000

/* Bytes of a label, a domain or an id; a longer one is a bad_field. */
#define RECORD_NAME_MAX 255

/* Makes a record without a value: RECORD_HOLE or RECORD_END. */
struct record *record_create(enum record_kind kind);

/* Makes a RECORD_DATA with a copy of the value, which may be NULL. */
struct record *record_create_data(struct record_maker *m, const char *value,
                                  size_t n_bytes);
void record_free(struct record *r);

/*
 * Fills reason and the fields after it from the value. Keeps a reason that is
 * set already, such as too_long of a line that was cut.
 *   domain  the domain of a record that names none: a Kafka header, or a file's
 *           name without folders and endings. NULL: the topic.
 */
void record_parse(struct record_maker *m, struct record *r,
                  enum conf_format format, size_t max_bytes,
                  const char *domain);

/* The domain of a file's records: its name without folders and endings, as
 * "app" of "/var/log/app.log.gz". To be freed. */
char *record_domain_of(const char *path);

/*
 * Tells whether a quarantined value has this id. The id of a JSON object is its
 * member `id`. In bytes that are not valid JSON, a member `id` at any depth
 * counts.
 */
bool record_has_id(const void *bytes, size_t n_bytes, const char *id);

/*
 * Tells the same for a text that was learned as plain text.
 *   from_beginning   text holds the record's beginning. Then only a text that
 *                    begins like an object has an id.
 */
bool record_text_has_id(const char *text, size_t n_bytes, bool from_beginning,
                        const char *id);

size_t record_memory(const struct record *r); /* in bytes */

#endif

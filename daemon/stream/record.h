/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - one message or line on its way to the trainer.
 *
 * record_parse takes the value apart by the format that was asked for and does
 * the stateless checks. What fails gets a reason and still travels to the
 * trainer, in its place in the stream, to be counted and quarantined there.
 *
 * Records are made by one thread and freed by another, where each malloc
 * costs: a maker carves them, with all that they point to, from blocks of
 * many. A block goes with the last record in it.
 *
 * Owner:   whoever holds it; the queue hands it over
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
    int64_t time_ms;      /* event time: Kafka's or 0 until parsed; then at most
                             RECORD_AHEAD_MS after the time of parsing */
    const char *value;    /* as it came, n_bytes and a NUL; NULL for null */
    size_t n_bytes;
    uint64_t value_hash;  /* XXH3 of value */

    const char *reason; /* NULL: good; else a word that record_explain knows */
    const char *text;   /* to learn from; with prompt: the completion. May lie
                           in value: no NUL behind it */
    size_t text_bytes;
    const char *prompt; /* or NULL; like text */
    size_t prompt_bytes;
    const char *label;  /* or NULL */
    const char *domain; /* field, header or topic; NULL: none is a name */
    const char *id;     /* or NULL; an object without text, which is learned
                           as it stands, may have one, too */
    bool time_cut; /* the event time was later: now replaces it */
    bool released; /* from quarantine: it passes every filter (release.h) */
    const uint32_t *grams; /* n_grams hashes of text, or NULL */
    size_t n_grams;

    char *room; /* for what is decoded: what is left of it */
    size_t memory;
    struct record_block *block, *grams_block; /* where they lie, or NULL */
};

/* Makes records; one for each reading thread. */
struct record_maker {
    bool hashes;            /* also makes grams */
    struct gram_list grams; /* of the record at hand */
    int64_t now_ms; /* the clock, when it was read last */
    struct record_block *block;
    size_t given; /* pieces of it */
};

void record_maker_init(struct record_maker *m, bool hashes);
void record_maker_release(struct record_maker *m); /* records live on */

#define RECORD_AHEAD_MS 60000

/* Bytes of a label, a domain or an id; a longer one is a bad_field. */
#define RECORD_NAME_MAX 255

/* For holes and ends: no value. */
struct record *record_create(enum record_kind kind);

/* RECORD_DATA with a copy of the value, which may be NULL. */
struct record *record_create_data(struct record_maker *m, const char *value,
                                  size_t n_bytes);
void record_free(struct record *r);

/*
 * Fills the second half from value. A reason that is set already stays (a
 * line that was not kept whole).
 *   domain  the Kafka header `domain`, or NULL; the topic is the last resort.
 *           A file's records fall back to the file's name without folders
 *           and endings.
 */
void record_parse(struct record_maker *m, struct record *r,
                  enum conf_format format, size_t max_bytes,
                  const char *domain);

/* A clause for a reason, such as "it is not UTF-8". NULL: it is no reason of
 * record_parse. */
const char *record_explain(const char *reason);

/*
 * Does the record with these bytes have this id? For quarantined records whose
 * id was not parsed. The id of an object is its member `id`. In bytes that are
 * not valid JSON, a member `id` at any depth counts.
 */
bool record_has_id(const void *bytes, size_t n_bytes, const char *id);

/* The same for a text that was learned as plain text. from_beginning: text
 * holds its beginning; then only a text that begins like an object has an id.
 */
bool record_text_has_id(const char *text, size_t n_bytes, bool from_beginning,
                        const char *id);

size_t record_memory(const struct record *r); /* bytes it takes */

#endif

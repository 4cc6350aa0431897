/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.h - the settings of mneme: plain structs, filled from YAML.
 *
 * The structs below have the shape of the file: the key
 * `learner.optimizer.lr` is the field c->learner.optimizer.lr. Names, types,
 * defaults, ranges and explanations come from one table (conf_map.c), from
 * which also the printed configuration, conf/mneme.yaml and the KEYS section
 * of mneme.yaml(5) are made.
 *
 *     struct conf *c = conf_create();
 *     struct conf_problems p = CONF_PROBLEMS_INIT;
 *     if (conf_load(c, path, sets, n_sets, check, &p) != 0)
 *         print p.items[0 .. p.n - 1].text, one a line, and exit 2
 *
 * Owner:   a struct conf owns every string and list in it
 * Threads: any, one at a time while it is filled; read-only afterwards
 */
#ifndef MNEME_CONF_CONF_H
#define MNEME_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

struct conf_strings {
    char **items; /* never NULL inside */
    size_t n;
};

/* --- source ------------------------------------------------------------- */

enum conf_source_type {
    CONF_SOURCE_KAFKA,
    CONF_SOURCE_FILE,
    CONF_SOURCE_STDIN
};
enum conf_at_end { CONF_AT_END_SERVE, CONF_AT_END_EXIT };
enum conf_start_kind {
    CONF_START_EARLIEST,
    CONF_START_LATEST,
    CONF_START_TIMESTAMP
};
enum conf_on_gap { CONF_ON_GAP_STOP, CONF_ON_GAP_SKIP };
enum conf_format { CONF_FORMAT_AUTO, CONF_FORMAT_JSON, CONF_FORMAT_TEXT };
enum conf_bad_record {
    CONF_BAD_RECORD_QUARANTINE,
    CONF_BAD_RECORD_SKIP,
    CONF_BAD_RECORD_STOP
};
enum conf_when_behind { CONF_WHEN_BEHIND_WAIT, CONF_WHEN_BEHIND_SAMPLE };

/* One librdkafka property, as the user gave it. */
struct conf_property {
    char *name;
    char *value; /* never logged where is_secret */
    char *where; /* "mneme.yaml:12:9", "--set:1:1" or "default" */
    bool is_secret;
};

struct conf_properties {
    struct conf_property *items; /* sorted by name, names unique */
    size_t n;
};

struct conf_kafka {
    struct conf_strings topics; /* at least one with type kafka */
    struct {
        enum conf_start_kind kind;
        int64_t timestamp_ms; /* Unix time; with CONF_START_TIMESTAMP */
    } start;
    enum conf_on_gap on_gap;
    char *dead_letter; /* NULL: none */
    struct conf_properties properties;
};

#define CONF_MAX_RECORD_BYTES (16 << 20)

struct conf_source {
    enum conf_source_type type;
    char *path; /* type file: never "-" after a load without problems */
    bool follow;
    enum conf_at_end at_end;
    struct conf_kafka kafka;
    enum conf_format format;
    int64_t max_record_bytes; /* 1 .. CONF_MAX_RECORD_BYTES */
    enum conf_bad_record bad_record;
    enum conf_when_behind when_behind;
};

/* --- model -------------------------------------------------------------- */

enum conf_preset {
    CONF_PRESET_NANO,
    CONF_PRESET_TINY,
    CONF_PRESET_SMALL,
    CONF_PRESET_BASE,
    CONF_PRESET_LARGE,
    CONF_PRESET_CUSTOM,
    CONF_PRESET_LINEAR
};
enum conf_tokenizer { CONF_TOKENIZER_BYTES, CONF_TOKENIZER_BPE };

struct conf_model {
    enum conf_preset preset;
    enum conf_tokenizer tokenizer;
    int64_t vocab_size;      /* ids, with the special ones */
    int64_t tokenizer_bytes; /* of text the vocabulary is learned from */
    char *tokenizer_from;    /* NULL, a text file or a tokenizer.json */
    double tokenizer_wait_seconds;
    int64_t max_domains;
    int64_t max_labels;
    bool qk_norm; /* normalise queries and keys: the Qwen3 layout */
    /* All six are 0 unless preset is custom, and then none is. */
    int64_t dim; /* channels */
    int64_t layers;
    int64_t heads;    /* divides dim, dim / heads is even */
    int64_t kv_heads; /* divides heads */
    int64_t ffn_dim;
    int64_t context; /* tokens of a segment */
    char *init;      /* NULL: random; else a model directory */
};

/* --- learner ------------------------------------------------------------ */

enum conf_consolidate_kind {
    CONF_CONSOLIDATE_AUTO,
    CONF_CONSOLIDATE_OFF,
    CONF_CONSOLIDATE_EVERY
};
enum conf_balance { CONF_BALANCE_DOMAIN, CONF_BALANCE_NONE };

struct conf_optimizer {
    double lr;
    int64_t warmup_steps;
    double weight_decay;
    double clip_norm; /* global norm of the gradient; 0: no clipping */
};

struct conf_ewc {
    bool enabled;
    double lambda;
    double decay; /* of the running Fisher, in [0, 1) */
    struct {
        enum conf_consolidate_kind kind;
        int64_t every_steps; /* with CONF_CONSOLIDATE_EVERY */
    } consolidate;
};

struct conf_replay {
    bool enabled;
    double ratio; /* replayed tokens for each new one */
    bool adaptive;
    int64_t capacity; /* segments */
    enum conf_balance balance;
};

struct conf_holdout {
    double fraction;  /* of the records; 0: none */
    int64_t capacity; /* segments */
};

struct conf_learner {
    int64_t threads; /* 0: one for each core */
    int64_t shards;  /* 0: as many as threads when the data directory is made */
    int64_t seed;
    int64_t batch_tokens; /* new tokens of an update */
    double flush_seconds; /* 0: only at the end or when full */
    struct conf_optimizer optimizer;
    struct conf_ewc ewc;
    struct conf_replay replay;
    struct conf_holdout holdout;
};

/* --- filter ------------------------------------------------------------- */

struct conf_surprise {
    bool enabled;
    double mads;          /* above the median of the domain's bits per byte */
    int64_t history;      /* records of a domain before it acts */
    int64_t accept_after; /* refused in a row; 0: never */
};

struct conf_near_duplicate {
    bool enabled;
    int64_t bits;  /* of 64 that may differ */
    int64_t burst; /* records of a family at once */
    double share;  /* of the other records, after that */
};

struct conf_repetition {
    bool enabled;
    int64_t min_bytes; /* shorter records are not looked at */
    double share;      /* of a record that may repeat what came before in it */
};

struct conf_share_cap {
    double share; /* of the recent bytes, for one domain; 1: no cap */
    int64_t window_bytes;
};

struct conf_gradient_norm {
    bool enabled;
    double medians; /* of the recent norms */
};

struct conf_filter {
    struct conf_surprise surprise;
    struct conf_near_duplicate near_duplicate;
    struct conf_repetition repetition;
    struct conf_share_cap share_cap;
    struct conf_gradient_norm gradient_norm;
};

/* --- publish, http, log ------------------------------------------------- */

struct conf_gate {
    bool enabled;
    double max_regression;       /* relative bits per byte of a domain */
    double confidence;           /* one-sided, in [0.5, 1) */
    int64_t min_chunks;          /* holdout segments of a domain tested alone */
    int64_t max_tokens;          /* scored by one decision */
    struct conf_strings protect; /* domains that may never exceed it */
};

struct conf_keep {
    int64_t newest;
    int64_t hourly; /* versions, the last of each hour */
    int64_t daily;  /* versions, the last of each day */
};

struct conf_publish {
    double every_seconds; /* 0: by tokens alone */
    int64_t every_tokens; /* 0: by time alone */
    struct conf_gate gate;
    bool auto_rollback;
    struct conf_keep keep;
};

enum conf_quantize { CONF_QUANTIZE_NONE, CONF_QUANTIZE_INT8 };

struct conf_serve {
    enum conf_quantize quantize;
};

enum conf_listen_kind { CONF_LISTEN_TCP, CONF_LISTEN_UNIX };

struct conf_http {
    char *listen;     /* as given */
    char *token_file; /* NULL: none */
    int64_t max_body_bytes;
    int64_t max_connections;
    int64_t max_request_seconds;
    /* What listen says, taken apart. */
    enum conf_listen_kind listen_kind;
    char *listen_host; /* address or name without brackets; unix: the path */
    int listen_port;   /* 0: any free one; unix: 0 */
    bool listen_local; /* loopback or a unix socket: no token is needed */
};

struct conf_log {
    enum log_level level;
    enum log_format format;
};

/* --- all of it ---------------------------------------------------------- */

struct conf_places; /* where each value came from; fields in conf_load.h */

struct conf {
    char *data_dir;
    struct conf_source source;
    struct conf_model model;
    struct conf_learner learner;
    struct conf_filter filter;
    struct conf_publish publish;
    struct conf_serve serve;
    struct conf_http http;
    struct conf_log log;
    struct conf_places *places; /* for conf_where */
};

/* Every key at its default. */
struct conf *conf_create(void);
void conf_free(struct conf *c);

/* One thing that is wrong, ready to be printed. */
struct conf_problem {
    int order, line, column; /* for sorting: the file is 0, then each --set */
    char *text; /* "file:line:col: key: problem; did you mean 'x'?" */
};

struct conf_problems {
    struct conf_problem *items;
    size_t n, cap;
    size_t n_dropped; /* beyond CONF_MAX_PROBLEMS */
};

#define CONF_PROBLEMS_INIT {NULL, 0, 0, 0}
#define CONF_MAX_PROBLEMS 100

void conf_problems_release(struct conf_problems *p);

/*
 * Does librdkafka know this property, and take this value? The library that
 * links it answers, so that conf needs none of it.
 *   why      where the reason goes, why_size bytes with the NUL
 *   returns  0 when it does
 */
typedef int conf_property_check(const char *name, const char *value, char *why,
                                size_t why_size);

/*
 * The file that -c stands for when it is not given: $MNEME_CONF (also when
 * there is no such file: reading it then says so), ./mneme.yaml,
 * SYSCONFDIR/mneme/mneme.yaml, or NULL when there is none of them. To be
 * freed.
 */
char *conf_find(void);

/*
 * Reads the file, then the overrides, then checks one setting against
 * another. Everything that is wrong goes into problems, sorted by place.
 *   c         from conf_create(); what is not mentioned keeps its value
 *   path      NULL: no file
 *   sets      "a.b.c=value", later ones win; the value is YAML, but texts that
 *             do not begin with a quote are taken as they stand, and so is
 *             what follows "source.kafka.properties.NAME="
 *   check     for source.kafka.properties; NULL: any name is taken
 *   returns   0, or ERR_INVALID when problems has grown; c is then good for
 *             conf_free only
 */
int conf_load(struct conf *c, const char *path, const char *const *sets,
              size_t n_sets, conf_property_check *check,
              struct conf_problems *problems);

/* What --data-dir does: as --set data_dir=DIR, but DIR is no YAML. */
void conf_set_data_dir(struct conf *c, const char *dir);

/* "mneme.yaml:12:9", "--set:1:10" or "default": where the value of a key came
 * from, for a message about something that only later turns out wrong. To be
 * freed; key is in the table. */
char *conf_where(const struct conf *c, const char *key);

/* The value of a key as it is printed: conf_text(c, "model.preset") is "small".
 * To be freed; key is in the table, and neither a section nor properties. */
char *conf_text(const struct conf *c, const char *key);

/* Appends the names of the keys that decide what is learned: each version keeps
 * the values of these, and of no others. conf_strings_release() */
void conf_learning_keys(struct conf_strings *keys);

/*
 * Gives a key the text that a version keeps for it.
 *   value    NULL: the version keeps something other than a text
 *   returns  0; ERR_NOTFOUND: there is no such key (another program version
 *            had it); ERR_CORRUPT: no version keeps this key, or the key cannot
 *            have this value. On an error c is as it was
 */
int conf_set_stored(struct conf *c, const char *key, const char *value,
                    struct err *err);

/* Appends the whole configuration as YAML, each key with its present value;
 * it loads back to the same. Secrets are CONF_MASK, which a load refuses. */
void conf_print(const struct conf *c, struct buf *out);

#define CONF_MASK "********"

/*
 * Which keys differ, by whether a running daemon can take the new value.
 *   reloadable, fixed   names are appended; conf_strings_release() both
 *   returns             how many differ
 */
size_t conf_reload_diff(const struct conf *now, const struct conf *next,
                        struct conf_strings *reloadable,
                        struct conf_strings *fixed);
/* Gives `now` the reloadable values of `next`; the others stay, and so does a
 * token file that the present address needs. */
void conf_reload_apply(struct conf *now, const struct conf *next);

void conf_strings_add(struct conf_strings *l, const char *s); /* copies */
void conf_strings_release(struct conf_strings *l);

#endif

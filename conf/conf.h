/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.h - the configuration: plain structs, filled from YAML.
 *
 * The structs have the shape of the file: the key `learner.optimizer.lr` is the
 * field c->learner.optimizer.lr. The table in conf_map.c gives each key its
 * type, default, range and explanation.
 *
 *     struct conf *c = conf_create();
 *     struct conf_problems p = CONF_PROBLEMS_INIT;
 *     if (conf_load(c, path, sets, n_sets, check, &p) != 0)
 *         print p.items[0 .. p.n - 1].text, one a line, and exit 2
 *
 * Owner:   a struct conf owns all its strings and lists
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
    char **items; /* none is NULL */
    size_t n;
};

/* --- source ------------------------------------------------------------- */

enum conf_source_type {
    CONF_SOURCE_KAFKA,
    CONF_SOURCE_FILE,
    CONF_SOURCE_STDIN,
    CONF_SOURCE_HTTP
};
enum conf_at_end { CONF_AT_END_SERVE, CONF_AT_END_EXIT };
enum conf_start_kind {
    CONF_START_EARLIEST,
    CONF_START_LATEST,
    CONF_START_TIMESTAMP
};
enum conf_on_gap { CONF_ON_GAP_STOP, CONF_ON_GAP_SKIP };
enum conf_tombstone { CONF_TOMBSTONE_IGNORE, CONF_TOMBSTONE_FORGET };
enum conf_format { CONF_FORMAT_AUTO, CONF_FORMAT_JSON, CONF_FORMAT_TEXT };
enum conf_bad_record {
    CONF_BAD_RECORD_QUARANTINE,
    CONF_BAD_RECORD_SKIP,
    CONF_BAD_RECORD_STOP
};
enum conf_when_behind { CONF_WHEN_BEHIND_WAIT, CONF_WHEN_BEHIND_SAMPLE };

/* A librdkafka property from the user. */
struct conf_property {
    char *name;
    char *value; /* never logged if is_secret */
    char *where; /* "mneme.yaml:12:9" or "--set:1:10" */
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
    enum conf_tombstone tombstone;
    char *dead_letter; /* NULL: none */
    struct conf_properties properties;
};

#define CONF_MAX_RECORD_BYTES (16 << 20)

struct conf_source {
    enum conf_source_type type;
    char *path; /* with type file never "-", after a successful load */
    bool follow;
    enum conf_at_end at_end;
    struct conf_kafka kafka;
    struct {
        int64_t log_bytes;
    } http;
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
enum conf_tokenizer {
    CONF_TOKENIZER_BYTES,
    CONF_TOKENIZER_BPE,
    CONF_TOKENIZER_BUILTIN
};

struct conf_model {
    enum conf_preset preset;
    enum conf_tokenizer tokenizer;
    int64_t vocab_size;      /* with the special tokens; not for bytes */
    int64_t tokenizer_bytes; /* of text that the vocabulary is learned from */
    char *tokenizer_from;    /* NULL, a text file or a tokenizer.json */
    double tokenizer_wait_seconds;
    int64_t max_domains;
    int64_t max_labels;
    bool qk_norm; /* normalise queries and keys, as Qwen3 does */
    /* With preset custom none of the six is 0, otherwise all are. */
    int64_t dim; /* channels */
    int64_t layers;
    int64_t heads;    /* divides dim, dim / heads is even */
    int64_t kv_heads; /* divides heads */
    int64_t ffn_dim;
    int64_t context; /* tokens */
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
    double clip_norm; /* of the whole gradient; 0: no clipping */
};

#define CONF_REAL_WORD (-1.0) /* a number given as a word: auto */

struct conf_ewc {
    bool enabled;
    double lambda; /* CONF_REAL_WORD: auto */
    double decay;  /* of the past at a consolidation, in [0, 1) */
    struct {
        enum conf_consolidate_kind kind;
        int64_t every_steps; /* with CONF_CONSOLIDATE_EVERY */
    } consolidate;
};

struct conf_drift {
    bool enabled;
};

struct conf_average {
    bool enabled;
    double decay; /* in [0, 1) */
};

struct conf_ngram {
    bool enabled;
    int64_t mib;
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
    int64_t shards;  /* 0: the threads when the data directory is created */
    int64_t seed;
    int64_t batch_tokens; /* new tokens of a step */
    double flush_seconds; /* 0: a step needs a full batch or the end */
    struct conf_optimizer optimizer;
    struct conf_ewc ewc;
    struct conf_average average;
    struct conf_ngram ngram;
    struct conf_replay replay;
    struct conf_drift drift;
    struct conf_holdout holdout;
};

/* --- filter ------------------------------------------------------------- */

struct conf_surprise {
    bool enabled;
    double mads;          /* above the median of a domain's bits per byte */
    int64_t history;      /* records of a domain before the filter acts */
    int64_t accept_after; /* refused in a row; 0: never */
};

struct conf_near_duplicate {
    bool enabled;
    int64_t bits;  /* of a 64-bit simhash that may differ */
    int64_t burst; /* records of a family at once */
    double share;  /* of the other records, after that */
};

struct conf_repetition {
    bool enabled;
    int64_t min_bytes; /* shorter records are not checked */
    double share;      /* of a record that may be copies of itself */
};

struct conf_share_cap {
    double share; /* of the recent bytes, for one domain; 1: no cap */
    int64_t window_bytes;
};

struct conf_gradient_norm {
    bool enabled;
    double medians; /* limit, in medians of recent norms */
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
    double max_regression; /* relative, of the mean over recent traffic */
    double max_domain_regression; /* relative, of any domain */
    double traffic_half_life;     /* in learned records */
    double confidence;            /* one-sided, in [0.5, 1) */
    int64_t min_chunks;           /* no longer used */
    int64_t max_tokens;          /* scored for one verdict */
    struct conf_strings protect; /* domains that may never regress */
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
    int64_t prefix_cache_mib; /* 0: off */
};

enum conf_admin { CONF_ADMIN_ANYWHERE, CONF_ADMIN_SOCKET };

enum conf_listen_kind { CONF_LISTEN_TCP, CONF_LISTEN_UNIX };

struct conf_http {
    char *listen;     /* as given */
    char *token_file; /* NULL: none */
    struct {
        char *cert, *key; /* PEM files; NULL: no TLS. Both or none */
    } tls;
    char *admin_socket; /* path; NULL: none */
    char *admin_group;  /* name; NULL: only root and the daemon's user */
    enum conf_admin admin;
    struct conf_strings cors_origins; /* "*", or scheme://host[:port] */
    int64_t max_body_bytes;
    int64_t max_connections;
    int64_t max_request_seconds;
    double cpu_share;
    /* The parts of listen. */
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

struct conf_origins; /* fields are in conf_problems.h */

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
    struct conf_origins *origins; /* of each key's value, for problems */
};

/* Returns a configuration with all defaults. */
struct conf *conf_create(void);
void conf_free(struct conf *c);

/* The name of a type of source in the configuration and in the status. */
const char *conf_source_name(enum conf_source_type type);

/* What a token of http.token_file may do; a higher scope includes the lower
 * ones. */
enum conf_scope {
    CONF_SCOPE_NONE,
    CONF_SCOPE_INFER,
    CONF_SCOPE_FEED,
    CONF_SCOPE_ADMIN
};
#define CONF_SCOPES "infer, feed or admin"

/* CONF_SCOPE_NONE: there is no such scope. */
enum conf_scope conf_scope_of(const char *name);

/* A problem of a configuration, ready to be printed. */
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
 * Checks that librdkafka knows a property and accepts its value. The caller of
 * conf_load passes such a function, so that conf needs no librdkafka.
 *   why      out: the reason, why_size bytes with the NUL
 *   returns  0 if it is accepted
 */
typedef int conf_property_check(const char *name, const char *value, char *why,
                                size_t why_size);

/*
 * Finds the configuration file when -c is not given: $MNEME_CONF, ./mneme.yaml,
 * SYSCONFDIR/mneme/mneme.yaml, or NULL. $MNEME_CONF may name a missing file:
 * reading it then fails. The caller frees the path.
 */
char *conf_find(void);

/*
 * Loads the file, then the overrides, then checks values against each other.
 * Adds all problems, sorted by origin.
 *   c         from conf_create(); keys that are not mentioned keep their value
 *   path      NULL: no file
 *   sets      "a.b.c=value"; later ones win. The value is YAML, with two
 *             exceptions: a text that does not begin with a quote, and the
 *             value of "source.kafka.properties.NAME=", are taken unchanged
 *   check     for source.kafka.properties; NULL: any name is accepted
 *   returns   0, or ERR_INVALID after a problem; c is then good for
 *             conf_free only
 */
int conf_load(struct conf *c, const char *path, const char *const *sets,
              size_t n_sets, conf_property_check *check,
              struct conf_problems *problems);

/* Does what --data-dir does: --set data_dir=DIR, but DIR is no YAML. */
void conf_set_data_dir(struct conf *c, const char *dir);

/*
 * Gives a key that nobody set another default: that of the time when the data
 * directory was made. A key that was set keeps its value.
 *   returns  0, or ERR_CORRUPT: the key cannot have this value
 */
int conf_set_default(struct conf *c, const char *key, const char *value,
                     struct err *err);

/* Returns the printed value of a key: conf_text(c, "model.preset") is "small".
 * The key must exist, and be neither a section nor properties. The caller frees
 * it. */
char *conf_text(const struct conf *c, const char *key);

/* Appends the names of the keys that learning depends on. Each version keeps
 * the values of these keys only. conf_strings_release() */
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

/* Appends the whole configuration as YAML, which loads to the same values.
 * Secrets are printed as CONF_MASK, which conf_load refuses. */
void conf_print(const struct conf *c, struct buf *out);

#define CONF_MASK "********"

/*
 * Compares two configurations. A key that was set in neither of them is the
 * same in both.
 *   reloadable   out: keys that differ and that a running daemon can change
 *   fixed        out: other keys that differ; conf_strings_release() both
 *   returns      how many differ
 */
size_t conf_reload_diff(const struct conf *now, const struct conf *next,
                        struct conf_strings *reloadable,
                        struct conf_strings *fixed);
/* Copies the reloadable values of `next` to `now`. A token file that the
 * present address needs is kept. */
void conf_reload_apply(struct conf *now, const struct conf *next);

void conf_strings_add(struct conf_strings *l, const char *s); /* copies */
void conf_strings_release(struct conf_strings *l);

#endif

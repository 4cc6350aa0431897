/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table comes first; below it, one group of functions for each thing that
 * is done with a key: find, describe, set, print, release.
 */
#include "config.h"

#include "conf/conf_map.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/model_shape.h"
#include "base/utf8.h"
#include "base/xalloc.h"

#define AT(field) .at = offsetof(struct conf, field)

#define MAX_SEED 9007199254740991.0 /* 2^53 - 1: JSON carries it exactly */
#define MAX_TEXT_BYTES 4096
#define MAX_STRINGS 1000

/* A row reads best as it is written here. */
/* clang-format off */
#define SECTION(path, text) {.name = path, .type = CONF_SECTION, .doc = text}

const struct conf_key conf_map[] = {
    {.name = "data_dir", .type = CONF_TEXT, AT(data_dir),
     .fallback = "./mneme-data",
     .doc = "Directory of everything that mneme keeps: the database, the "
            "versions and, while it runs, its addresses. It is made when it "
            "is not there. One daemon at a time uses it."},

    SECTION("source", "Where the records come from."),
    {.name = "source.type", .type = CONF_ENUM, AT(source.type),
     .fallback = "kafka", .words = "kafka | file | stdin",
     .doc = "Kafka topics, a file with one record a line, or the standard "
            "input, read the same way."},
    {.name = "source.path", .type = CONF_TEXT, AT(source.path),
     .fallback = "-",
     .doc = "With source.type file: the file. Names that end in .gz or .zst "
            "are read as they are. A dash stands for no file."},
    {.name = "source.follow", .type = CONF_BOOL, AT(source.follow),
     .fallback = "false",
     .doc = "With source.type file: keep waiting for more lines at the end, "
            "also when the file is rotated."},
    {.name = "source.at_end", .type = CONF_ENUM, AT(source.at_end),
     .fallback = "serve", .words = "serve | exit",
     .doc = "After the last line a version is published; then go on serving, "
            "or exit with status 0."},

    SECTION("source.kafka", "Used with source.type kafka."),
    {.name = "source.kafka.topics", .type = CONF_STRINGS,
     AT(source.kafka.topics), .fallback = "[text]",
     .doc = "Topics to learn from, by name."},
    {.name = "source.kafka.start", .type = CONF_ENUM,
     AT(source.kafka.start.kind), .fallback = "earliest",
     .words = "earliest | latest | timestamp:MS",
     .number_at = offsetof(struct conf, source.kafka.start.timestamp_ms),
     .doc = "Where a partition is first read from; MS is Unix time in "
            "milliseconds. It counts only where the data directory has no "
            "offset for the partition yet."},
    {.name = "source.kafka.on_gap", .type = CONF_ENUM,
     AT(source.kafka.on_gap), .fallback = "stop", .words = "stop | skip",
     .doc = "When Kafka no longer has the stored offset, or the topic is "
            "another one of the same name: stop learning and go on serving, "
            "or count the gap and go on at the first offset there is."},
    {.name = "source.kafka.dead_letter", .type = CONF_TEXT,
     AT(source.kafka.dead_letter), .fallback = "null", .null_word = "null",
     .doc = "Topic that bad records are also produced to, as they came, with "
            "the reason in their headers."},
    {.name = "source.kafka.properties", .type = CONF_PROPERTIES,
     AT(source.kafka.properties),
     .fallback = "{bootstrap.servers: \"localhost:9092\", group.id: mneme}",
     .doc = "Handed to librdkafka as they stand: SASL, TLS, fetch sizes and "
            "so on; its CONFIGURATION.md has them all. What is given here "
            "comes on top of the default. bootstrap.servers: embedded starts "
            "a broker inside mnemed, for a trial only: what it holds is gone "
            "when mnemed stops."},

    {.name = "source.format", .type = CONF_ENUM, AT(source.format),
     .fallback = "auto", .words = "auto | json | text",
     .doc = "What a record is: a JSON object with text (or prompt and "
            "completion), plain text, or whichever it looks like."},
    {.name = "source.max_record_bytes", .type = CONF_INT,
     AT(source.max_record_bytes), .fallback = "65536", .min = 1,
     .max = 16777216, .doc = "A longer record is a bad record."},
    {.name = "source.bad_record", .type = CONF_ENUM, AT(source.bad_record),
     .fallback = "quarantine", .words = "quarantine | skip | stop",
     .doc = "What happens to a record that cannot be learned from: keep it "
            "with the reason, count it only, or stop learning. Bad records "
            "are counted in any case."},
    {.name = "source.when_behind", .type = CONF_ENUM, AT(source.when_behind),
     .fallback = "wait", .words = "wait | sample",
     .doc = "When records come faster than they can be learned: hold the "
            "source back, or learn a uniform share and count the rest."},

    SECTION("model", "What learns. Fixed once the data directory is made."),
    {.name = "model.preset", .type = CONF_ENUM, AT(model.preset),
     .fallback = "small",
     .words = "nano | tiny | small | base | large | custom | linear",
     .doc = "Size of the Transformer. Custom takes dim, layers, heads, "
            "kv_heads, ffn_dim and context from the keys below. Linear has no "
            "Transformer: a fast classifier for streams with labels."},
    {.name = "model.tokenizer", .type = CONF_ENUM, AT(model.tokenizer),
     .fallback = "bpe", .words = "bytes | bpe",
     .doc = "Bytes as they are, or a byte-level BPE vocabulary that is "
            "learned from the first text and then frozen."},
    {.name = "model.vocab_size", .type = CONF_INT, AT(model.vocab_size),
     .fallback = "4096", .min = 256, .max = MODEL_MAX_VOCAB,
     .doc = "With model.tokenizer bpe: how many tokens there are, the special "
            "ones included; at least 300."},
    {.name = "model.tokenizer_bytes", .type = CONF_INT,
     AT(model.tokenizer_bytes), .fallback = "1048576", .min = 1,
     .max = 1073741824,
     .doc = "How many bytes of text the vocabulary is learned from."},
    {.name = "model.tokenizer_from", .type = CONF_TEXT,
     AT(model.tokenizer_from), .fallback = "null", .null_word = "null",
     .doc = "A text file that the vocabulary is learned from instead, or a "
            "tokenizer.json that is taken as it is."},
    {.name = "model.tokenizer_wait_seconds", .type = CONF_REAL,
     AT(model.tokenizer_wait_seconds), .fallback = "30", .min = 0,
     .max = 86400,
     .doc = "When the stream pauses this long, the vocabulary is learned from "
            "the text that there is."},
    {.name = "model.max_domains", .type = CONF_INT, AT(model.max_domains),
     .fallback = "256", .min = 1, .max = 65536,
     .doc = "Further domains count as `other`."},
    {.name = "model.max_labels", .type = CONF_INT, AT(model.max_labels),
     .fallback = "4096", .min = 1, .max = 65536,
     .doc = "Records with further labels are bad records."},
    {.name = "model.qk_norm", .type = CONF_BOOL, AT(model.qk_norm),
     .fallback = "false",
     .doc = "Normalise queries and keys, as Qwen3 does; versions are then "
            "Qwen3ForCausalLM instead of LlamaForCausalLM."},
    {.name = "model.dim", .type = CONF_INT, AT(model.dim), .fallback = "0",
     .min = 0, .max = MODEL_MAX_DIM,
     .doc = "With model.preset custom: channels. A multiple of heads, with "
            "dim / heads even. Like the five after it, it is needed there "
            "and 0 with any other preset."},
    {.name = "model.layers", .type = CONF_INT, AT(model.layers),
     .fallback = "0", .min = 0, .max = MODEL_MAX_LAYERS,
     .doc = "With model.preset custom: layers."},
    {.name = "model.heads", .type = CONF_INT, AT(model.heads),
     .fallback = "0", .min = 0, .max = 1024,
     .doc = "With model.preset custom: attention heads."},
    {.name = "model.kv_heads", .type = CONF_INT, AT(model.kv_heads),
     .fallback = "0", .min = 0, .max = 1024,
     .doc = "With model.preset custom: heads of keys and values; divides "
            "heads."},
    {.name = "model.ffn_dim", .type = CONF_INT, AT(model.ffn_dim),
     .fallback = "0", .min = 0, .max = 4.0 * MODEL_MAX_DIM,
     .doc = "With model.preset custom: channels inside the feed-forward "
            "layer."},
    {.name = "model.context", .type = CONF_INT, AT(model.context),
     .fallback = "0", .min = 0, .max = MODEL_MAX_CONTEXT,
     .doc = "With model.preset custom: tokens that the model sees at once; at "
            "least 2."},
    {.name = "model.init", .type = CONF_TEXT, AT(model.init),
     .fallback = "random", .null_word = "random",
     .doc = "Weights to start from: random ones, or a Hugging Face model "
            "directory."},

    SECTION("learner", "How it learns."),
    {.name = "learner.threads", .type = CONF_INT, AT(learner.threads),
     .fallback = "0", .min = 0, .max = 256,
     .doc = "0: one for each core that it may use. What is learned does not "
            "depend on it."},
    {.name = "learner.shards", .type = CONF_INT, AT(learner.shards),
     .fallback = "0", .min = 0, .max = 256,
     .doc = "Parts of a batch whose gradients are summed in order. 0: as many "
            "as threads when the data directory is made; fixed from then "
            "on."},
    {.name = "learner.seed", .type = CONF_INT, AT(learner.seed),
     .fallback = "42", .min = 0, .max = MAX_SEED,
     .doc = "The same records, configuration and seed give the same model."},
    {.name = "learner.batch_tokens", .type = CONF_INT,
     AT(learner.batch_tokens), .fallback = "256", .min = 8, .max = 1048576,
     .doc = "New tokens in an update; replay comes on top."},
    {.name = "learner.flush_seconds", .type = CONF_REAL,
     AT(learner.flush_seconds), .fallback = "2", .min = 0, .max = 86400,
     .doc = "Learn from a part-filled batch when the stream pauses this long. "
            "0: only at the end or when it is full."},

    SECTION("learner.optimizer", "AdamW."),
    {.name = "learner.optimizer.lr", .type = CONF_REAL,
     AT(learner.optimizer.lr), .fallback = "0", .min = 0, .max = 1,
     .is_reloadable = true,
     .doc = "Learning rate after the warm-up; constant, since a stream has no "
            "end. 0: the one that fits the model's width, 0.28 / dim."},
    {.name = "learner.optimizer.warmup_steps", .type = CONF_INT,
     AT(learner.optimizer.warmup_steps), .fallback = "100", .min = 0,
     .max = 1000000000, .doc = "Steps over which the rate rises from 0."},
    {.name = "learner.optimizer.weight_decay", .type = CONF_REAL,
     AT(learner.optimizer.weight_decay), .fallback = "0.1", .min = 0,
     .max = 10, .doc = "Decoupled weight decay."},
    {.name = "learner.optimizer.clip_norm", .type = CONF_REAL,
     AT(learner.optimizer.clip_norm), .fallback = "1.0", .min = 0,
     .max = 1000000,
     .doc = "The gradient's global norm is cut to this. 0: no clipping."},

    SECTION("learner.ewc", "Elastic weight consolidation: holds weights that "
                           "older text needs near where they were."),
    {.name = "learner.ewc.enabled", .type = CONF_BOOL,
     AT(learner.ewc.enabled), .fallback = "true", .doc = "The switch."},
    {.name = "learner.ewc.lambda", .type = CONF_REAL, AT(learner.ewc.lambda),
     .fallback = "10.0", .min = 0, .max = 1e9, .is_reloadable = true,
     .doc = "Strength of the pull towards the anchor."},
    {.name = "learner.ewc.decay", .type = CONF_REAL, AT(learner.ewc.decay),
     .fallback = "0.95", .min = 0, .max = 0.9999,
     .doc = "Share of the running Fisher estimate that a consolidation keeps; "
            "the rest comes from the new one."},
    {.name = "learner.ewc.consolidate", .type = CONF_ENUM,
     AT(learner.ewc.consolidate.kind), .fallback = "auto",
     .words = "auto | off | every:STEPS",
     .number_at = offsetof(struct conf, learner.ewc.consolidate.every_steps),
     .doc = "When the anchor moves to the present weights: by itself on a "
            "plateau of the loss and at intervals, never, or every so many "
            "steps."},

    SECTION("learner.replay", "Learning again from records that were kept."),
    {.name = "learner.replay.enabled", .type = CONF_BOOL,
     AT(learner.replay.enabled), .fallback = "true", .doc = "The switch."},
    {.name = "learner.replay.ratio", .type = CONF_REAL,
     AT(learner.replay.ratio), .fallback = "1.0", .min = 0, .max = 16,
     .is_reloadable = true,
     .doc = "Replayed tokens for each new one in an update."},
    {.name = "learner.replay.adaptive", .type = CONF_BOOL,
     AT(learner.replay.adaptive), .fallback = "false",
     .doc = "Replay more when there is time and less with growing lag. What "
            "is learned then depends on timing."},
    {.name = "learner.replay.capacity", .type = CONF_INT,
     AT(learner.replay.capacity), .fallback = "100000", .min = 1,
     .max = 10000000, .doc = "Segments that are kept."},
    {.name = "learner.replay.balance", .type = CONF_ENUM,
     AT(learner.replay.balance), .fallback = "domain",
     .words = "domain | none",
     .doc = "Which segments stay when it is full: about as many of each "
            "domain, or in proportion to what came."},

    SECTION("learner.holdout", "Records that are never learned, to measure "
                               "with."),
    {.name = "learner.holdout.fraction", .type = CONF_REAL,
     AT(learner.holdout.fraction), .fallback = "0.01", .min = 0, .max = 0.5,
     .doc = "Share of the records, chosen by a hash of their text."},
    {.name = "learner.holdout.capacity", .type = CONF_INT,
     AT(learner.holdout.capacity), .fallback = "2000", .min = 1,
     .max = 1000000, .doc = "Segments that are kept, balanced by domain."},

    SECTION("publish", "When a version is made, and whether it serves."),
    {.name = "publish.every_seconds", .type = CONF_REAL,
     AT(publish.every_seconds), .fallback = "10", .min = 0, .max = 31536000,
     .is_reloadable = true,
     .doc = "A version is made this long after the last one. 0: by tokens "
            "alone."},
    {.name = "publish.every_tokens", .type = CONF_INT,
     AT(publish.every_tokens), .fallback = "200000", .min = 0, .max = 1e15,
     .is_reloadable = true,
     .doc = "Or after this many new tokens, whichever comes first. 0: by time "
            "alone."},

    SECTION("publish.gate", "A version serves only when it is not worse than "
                            "the serving one on held-out records."),
    {.name = "publish.gate.enabled", .type = CONF_BOOL,
     AT(publish.gate.enabled), .fallback = "true", .is_reloadable = true,
     .doc = "The switch. Without it each version serves at once."},
    {.name = "publish.gate.max_regression", .type = CONF_REAL,
     AT(publish.gate.max_regression), .fallback = "0.02", .min = 0, .max = 1,
     .is_reloadable = true,
     .doc = "Relative rise of a domain's bits per byte that is accepted: 0.02 "
            "is two per cent."},
    {.name = "publish.gate.confidence", .type = CONF_REAL,
     AT(publish.gate.confidence), .fallback = "0.95", .min = 0.5,
     .max = 0.9999, .is_reloadable = true,
     .doc = "Of the one-sided bound that has to stay below it."},
    {.name = "publish.gate.min_chunks", .type = CONF_INT,
     AT(publish.gate.min_chunks), .fallback = "30", .min = 2, .max = 1000000,
     .is_reloadable = true,
     .doc = "Domains with fewer held-out segments are tested together."},
    {.name = "publish.gate.max_tokens", .type = CONF_INT,
     AT(publish.gate.max_tokens), .fallback = "16384", .min = 256,
     .max = 1000000000, .is_reloadable = true,
     .doc = "Held-out tokens that one decision scores."},
    {.name = "publish.gate.protect", .type = CONF_STRINGS,
     AT(publish.gate.protect), .fallback = "[]", .is_reloadable = true,
     .doc = "Domains that may never exceed max_regression, whatever the "
            "others gain."},

    {.name = "publish.auto_rollback", .type = CONF_BOOL,
     AT(publish.auto_rollback), .fallback = "true", .is_reloadable = true,
     .doc = "When a weight is not finite: go back to the newest version by "
            "itself, and skip the records since then. false: stop."},

    SECTION("publish.keep", "Versions that stay, beside those that are pinned "
                            "or serving."),
    {.name = "publish.keep.newest", .type = CONF_INT,
     AT(publish.keep.newest), .fallback = "20", .min = 1, .max = 1000000,
     .is_reloadable = true, .doc = "The newest so many."},
    {.name = "publish.keep.hourly", .type = CONF_INT,
     AT(publish.keep.hourly), .fallback = "24", .min = 0, .max = 1000000,
     .is_reloadable = true,
     .doc = "The last one of each of so many hours."},
    {.name = "publish.keep.daily", .type = CONF_INT, AT(publish.keep.daily),
     .fallback = "14", .min = 0, .max = 1000000, .is_reloadable = true,
     .doc = "The last one of each of so many days."},

    SECTION("serve", "How versions answer."),
    {.name = "serve.quantize", .type = CONF_ENUM, AT(serve.quantize),
     .fallback = "none", .words = "none | int8",
     .doc = "Weights as they are, or rounded to int8 when a version is "
            "loaded: less memory, faster answers, and a loss in bits per "
            "byte that is usually well below one per cent. What is learned "
            "and the files stay in float. The gate compares versions as they "
            "answer: both rounded."},

    SECTION("http", "Where questions are answered."),
    {.name = "http.listen", .type = CONF_TEXT, AT(http.listen),
     .fallback = "127.0.0.1:6636",
     .doc = "HOST:PORT, [IPV6]:PORT or unix:PATH. Port 0: any free one, "
            "which is printed and written to http.addr in the data "
            "directory."},
    {.name = "http.token_file", .type = CONF_TEXT, AT(http.token_file),
     .fallback = "null", .null_word = "null", .is_reloadable = true,
     .doc = "File of tokens, one a line: `infer TOKEN` may read and ask, "
            "`admin TOKEN` may also roll back, pin and promote; # begins a comment. "
            "Needed to listen on anything but loopback or a unix socket. A "
            "reload reads it again."},
    {.name = "http.max_body_bytes", .type = CONF_INT,
     AT(http.max_body_bytes), .fallback = "1048576", .min = 1024,
     .max = 1073741824, .doc = "A request with a longer body gets 413."},
    {.name = "http.max_connections", .type = CONF_INT,
     AT(http.max_connections), .fallback = "256", .min = 1, .max = 4096,
     .doc = "Further connections are refused."},

    SECTION("log", "Lines on the standard error."),
    {.name = "log.level", .type = CONF_ENUM, AT(log.level),
     .fallback = "info", .words = "error | warn | info | debug",
     .is_reloadable = true, .doc = "The least important lines that show."},
    {.name = "log.format", .type = CONF_ENUM, AT(log.format),
     .fallback = "text", .words = "text | json", .is_reloadable = true,
     .doc = "Text, or one JSON object a line."},
};
/* clang-format on */

const size_t conf_map_n = sizeof conf_map / sizeof *conf_map;

_Static_assert(sizeof(enum conf_preset) == sizeof(int) &&
                   sizeof(enum log_level) == sizeof(int),
               "enum fields are written as int");

/* --- find --------------------------------------------------------------- */

const struct conf_key *conf_map_find(const char *name)
{
    for (size_t i = 0; i < conf_map_n; i++) {
        if (strcmp(conf_map[i].name, name) == 0)
            return &conf_map[i];
    }
    return NULL;
}

const char *conf_map_leaf(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

int conf_map_depth(const char *name)
{
    int n = 0;

    for (; *name; name++)
        n += *name == '.';
    return n;
}

#define MAX_WORD 40

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;

    return m < c ? m : c;
}

/* Insertions, deletions, changes and swaps of neighbours between two words
 * (Damerau 1964, each place edited once); MAX_WORD for longer ones. */
static int edits(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    int d[MAX_WORD + 1][MAX_WORD + 1];

    if (n > MAX_WORD || m > MAX_WORD)
        return MAX_WORD;
    for (size_t i = 0; i <= n; i++)
        d[i][0] = (int)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
                           d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
                a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    }
    return d[n][m];
}

/* Words of up to three letters differ in one at most, longer ones in a third
 * of theirs. */
static int near_enough(const char *word)
{
    size_t n = strlen(word);

    return n < 4 ? 1 : (int)(n / 3);
}

static bool same_section(const char *a, const char *b)
{
    size_t n = (size_t)(conf_map_leaf(a) - a);

    return (size_t)(conf_map_leaf(b) - b) == n && memcmp(a, b, n) == 0;
}

/* How far a row is from a wrong name: the last part counts most, the whole name
 * decides between rows that end alike. Not less than limit: not near. */
static int distance(const char *name, const char *row, int limit)
{
    int leaf = edits(conf_map_leaf(name), conf_map_leaf(row));

    return leaf > near_enough(conf_map_leaf(name))
               ? limit
               : leaf * 2 * MAX_WORD + edits(name, row);
}

const struct conf_key *conf_map_nearest(const char *name)
{
    const struct conf_key *best = NULL;
    int best_distance, d;

    for (int elsewhere = 0; elsewhere < 2 && !best; elsewhere++) {
        best_distance = MAX_WORD * MAX_WORD * 2;
        for (size_t i = 0; i < conf_map_n; i++) {
            if (!elsewhere && !same_section(conf_map[i].name, name))
                continue;
            d = distance(name, conf_map[i].name, best_distance);
            if (d < best_distance) {
                best_distance = d;
                best = &conf_map[i];
            }
        }
    }
    return best;
}

/* Steps through "a | b | c:N": the next word into word, or NULL at the end. */
static const char *next_word(const char *words, char word[MAX_WORD + 1])
{
    size_t n = strcspn(words, " ");

    if (n == 0 || n > MAX_WORD)
        return NULL;
    memcpy(word, words, n);
    word[n] = '\0';
    words += n;
    return strncmp(words, " | ", 3) == 0 ? words + 3 : words;
}

bool conf_map_nearest_word(const char *words, const char *word, struct buf *out)
{
    char candidate[MAX_WORD + 1], best[MAX_WORD + 1] = "";
    int best_edits = near_enough(word) + 1;
    int n;

    while ((words = next_word(words, candidate)) != NULL) {
        n = edits(word, candidate);
        if (n < best_edits) {
            best_edits = n;
            memcpy(best, candidate, sizeof best);
        }
    }
    buf_adds(out, best);
    return *best != '\0';
}

/* --- describe ----------------------------------------------------------- */

/* The fewest digits that read back as the same number; whole numbers without
 * an exponent. */
static void print_real(double x, struct buf *out)
{
    char text[32];

    if (x == floor(x) && fabs(x) < 1e15) {
        buf_addf(out, "%.0f", x);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    buf_adds(out, text);
}

static void describe_range(const struct conf_key *key, struct buf *out)
{
    if (key->type == CONF_INT) {
        buf_addf(out, "a whole number from %.0f to %.0f", key->min, key->max);
        return;
    }
    buf_adds(out, "a number from ");
    print_real(key->min, out);
    buf_adds(out, " to ");
    print_real(key->max, out);
}

void conf_map_describe(const struct conf_key *key, struct buf *out)
{
    switch (key->type) {
    case CONF_SECTION:
        buf_adds(out, "a section of keys");
        break;
    case CONF_BOOL:
        buf_adds(out, "true | false");
        break;
    case CONF_INT:
    case CONF_REAL:
        describe_range(key, out);
        break;
    case CONF_ENUM:
        buf_adds(out, key->words);
        break;
    case CONF_TEXT:
        buf_adds(out, "text");
        if (key->null_word)
            buf_addf(out, ", or %s", key->null_word);
        break;
    case CONF_STRINGS:
        buf_adds(out, "a list of texts");
        break;
    case CONF_PROPERTIES:
        buf_adds(out, "a mapping of names to values");
        break;
    }
}

/* --- set ---------------------------------------------------------------- */

static void *field(const struct conf_key *key, struct conf *c)
{
    return (char *)c + key->at;
}

static const void *field_const(const struct conf_key *key, const struct conf *c)
{
    return (const char *)c + key->at;
}

void conf_map_quote(const char *text, struct buf *out)
{
    struct buf whole = BUF_INIT;
    size_t n = strlen(text);
    bool is_cut = n > 40;

    utf8_repair(text, is_cut ? utf8_whole(text, 40) : n, &whole);
    buf_addc(out, '\'');
    for (size_t i = 0; i < whole.len; i++) {
        unsigned char ch = (unsigned char)whole.data[i];

        if (ch < 0x20 || ch == 0x7f)
            buf_addc(out, '?');
        else
            buf_addc(out, whole.data[i]);
    }
    buf_adds(out, is_cut ? "...'" : "'");
    buf_release(&whole);
}

static void found(const struct conf_node *value, struct buf *why)
{
    if (value->kind == CONF_NODE_MAP)
        buf_adds(why, "a mapping");
    else if (value->kind == CONF_NODE_LIST)
        buf_adds(why, "a list");
    else if (conf_node_is_null(value))
        buf_adds(why, "nothing");
    else
        conf_map_quote(value->text, why);
    if (value->kind == CONF_NODE_SCALAR && value->is_quoted)
        buf_adds(why, " in quotes");
}

/* "expected WHAT, found 'TEXT'" */
static int refuse(const struct conf_key *key, const struct conf_node *value,
                  struct buf *why)
{
    buf_adds(why, "expected ");
    conf_map_describe(key, why);
    buf_adds(why, ", found ");
    found(value, why);
    return ERR_INVALID;
}

static int set_bool(const struct conf_key *key, bool *x,
                    const struct conf_node *value, struct buf *why)
{
    static const char *const words[] = {"true", "True",  "TRUE",  "yes",
                                        "on",   "false", "False", "FALSE",
                                        "no",   "off"};
    const size_t n_words = sizeof words / sizeof *words;

    for (size_t i = 0; !value->is_quoted && i < n_words; i++) {
        if (strcmp(value->text, words[i]) == 0) {
            *x = i < n_words / 2;
            return 0;
        }
    }
    return refuse(key, value, why);
}

/* A whole number in decimal and nothing else. */
static bool parse_int(const char *s, int64_t *x)
{
    size_t sign = *s == '-' || *s == '+';
    char *end;

    if (s[sign] == '\0' || strspn(s + sign, "0123456789") != strlen(s + sign))
        return false;
    errno = 0;
    *x = strtoll(s, &end, 10);
    return errno == 0 && *end == '\0';
}

static int set_int(const struct conf_key *key, int64_t *x,
                   const struct conf_node *value, struct buf *why)
{
    int64_t n;

    if (value->is_quoted || !parse_int(value->text, &n) ||
        (double)n < key->min || (double)n > key->max)
        return refuse(key, value, why);
    *x = n;
    return 0;
}

static int set_real(const struct conf_key *key, double *x,
                    const struct conf_node *value, struct buf *why)
{
    const char *s = value->text;
    char *end;
    double number;

    /* strtod also reads inf, nan and hexadecimal; YAML's numbers are plain */
    if (value->is_quoted || *s == '\0' ||
        strspn(s, "0123456789.eE+-") != strlen(s))
        return refuse(key, value, why);
    number = strtod(s, &end);
    if (*end != '\0' || !isfinite(number) || number < key->min ||
        number > key->max)
        return refuse(key, value, why);
    *x = number;
    return 0;
}

/* "every:200" against "every:STEPS". */
static bool matches_number(const char *word, const char *text, int64_t *n)
{
    const char *colon = strchr(word, ':');
    size_t n_bytes;

    if (!colon)
        return false;
    n_bytes = (size_t)(colon - word) + 1;
    return strncmp(word, text, n_bytes) == 0 && parse_int(text + n_bytes, n) &&
           *n >= 0;
}

static int set_enum(const struct conf_key *key, struct conf *c,
                    const struct conf_node *value, struct buf *why)
{
    const char *words = key->words;
    char word[MAX_WORD + 1];
    int64_t number = 0;

    for (int i = 0; (words = next_word(words, word)) != NULL; i++) {
        bool has_number = matches_number(word, value->text, &number);

        if (!has_number &&
            (strchr(word, ':') || strcmp(word, value->text) != 0))
            continue;
        *(int *)field(key, c) = i;
        if (key->number_at)
            *(int64_t *)((char *)c + key->number_at) = number;
        return 0;
    }
    refuse(key, value, why);
    buf_adds(why, "; did you mean '");
    if (conf_map_nearest_word(key->words, value->text, why)) {
        buf_adds(why, "'?");
    } else {
        why->len -= strlen("; did you mean '");
        why->data[why->len] = '\0';
    }
    return ERR_INVALID;
}

static bool is_sane_text(const struct conf_node *value)
{
    size_t n = strlen(value->text);

    return n > 0 && n <= MAX_TEXT_BYTES && !strpbrk(value->text, "\n\r");
}

static int set_text(const struct conf_key *key, char **x,
                    const struct conf_node *value, struct buf *why)
{
    bool is_null =
        key->null_word && !value->is_quoted &&
        (conf_node_is_null(value) || strcmp(value->text, key->null_word) == 0);

    if (!is_null && (conf_node_is_null(value) || !is_sane_text(value)))
        return refuse(key, value, why);
    free(*x);
    *x = is_null ? NULL : xstrdup(value->text);
    return 0;
}

/* A list, or one text for a list of one. */
static int set_strings(struct conf_strings *x, const struct conf_node *value,
                       struct buf *why)
{
    struct conf_strings l = {NULL, 0};
    const struct conf_node *node =
        value->kind == CONF_NODE_LIST ? value->first : value;

    for (; node; node = node->next) {
        if (node->kind != CONF_NODE_SCALAR || conf_node_is_null(node) ||
            !is_sane_text(node) || l.n == MAX_STRINGS) {
            conf_strings_release(&l);
            buf_adds(why, "expected texts in the list, found ");
            found(node, why);
            return ERR_INVALID;
        }
        conf_strings_add(&l, node->text);
        if (node == value)
            break;
    }
    conf_strings_release(x);
    *x = l;
    return 0;
}

int conf_map_set(const struct conf_key *key, struct conf *c,
                 const struct conf_node *value, struct buf *why)
{
    void *x = field(key, c);

    if (key->type == CONF_STRINGS && value->kind != CONF_NODE_MAP)
        return set_strings(x, value, why);
    if (value->kind != CONF_NODE_SCALAR)
        return refuse(key, value, why);
    switch (key->type) {
    case CONF_BOOL:
        return set_bool(key, x, value, why);
    case CONF_INT:
        return set_int(key, x, value, why);
    case CONF_REAL:
        return set_real(key, x, value, why);
    case CONF_ENUM:
        return set_enum(key, c, value, why);
    case CONF_TEXT:
        return set_text(key, x, value, why);
    default:
        BUG("%s has no single value", key->name);
    }
}

/* --- print -------------------------------------------------------------- */

/* Letters, digits and a few signs that never mean anything to YAML, and no
 * word that YAML reads as something else than text. */
static bool is_plain(const char *s)
{
    static const char *const taken[] = {"null", "Null", "NULL", "random"};
    static const char safe[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_./-";

    if (*s == '\0' || *s == '-' || strspn(s, safe) != strlen(s) ||
        strcmp(s, "...") == 0)
        return false;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        if (strcmp(s, taken[i]) == 0)
            return false;
    }
    return true;
}

/* One character of UTF-8 inside double quotes; those that YAML does not take
 * as they are, or takes for line ends, are escaped. Returns its bytes. */
static size_t print_escaped(const char *s, struct buf *out)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned code;

    if (u[0] == '"' || u[0] == '\\') {
        buf_addf(out, "\\%c", s[0]);
        return 1;
    }
    if (u[0] < 0x20 || u[0] == 0x7f) {
        buf_addf(out, "\\x%02x", u[0]);
        return 1;
    }
    if (u[0] == 0xc2 && u[1] < 0xa0) {
        buf_addf(out, "\\x%02x", u[1]);
        return 2;
    }
    if ((u[0] & 0xf0) == 0xe0) {
        code = (u[0] & 0xfu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
        if (code == 0x2028 || code == 0x2029 || code >= 0xfeff) {
            buf_addf(out, "\\u%04x", code);
            return 3;
        }
    }
    buf_addc(out, s[0]);
    return 1;
}

void conf_map_print_text(const char *text, struct buf *out)
{
    if (is_plain(text)) {
        buf_adds(out, text);
        return;
    }
    buf_addc(out, '"');
    while (*text)
        text += print_escaped(text, out);
    buf_addc(out, '"');
}

static void print_enum(const struct conf_key *key, const struct conf *c,
                       struct buf *out)
{
    int value = *(const int *)field_const(key, c);
    const char *words = key->words;
    char word[MAX_WORD + 1];
    char *colon;

    for (int i = 0; i <= value; i++) {
        words = next_word(words, word);
        BUG_ON(!words);
    }
    colon = strchr(word, ':');
    if (!colon) {
        buf_adds(out, word);
        return;
    }
    buf_add(out, word, (size_t)(colon - word) + 1);
    buf_addf(out, "%lld",
             (long long)*(const int64_t *)((const char *)c + key->number_at));
}

static void print_strings(const struct conf_strings *l, struct buf *out)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0)
            buf_adds(out, ", ");
        conf_map_print_text(l->items[i], out);
    }
    buf_addc(out, ']');
}

void conf_map_print(const struct conf_key *key, const struct conf *c,
                    struct buf *out)
{
    const void *x = field_const(key, c);

    switch (key->type) {
    case CONF_BOOL:
        buf_adds(out, *(const bool *)x ? "true" : "false");
        break;
    case CONF_INT:
        buf_addf(out, "%lld", (long long)*(const int64_t *)x);
        break;
    case CONF_REAL:
        print_real(*(const double *)x, out);
        break;
    case CONF_ENUM:
        print_enum(key, c, out);
        break;
    case CONF_TEXT:
        if (*(char *const *)x)
            conf_map_print_text(*(char *const *)x, out);
        else
            buf_adds(out, key->null_word);
        break;
    case CONF_STRINGS:
        print_strings(x, out);
        break;
    case CONF_SECTION:
    case CONF_PROPERTIES:
        BUG("%s has no single value", key->name);
    }
}

/* --- release ------------------------------------------------------------ */

void conf_strings_add(struct conf_strings *l, const char *s)
{
    l->items = xreallocarray(l->items, l->n + 1, sizeof *l->items);
    l->items[l->n++] = xstrdup(s);
}

void conf_strings_release(struct conf_strings *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    l->items = NULL;
    l->n = 0;
}

static void release_properties(struct conf_properties *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->items[i].name);
        free(p->items[i].value);
        free(p->items[i].where);
    }
    free(p->items);
    p->items = NULL;
    p->n = 0;
}

void conf_map_release(const struct conf_key *key, struct conf *c)
{
    void *x = field(key, c);

    if (key->type == CONF_TEXT) {
        free(*(char **)x);
        *(char **)x = NULL;
    } else if (key->type == CONF_STRINGS) {
        conf_strings_release(x);
    } else if (key->type == CONF_PROPERTIES) {
        release_properties(x);
    }
}

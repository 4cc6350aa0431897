/* SPDX-License-Identifier: Apache-2.0 */
/* The table of keys, and functions that find a row. */
#include "config.h"

#include "conf/conf_map.h"

#include <string.h>

#include "base/model_shape.h"

#define AT(field) .at = offsetof(struct conf, field)

#define MAX_SEED 9007199254740991.0 /* 2^53 - 1: JSON carries it exactly */

/* clang-format off */
#define SECTION(path, text) {.name = path, .type = CONF_SECTION, .doc = text}

const struct conf_key conf_map[] = {
    {.name = "data_dir", .type = CONF_TEXT, AT(data_dir),
     .fallback = "./mneme-data",
     .doc = "Directory for all data of mneme: the database, the versions, "
            "and its addresses while it runs. mnemed creates the directory "
            "if it is missing. Other users cannot read it (mode 0700, files "
            "0600), and only one daemon at a time may use it."},

    SECTION("source", "Where records are read from."),
    {.name = "source.type", .type = CONF_ENUM, AT(source.type),
     .fallback = "kafka", .words = "kafka | file | stdin | http",
     .doc = "Kafka topics, a file with one record a line, standard input "
            "with one record a line, or records that clients send with POST "
            "/v1/records."},
    {.name = "source.path", .type = CONF_TEXT, AT(source.path),
     .fallback = "-",
     .doc = "With source.type file: the file to read. A file whose name ends "
            "in .gz or .zst is decompressed. A dash means that no file is "
            "given."},
    {.name = "source.follow", .type = CONF_BOOL, AT(source.follow),
     .fallback = "false",
     .doc = "With source.type file: wait for more lines at the end of the "
            "file, and follow the file when it is rotated. A renamed file is "
            "read for another 1.5 to 10 seconds, while lines arrive. A file "
            "may be truncated, or be rotated while mnemed does not run. Then "
            "mnemed looks for the remaining lines in PATH.1, PATH.1.gz and "
            "PATH.1.zst only. If they are in none of these files, they count "
            "as a gap."},
    {.name = "source.at_end", .type = CONF_ENUM, AT(source.at_end),
     .fallback = "serve", .words = "serve | exit",
     .doc = "What to do after the last line: continue to serve, or exit with "
            "status 0. Before it exits, mnemed publishes a version and logs "
            "how many records were learned, held out, quarantined and "
            "skipped. Status 0 means that the whole file was read. If every "
            "record was refused, the log has the warning nothing_learned. "
            "With exit, a source that stops early (a damaged or replaced "
            "file) also ends the program: it publishes a version, logs the "
            "reason and exits with status 1."},

    SECTION("source.kafka", "Settings for source.type kafka."),
    {.name = "source.kafka.topics", .type = CONF_STRINGS,
     AT(source.kafka.topics), .fallback = "[text]",
     .doc = "Names of the topics to learn from."},
    {.name = "source.kafka.start", .type = CONF_ENUM,
     AT(source.kafka.start.kind), .fallback = "earliest",
     .words = "earliest | latest | timestamp:MS",
     .number_at = offsetof(struct conf, source.kafka.start.timestamp_ms),
     .doc = "Where reading of a partition begins; MS is Unix time in "
            "milliseconds. This key has no effect on a partition for which "
            "the data directory has an offset."},
    {.name = "source.kafka.on_gap", .type = CONF_ENUM,
     AT(source.kafka.on_gap), .fallback = "stop", .words = "stop | skip",
     .doc = "What to do when Kafka no longer has the stored offset, or the "
            "topic was replaced by another one with the same name. stop: "
            "learning stops, and serving continues. skip: the gap is "
            "counted, and reading continues at the nearest offset that Kafka "
            "has. Other sources obey this key, too. A file that was replaced "
            "is read from its first line with skip. With source.type http, "
            "records that are no longer in the log are skipped."},
    {.name = "source.kafka.tombstone", .type = CONF_ENUM,
     AT(source.kafka.tombstone), .fallback = "ignore",
     .words = "ignore | forget",
     .doc = "What a message without a value means, as compacted topics have "
            "them. ignore: it is a bad record with the reason null. forget: "
            "the records whose id is the message's key are forgotten, as mneme "
            "forget --id does, and the message counts as skipped. Later "
            "messages with this id are learned. Without a key, or with one "
            "that cannot be an id, the message is a bad record."},
    {.name = "source.kafka.dead_letter", .type = CONF_TEXT,
     AT(source.kafka.dead_letter), .fallback = "null", .null_word = "null",
     .doc = "Topic to which bad records are sent as well, unchanged, with "
            "the reason in their headers. While the topic is missing or the "
            "broker refuses them, dead letters wait (16 MiB at most) and are "
            "sent again."},
    {.name = "source.kafka.properties", .type = CONF_PROPERTIES,
     AT(source.kafka.properties),
     .fallback = "{bootstrap.servers: \"localhost:9092\", group.id: mneme}",
     .doc = "Properties that are passed to librdkafka unchanged: SASL, TLS, "
            "fetch sizes and so on. librdkafka's CONFIGURATION.md lists "
            "them. Properties given here are added to the default. "
            "bootstrap.servers: embedded starts a broker inside mnemed, for "
            "trials only: its records are lost when mnemed stops."},

    SECTION("source.http", "Settings for source.type http."),
    {.name = "source.http.log_bytes", .type = CONF_INT,
     AT(source.http.log_bytes), .fallback = "1073741824", .min = 1048576,
     .max = INT64_C(1) << 44,
     .doc = "The most bytes of the log that keeps the records of POST "
            "/v1/records, in the folder records of the data directory. When "
            "the log is full, the oldest records are removed, a sixteenth of "
            "the log or 64 MiB at a time, but only records that the newest "
            "version accounts for. When there are none, POST gets 429. A body "
            "whose records need more than the log without that sixteenth or "
            "64 MiB gets 413. A rewind to a version before a removed record is "
            "refused, and a version that learned one cannot be retrained."},

    {.name = "source.format", .type = CONF_ENUM, AT(source.format),
     .fallback = "auto", .words = "auto | json | text",
     .decides_learning = true,
     .doc = "How a record is read: as a JSON object with text (or prompt and "
            "completion), or as plain text. auto: a value that begins like "
            "an object and has one of these keys, quoted or bare, is read as "
            "JSON. If it cannot be parsed, it is a bad record. Any other "
            "value is plain text."},
    {.name = "source.max_record_bytes", .type = CONF_INT,
     AT(source.max_record_bytes), .fallback = "65536", .min = 1,
     .max = CONF_MAX_RECORD_BYTES,
     .decides_learning = true,
     .doc = "Length limit of a record. A longer record is a bad record."},
    {.name = "source.bad_record", .type = CONF_ENUM, AT(source.bad_record),
     .fallback = "quarantine", .words = "quarantine | skip | stop",
     .decides_learning = true,
     .doc = "What to do with a record that cannot be learned: store it with "
            "the reason, only count it, or stop learning. Bad records are "
            "always counted. The log has a line for each reason, at most "
            "once a minute."},
    {.name = "source.when_behind", .type = CONF_ENUM, AT(source.when_behind),
     .fallback = "wait", .words = "wait | sample",
     .doc = "What to do when records arrive faster than they can be learned. "
            "wait: the source reads more slowly. sample: a uniform sample is "
            "learned, and the other records are counted."},

    SECTION("model",
            "The model that learns. These keys cannot change after the data "
            "directory is created."),
    {.name = "model.preset", .type = CONF_ENUM, AT(model.preset),
     .fallback = "small",
     .words = "nano | tiny | small | base | large | custom | linear",
     .decides_learning = true,
     .doc = "Size of the Transformer. custom: the keys dim, layers, heads, "
            "kv_heads, ffn_dim and context below give the shape. linear: a "
            "fast classifier without a Transformer, for streams with labels."},
    {.name = "model.tokenizer", .type = CONF_ENUM, AT(model.tokenizer),
     .fallback = "builtin", .words = "bytes | bpe | builtin",
     .doc = "builtin: a byte-level BPE vocabulary that mneme brings with it, "
            "made from text in many languages, program sources and logs. "
            "Learning starts with the first record. bpe: the vocabulary is "
            "learned from the first text of the stream, which suits it "
            "better if it is of one kind. bytes: each byte is a token. The "
            "vocabulary of a data directory never changes. If this key is "
            "not set, a directory keeps the tokenizer that it was made "
            "with."},
    {.name = "model.vocab_size", .type = CONF_INT, AT(model.vocab_size),
     .fallback = "4096", .min = 256, .max = MODEL_MAX_LEARNED_VOCAB,
     .doc = "With model.tokenizer builtin and bpe: number of tokens in the "
            "vocabulary, including the special ones. It must be at least "
            "300, and with builtin at most 16384. If this key is not set, a "
            "directory keeps the number that it was made with."},
    {.name = "model.tokenizer_bytes", .type = CONF_INT,
     AT(model.tokenizer_bytes), .fallback = "1048576", .min = 1,
     .max = 1073741824,
     .doc = "With model.tokenizer bpe: bytes of text from which the "
            "vocabulary is learned."},
    {.name = "model.tokenizer_from", .type = CONF_TEXT,
     AT(model.tokenizer_from), .fallback = "null", .null_word = "null",
     .doc = "A text file from which the vocabulary is learned instead of the "
            "stream, or a tokenizer.json that is used unchanged. "
            "model.tokenizer then has no effect."},
    {.name = "model.tokenizer_wait_seconds", .type = CONF_REAL,
     AT(model.tokenizer_wait_seconds), .fallback = "30", .min = 0,
     .max = 86400,
     .doc = "With model.tokenizer bpe: if the stream pauses this long, the "
            "vocabulary is learned from the text that has arrived so far."},
    {.name = "model.max_domains", .type = CONF_INT, AT(model.max_domains),
     .fallback = "256", .min = 1, .max = 65536,
     .decides_learning = true,
     .doc = "Number of domains that are measured on their own. Further "
            "domains count as `other`."},
    {.name = "model.max_labels", .type = CONF_INT, AT(model.max_labels),
     .fallback = "4096", .min = 1, .max = 65536,
     .decides_learning = true,
     .doc = "Number of labels that the class head learns. A record with a "
            "further label is a bad record."},
    {.name = "model.qk_norm", .type = CONF_BOOL, AT(model.qk_norm),
     .fallback = "false",
     .doc = "Normalise queries and keys, as Qwen3 does. Versions are then "
            "Qwen3ForCausalLM instead of LlamaForCausalLM."},
    {.name = "model.dim", .type = CONF_INT, AT(model.dim), .fallback = "0",
     .min = 0, .max = MODEL_MAX_DIM,
     .doc = "With model.preset custom: number of channels. It must be a "
            "multiple of heads, and dim / heads must be even. This key and "
            "the next five are required with preset custom, and must be 0 "
            "with any other preset."},
    {.name = "model.layers", .type = CONF_INT, AT(model.layers),
     .fallback = "0", .min = 0, .max = MODEL_MAX_LAYERS,
     .doc = "With model.preset custom: number of layers."},
    {.name = "model.heads", .type = CONF_INT, AT(model.heads),
     .fallback = "0", .min = 0, .max = 1024,
     .doc = "With model.preset custom: number of attention heads."},
    {.name = "model.kv_heads", .type = CONF_INT, AT(model.kv_heads),
     .fallback = "0", .min = 0, .max = 1024,
     .doc = "With model.preset custom: number of heads of keys and values. "
            "It must divide heads."},
    {.name = "model.ffn_dim", .type = CONF_INT, AT(model.ffn_dim),
     .fallback = "0", .min = 0, .max = 4.0 * MODEL_MAX_DIM,
     .doc = "With model.preset custom: number of channels inside the "
            "feed-forward layer."},
    {.name = "model.context", .type = CONF_INT, AT(model.context),
     .fallback = "0", .min = 0, .max = MODEL_MAX_CONTEXT,
     .doc = "With model.preset custom: number of tokens in the model's "
            "context; at least 2. With model.init: the most tokens of the "
            "context that are used; 0: the model's own, but at most 2048. A "
            "longer context takes more memory and time. The versions keep it, "
            "so both keys can be removed after the first start."},
    {.name = "model.init", .type = CONF_TEXT, AT(model.init),
     .fallback = "random", .null_word = "random",
     .doc = "Initial weights: random, or shape, vocabulary and weights of a "
            "published model. It is a directory as Hugging Face has them "
            "(Llama, Mistral, Qwen2, Qwen3, SmolLM), or a GGUF file. The keys "
            "of the shape and of the tokenizer then do not apply."},

    SECTION("learner", "How the model learns."),
    {.name = "learner.threads", .type = CONF_INT, AT(learner.threads),
     .fallback = "0", .min = 0, .max = 256,
     .doc = "Number of worker threads. 0: one for each core that mnemed may "
            "use. The number does not change what is learned."},
    {.name = "learner.shards", .type = CONF_INT, AT(learner.shards),
     .fallback = "0", .min = 0, .max = 256,
     .doc = "Number of parts into which a batch is divided. Their gradients "
            "are summed in order. 0: the number of threads when the data "
            "directory is created, which then never changes."},
    {.name = "learner.seed", .type = CONF_INT, AT(learner.seed),
     .fallback = "42", .min = 0, .max = MAX_SEED,
     .decides_learning = true,
     .doc = "Seed of all random numbers. The same records, configuration and "
            "seed give the same model."},
    {.name = "learner.batch_tokens", .type = CONF_INT,
     AT(learner.batch_tokens), .fallback = "512", .min = 8, .max = 1048576,
     .decides_learning = true,
     .doc = "New tokens in a step. Replayed tokens are added to them. The "
            "first steps are smaller, since small steps teach a young model "
            "more: a step has 0.8 times the square root of the number of "
            "tokens learned, but at least 128, and never more than this "
            "number."},
    {.name = "learner.flush_seconds", .type = CONF_REAL,
     AT(learner.flush_seconds), .fallback = "2", .min = 0, .max = 86400,
     .doc = "If the stream pauses this long, a part-filled batch is learned. "
            "0: a step waits for a full batch or the end of the stream."},

    SECTION("learner.optimizer", "The optimizer is AdamW."),
    {.name = "learner.optimizer.lr", .type = CONF_REAL,
     AT(learner.optimizer.lr), .fallback = "0", .min = 0, .max = 1,
     .is_reloadable = true, .decides_learning = true,
     .doc = "Learning rate after the warm-up. It stays constant, since a "
            "stream has no end. 0: a rate that suits the model's width, 0.28 "
            "/ dim."},
    {.name = "learner.optimizer.warmup_steps", .type = CONF_INT,
     AT(learner.optimizer.warmup_steps), .fallback = "100", .min = 0,
     .max = 1000000000,
     .decides_learning = true,
     .doc = "Steps in which the learning rate rises from 0."},
    {.name = "learner.optimizer.weight_decay", .type = CONF_REAL,
     AT(learner.optimizer.weight_decay), .fallback = "0.1", .min = 0,
     .max = 10,
     .decides_learning = true,
     .doc = "Decoupled weight decay."},
    {.name = "learner.optimizer.clip_norm", .type = CONF_REAL,
     AT(learner.optimizer.clip_norm), .fallback = "1.0", .min = 0,
     .max = 1000000,
     .decides_learning = true,
     .doc = "Limit of the gradient's global norm. A larger gradient is "
            "scaled down to it. 0: no clipping."},

    SECTION("learner.ewc",
            "Elastic weight consolidation: a penalty on moving weights that "
            "earlier text needs."),
    {.name = "learner.ewc.enabled", .type = CONF_BOOL,
     AT(learner.ewc.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "Turns elastic weight consolidation on. With lambda: auto it "
            "changes nothing where the replay buffer holds half of the "
            "stream."},
    {.name = "learner.ewc.lambda", .type = CONF_REAL, AT(learner.ewc.lambda),
     .fallback = "auto", .min = 0, .max = 1e9, .null_word = "auto",
     .is_reloadable = true, .decides_learning = true,
     .doc = "Strength of the pull towards the anchor. auto: by the number of "
            "tokens learned before and since the consolidation, less what "
            "the replay buffer carries. It fades until the next one."},
    {.name = "learner.ewc.decay", .type = CONF_REAL, AT(learner.ewc.decay),
     .fallback = "0.95", .min = 0, .max = 0.9999,
     .decides_learning = true,
     .doc = "Share of the weight of all earlier text that a consolidation "
            "keeps. Text since the last one has its full weight."},
    {.name = "learner.ewc.consolidate", .type = CONF_ENUM,
     AT(learner.ewc.consolidate.kind), .fallback = "auto",
     .words = "auto | off | every:STEPS",
     .number_at = offsetof(struct conf, learner.ewc.consolidate.every_steps),
     .decides_learning = true,
     .doc = "When the anchor moves to the moving average of the weights. "
            "auto: just before a new domain is learned, and after 4,000,000 "
            "new tokens. off: never. every: after this number of steps."},

    SECTION("learner.average",
            "The moving average of the weights: what a version serves. "
            "Learning goes on from the live weights."),
    {.name = "learner.average.enabled", .type = CONF_BOOL,
     AT(learner.average.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "Serves the moving average. false: a version serves the live "
            "weights, and no average is kept. When turned on again, the "
            "average starts at the live weights."},
    {.name = "learner.average.decay", .type = CONF_REAL,
     AT(learner.average.decay), .fallback = "0.99", .min = 0, .max = 0.9999,
     .decides_learning = true,
     .doc = "Share of the average that a step keeps; the rest comes from the "
            "live weights. It averages about 1 / (1 - decay) steps. Early "
            "steps keep less."},

    SECTION("learner.ngram",
            "The n-gram memory: counts of what followed the last one to five "
            "tokens, mixed with the Transformer in scores and completions. It "
            "learns a record at once, and keeps unknown text near 8 bits per "
            "byte. It is a part of each version. Preset linear has none."),
    {.name = "learner.ngram.enabled", .type = CONF_BOOL,
     AT(learner.ngram.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "Keeps the memory. false: new versions have none, and the "
            "Transformer answers alone. When turned on again, the memory "
            "begins empty."},
    {.name = "learner.ngram.mib", .type = CONF_INT, AT(learner.ngram.mib),
     .fallback = "4", .min = 1, .max = 64, .decides_learning = true,
     .doc = "Size of the memory in MiB, for a memory that begins empty; later "
            "it keeps its size. When it is full, rare sequences are "
            "forgotten."},

    SECTION("learner.replay",
            "Learning again from segments in the replay buffer."),
    {.name = "learner.replay.enabled", .type = CONF_BOOL,
     AT(learner.replay.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "Turns replay on. false: no learned record is kept for replay."},
    {.name = "learner.replay.ratio", .type = CONF_REAL,
     AT(learner.replay.ratio), .fallback = "1.0", .min = 0, .max = 16,
     .is_reloadable = true, .decides_learning = true,
     .doc = "Replayed tokens for each new token in a step."},
    {.name = "learner.replay.adaptive", .type = CONF_BOOL,
     AT(learner.replay.adaptive), .fallback = "false",
     .decides_learning = true,
     .doc = "Replay more while there is time, and less while the lag grows. "
            "What is learned then depends on timing."},
    {.name = "learner.replay.capacity", .type = CONF_INT,
     AT(learner.replay.capacity), .fallback = "100000", .min = 1,
     .max = 10000000,
     .decides_learning = true,
     .doc = "Number of segments in the replay buffer."},
    {.name = "learner.replay.balance", .type = CONF_ENUM,
     AT(learner.replay.balance), .fallback = "domain",
     .words = "domain | none",
     .decides_learning = true,
     .doc = "Which segments a full buffer keeps. domain: about as many of "
            "each domain. none: in proportion to the records that arrived."},

    SECTION("learner.drift",
            "A test that raises an alarm when the loss of a domain rises."),
    {.name = "learner.drift.enabled", .type = CONF_BOOL,
     AT(learner.drift.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "Tests the Transformer's prequential loss of each domain, in bits "
            "per byte, for a rise (Page-Hinkley). An alarm is an event, a log "
            "line and a metric. Learning goes on as before."},

    SECTION("learner.holdout",
            "Held-out records. They are never learned, and the gate measures "
            "on them."),
    {.name = "learner.holdout.fraction", .type = CONF_REAL,
     AT(learner.holdout.fraction), .fallback = "0.01", .min = 0, .max = 0.5,
     .decides_learning = true,
     .doc = "Share of records that is held out, chosen by a hash of the "
            "text. Of the first 400 records, and of the first 100 of each "
            "domain, at least a tenth is held out, so that the gate can soon "
            "measure. Copies of those texts are always held out."},
    {.name = "learner.holdout.capacity", .type = CONF_INT,
     AT(learner.holdout.capacity), .fallback = "2000", .min = 1,
     .max = 1000000,
     .decides_learning = true,
     .doc = "Number of held-out segments that are kept, balanced by domain."},

    SECTION("filter",
            "Filters quarantine records that would do harm when learned, and "
            "count them by reason. Like the settings of the learner, these "
            "keys change what is learned."),

    SECTION("filter.surprise",
            "Refuses noise, and text that is known by heart. The model "
            "scores a record before it learns it. A record is noise (reason "
            "surprise) if its loss is far above its domain's recent losses, "
            "worse than counting bytes, and the text has no structure. A "
            "record is known by heart (reason predictable) if its loss is "
            "far below. Another language or a new kind of text is learned. "
            "This filter does not work with model.preset linear."),
    {.name = "filter.surprise.enabled", .type = CONF_BOOL,
     AT(filter.surprise.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "Turns this filter on."},
    {.name = "filter.surprise.mads", .type = CONF_REAL,
     AT(filter.surprise.mads), .fallback = "6", .min = 1, .max = 1000,
     .decides_learning = true,
     .doc = "How far a record's bits per byte may be from the median of its "
            "domain's last 128 records, in median absolute deviations."},
    {.name = "filter.surprise.history", .type = CONF_INT,
     AT(filter.surprise.history), .fallback = "64", .min = 8, .max = 1000000,
     .decides_learning = true,
     .doc = "Records of a domain that must be learned before the filter acts "
            "on that domain."},
    {.name = "filter.surprise.accept_after", .type = CONF_INT,
     AT(filter.surprise.accept_after), .fallback = "1000", .min = 0,
     .max = 1000000000,
     .decides_learning = true,
     .doc = "If so many records of a domain are refused in a row, the new "
            "level is accepted: the history of the domain begins again. 0: "
            "never."},

    SECTION("filter.near_duplicate",
            "Refuses records of which too many are nearly the same: they "
            "differ in a word or two. Reason: near_duplicate."),
    {.name = "filter.near_duplicate.enabled", .type = CONF_BOOL,
     AT(filter.near_duplicate.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "Turns this filter on."},
    {.name = "filter.near_duplicate.bits", .type = CONF_INT,
     AT(filter.near_duplicate.bits), .fallback = "3", .min = 0, .max = 3,
     .decides_learning = true,
     .doc = "Records whose 64-bit simhashes differ in at most so many bits "
            "belong to one family. 0: only records with the same words."},
    {.name = "filter.near_duplicate.burst", .type = CONF_INT,
     AT(filter.near_duplicate.burst), .fallback = "64", .min = 1,
     .max = 1000000000,
     .decides_learning = true,
     .doc = "Number of records of a family that are accepted at once."},
    {.name = "filter.near_duplicate.share", .type = CONF_REAL,
     AT(filter.near_duplicate.share), .fallback = "0.1", .min = 0, .max = 1,
     .decides_learning = true,
     .doc = "After the burst, a family may have one record for every 1 / "
            "share other records. Log lines that are a tenth of a stream "
            "lose nothing; one sentence that is repeated without end is "
            "refused."},

    SECTION("filter.repetition",
            "Refuses records that repeat themselves. Reason: repetition."),
    {.name = "filter.repetition.enabled", .type = CONF_BOOL,
     AT(filter.repetition.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "Turns this filter on."},
    {.name = "filter.repetition.min_bytes", .type = CONF_INT,
     AT(filter.repetition.min_bytes), .fallback = "512", .min = 16,
     .max = 16777216,
     .decides_learning = true,
     .doc = "Shorter records are not checked."},
    {.name = "filter.repetition.share", .type = CONF_REAL,
     AT(filter.repetition.share), .fallback = "0.95", .min = 0, .max = 1,
     .decides_learning = true,
     .doc = "A record is refused if more than this share of it consists of "
            "copies, of 8 bytes or more, of its earlier text. 1: no record "
            "is refused."},

    SECTION("filter.share_cap",
            "Limits a domain that exceeds its share of the stream. Reason: "
            "share_cap."),
    {.name = "filter.share_cap.share", .type = CONF_REAL,
     AT(filter.share_cap.share), .fallback = "1", .min = 0.01, .max = 1,
     .decides_learning = true,
     .doc = "Largest share of the recent bytes for one domain. While other "
            "domains send records, it may have share / (1 - share) times as "
            "many bytes as all of them. Further records are refused. 1: no "
            "limit."},
    {.name = "filter.share_cap.window_bytes", .type = CONF_INT,
     AT(filter.share_cap.window_bytes), .fallback = "1048576", .min = 1024,
     .max = 1e12,
     .decides_learning = true,
     .doc = "Number of bytes that count as recent. Other domains with less "
            "than a 64th of them do not count."},

    SECTION("filter.gradient_norm",
            "Skips steps whose gradient is far too large. Reason: "
            "step_skipped."),
    {.name = "filter.gradient_norm.enabled", .type = CONF_BOOL,
     AT(filter.gradient_norm.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "Turns this filter on. A gradient that is not finite is never "
            "applied, whatever this key says."},
    {.name = "filter.gradient_norm.medians", .type = CONF_REAL,
     AT(filter.gradient_norm.medians), .fallback = "100", .min = 2,
     .max = 1e9,
     .decides_learning = true,
     .doc = "A step is skipped if its gradient's norm exceeds so many times "
            "the median of the last 64 norms. The records of the step are "
            "quarantined."},

    SECTION("publish", "When a version is published, and whether it serves."),
    {.name = "publish.every_seconds", .type = CONF_REAL,
     AT(publish.every_seconds), .fallback = "10", .min = 0, .max = 31536000,
     .is_reloadable = true,
     .doc = "Interval between two versions. The first version that has "
            "learned from the stream comes after three seconds, if that is "
            "sooner. When the stream pauses for "
            "learner.flush_seconds, a version is published at once: up to "
            "ten times in a row, and then once in every_seconds. While "
            "records arrive, publishing takes at most 5 % of the time, "
            "counted in processor time: after a version that took one "
            "second, the next one follows after 20 seconds at the earliest. "
            "`mneme status` says what the next version waits for. 0: only "
            "publish.every_tokens decides."},
    {.name = "publish.every_tokens", .type = CONF_INT,
     AT(publish.every_tokens), .fallback = "200000", .min = 0, .max = 1e15,
     .is_reloadable = true,
     .doc = "A version is also published after this number of new tokens. 0: "
            "only publish.every_seconds decides."},

    SECTION("publish.gate",
            "A new version serves unless held-out records show that it is "
            "worse than the reference (the serving version, or an earlier "
            "version that was better): by more than max_regression on the mean "
            "over domains, weighted by recent traffic, on a protected domain "
            "or in accuracy; or by more than max_domain_regression on any domain. "
            "Losses below 1 bit per byte count as 1. A domain is measured on "
            "its records from before the reference, so that a bad feed cannot "
            "vouch for itself; a new domain on all its records. Once a domain "
            "has learned three times its earlier traffic since the reference, "
            "and its newer records improved, its text has changed: its older "
            "records count by their share of the text, unless it is protected. "
            "A bad feed that lasts, or has a new name, looks like new text: "
            "only protected domains stop it."),
    {.name = "publish.gate.enabled", .type = CONF_BOOL,
     AT(publish.gate.enabled), .fallback = "true", .is_reloadable = true,
     .doc = "Turns the gate on. Without it, each version serves at once."},
    {.name = "publish.gate.max_regression", .type = CONF_REAL,
     AT(publish.gate.max_regression), .fallback = "0.02", .min = 0, .max = 1,
     .is_reloadable = true,
     .doc = "Largest accepted rise of the bits per byte, relative to the "
            "reference version, of the mean over recent traffic and of each "
            "protected domain, and largest fall of the accuracy: 0.02 is two "
            "per cent."},
    {.name = "publish.gate.max_domain_regression", .type = CONF_REAL,
     AT(publish.gate.max_domain_regression), .fallback = "0.10", .min = 0,
     .max = 10, .is_reloadable = true,
     .doc = "Largest accepted rise of the bits per byte of any domain, "
            "relative to the reference version."},
    {.name = "publish.gate.traffic_half_life", .type = CONF_REAL,
     AT(publish.gate.traffic_half_life), .fallback = "2000", .min = 1,
     .max = 1e15, .is_reloadable = true,
     .doc = "Learned records after which a domain's bytes weigh half as much "
            "in the mean. It also decides when the text of a domain has "
            "changed: see above."},
    {.name = "publish.gate.confidence", .type = CONF_REAL,
     AT(publish.gate.confidence), .fallback = "0.95", .min = 0.5,
     .max = 0.9999, .is_reloadable = true,
     .doc = "Confidence of the one-sided test that the candidate is worse than "
            "the reference. A version fails only when an estimate is above its "
            "limit and this test agrees."},
    {.name = "publish.gate.min_chunks", .type = CONF_INT,
     AT(publish.gate.min_chunks), .fallback = "30", .min = 2, .max = 1000000,
     .is_reloadable = true,
     .doc = "No longer used. It is read so that the configurations of older "
            "programs stay valid."},
    {.name = "publish.gate.max_tokens", .type = CONF_INT,
     AT(publish.gate.max_tokens), .fallback = "16384", .min = 256,
     .max = 1000000000, .is_reloadable = true,
     .doc = "Held-out tokens that are scored for one verdict. The newest "
            "held-out records add at most half as many."},
    {.name = "publish.gate.protect", .type = CONF_STRINGS,
     AT(publish.gate.protect), .fallback = "[]", .is_reloadable = true,
     .doc = "Domains that may never exceed max_regression, even if other "
            "domains improve."},

    {.name = "publish.auto_rollback", .type = CONF_BOOL,
     AT(publish.auto_rollback), .fallback = "true", .is_reloadable = true,
     .doc = "Go back to the last good version, and skip the records after "
            "it, when that version is better on the same new records or when "
            "a weight is not finite. After three automatic rollbacks in an "
            "hour, learning pauses. false: never go back, and stop learning "
            "when a weight is not finite."},

    SECTION("publish.keep",
            "Versions that retention keeps, in addition to pinned, tagged and "
            "serving ones."),
    {.name = "publish.keep.newest", .type = CONF_INT,
     AT(publish.keep.newest), .fallback = "20", .min = 1, .max = 1000000,
     .is_reloadable = true,
     .doc = "Number of newest versions to keep."},
    {.name = "publish.keep.hourly", .type = CONF_INT,
     AT(publish.keep.hourly), .fallback = "24", .min = 0, .max = 1000000,
     .is_reloadable = true,
     .doc = "Number of hours for which the last version of each hour is "
            "kept."},
    {.name = "publish.keep.daily", .type = CONF_INT, AT(publish.keep.daily),
     .fallback = "14", .min = 0, .max = 1000000, .is_reloadable = true,
     .doc = "Number of days for which the last version of each day is kept."},

    SECTION("serve", "How versions answer requests."),
    {.name = "serve.quantize", .type = CONF_ENUM, AT(serve.quantize),
     .fallback = "none", .words = "none | int8",
     .doc = "none: weights are used unchanged. int8: weights are rounded to "
            "int8 when a version is loaded. This takes less memory and gives "
            "faster answers. It costs usually well below one per cent in "
            "bits per byte. Learning and the files stay in float. The gate "
            "compares versions as they serve: both rounded."},
    {.name = "serve.prefix_cache_mib", .type = CONF_INT,
     AT(serve.prefix_cache_mib), .fallback = "64", .min = 0, .max = 65536,
     .doc = "The most memory, in MiB, for prompts that were read before. A "
            "completion whose prompt begins like one of them starts sooner: a "
            "common system prompt, or a chat that has grown by a turn. No "
            "answer depends on it. 0: each completion reads its whole "
            "prompt."},

    SECTION("http", "The HTTP server."),
    {.name = "http.listen", .type = CONF_TEXT, AT(http.listen),
     .fallback = "127.0.0.1:6636",
     .doc = "HOST:PORT, [IPV6]:PORT or unix:PATH. With port 0, mnemed takes "
            "a free port, prints it, and writes it to http.addr in the data "
            "directory."},
    {.name = "http.token_file", .type = CONF_TEXT, AT(http.token_file),
     .fallback = "null", .null_word = "null", .is_reloadable = true,
     .doc = "File of access tokens, one a line. `infer TOKEN` allows reading "
            "and inference. `feed TOKEN` also allows POST /v1/records. `admin "
            "TOKEN` allows everything. TOKEN may be sha256:HEX, the SHA-256 of "
            "a token; `mneme token create` makes both. `rate=N` after it "
            "allows N requests a minute, and then gives 429. # begins a "
            "comment. The file is required for any address except loopback and "
            "a unix socket. The log warns if all users can read the file, and "
            "if a token has fewer than 16 characters. A reload reads the file "
            "again."},
    SECTION("http.tls", "Encryption of the TCP address (https)."),
    {.name = "http.tls.cert", .type = CONF_TEXT, AT(http.tls.cert),
     .fallback = "null", .null_word = "null", .is_reloadable = true,
     .doc = "File with the certificate, then with the certificates of its "
            "chain, in PEM form. With it, mnemed speaks https (TLS 1.2 and "
            "1.3) and no plain HTTP. A reload reads both files again: a pair "
            "that is not valid is refused as a whole, and the old one stays. "
            "Beginning and ending TLS needs a restart."},
    {.name = "http.tls.key", .type = CONF_TEXT, AT(http.tls.key),
     .fallback = "null", .null_word = "null", .is_reloadable = true,
     .doc = "File with the private key of http.tls.cert in PEM form, without "
            "a password. The log warns if all users can read it."},
    {.name = "http.admin_socket", .type = CONF_TEXT, AT(http.admin_socket),
     .fallback = "null", .null_word = "null",
     .doc = "Path of a unix socket for administration, besides http.listen. "
            "mnemed makes it with mode 0600. The kernel names the user at the "
            "other end: root and the user of mnemed may do everything there "
            "without a token, and nobody else may do anything. mneme with "
            "--data-dir uses this socket where it may."},
    {.name = "http.admin_group", .type = CONF_TEXT, AT(http.admin_group),
     .fallback = "null", .null_word = "null",
     .doc = "Group whose members may use http.admin_socket, too. The socket "
            "gets this group and mode 0660. The user of mnemed has to be a "
            "member."},
    {.name = "http.admin", .type = CONF_ENUM, AT(http.admin),
     .fallback = "anywhere", .words = "anywhere | socket",
     .doc = "Where admin requests are answered, such as rollback, pin, forget "
            "and the quarantine. With socket, only http.admin_socket answers "
            "them: http.listen gives 403, also with an admin token."},
    {.name = "http.cors_origins", .type = CONF_STRINGS,
     AT(http.cors_origins), .fallback = "[]",
     .doc = "Web pages that may use the daemon from a browser (CORS), by their "
            "origins: [https://app.example.org, http://localhost:5173]. "
            "Without http.token_file, a page in the list may do everything. "
            "[\"*\"] means every page, and needs http.token_file: a page then "
            "has to know a token. Cookies and other credentials of the browser "
            "are never used."},
    {.name = "http.max_body_bytes", .type = CONF_INT,
     AT(http.max_body_bytes), .fallback = "1048576", .min = 1024,
     .max = 1073741824,
     .doc = "Length limit of a request's body, after it was decompressed "
            "(Content-Encoding: gzip or zstd). A longer one gets 413. The "
            "bodies of all requests, raw and parsed, take at most 64 MiB, or "
            "four times this limit if that is more. A body for which there "
            "is no room gets 429."},
    {.name = "http.max_connections", .type = CONF_INT,
     AT(http.max_connections), .fallback = "256", .min = 1, .max = 4096,
     .doc = "Number of requests that may be answered at the same time, "
            "including event streams. Further requests get 429. One address "
            "may have three quarters of them. Another 16 are reserved for "
            "/healthz, /readyz, /v1/operations and admin requests. Idle "
            "connections are closed when new ones need room. At start, "
            "mnemed raises the limit of open files as far as this needs."},
    {.name = "http.max_request_seconds", .type = CONF_INT,
     AT(http.max_request_seconds), .fallback = "120", .min = 1, .max = 86400,
     .doc = "Time limit of a completion, score, classification or embedding. "
            "After it, the request is cancelled: it gets 503 with code "
            "time_limit, or an error event if it is streamed. The wait for a "
            "slot does not count."},
    {.name = "http.cpu_share", .type = CONF_REAL, AT(http.cpu_share),
     .fallback = "0.5", .min = 0.05, .max = 1,
     .doc = "Largest share of the processors that answers take while the "
            "daemon learns or publishes. Answers come first, up to this "
            "share; above it they wait, and learning has the rest. "
            "Otherwise answers may use all processors. 1: no limit."},

    SECTION("log", "Log lines go to standard error."),
    {.name = "log.level", .type = CONF_ENUM, AT(log.level),
     .fallback = "info", .words = "error | warn | info | debug",
     .is_reloadable = true,
     .doc = "Least important level that is logged."},
    {.name = "log.format", .type = CONF_ENUM, AT(log.format),
     .fallback = "text", .words = "text | json", .is_reloadable = true,
     .doc = "Plain text, or one JSON object a line."},
};
/* clang-format on */

const size_t conf_map_n = sizeof conf_map / sizeof *conf_map;

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

const char *conf_map_next_word(const char *words, char word[CONF_MAX_WORD + 1])
{
    size_t n = strcspn(words, " ");

    if (n == 0 || n > CONF_MAX_WORD)
        return NULL;
    memcpy(word, words, n);
    word[n] = '\0';
    words += n;
    return strncmp(words, " | ", 3) == 0 ? words + 3 : words;
}

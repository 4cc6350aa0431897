/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table, and finding a row. What is done with the value of a row is in
 * conf_value.c.
 */
#include "config.h"

#include "conf/conf_map.h"

#include <string.h>

#include "base/model_shape.h"

#define AT(field) .at = offsetof(struct conf, field)

#define MAX_SEED 9007199254740991.0 /* 2^53 - 1: JSON carries it exactly */

/* A row reads best as it is written here. */
/* clang-format off */
#define SECTION(path, text) {.name = path, .type = CONF_SECTION, .doc = text}

const struct conf_key conf_map[] = {
    {.name = "data_dir", .type = CONF_TEXT, AT(data_dir),
     .fallback = "./mneme-data",
     .doc = "Directory of everything that mneme keeps: the database, the "
            "versions and, while it runs, its addresses. It is made when it "
            "is missing. It is closed to other users (mode 0700, files 0600), "
            "and one daemon at a time uses it."},

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
     .doc = "With source.type file: wait for more lines at the end of the "
            "file, and follow it when it is rotated. A renamed file is read "
            "for another 1.5 to 10 seconds while lines come. The rest of a "
            "file that was truncated, or was rotated while mnemed did not run, "
            "is looked for only in PATH.1, PATH.1.gz and PATH.1.zst. If it is "
            "in none of them, that counts as a gap."},
    {.name = "source.at_end", .type = CONF_ENUM, AT(source.at_end),
     .fallback = "serve", .words = "serve | exit",
     .doc = "What to do after the last line: go on serving, or exit with "
            "status 0. Before that a version is published, and the log says "
            "what became of the records. Status 0 says that the file was read; "
            "when all its records were refused, the log has the warning "
            "nothing_learned. With exit, a source that stops before its end (a "
            "damaged or replaced file) also ends the program: after a version, "
            "with the reason and status 1."},

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
     .doc = "Topic that bad records are also sent to, as they came, with the "
            "reason in their headers. While the topic is missing or refuses "
            "them, they wait (16 MiB at most) and are sent again."},
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
     .decides_learning = true,
     .doc = "What a record is: a JSON object with text (or prompt and "
            "completion), or plain text. auto: a value that begins like an "
            "object and has one of these as a key, in quotes or bare, is JSON; "
            "it is a bad record if it cannot be read. Everything else is plain "
            "text."},
    {.name = "source.max_record_bytes", .type = CONF_INT,
     AT(source.max_record_bytes), .fallback = "65536", .min = 1,
     .max = CONF_MAX_RECORD_BYTES,
     .decides_learning = true,
     .doc = "A longer record is a bad record."},
    {.name = "source.bad_record", .type = CONF_ENUM, AT(source.bad_record),
     .fallback = "quarantine", .words = "quarantine | skip | stop",
     .decides_learning = true,
     .doc = "What happens to a record that cannot be learned from: keep it "
            "with the reason, count it only, or stop learning. Bad records "
            "are counted in any case, and the log has a line for each reason, "
            "at most one a minute."},
    {.name = "source.when_behind", .type = CONF_ENUM, AT(source.when_behind),
     .fallback = "wait", .words = "wait | sample",
     .doc = "When records come faster than they can be learned: hold the "
            "source back, or learn a uniform share and count the rest."},

    SECTION("model", "What learns. Fixed once the data directory is made."),
    {.name = "model.preset", .type = CONF_ENUM, AT(model.preset),
     .fallback = "small",
     .words = "nano | tiny | small | base | large | custom | linear",
     .decides_learning = true,
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
     .decides_learning = true,
     .doc = "Further domains count as `other`."},
    {.name = "model.max_labels", .type = CONF_INT, AT(model.max_labels),
     .fallback = "4096", .min = 1, .max = 65536,
     .decides_learning = true,
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
     .decides_learning = true,
     .doc = "The same records, configuration and seed give the same model."},
    {.name = "learner.batch_tokens", .type = CONF_INT,
     AT(learner.batch_tokens), .fallback = "256", .min = 8, .max = 1048576,
     .decides_learning = true,
     .doc = "New tokens in an update; replay comes on top."},
    {.name = "learner.flush_seconds", .type = CONF_REAL,
     AT(learner.flush_seconds), .fallback = "2", .min = 0, .max = 86400,
     .doc = "Learn from a part-filled batch when the stream pauses this long. "
            "0: only at the end or when it is full."},

    SECTION("learner.optimizer", "AdamW."),
    {.name = "learner.optimizer.lr", .type = CONF_REAL,
     AT(learner.optimizer.lr), .fallback = "0", .min = 0, .max = 1,
     .is_reloadable = true, .decides_learning = true,
     .doc = "Learning rate after the warm-up; constant, since a stream has no "
            "end. 0: the one that fits the model's width, 0.28 / dim."},
    {.name = "learner.optimizer.warmup_steps", .type = CONF_INT,
     AT(learner.optimizer.warmup_steps), .fallback = "100", .min = 0,
     .max = 1000000000,
     .decides_learning = true,
     .doc = "Steps over which the rate rises from 0."},
    {.name = "learner.optimizer.weight_decay", .type = CONF_REAL,
     AT(learner.optimizer.weight_decay), .fallback = "0.1", .min = 0,
     .max = 10,
     .decides_learning = true,
     .doc = "Decoupled weight decay."},
    {.name = "learner.optimizer.clip_norm", .type = CONF_REAL,
     AT(learner.optimizer.clip_norm), .fallback = "1.0", .min = 0,
     .max = 1000000,
     .decides_learning = true,
     .doc = "The gradient's global norm is cut to this. 0: no clipping."},

    SECTION("learner.ewc", "Elastic weight consolidation: holds weights that "
                           "older text needs near where they were."),
    {.name = "learner.ewc.enabled", .type = CONF_BOOL,
     AT(learner.ewc.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "The switch."},
    {.name = "learner.ewc.lambda", .type = CONF_REAL, AT(learner.ewc.lambda),
     .fallback = "10.0", .min = 0, .max = 1e9, .is_reloadable = true,
     .decides_learning = true,
     .doc = "Strength of the pull towards the anchor."},
    {.name = "learner.ewc.decay", .type = CONF_REAL, AT(learner.ewc.decay),
     .fallback = "0.95", .min = 0, .max = 0.9999,
     .decides_learning = true,
     .doc = "Share of the running Fisher estimate that a consolidation keeps; "
            "the rest comes from the new one."},
    {.name = "learner.ewc.consolidate", .type = CONF_ENUM,
     AT(learner.ewc.consolidate.kind), .fallback = "auto",
     .words = "auto | off | every:STEPS",
     .number_at = offsetof(struct conf, learner.ewc.consolidate.every_steps),
     .decides_learning = true,
     .doc = "When the anchor moves to the present weights: by itself on a "
            "plateau of the loss and at intervals, never, or every so many "
            "steps."},

    SECTION("learner.replay", "Learning again from records that were kept."),
    {.name = "learner.replay.enabled", .type = CONF_BOOL,
     AT(learner.replay.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "The switch."},
    {.name = "learner.replay.ratio", .type = CONF_REAL,
     AT(learner.replay.ratio), .fallback = "1.0", .min = 0, .max = 16,
     .is_reloadable = true, .decides_learning = true,
     .doc = "Replayed tokens for each new one in an update."},
    {.name = "learner.replay.adaptive", .type = CONF_BOOL,
     AT(learner.replay.adaptive), .fallback = "false",
     .decides_learning = true,
     .doc = "Replay more when there is time and less with growing lag. What "
            "is learned then depends on timing."},
    {.name = "learner.replay.capacity", .type = CONF_INT,
     AT(learner.replay.capacity), .fallback = "100000", .min = 1,
     .max = 10000000,
     .decides_learning = true,
     .doc = "Segments that are kept."},
    {.name = "learner.replay.balance", .type = CONF_ENUM,
     AT(learner.replay.balance), .fallback = "domain",
     .words = "domain | none",
     .decides_learning = true,
     .doc = "Which segments stay when it is full: about as many of each "
            "domain, or in proportion to what came."},

    SECTION("learner.holdout", "Records that are never learned, to measure "
                               "with."),
    {.name = "learner.holdout.fraction", .type = CONF_REAL,
     AT(learner.holdout.fraction), .fallback = "0.01", .min = 0, .max = 0.5,
     .decides_learning = true,
     .doc = "Share of the records, chosen by a hash of their text; a tenth of "
            "the first 400 if that is more, so that there is something to "
            "measure on soon; copies of those stay held out."},
    {.name = "learner.holdout.capacity", .type = CONF_INT,
     AT(learner.holdout.capacity), .fallback = "2000", .min = 1,
     .max = 1000000,
     .decides_learning = true,
     .doc = "Segments that are kept, balanced by domain."},

    SECTION("filter", "What is not fit to be learned: counted by reason, and "
                      "kept in the quarantine. The settings belong to what "
                      "is learned, as the learner's do."),

    SECTION("filter.surprise",
            "Records that the model, before it learns them, finds far worse "
            "than their domain's of late, worse than counting bytes, and "
            "without any structure: noise. And those far better: known by "
            "heart. Another language, or a new kind of text, is learned. "
            "Reasons: surprise, predictable. Not with model.preset linear."),
    {.name = "filter.surprise.enabled", .type = CONF_BOOL,
     AT(filter.surprise.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "The switch."},
    {.name = "filter.surprise.mads", .type = CONF_REAL,
     AT(filter.surprise.mads), .fallback = "6", .min = 1, .max = 1000,
     .decides_learning = true,
     .doc = "How far from the median bits per byte of the domain's last 128 "
            "records, in median absolute deviations."},
    {.name = "filter.surprise.history", .type = CONF_INT,
     AT(filter.surprise.history), .fallback = "64", .min = 8, .max = 1000000,
     .decides_learning = true,
     .doc = "Records of a domain that are learned before it acts there."},
    {.name = "filter.surprise.accept_after", .type = CONF_INT,
     AT(filter.surprise.accept_after), .fallback = "1000", .min = 0,
     .max = 1000000000,
     .decides_learning = true,
     .doc = "After so many refused records of a domain in a row the new level "
            "is accepted: the history of the domain begins anew. 0: never."},

    SECTION("filter.near_duplicate",
            "Too many records that are the same, but for a word or two. "
            "Reason: near_duplicate."),
    {.name = "filter.near_duplicate.enabled", .type = CONF_BOOL,
     AT(filter.near_duplicate.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "The switch."},
    {.name = "filter.near_duplicate.bits", .type = CONF_INT,
     AT(filter.near_duplicate.bits), .fallback = "3", .min = 0, .max = 3,
     .decides_learning = true,
     .doc = "Records whose 64-bit simhashes differ in at most so many bits "
            "are of one family. 0: the same words."},
    {.name = "filter.near_duplicate.burst", .type = CONF_INT,
     AT(filter.near_duplicate.burst), .fallback = "64", .min = 1,
     .max = 1000000000,
     .decides_learning = true,
     .doc = "So many of a family may come at once."},
    {.name = "filter.near_duplicate.share", .type = CONF_REAL,
     AT(filter.near_duplicate.share), .fallback = "0.1", .min = 0, .max = 1,
     .decides_learning = true,
     .doc = "And beyond that one for every 1 / share other records: log lines "
            "that are a tenth of a stream lose nothing, and one sentence over "
            "and over is cut off."},

    SECTION("filter.repetition", "Records that repeat themselves. Reason: "
                                 "repetition."),
    {.name = "filter.repetition.enabled", .type = CONF_BOOL,
     AT(filter.repetition.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "The switch."},
    {.name = "filter.repetition.min_bytes", .type = CONF_INT,
     AT(filter.repetition.min_bytes), .fallback = "512", .min = 16,
     .max = 16777216,
     .decides_learning = true,
     .doc = "Shorter records are not looked at."},
    {.name = "filter.repetition.share", .type = CONF_REAL,
     AT(filter.repetition.share), .fallback = "0.95", .min = 0, .max = 1,
     .decides_learning = true,
     .doc = "A record of which more than this share is copies, of 8 bytes or "
            "more, of what stands before in it is refused. 1: none."},

    SECTION("filter.share_cap", "One domain that drowns the others. Reason: "
                                "share_cap."),
    {.name = "filter.share_cap.share", .type = CONF_REAL,
     AT(filter.share_cap.share), .fallback = "1", .min = 0.01, .max = 1,
     .decides_learning = true,
     .doc = "While others come, a domain may have so much of the bytes: at "
            "most share / (1 - share) times what came of them all. What is "
            "beyond is refused. 1: no cap."},
    {.name = "filter.share_cap.window_bytes", .type = CONF_INT,
     AT(filter.share_cap.window_bytes), .fallback = "1048576", .min = 1024,
     .max = 1e12,
     .decides_learning = true,
     .doc = "How much counts as recent. Others that had less than a 64th of "
            "it of late do not count."},

    SECTION("filter.gradient_norm", "Steps whose gradient is absurd. Reason: "
                                    "step_skipped."),
    {.name = "filter.gradient_norm.enabled", .type = CONF_BOOL,
     AT(filter.gradient_norm.enabled), .fallback = "true",
     .decides_learning = true,
     .doc = "The switch. A gradient that is not finite is never applied."},
    {.name = "filter.gradient_norm.medians", .type = CONF_REAL,
     AT(filter.gradient_norm.medians), .fallback = "100", .min = 2,
     .max = 1e9,
     .decides_learning = true,
     .doc = "A step whose gradient's norm is above so many medians of the "
            "last 64 teaches nothing, and its records are quarantined."},

    SECTION("publish", "When a version is made, and whether it serves."),
    {.name = "publish.every_seconds", .type = CONF_REAL,
     AT(publish.every_seconds), .fallback = "10", .min = 0, .max = 31536000,
     .is_reloadable = true,
     .doc = "A version is made this long after the last one. When the stream "
            "pauses for learner.flush_seconds, what is learned is published at "
            "once: up to ten times in a row, and after that once in "
            "every_seconds. While the stream goes on, publishing takes at most "
            "5 % of the time, counted in processor time: after a version that "
            "took one second, the next comes 20 seconds later at the earliest. "
            "`mneme status` says what the next version waits for. 0: by tokens "
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
     .doc = "Relative rise of a domain's bits per byte, or fall of the "
            "accuracy, that is accepted: 0.02 is two per cent."},
    {.name = "publish.gate.confidence", .type = CONF_REAL,
     AT(publish.gate.confidence), .fallback = "0.95", .min = 0.5,
     .max = 0.9999, .is_reloadable = true,
     .doc = "Of the one-sided bound that has to stay below it."},
    {.name = "publish.gate.min_chunks", .type = CONF_INT,
     AT(publish.gate.min_chunks), .fallback = "30", .min = 2, .max = 1000000,
     .is_reloadable = true,
     .doc = "Domains with fewer held-out segments are tested together, and "
            "further tests need as many."},
    {.name = "publish.gate.max_tokens", .type = CONF_INT,
     AT(publish.gate.max_tokens), .fallback = "16384", .min = 256,
     .max = 1000000000, .is_reloadable = true,
     .doc = "Held-out tokens that one decision scores, and at most half as "
            "many again of those that arrived last."},
    {.name = "publish.gate.protect", .type = CONF_STRINGS,
     AT(publish.gate.protect), .fallback = "[]", .is_reloadable = true,
     .doc = "Domains that may never exceed max_regression, whatever the "
            "others gain."},

    {.name = "publish.auto_rollback", .type = CONF_BOOL,
     AT(publish.auto_rollback), .fallback = "true", .is_reloadable = true,
     .doc = "Go back by itself to the last good version, and skip the records "
            "since then, when that version is better on the same new records, "
            "or a weight is not finite; at most three times an hour, then "
            "learning holds. false: never, and stop when a weight is not "
            "finite."},

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
            "`admin TOKEN` may also roll back, pin and promote; # begins a "
            "comment. Needed to listen on anything but loopback or a unix "
            "socket. The log warns of a file that every user can read, and of "
            "tokens of fewer than 16 characters. A reload reads it again."},
    {.name = "http.max_body_bytes", .type = CONF_INT,
     AT(http.max_body_bytes), .fallback = "1048576", .min = 1024,
     .max = 1073741824,
     .doc = "A request with a longer body gets 413. All bodies together, raw "
            "and parsed, take at most 64 MiB, or four times this if that is "
            "more; a body without room gets 429."},
    {.name = "http.max_connections", .type = CONF_INT,
     AT(http.max_connections), .fallback = "256", .min = 1, .max = 4096,
     .doc = "How many requests may be answered at a time, event streams among "
            "them; further ones get 429. One address may have three quarters "
            "of them. 16 more are for /healthz, /readyz, /v1/operations and "
            "admin requests. Idle connections are closed when new ones need "
            "room. At start mnemed raises the limit of open files to what this "
            "needs."},
    {.name = "http.max_request_seconds", .type = CONF_INT,
     AT(http.max_request_seconds), .fallback = "120", .min = 1, .max = 86400,
     .doc = "A completion, score, classification or embedding that takes "
            "longer is cancelled: it gets 503 with code time_limit, or ends "
            "with an error event when it is streamed. The wait for its turn "
            "does not count."},

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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of verbs: names, options, help texts and exit statuses. Dispatch,
 * help, the manual page and the shell completion are made from it.
 */
#include "config.h"

#include "cli/verb.h"

#define ANY_NUMBER 1000000 /* of words */

/* --- texts of several verbs --------------------------------------------- */

/* The options of a verb: a list with its end. */
#define OPTIONS(...)                                                           \
    (const struct verb_option[])                                               \
    {                                                                          \
        __VA_ARGS__, {NULL, 0, NULL, NULL}                                     \
    }
#define ASK_VERSION                                                            \
    {                                                                          \
        "version", 0, "N",                                                     \
            "use version N, the version with the tag N, latest (the newest "   \
            "one) or previous (the one that served before) (default: the "     \
            "serving version)"                                                 \
    }
#define ASK_LINES                                                              \
    {                                                                          \
        "lines", 0, NULL, "treat each line as a text of its own"               \
    }

#define TEXT_FROM                                                              \
    "The text is the argument. Without one, or with -, it is read from the "   \
    "standard input. "
#define MANY_LINES                                                             \
    "With --lines, any number of lines are answered in their order, all by "   \
    "one version. The first line that fails ends the verb: the answers "       \
    "before it are printed, and the error names the line.\n"

/* --- the table ---------------------------------------------------------- */

const struct verb verbs[] = {
    {"demo", "[FOLDER]...", 0, ANY_NUMBER, false,
     "Show learning, a bad feed and a rollback in three minutes.",
     "Needs no Kafka: starts mnemed with an embedded broker on a new data "
     "directory. Sends one domain of text after another, and shows the "
     "losses of the new and the earlier domains. Then sends a bad feed, rolls "
     "back, completes a prompt, and prints a summary of the measured figures. "
     "Each FOLDER of plain text files is a domain (default: text found on "
     "this machine). --data-dir names a directory without a store (default: "
     "a new directory below $TMPDIR).\n",
     OPTIONS({"minutes", 'm', "N", "take about N minutes (default 3)"},
             {"serve", 's', NULL,
              "keep the daemon and its page running at the end, until Ctrl-C"}),
     cmd_demo, NULL},
    {"status", NULL, 0, 0, true,
     "Print the state of the daemon on one screen.",
     "Shows the serving version and the newest version, the decisions about "
     "the records, the speed, the losses, and the last verdict of the gate. A "
     "loss in bits per byte says how surprised the model is by text; lower is "
     "better.\n"
     "LAG is the number of records in the stream that were not read yet. For "
     "each domain: BITS/BYTE is the prequential loss, measured on new records "
     "before they are learned. HELD OUT is the newest version's loss on the "
     "holdout, which is never learned. BEST is the lowest holdout loss of any "
     "version. ACCURACY is the share of labels that were predicted right. "
     "REPLAY is the number of segments in the replay buffer. ALARMS is the "
     "number of drift alarms: the prequential loss rose.\n",
     NULL, cmd_status, NULL},
    {"top", NULL, 0, 0, true,
     "Show the status again and again, until q or Ctrl-C.",
     "Lag, speed and loss are shown with a small chart of their last values. "
     "FORGOT is how far the holdout loss of a domain is above its lowest one; "
     "the chart beside it has the holdout losses of the newest versions, "
     "oldest first. Below are the newest versions with their verdicts.\n"
     "On a terminal, the screen fits the window. Into a pipe, one screen is "
     "printed after the other, as wide as $COLUMNS. With --json, each screen is "
     "one line: the daemon's status as JSON.\n",
     OPTIONS({"interval", 'n', "SECONDS",
              "read the status every SECONDS (default 2)"},
             {"once", '1', NULL, "show one screen, and end"}),
     cmd_top, NULL},
    {"doctor", NULL, 0, 0, true,
     "Find what is wrong on this machine, and the command that mends it.",
     "Each finding is a line: what was checked, what is wrong, and a command. "
     "Checks the configuration, the daemon, the data directory (permissions, "
     "space, damage of the newest and the serving version), memory, the clock, "
     "the source (broker, topics, file, POST /v1/records, the log of a stopped "
     "daemon), the gate, the token file and the quarantine. Works with a "
     "running and with a stopped daemon, and changes nothing. Give the same "
     "--conf and --set as to mnemed; without them, a running daemon says how "
     "its source is.\n",
     OPTIONS({"conf", 'c', "FILE",
              "the daemon's configuration (default: mnemed's own search)"},
             {"set", 0, "KEY=VALUE",
              "override one key of the configuration; may be repeated"}),
     cmd_doctor,
     "Exit status 1 when something is wrong.\n"},
    {"versions", NULL, 0, 0, true, "List the versions, newest first.",
     "OFFSET is the sum of the next offsets of all partitions. BITS/BYTE and "
     "ACCURACY are means over the holdout of all domains. GATE is the verdict: "
     "the comparison of the version with its reference version. FLAGS: the "
     "serving version answers requests, the head version is the newest one, "
     "and a pinned version is never removed. Then come the version's tags, "
     "each as @NAME.\n",
     OPTIONS({"limit", 'n', "N", "list only the newest N (default: all)"}),
     cmd_versions, NULL},
    {"show", "N", 1, 1, true, "Print the details of version N.",
     "The first table has the losses on the holdout. The second table is the "
     "gate's comparison with the reference version, in bits per byte: the loss "
     "of the reference version, the loss of this version, the change, its "
     "standard error, and the largest change that is allowed. The version "
     "fails when a change is larger than that and significant.\n"
     "The first row is the mean over the domains, weighted by their recent "
     "traffic. Then come the domains. The last row has the segments that "
     "arrived after the reference version; they count for automatic "
     "rollbacks. Versions of older programs have other rows.\n",
     NULL, cmd_show, NULL},
    {"diff", "A B", 2, 2, true,
     "Compare two versions metric by metric and domain by domain.",
     "Losses are in bits per byte on the holdout; lower is better.\n",
     NULL, cmd_diff, NULL},
    {"rollback", "N", 1, 1, true,
     "Serve version N again, and go on learning from it.",
     "rewind: the learner and the source go back to version N, and the records "
     "after it are learned again. skip: the learner goes back to version N, "
     "and the records that were learned after it are never learned again. "
     "keep: only serving goes back, as with promote N; the learner goes on.\n"
     "Version N answers requests at once. The learner follows when its current "
     "step is finished. If it cannot follow, the version that served before "
     "serves again.\n",
     OPTIONS({"stream", 0, "rewind|skip|keep",
              "what to do with the records that were learned after version "
              "N (default rewind)"},
             {"reason", 0, "TEXT", "a note for the history"}),
     cmd_rollback,
     "Exit status 3 when the records after version N can no longer be read.\n"},
    {"pin", "N", 1, 1, true,
     "Protect version N from removal, until it is unpinned.", NULL, NULL,
     cmd_version, NULL},
    {"unpin", "N", 1, 1, true,
     "Let retention remove version N again.", NULL, NULL, cmd_version, NULL},
    {"tag", "N NAME", 2, 2, true, "Give version N a name.",
     "Requests can then name the version as mneme@NAME, and generate, score, "
     "classify and embed with --version NAME. A tag that another version has "
     "moves to version N; mneme history lists the moves. Retention keeps a "
     "tagged version, as it keeps a pinned one. NAME has 1 to 64 letters, "
     "digits, dots, underscores or hyphens, and begins with a letter or a "
     "digit. It is neither a number, nor latest, nor previous.\n",
     NULL, cmd_tag, NULL},
    {"untag", "NAME", 1, 1, true, "Remove a name of a version.",
     "Without another tag or a pin, retention can remove the version again.\n",
     NULL, cmd_untag, NULL},
    {"promote", "N|latest", 1, 1, true,
     "Serve version N, whatever its verdict.",
     "Version N serves until the next promote or rollback. promote latest "
     "serves the newest version that passed the gate, and follows newer "
     "versions again.\n",
     NULL, cmd_version, NULL},
    {"history", NULL, 0, 0, true,
     "List the versions that served, with times and causes.",
     "A second table has the changes of tags, newest first, if there were "
     "any. VERSION is - where the tag was removed.\n",
     NULL, cmd_history, NULL},
    {"ranges", NULL, 0, 0, true,
     "List the ranges of the stream that rollbacks skipped.",
     "KIND is the cause. skip: an operator's rollback --stream skip. "
     "quarantine: an automatic rollback. skip_for_good: a second automatic "
     "rollback, after the range had been released. A released range is learned "
     "when it is read again, which takes a rollback to a version before it.\n",
     OPTIONS({"release", 0, "ID",
              "let this range be learned when a rollback reads it again"}),
     cmd_ranges, NULL},
    {"generate", "[PROMPT]", 0, 1, true, "Complete a prompt.",
     "The prompt is the argument. Without one, or with -, it is read from the "
     "standard input. Of a prompt longer than the context only the end is "
     "read. " MANY_LINES,
     OPTIONS(ASK_VERSION,
             {"max-tokens", 0, "N", "generate at most N tokens (default 64)"},
             {"temperature", 0, "X",
              "0 always takes the likeliest token; higher values give more "
              "variety (default 0.8)"},
             {"top-p", 0, "X",
              "sample only from the likeliest tokens that together have "
              "probability X"},
             {"top-k", 0, "N", "sample only from the N likeliest tokens"},
             {"seed", 0, "N",
              "seed of the sampling; the same seed gives the same text"},
             {"stop", 0, "TEXT", "end the completion before this text"},
             {"lines", 0, NULL,
              "treat each line as a prompt of its own; each completion is "
              "printed as one line, with its line ends as \\n"}),
     cmd_generate, NULL},
    {"score", "[TEXT]", 0, 1, true, "Print the loss of the model on a text.",
     TEXT_FROM "The loss is printed in bits per byte and as perplexity per "
     "token; lower means that the model expects the text more. " MANY_LINES,
     OPTIONS(ASK_VERSION, ASK_LINES),
     cmd_score, NULL},
    {"classify", "[TEXT]", 0, 1, true, "Predict the label of a text.",
     TEXT_FROM "The labels are those that occurred in learned records. "
     MANY_LINES,
     OPTIONS(ASK_VERSION, ASK_LINES,
             {"top-k", 0, "N", "print the N likeliest labels (default 5)"}),
     cmd_classify, NULL},
    {"embed", "[TEXT]", 0, 1, true, "Print the embedding vector of a text.",
     TEXT_FROM "The vector is printed as one line of numbers. " MANY_LINES,
     OPTIONS(ASK_VERSION, ASK_LINES),
     cmd_embed, NULL},
    {"feed", "[FILE]...", 0, ANY_NUMBER, true,
     "Send lines to Kafka, or to the daemon, as records.",
     "Each line is a record. Without a FILE, or with -, lines are read from "
     "the standard input. A file whose name ends in .gz or .zst is "
     "decompressed. At the end, the numbers of delivered and of failed records "
     "are printed.\n"
     "Records go to POST /v1/records when the daemon has source.type http, and "
     "no option for Kafka is given; else they go to Kafka. Over HTTP, blank "
     "lines are left out, a record counts as delivered when it is durable, and "
     "a record that is too large is named with its file and line; see mneme "
     "quarantine for the rest. While the daemon takes no more records, feed "
     "waits.\n",
     OPTIONS({"http", 0, NULL,
              "send to the daemon, without asking it for its source"},
             {"topic", 't', "T", "the topic to send to (default text)"},
             {"brokers", 'b', "HOST:PORT,...",
              "addresses of the Kafka brokers (default: the embedded broker "
              "of the daemon on the data directory, else localhost:9092)"},
             {"domain", 'd', "D",
              "send D as the header `domain` of each record"},
             {"key", 'k', "KEY", "the key of each record"},
             {"partition", 'p', "N",
              "send to this partition (default: librdkafka chooses)"},
             {"rate", 'r', "N", "send at most N records a second"},
             {"property", 'X', "NAME=VALUE",
              "set a property of librdkafka, such as security.protocol; may "
              "be repeated"}),
     cmd_feed,
     "Exit status 1 when a record was not delivered.\n"},
    {"quarantine", "[list | show ID | release ID...]", 0, ANY_NUMBER, true,
     "List, show or release the records in quarantine.",
     "list (the default) prints the newest records. show prints one record: "
     "its bytes, and why it was refused. release sends records back to be "
     "learned, at the current position of the stream. Each is learned once, "
     "also after a restart or a rollback, and passes every filter. The ledger "
     "lists it under topic (released). Instead of IDs, --reason or --all "
     "releases all records that can be released. A record cannot be released "
     "when it is invalid (not UTF-8, too long, empty), or when only a part of "
     "it was kept.\n",
     OPTIONS({"reason", 'r', "R",
              "with list or release: only the records that were refused for "
              "this reason"},
             {"topic", 't', "T",
              "with list: only the records of this topic or file"},
             {"limit", 'n', "N",
              "with list: only the newest N records (default 100)"},
             {"all", 'a', NULL,
              "with release: every record that can be released"}),
     cmd_quarantine,
     "Exit status 3 when a record cannot be released.\n"},
    {"forget", NULL, 0, 0, true, "Erase the records of an id or a domain.",
     "Removes the records' rows from replay, holdout and quarantine, and "
     "writes the database file anew without their bytes. A rewind does not "
     "learn these records again. A record that arrives later is a new record. "
     "The output names the versions that learned from the records. These "
     "versions stay and answer as before: their weights and their n-gram "
     "memory still hold what they learned. They can no longer be retrained "
     "(show says so). To undo the learning, too, rewind to a version before "
     "them.\n"
     "A record that has left the replay buffer has left no trace of its id: a "
     "version that learned only such records is not named. Invalid records, "
     "and records of source.format text, have no id field. If such a record "
     "begins like a JSON object, it is searched for a member `id`, in quotes, "
     "with exactly this value. An id in a part of a record that was not kept "
     "is not found.\n"
     "Writing the database anew needs as much free space as the database "
     "takes. Until there is that space, the file may hold erased bytes: the "
     "result and `mneme status` say so, and the daemon tries again every "
     "minute. The log of source.type http keeps its records: see RECORDS OVER "
     "HTTP in mnemed(8).\n",
     OPTIONS({"id", 0, "ID", "forget the records with this id"},
             {"domain", 'd', "D", "forget the records of this domain"}),
     cmd_forget, "Exit status 3 when no daemon runs.\n"},
    {"verify", "[VERSION]", 0, 1, true,
     "Check the database, and the checksums of a version's files.",
     "Reads the data directory, with or without a daemon, and writes nothing. "
     "VERSION is a number, or latest, the default. Checksums find damage. They "
     "are not signatures: a person who can write to the directory can also "
     "write new checksums.\n"
     "--retrain loads the version's parent, reads the records in the version's "
     "ledger from Kafka or the file, and learns them in the same steps, with "
     "the settings that the version stores. Weights, optimizer, Fisher, replay "
     "index and counters must be equal in every bit.\n",
     OPTIONS({"all", 'a', NULL, "check all versions"},
             {"retrain", 0, NULL,
              "learn the version again from its parent and the same "
              "records, and compare the result bit by bit"},
             {"conf", 'c', "FILE",
              "with --retrain: the daemon's configuration, which names the "
              "source; - is the standard input (default: mnemed's own "
              "search)"},
             {"set", 0, "KEY=VALUE",
              "with --retrain: override one key of the configuration; may "
              "be repeated"}),
     cmd_verify,
     "Exit status 1 for damage, or a retrained version that differs; 3 when "
     "the version, its parent or its records are gone.\n"},
    {"token", "create", 1, 1, true,
     "Make a token, and its line for http.token_file.",
     "Prints a random token, and the line that allows it: append the line to "
     "the file of http.token_file, and send SIGHUP to mnemed. The line has "
     "only the SHA-256 of the token, from which nobody can find the token. "
     "Give the token to the client, as $MNEME_TOKEN. Needs no daemon.\n"
     "Scopes: infer reads and asks versions; feed also sends records to POST "
     "/v1/records; admin may do everything.\n",
     OPTIONS({"scope", 0, "infer|feed|admin",
              "what the token allows (default infer)"},
             {"rate", 0, "N",
              "allow at most N requests a minute (default: no limit)"}),
     cmd_token, NULL},
    {"backup", "DIR", 1, 1, true,
     "Copy the data directory, also while the daemon runs.",
     "Copies a snapshot of the database, and the files of every undamaged "
     "version in it, into DIR, which must be new or empty. Each file is "
     "checked against its checksum. Versions that are damaged, or are removed "
     "during the copy, are left out and named. --data-dir names the data "
     "directory; --addr is ignored.\n"
     "DIR/SHA256SUMS is written last. sha256sum -c checks a backup without "
     "mneme; mneme verify --all --data-dir DIR checks it with mneme. Do not "
     "start mnemed on a backup: restore it first.\n",
     NULL, cmd_backup,
     "Exit status 1, with DIR left empty, when the database, the newest "
     "version or the serving version is damaged.\n"},
    {"restore", "DIR", 1, 1, true, "Make a data directory from a backup.",
     "Copies the backup DIR to --data-dir, which must be new or empty, and "
     "checks every file. Then start mnemed on it with the same configuration. "
     "It reads the stream from the position of the backup's newest version, "
     "and learns what the original daemon learned after that version. mnemed "
     "refuses a directory whose restore was interrupted. With Kafka, run "
     "either the original or the restored daemon, not both: they have the same "
     "consumer group.\n",
     NULL, cmd_restore,
     "Exit status 3 when --data-dir is not empty.\n"},
    {"import", "SOURCE DIR", 2, 2, true,
     "Make a data directory of a published model.",
     "Version 1 of the new data directory DIR has the weights, the shape and "
     "the tokenizer of SOURCE, which is only read. mnemed --data-dir DIR then "
     "serves it, and learns on from it. DIR must be new or empty.\n"
     "SOURCE is a directory as Hugging Face has them (config.json, "
     "tokenizer.json, and model.safetensors or several files with their "
     "index; numbers in F32, F16 or BF16), or a GGUF file (F32, F16, BF16, "
     "Q8_0, Q4_0; byte-level BPE only, so not Llama 2 and Mistral with "
     "SentencePiece). Llama, Mistral, Qwen2, Qwen3 and SmolLM are known. What "
     "cannot be read is refused, and the message names it.\n"
     "Numbers become float32, since all of them learn. Needs about 52 bytes "
     "of memory a parameter, and 20 on the disk. More than 2,147,483,648 "
     "parameters are refused.\n"
     "model.init in mneme.yaml does the same at the first start of mnemed. For "
     "the packaged service: sudo -u mneme mneme import SOURCE "
     "/var/lib/mneme.\n",
     OPTIONS({"context", 0, "N",
              "use at most N tokens of the model's context (default 2048)"}),
     cmd_import,
     "Exit status 3 when DIR is not empty.\n"},
    {"export", "N DIR", 2, 2, true,
     "Write version N as a model of transformers or llama.cpp.",
     "N is a number, a tag, latest (the newest version), serving or previous. "
     "DIR must be new or an empty folder. Works with a running and with a "
     "stopped daemon. --data-dir names the data directory; --addr is "
     "ignored.\n"
     "hf writes the files that transformers loads: config.json, "
     "generation_config.json, tokenizer.json, tokenizer_config.json and "
     "model.safetensors. gguf writes DIR/model.gguf, which llama.cpp and "
     "programs that use llama.cpp load.\n"
     "Types: f32 keeps every bit. f16 and bf16 take half of the memory, q8_0 "
     "about a quarter, q4_0 about a seventh; the last two need gguf. In gguf, "
     "norms stay f32, and a matrix whose rows do not consist of blocks of 32 "
     "numbers becomes f16.\n"
     "The model is the Transformer of the version. What mneme has beside it is "
     "left out, and named on the standard error: the n-gram memory and the "
     "class head.\n"
     "The losses are measured on a sample of the version's holdout: of "
     "mneme's answers, of the Transformer in f32, and of the exported "
     "numbers. llama.cpp also rounds activations when weights have type q8_0 "
     "or q4_0, which is not measured here.\n"
     "Needs two to three times the memory of the weights in f32.\n",
     OPTIONS({"format", 'f', "hf|gguf",
              "for transformers, or for llama.cpp (default hf)"},
             {"type", 't', "f32|f16|bf16|q8_0|q4_0",
              "how numbers are stored (default f32)"}),
     cmd_export,
     "Exit status 3 when DIR is not empty or there is no such version yet.\n"},
    {"bench", NULL, 0, 0, true,
     "Measure how fast this machine learns and answers.",
     "Measures the machine (multiply-adds, matrix products, memory); training "
     "steps of the learner on real text, for each preset and for four shapes "
     "that are common in other benchmarks; scoring and generation with fp32 "
     "and int8 weights; the loss that int8 adds; the replay buffer in SQLite; "
     "and publishing a version of preset small on the disk of $TMPDIR. A step "
     "is forward, backward, clipping, EWC and AdamW. Needs no daemon. Stop "
     "other work on the machine first. Takes under three minutes on two "
     "cores.\n"
     "Shapes (layers x dim, heads, vocabulary, sequences of 256 tokens): tiny "
     "4 x 128, 4, 256, 4; small 6 x 256, 8, 256, 4; medium 6 x 384, 6, 4096, "
     "8; gpt2 12 x 768, 12, 50257, 2. Presets: vocabulary 4096, 512 tokens in "
     "a step, in sequences of 128.\n"
     "GFLOP/s count the operations that the model needs: 6 for each token and "
     "weight of a matrix product, 12 for each head, dimension and attended "
     "pair of tokens. Recomputed values count once.\n"
     "The keys of --json follow; X is a shape or a preset. A rate or a time "
     "KEY is the median of the windows; KEY_least and KEY_most are the "
     "smallest and the largest window:\n"
     "machine: fma_peak_gflops, sgemm_gflops, triad_gb_per_second, for all "
     "threads at once; with _one_thread appended, for one thread.\n"
     "train.X, presets.X: tokens_per_second, model_gflops, peak_share, "
     "parameters, step_tokens, flop_per_token, skipped_steps; shares of the "
     "threads' time, which sum to 1: products, attention, norms, loss, "
     "optimizer, ewc, gradient_sum, rest.\n"
     "score.X: tokens_per_second, int8_tokens_per_second, "
     "ratio_to_training.\n"
     "generate.X (one text at a time on one thread, including the time for the "
     "prompt): tokens_per_second, int8_tokens_per_second, prompt_tokens, "
     "new_tokens.\n"
     "quantize: bits_per_byte_float and bits_per_byte_int8, the losses of a "
     "model of shape tiny with bytes as tokens, on text that it has not "
     "learned; loss_percent, the loss that int8 adds; shape, trained_tokens, "
     "scored_chunks, scored_bytes. With --seconds below 0.5, this model learns "
     "less.\n"
     "replay: rows_in_per_second, rows_out_per_second, capacity_rows, "
     "row_tokens.\n"
     "publish: seconds, stop_seconds, longest_stop_seconds.\n"
     "left_out: the parts that need more memory than there is, with reasons.\n",
     OPTIONS({"only", 0, "LIST",
              "measure only these parts, separated by commas: machine, "
              "tiny, small, medium, gpt2, preset-nano to preset-large, "
              "quantize, replay, publish; train, score, generate, presets; "
              "or one name from the JSON, such as train.tiny"},
             {"threads", 't', "N",
              "number of threads (default: one for each core)"},
             {"text", 0, "FILE",
              "learn from this text; - is the standard input (default: "
              "licences and sources of this machine)"},
             {"windows", 'w', "N",
              "measure each rate in N windows (default 5)"},
             {"seconds", 's', "X", "length of a window (default 0.5)"},
             {"rows", 0, "N",
              "capacity of the replay buffer in rows (default 20000)"}),
     cmd_bench, NULL},
    {"eval", "[FILE]...", 0, ANY_NUMBER, true,
     "Measure learning and forgetting on text.",
     "With FILEs: plays them as a stream of domains, once for each arm and "
     "seed, with the daemon's own intake, replay, EWC and learner. Needs no "
     "daemon, and writes no data directory. Each line is a record, as for "
     "mnemed; a file whose name ends in .gz or .zst is decompressed. Each file "
     "is a domain; one file alone is divided by the member `domain` of its "
     "records. Every twentieth record of a domain is held out, with its "
     "copies, unless --heldout is given.\n"
     "Arms say what protects earlier text. none: nothing. ewc: EWC. replay: "
     "replay. both: replay and EWC. joint: the same records shuffled, with "
     "replay, which is the bound that the others can hope for. scratch: at the "
     "end of each domain, a new model learns all records so far, shuffled, "
     "with replay. It runs only when --arms names it, since it learns the "
     "first domain once for each domain. Each run is a "
     "process with one thread. The same files, settings and seeds give the "
     "same figures with any --jobs.\n"
     "Orders: sequence plays one domain after another. gradual lets each fade "
     "into the next: a record's place moves by up to half a domain. "
     "interleaved shuffles all records. time sorts them by their member `ts`. "
     "The stream has one part for each domain, with as much text as the "
     "domain. After each part, all held-out records are scored with the model "
     "that a daemon would serve.\n"
     "The measures. a[i][j] is the loss on the held-out records of domain j "
     "after part i, in bits per byte; T is the number of domains; lower is "
     "better.\n"
     "FINAL (final_mean): the mean of a[T][j] over all j. RANGE: the largest "
     "minus the smallest FINAL of the seeds. LIVE (live_final_mean): FINAL of "
     "the live weights; all else is measured with their moving average, which "
     "a version serves.\n"
     "ANYTIME (anytime_mean): the mean over i of the mean of a[i][j] over j <= "
     "i, which is the loss on the domains so far at the end of each.\n"
     "FORGETTING (forgetting): the mean over j < T of a[T][j] - min over i < T "
     "of a[i][j].\n"
     "TRANSFER (backward_transfer): the mean over j < T of a[j][j] - a[T][j]; "
     "below zero: later domains made earlier ones worse.\n"
     "RETENTION (retention): (FINAL of none - FINAL) / (FINAL of none - FINAL "
     "of joint); 1: as good as joint.\n"
     "NEWEST (newest): a[T][T], the last domain just after it was learned.\n"
     "PREQUENTIAL (prequential): the loss of each record just before it is "
     "learned, over the whole stream, by the live weights; "
     "average_prequential in JSON: by the moving average, on a sixteenth of "
     "the segments.\n"
     "UNSEEN (worst_unseen): the largest loss of a domain before it is "
     "learned: of a[i][j] with i < j, and of the untrained model. A model that "
     "knows nothing needs about 8. `first contact` in the matrix is the loss "
     "of a domain's records in the first step that has any (first_contact; "
     "the largest of all domains: worst_first_contact).\n"
     "Accuracies. FINAL (final_accuracy): the mean over all j of the share of "
     "held-out segments of domain j whose label is predicted right. ANYTIME "
     "(anytime_accuracy): the mean over i of the mean accuracy on domains 1 to "
     "i after part i. PREQUENTIAL (prequential_accuracy): the share of records "
     "whose label was predicted just before they were learned; preset linear "
     "only.\n"
     "STEPS, TOKENS, ANCHORED, LEARNED, REFUSED (steps, tokens, "
     "consolidations, records_learned, records_refused): updates, learned "
     "tokens with the replayed ones, consolidations of EWC, and records that "
     "were learned or quarantined by a filter. If there "
     "was no consolidation, EWC had no anchor but the moving average. "
     "SECONDS (seconds): processor time for learning. LESS "
     "(less_than_scratch): how many times less that is than with scratch. MIB "
     "(peak_mib): the most memory of a run. With --equal-seconds the runs are "
     "repeated: each arm gets, for each part, the processor time of the "
     "slowest arm, and learns the part's records again until it is used. These "
     "runs depend on the machine.\n"
     "Without a FILE: the same matrix for the versions in --data-dir, beside a "
     "running daemon or without one. Each version was scored on its own "
     "holdout when it was made. The row of a domain is the last version before "
     "the next domain began. Then the share of time in which the serving "
     "version was not the newest one. While a version waits for its verdict, "
     "serving is one version behind.\n"
     "With --json and --out: the report as JSON, with every run; `mean`, "
     "`least` and `most` have the measures by the names in brackets.\n"
     "Example, two files of JSON Lines, in half a minute:\n"
     "    mneme eval --preset nano --seeds 2 --svg eval.svg news.jsonl "
     "logs.jsonl\n",
     OPTIONS({"heldout", 0, "FILE,...",
              "score these records instead of every twentieth: a file for "
              "each FILE, in the same order; may be repeated"},
             {"by", 0, "file|domain|label",
              "what a record's domain is: its file, its member `domain`, or "
              "its label (default: file; domain with one FILE)"},
             {"order", 0, "sequence|gradual|interleaved|time",
              "the order of the records (default sequence)"},
             {"arms", 0, "LIST",
              "run only these arms, separated by commas (default "
              "none,ewc,replay,both,joint; scratch is one more)"},
             {"seeds", 0, "N", "number of seeds (default 3)"},
             {"seed", 0, "N", "the first seed (default: learner.seed)"},
             {"equal-seconds", 0, NULL,
              "also give every arm the same processor time"},
             {"jobs", 'j', "N",
              "runs at a time (default: one for each core)"},
             {"bytes", 0, "N",
              "use at most N bytes of text of each domain (default: all)"},
             {"heldout-bytes", 0, "N",
              "score at most about N bytes of each domain (default 65536; 0: "
              "all)"},
             {"points", 0, "N",
              "measure the lines of the drawing N times in each part (default "
              "4; 1 with more than 8 domains)"},
             {"preset", 0, "NAME", "the same as --set model.preset=NAME"},
             {"set", 0, "KEY=VALUE",
              "set a key of mneme.yaml(5); may be repeated"},
             {"conf", 'c', "FILE",
              "read this configuration first (default: none)"},
             {"out", 'o', "FILE", "write the report as JSON"},
             {"svg", 0, "FILE",
              "draw the losses over the stream and the matrices"}),
     cmd_eval,
     "Exit status 1 when a file is damaged or a run fails, 2 when a file has "
     "no good record, 3 when there is no store in --data-dir, or none of its "
     "versions was scored.\n"},
    {"completion", "bash|zsh|fish", 1, 1, false,
     "Print the completion of a shell for mneme.",
     "make install has installed it already. To load it by hand:\n"
     "    eval \"$(mneme completion bash)\"\n"
     "    mneme completion zsh >~/.zfunc/_mneme\n"
     "    mneme completion fish | source\n",
     NULL, cmd_completion, NULL},
    {"help", "[VERB]", 0, 1, false, "Explain a verb, or list all verbs.", NULL,
     OPTIONS({"man", 0, NULL, "print the manual page, mneme(1), as roff"}),
     cmd_help, NULL},
};

const size_t verbs_n = sizeof verbs / sizeof verbs[0];

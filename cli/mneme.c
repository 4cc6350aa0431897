/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mneme: the table of verbs, and the way from a command line to one of them.
 */
#include "config.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/help.h"
#include "cli/verb.h"

#define MANY 1000000 /* words */

static verb_fn help;

/* --- options of each verb ----------------------------------------------- */

static const struct verb_option top_options[] = {
    {"interval", 'n', "SECONDS", "between two looks (default 2)"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option versions_options[] = {
    {"limit", 'n', "N", "only the newest N (default: all)"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option rollback_options[] = {
    {"stream", 0, "rewind|skip|keep",
     "what becomes of the stream (default rewind)"},
    {"reason", 0, "TEXT", "kept in the history"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option generate_options[] = {
    {"version", 0, "N", "ask version N (default: the serving one)"},
    {"max-tokens", 0, "N", "at most so many tokens (default 64)"},
    {"temperature", 0, "X", "0: always the likeliest token (default 0.8)"},
    {"top-p", 0, "X", "only the likeliest tokens that make up this share"},
    {"top-k", 0, "N", "only the N likeliest tokens"},
    {"seed", 0, "N", "the same seed gives the same text"},
    {"stop", 0, "TEXT", "end before this text"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option score_options[] = {
    {"version", 0, "N", "ask version N (default: the serving one)"},
    {"lines", 0, NULL, "each line is a text of its own"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option classify_options[] = {
    {"version", 0, "N", "ask version N (default: the serving one)"},
    {"lines", 0, NULL, "each line is a text of its own"},
    {"top-k", 0, "N", "the N likeliest labels (default 5)"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option ranges_options[] = {
    {"release", 0, "ID", "skip this range no longer"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option embed_options[] = {
    {"version", 0, "N", "ask version N (default: the serving one)"},
    {"lines", 0, NULL, "each line is a text of its own"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option feed_options[] = {
    {"topic", 't', "T", "where to (default text)"},
    {"brokers", 'b', "HOST:PORT,...",
     "Kafka's (default: the embedded one of the data directory, else "
     "localhost:9092)"},
    {"domain", 'd', "D", "sent as the header `domain` of each record"},
    {"key", 'k', "KEY", "the key of each record"},
    {"partition", 'p', "N", "to this partition (default: librdkafka decides)"},
    {"rate", 'r', "N", "at most so many records a second"},
    {"property", 'X', "NAME=VALUE",
     "a librdkafka property, as security.protocol; may be repeated"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option quarantine_options[] = {
    {"reason", 'r', "R", "only those that were set aside for this reason"},
    {"topic", 't', "T", "list: only those of this topic or file"},
    {"limit", 'n', "N", "list: at most so many, the newest (default 100)"},
    {"all", 'a', NULL, "release: all that can be"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option forget_options[] = {
    {"id", 0, "ID", "the records with this id"},
    {"domain", 'd', "D", "the records of this domain"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option verify_options[] = {
    {"all", 'a', NULL, "every version that is kept"},
    {"retrain", 0, NULL,
     "learn it again from its parent and the same records, and compare bit by "
     "bit"},
    {"conf", 'c', "FILE",
     "with --retrain: the daemon's configuration, for its source (default: as "
     "mnemed finds it)"},
    {"set", 0, "KEY=VALUE",
     "with --retrain: override one key of it; may be repeated"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option demo_options[] = {
    {"texts", 0, "DIR",
     "a folder with one folder of plain text files for each domain; their "
     "order by name, or in a file `order` (default: text of this machine)"},
    {"minutes", 'm', "N", "how long it may take, about (default 3)"},
    {"keep", 0, NULL, "leave the daemon running at the end"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option bench_options[] = {
    {"only", 0, "LIST",
     "these parts, with commas: machine, tiny, small, medium, gpt2, "
     "preset-nano to preset-large, quantize, replay, publish; train, score, "
     "generate, presets; or as in the JSON, train.tiny"},
    {"threads", 't', "N", "so many (default: one for each core)"},
    {"text", 0, "FILE", "learn from this text (default: licences and sources "
                        "of this machine)"},
    {"windows", 'w', "N", "timed windows for a figure (default 5)"},
    {"seconds", 's', "X", "length of a window (default 0.5)"},
    {"rows", 0, "N", "that the replay buffer holds (default 20000)"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option help_options[] = {
    {"man", 0, NULL, "the manual page, mneme(1)"},
    {"completion", 0, NULL, "completion for bash"},
    {NULL, 0, NULL, NULL},
};

/* --- the table ---------------------------------------------------------- */

static const struct verb verbs[] = {
    {"demo", NULL, 0, 0, false,
     "Everything in one command, no broker to install.",
     "Starts mnemed with an embedded Kafka broker on a new data directory, "
     "feeds it one kind of text after another, shows what is learned and what "
     "is kept, feeds garbage, rolls back, asks the model something, and ends "
     "with a summary of what was measured. --data-dir names a directory that "
     "does not hold a store yet (default: a new one below $TMPDIR).\n",
     demo_options, cmd_demo},
    {"status", NULL, 0, 0, true,
     "One screen: stream, speed, losses by domain, the serving version.", NULL,
     NULL, cmd_status},
    {"top", NULL, 0, 0, false, "The same, live, until interrupted.", NULL,
     top_options, cmd_top},
    {"versions", NULL, 0, 0, true, "List the versions, newest first.",
     "Losses are bits per UTF-8 byte on records that are never learned, over "
     "all domains; GATE is what the gate said.\n",
     versions_options, cmd_versions},
    {"show", "N", 1, 1, true, "One version, whole.", NULL, NULL, cmd_show},
    {"diff", "A B", 2, 2, true,
     "Two versions, metric by metric and domain by domain.", NULL, NULL,
     cmd_diff},
    {"rollback", "N", 1, 1, true, "Serve version N and learn on from it.",
     "rewind: the source goes back to N's positions and reads again. skip: it "
     "goes on where it is, and everything learned since N is undone and never "
     "learned again. keep: only serving goes back and stays (as promote N). "
     "N answers at once; it lasts, and the learner follows, when the learner's "
     "step is finished. When the range can no longer be read the daemon "
     "refuses, and what served serves again.\n",
     rollback_options, cmd_rollback},
    {"pin", "N", 1, 1, true, "Keep version N for good.", NULL, NULL, cmd_pin},
    {"unpin", "N", 1, 1, true, "Let retention decide about version N again.",
     NULL, NULL, cmd_unpin},
    {"promote", "N|latest", 1, 1, true,
     "Serve exactly version N; or follow the newest that passed again.", NULL,
     NULL, cmd_promote},
    {"history", NULL, 0, 0, true,
     "Which version served from when to when, and why it changed.", NULL, NULL,
     cmd_history},
    {"ranges", NULL, 0, 0, true,
     "What rollbacks left out of the stream, and why.",
     "skip: an operator's rollback --stream skip. quarantine: the daemon went "
     "back by itself. skip_for_good: it did so again, after the range had been "
     "released. A released range is learned when it is read again, after a "
     "rollback to a version before it.\n",
     ranges_options, cmd_ranges},
    {"generate", "[PROMPT]", 0, 1, true, "Go on from a text.",
     "The prompt comes from the argument or the standard input.\n",
     generate_options, cmd_generate},
    {"score", "[TEXT]", 0, 1, true, "How surprised is it, in bits per byte?",
     "The text comes from the argument or the standard input.\n", score_options,
     cmd_score},
    {"classify", "[TEXT]", 0, 1, true, "Which label does it give?",
     "The text comes from the argument or the standard input.\n",
     classify_options, cmd_classify},
    {"embed", "[TEXT]", 0, 1, true, "A text as a vector.",
     "The text comes from the argument or the standard input.\n", embed_options,
     cmd_embed},
    {"feed", "[FILE]...", 0, MANY, true, "Produce records to Kafka.",
     "A line is a record. Without a FILE, or with -, they come from the "
     "standard input; .gz and .zst are read as they are. It ends with how many "
     "records were delivered and how many were not; exit status 1 if any was "
     "not.\n",
     feed_options, cmd_feed},
    {"quarantine", "[list | show ID | release ID...]", 0, MANY, true,
     "The bad and the suspicious records: look at them, let them in.",
     "list (the default) names the newest; show prints one with its bytes. "
     "release lets records in at the present position of the stream: each is "
     "learned once, whatever is killed or rolled back, passes every filter, "
     "and is in the ledger as topic (released). Instead of IDs, --reason or "
     "--all releases all that can be. A record that is broken in itself (not "
     "UTF-8, too long, empty) or that was cut when it was kept cannot be: "
     "exit status 3, with the reason.\n",
     quarantine_options, cmd_quarantine},
    {"forget", NULL, 0, 0, true, "Erase the records of an id or a domain.",
     "Their rows go from replay, holdout and quarantine, the database file is "
     "written anew without their bytes, and a rewind passes over all of them "
     "that the stream holds by now; one that comes later is a new record. "
     "Versions that learned from them are named: they stay, and answer as "
     "before, but can no longer be retrained (show says so). To be rid of what "
     "they learned, rewind to a version before them. A record that replay no "
     "longer holds has left no trace of its id: a version that learned only "
     "such ones is not named. The daemon has to run: exit status 3 when it "
     "does not.\n",
     forget_options, cmd_forget},
    {"verify", "[N]", 0, 1, true,
     "Check the files of a version against their checksums, and the store.",
     "Works on the data directory, with or without a daemon; it only reads. "
     "Without N the newest version is checked. Checksums find damage. They are "
     "no signatures: who can write the directory can make them right again.\n"
     "--retrain takes the version's parent, reads the records that its ledger "
     "names again, from Kafka or the file, and learns them in the same steps "
     "with the settings that the version keeps: weights, optimizer, Fisher "
     "information, replay index and counters have to be the same to the last "
     "bit. Exit status 1 when they are not, 3 when the parent or the records "
     "are not there any more.\n",
     verify_options, cmd_verify},
    {"backup", "DIR", 1, 1, true,
     "Copy the data directory while the daemon learns, or without one.",
     "The database as it is at one moment, and the files of every version that "
     "is whole and that it names, into DIR, which is new or empty. Everything "
     "is read against its checksum on the way. Versions that are damaged, or "
     "that retention removes meanwhile, are left out and named; damage of the "
     "database, of the newest version or of the one that serves is exit status "
     "1, and then nothing is left in DIR. Only --data-dir counts, not --addr.\n"
     "DIR/SHA256SUMS is written last: sha256sum -c checks a backup without "
     "mneme, mneme verify --all --data-dir DIR with it. Do not start mnemed on "
     "a backup: restore it.\n",
     NULL, cmd_backup},
    {"restore", "DIR", 1, 1, true, "Make a data directory from a backup.",
     "Copies the backup DIR to --data-dir, which is new or empty (exit status "
     "3 otherwise), every file against its checksum. mnemed started on it, "
     "with the configuration that the backup's had, reads the stream from "
     "where the backup's newest version was and learns what the original "
     "learned from there. A directory whose restore did not end is refused by "
     "mnemed. With Kafka only one of the two, the original or the restored "
     "one, may run: they are the same member of the group.\n",
     NULL, cmd_restore},
    {"bench", NULL, 0, 0, true,
     "How fast it learns and answers here, beside what this machine can do.",
     "Measures the machine (multiply-adds, matrix products, memory), whole "
     "steps of the learner on real text for four shapes that other programs "
     "are measured with and for each preset, scoring and generation with "
     "weights as they are and as int8, what int8 costs in loss, replay "
     "through SQLite, and a version of preset small on the disk of $TMPDIR. "
     "Needs no daemon, and no other work on the machine while it runs: under "
     "three minutes on two cores. A step is forward, backward, clipping, EWC "
     "and AdamW.\n"
     "Shapes (layers x dim, heads, vocabulary, sequences of 256 tokens): tiny "
     "4 x 128, 4, 256, 4; small 6 x 256, 8, 256, 4; medium 6 x 384, 6, 4096, "
     "8; gpt2 12 x 768, 12, 50257, 2. Presets: vocabulary 4096, 512 tokens in "
     "a step, in sequences of 128.\n"
     "GFLOP/s are the model's: 6 for each weight of a product and token, 12 "
     "for each head, dimension and pair of tokens that attention looks at; "
     "what is computed twice counts once.\n"
     "Keys of --json, X being a shape or a preset; beside a median stand its "
     "least and most under its key with _least and _most:\n"
     "machine: fma_peak_gflops, sgemm_gflops, triad_gb_per_second, of all "
     "threads at once; with _one_thread appended, of one.\n"
     "train.X, presets.X: tokens_per_second, model_gflops, peak_share, "
     "parameters, step_tokens, flop_per_token, skipped_steps; shares of the "
     "threads' time, together 1: products, attention, norms, loss, optimizer, "
     "ewc, gradient_sum, rest.\n"
     "score.X: tokens_per_second, int8_tokens_per_second, "
     "ratio_to_training.\n"
     "generate.X (one text at a time, one thread, the prompt's time included): "
     "tokens_per_second, int8_tokens_per_second, prompt_tokens, "
     "new_tokens.\n"
     "quantize: bits_per_byte_float and bits_per_byte_int8, of text that a "
     "model of shape tiny, bytes as tokens, never learned from while it "
     "learned from the rest; loss_percent, how much worse int8 is; shape, "
     "trained_tokens, scored_chunks, scored_bytes. It learns less with "
     "--seconds below 0.5.\n"
     "replay: rows_in_per_second, rows_out_per_second, capacity_rows, "
     "row_tokens.\n"
     "publish: seconds, stop_seconds, longest_stop_seconds.\n"
     "left_out: parts that are too large for this machine, and why.\n",
     bench_options, cmd_bench},
    {"help", "[VERB]", 0, 1, false, "Tell about a verb, or all.", NULL,
     help_options, help},
};

#define N_VERBS (sizeof verbs / sizeof verbs[0])

static const struct verb *find(const char *name)
{
    for (size_t i = 0; i < N_VERBS; i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

static int no_such_verb(const char *name, struct err *err)
{
    return err_set(err, ERR_INVALID, "no such verb: %s; see: mneme help",
                   name);
}

static int help(const struct verb_args *args, struct err *err)
{
    const struct verb *verb;

    if (verb_has(args, "man")) {
        help_man(verbs, N_VERBS, stdout);
    } else if (verb_has(args, "completion")) {
        help_completion(verbs, N_VERBS, stdout);
    } else if (args->n_words == 0) {
        help_all(verbs, N_VERBS, stdout);
    } else {
        verb = find(args->words[0]);
        if (!verb)
            return no_such_verb(args->words[0], err);
        help_verb(verb, stdout);
    }
    return 0;
}

static int run(const struct verb *verb, int argc, char **argv,
               struct err *err)
{
    struct verb_args args;
    int rc = verb_parse(verb, argc, argv, &args, err);

    if (rc == 0 && verb_has(&args, "help"))
        help_verb(verb, stdout);
    else if (rc == 0)
        rc = verb->run(&args, err);
    verb_args_release(&args);
    if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        rc = err_set(err, ERR_IO, "the standard output cannot be written");
    return rc;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const struct verb *verb = name ? find(name) : NULL;
    struct err err = ERR_INIT;
    int rc;

    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    if (!name) {
        help_all(verbs, N_VERBS, stderr);
        return 2;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        help_all(verbs, N_VERBS, stdout);
        return 0;
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        puts("mneme " PACKAGE_VERSION);
        return 0;
    }
    rc = verb ? run(verb, argc - 1, argv + 1, &err) : no_such_verb(name, &err);
    if (rc && err.msg[0])
        fprintf(stderr, "mneme%s%s: %s\n", verb ? " " : "",
                verb ? verb->name : "", err.msg);
    return err_exit_status(rc);
}

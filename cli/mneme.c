/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mneme: the table of verbs, and the way from a command line to one of them.
 */
#include "config.h"

#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/verb.h"
#include "learner/kernels/ops.h"

#define MANY 1000000 /* words */

static verb_fn help;

/* --- options of each verb ----------------------------------------------- */

#define ASK_VERSION                                                            \
    {                                                                          \
        "version", 0, "N", "ask version N (default: the serving version)"      \
    }
#define ASK_LINES                                                              \
    {                                                                          \
        "lines", 0, NULL, "each line is a text of its own"                     \
    }

static const struct verb_option top_options[] = {
    {"interval", 'n', "SECONDS", "time between two screens (default 2)"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option versions_options[] = {
    {"limit", 'n', "N", "list only the newest N (default: all)"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option rollback_options[] = {
    {"stream", 0, "rewind|skip|keep",
     "what happens to the records that were learned after version N (default "
     "rewind)"},
    {"reason", 0, "TEXT", "a note for the history"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option generate_options[] = {
    ASK_VERSION,
    {"max-tokens", 0, "N", "generate at most N tokens (default 64)"},
    {"temperature", 0, "X",
     "0 always takes the likeliest token; more gives more variety (default "
     "0.8)"},
    {"top-p", 0, "X",
     "draw only from the likeliest tokens that together have probability X"},
    {"top-k", 0, "N", "draw only from the N likeliest tokens"},
    {"seed", 0, "N", "the same seed gives the same text"},
    {"stop", 0, "TEXT", "end before this text"},
    {"lines", 0, NULL,
     "each line is a prompt of its own; each answer is one line, with \\n for "
     "a line end in it"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option score_options[] = {
    ASK_VERSION,
    ASK_LINES,
    {NULL, 0, NULL, NULL},
};

static const struct verb_option classify_options[] = {
    ASK_VERSION,
    ASK_LINES,
    {"top-k", 0, "N", "print the N likeliest labels (default 5)"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option ranges_options[] = {
    {"release", 0, "ID", "learn this range after all, when it is read again"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option embed_options[] = {
    ASK_VERSION,
    ASK_LINES,
    {NULL, 0, NULL, NULL},
};

static const struct verb_option feed_options[] = {
    {"topic", 't', "T", "the topic to send to (default text)"},
    {"brokers", 'b', "HOST:PORT,...",
     "addresses of the Kafka brokers (default: the embedded broker of the data "
     "directory, else localhost:9092)"},
    {"domain", 'd', "D", "send D as the header `domain` of each record"},
    {"key", 'k', "KEY", "the key of each record"},
    {"partition", 'p', "N", "send to this partition (default: Kafka's client "
                            "chooses)"},
    {"rate", 'r', "N", "send at most N records a second"},
    {"property", 'X', "NAME=VALUE",
     "a property of librdkafka, such as security.protocol; may be repeated"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option quarantine_options[] = {
    {"reason", 'r', "R", "list, release: only records refused for this "
                         "reason"},
    {"topic", 't', "T", "list: only records of this topic or file"},
    {"limit", 'n', "N", "list: at most N records, the newest (default 100)"},
    {"all", 'a', NULL, "release: every record that can be released"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option forget_options[] = {
    {"id", 0, "ID", "the records with this id"},
    {"domain", 'd', "D", "the records of this domain"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option verify_options[] = {
    {"all", 'a', NULL, "check every version that is kept"},
    {"retrain", 0, NULL,
     "learn the version again from its parent and the same records, and "
     "compare the two bit by bit"},
    {"conf", 'c', "FILE",
     "with --retrain: the daemon's configuration, for its source; - is the "
     "standard input (default: as mnemed finds it)"},
    {"set", 0, "KEY=VALUE",
     "with --retrain: override one key of the configuration; may be repeated"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option demo_options[] = {
    {"texts", 0, "DIR",
     "learn from this folder, which has one folder of plain text files for "
     "each domain; their order is by name, or in a file `order` (default: text "
     "that is found on this machine)"},
    {"minutes", 'm', "N", "about how long it may take (default 3)"},
    {"keep", 0, NULL, "leave the daemon running at the end"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option bench_options[] = {
    {"only", 0, "LIST",
     "measure only these parts, separated by commas: machine, tiny, small, "
     "medium, gpt2, preset-nano to preset-large, quantize, replay, publish; "
     "train, score, generate, presets; or one as in the JSON, train.tiny"},
    {"threads", 't', "N", "number of threads (default: one for each core)"},
    {"text", 0, "FILE", "learn from this text; - is the standard input "
                        "(default: licences and sources of this machine)"},
    {"windows", 'w', "N", "time each figure in N windows (default 5)"},
    {"seconds", 's', "X", "length of a window (default 0.5)"},
    {"rows", 0, "N", "size of the replay buffer in rows (default 20000)"},
    {NULL, 0, NULL, NULL},
};

static const struct verb_option help_options[] = {
    {"man", 0, NULL, "print the manual page, mneme(1), as roff"},
    {"completion", 0, NULL, "print the completion for bash"},
    {NULL, 0, NULL, NULL},
};

/* --- the table ---------------------------------------------------------- */

#define TEXT_FROM                                                              \
    "The text comes from the argument. Without one, or with -, it comes from " \
    "the standard input. "
#define MANY_LINES                                                             \
    "--lines takes any number of lines and answers in their order, all from "  \
    "one version. The first line that fails ends it: the answers before it "   \
    "are printed, and the error names the line.\n"

static const struct verb verbs[] = {
    {"demo", NULL, 0, 0, false,
     "Show everything in three minutes, without a broker to install.",
     "Starts mnemed with an embedded Kafka broker on a new data directory. "
     "Feeds it one kind of text after another, and shows what the model learns "
     "and what it keeps. Then feeds garbage, rolls back, asks the model "
     "questions, and prints what was measured. --data-dir names a directory "
     "without a store (default: a new one below $TMPDIR).\n",
     demo_options, cmd_demo},
    {"status", NULL, 0, 0, true,
     "Print how the daemon is doing, on one screen.",
     "Shows the serving version and the newest one, what became of the "
     "records that were read, the speed, the losses, and the last decision of "
     "the gate. A loss in bits per byte says how surprised the model is by "
     "text; lower is better.\n"
     "LAG is the number of records in the stream that were not read yet. For "
     "each domain: BITS/BYTE is the loss on new records before they are "
     "learned, HELD OUT the newest version's loss on records that are never "
     "learned, BEST the lowest such loss of any version, ACCURACY the share "
     "of labels that were predicted right, and REPLAY the number of segments "
     "that are kept to be learned again.\n",
     NULL, cmd_status},
    {"top", NULL, 0, 0, true, "Show the status live, until q or Ctrl-C.",
     "The screen is cut to the window. Into a pipe, all screens are printed "
     "one after the other. --json prints the daemon's status as one line of "
     "JSON for each screen.\n",
     top_options, cmd_top},
    {"versions", NULL, 0, 0, true, "List the versions, newest first.",
     "OFFSET is the position in the stream, summed over the partitions. "
     "BITS/BYTE and ACCURACY are measured on held-out records, which are never "
     "learned, over all domains. GATE tells whether the version passed its "
     "comparison with the one before it. FLAGS: the serving version answers, "
     "the head is the newest, a pinned one is kept for good.\n",
     versions_options, cmd_versions},
    {"show", "N", 1, 1, true, "Print all that is known about version N.",
     "The second table is the gate's comparison with an older version, in "
     "bits per byte. Its columns are the loss of the older version, the loss "
     "of this version, the change, its standard error, and the largest change "
     "that is allowed. The version fails when a change is shown to be larger "
     "than that.\n"
     "Each row is about held-out segments. The first rows are about one "
     "domain each, and about its segments that arrived before the older "
     "version was made. The last rows are about all domains: the segments "
     "that arrived last; those that arrived before, in domains that have few "
     "of them; and those that arrived after the older version was made.\n",
     NULL, cmd_show},
    {"diff", "A B", 2, 2, true,
     "Compare two versions metric by metric and domain by domain.",
     "Losses are in bits per byte on held-out records; lower is better.\n",
     NULL, cmd_diff},
    {"rollback", "N", 1, 1, true, "Serve version N, and learn on from it.",
     "rewind: the source goes back to the positions of version N, and the "
     "records after them are learned again. skip: the source goes on where it "
     "is; what was learned after version N is undone, and those records are "
     "not learned again. keep: only serving goes back, as with promote N; the "
     "learner goes on as it is.\n"
     "Version N answers requests at once. The learner follows when its present "
     "step is finished. If the records can no longer be read, the daemon "
     "refuses (exit status 3), and the version that served before serves "
     "again.\n",
     rollback_options, cmd_rollback},
    {"pin", "N", 1, 1, true, "Keep version N until it is unpinned.", NULL,
     NULL, cmd_pin},
    {"unpin", "N", 1, 1, true,
     "Let version N be removed when its time has come.", NULL, NULL,
     cmd_unpin},
    {"promote", "N|latest", 1, 1, true,
     "Serve exactly version N, until told otherwise.",
     "promote latest serves the newest version that the gate has passed, and "
     "follows newer ones again.\n",
     NULL, cmd_promote},
    {"history", NULL, 0, 0, true,
     "List which version served from when to when, and why.", NULL, NULL,
     cmd_history},
    {"ranges", NULL, 0, 0, true,
     "List the parts of the stream that rollbacks left out.",
     "KIND says who left them out. skip: an operator, with rollback --stream "
     "skip. quarantine: the daemon, when it went back by itself. "
     "skip_for_good: the daemon did so once more, after the range had been "
     "released. A released range is learned when it is read again, which takes "
     "a rollback to a version before it.\n",
     ranges_options, cmd_ranges},
    {"generate", "[PROMPT]", 0, 1, true, "Complete a prompt.",
     "The prompt comes from the argument. Without one, or with -, it comes "
     "from the standard input. " MANY_LINES,
     generate_options, cmd_generate},
    {"score", "[TEXT]", 0, 1, true, "Measure how surprising a text is.",
     TEXT_FROM "The loss is printed in bits per byte and as perplexity per "
     "token; lower means less surprising. " MANY_LINES,
     score_options, cmd_score},
    {"classify", "[TEXT]", 0, 1, true, "Predict the label of a text.",
     TEXT_FROM "The labels are those of the records that were learned. "
     MANY_LINES,
     classify_options, cmd_classify},
    {"embed", "[TEXT]", 0, 1, true, "Turn a text into a vector.",
     TEXT_FROM "The vector is printed as one line of numbers. " MANY_LINES,
     embed_options, cmd_embed},
    {"feed", "[FILE]...", 0, MANY, true, "Send lines to Kafka as records.",
     "A line is a record. Without a FILE, or with -, lines come from the "
     "standard input; a file whose name ends in .gz or .zst is unpacked. At "
     "the end it prints how many records were delivered and how many failed. "
     "Exit status 1 if any record was not delivered.\n",
     feed_options, cmd_feed},
    {"quarantine", "[list | show ID | release ID...]", 0, MANY, true,
     "List refused records, look at them, or learn them after all.",
     "list (the default) prints the newest ones. show prints one record with "
     "its bytes, and what is wrong with it. release lets records in at the "
     "present position of the stream. Each is learned once, also after a "
     "restart or a rollback, and no filter refuses it. The ledger lists it "
     "under topic (released). Instead of IDs, --reason or --all releases all "
     "records that can be released. A record that is broken in itself (not "
     "UTF-8, too long, empty), or of which only a part was kept, cannot be "
     "released: exit status 3, with the reason.\n",
     quarantine_options, cmd_quarantine},
    {"forget", NULL, 0, 0, true, "Erase the records of an id or a domain.",
     "Their rows are removed from replay, holdout and quarantine, and the "
     "database file is written anew without their bytes. A rewind does not "
     "learn them again; a record that arrives later is a new one. The "
     "versions that learned from them are named. Those versions stay and "
     "answer as before, but can no longer be retrained (show says so). To be "
     "rid of what they learned, rewind to a version before them. A record "
     "that replay no longer holds has left no trace of its id: a version that "
     "learned only such records is not named. Broken records and records of "
     "source.format text have no id of their own. Those that begin like an "
     "object are searched for a member `id`, in quotes, with exactly this "
     "value. An id that was cut off before the record was kept is not found.\n"
     "Writing the database anew needs free space of its size. Until there is "
     "that space, the file may hold erased bytes: the result and `mneme "
     "status` say so, and the daemon tries again every minute. Exit status 3 "
     "when no daemon runs.\n",
     forget_options, cmd_forget},
    {"verify", "[N]", 0, 1, true,
     "Check the store, and the checksums of a version's files.",
     "Works on the data directory, with or without a daemon, and only reads. "
     "Without N the newest version is checked. Checksums find damage. They are "
     "no signatures: whoever can write to the directory can make them right "
     "again.\n"
     "--retrain starts from the version's parent, reads the records that the "
     "version's ledger names, from Kafka or the file, and learns them in the "
     "same steps with the settings that the version keeps. Weights, optimizer, "
     "Fisher information, replay index and counters must be the same to the "
     "last bit. Exit status 1 when they are not, 3 when the parent or the "
     "records are not there any more.\n",
     verify_options, cmd_verify},
    {"backup", "DIR", 1, 1, true,
     "Copy the data directory, also while the daemon runs.",
     "Copies the database as it is at one moment, and the files of every "
     "whole version that it names, into DIR, which must be new or empty. "
     "Everything is checked against its checksum on the way. Versions that "
     "are damaged, or are removed during the copy, are left out and named. "
     "When the database, the newest version or the serving version is "
     "damaged, the exit status is 1 and nothing is left in DIR. Only "
     "--data-dir counts, not --addr.\n"
     "DIR/SHA256SUMS is written last. sha256sum -c checks a backup without "
     "mneme; mneme verify --all --data-dir DIR checks it with mneme. Do not "
     "start mnemed on a backup: restore it.\n",
     NULL, cmd_backup},
    {"restore", "DIR", 1, 1, true, "Make a data directory from a backup.",
     "Copies the backup DIR to --data-dir, which must be new or empty (exit "
     "status 3 otherwise), and checks every file. Started on it with the same "
     "configuration, mnemed reads the stream from the position of the backup's "
     "newest version, and learns what the original learned from there. mnemed "
     "refuses a directory whose restore was interrupted. With Kafka, run only "
     "one of the two, the original or the restored one: both are the same "
     "member of the consumer group.\n",
     NULL, cmd_restore},
    {"bench", NULL, 0, 0, true,
     "Measure how fast this machine learns and answers.",
     "Measures the machine (multiply-adds, matrix products, memory); whole "
     "steps of the learner on real text, for each preset and for four shapes "
     "that other programs are measured with; scoring and generation with "
     "weights as they are and as int8; what int8 costs in loss; replay through "
     "SQLite; and publishing a version of preset small to the disk of $TMPDIR. "
     "A step is forward, backward, clipping, EWC and AdamW. It needs no "
     "daemon, and no other work on the machine meanwhile; it takes under "
     "three minutes on two cores.\n"
     "Shapes (layers x dim, heads, vocabulary, sequences of 256 tokens): tiny "
     "4 x 128, 4, 256, 4; small 6 x 256, 8, 256, 4; medium 6 x 384, 6, 4096, "
     "8; gpt2 12 x 768, 12, 50257, 2. Presets: vocabulary 4096, 512 tokens in "
     "a step, in sequences of 128.\n"
     "GFLOP/s count the model's work: 6 for each weight of a product and "
     "token, 12 for each head, dimension and pair of tokens that attention "
     "looks at. Work that is done twice counts once.\n"
     "Keys of --json follow; X is a shape or a preset. A median KEY has its "
     "least and greatest value beside it, as KEY_least and KEY_most:\n"
     "machine: fma_peak_gflops, sgemm_gflops, triad_gb_per_second, of all "
     "threads at once; with _one_thread appended, of one thread.\n"
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
     "model of shape tiny with bytes as tokens, on text that it never learned "
     "from; loss_percent, how much worse int8 is; shape, trained_tokens, "
     "scored_chunks, scored_bytes. With --seconds below 0.5 that model learns "
     "less.\n"
     "replay: rows_in_per_second, rows_out_per_second, capacity_rows, "
     "row_tokens.\n"
     "publish: seconds, stop_seconds, longest_stop_seconds.\n"
     "left_out: parts that are too large for this machine, and why.\n",
     bench_options, cmd_bench},
    {"help", "[VERB]", 0, 1, false, "Explain a verb, or list all verbs.", NULL,
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
    return rc;
}

/* --- the standard output ------------------------------------------------ */

/* As in other tools, SIGPIPE ends the program quietly when the reader of its
 * output has left, even if its parent ignores SIGPIPE. */
static void die_with_reader(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* A signal handler of the verb may have kept SIGPIPE from ending us. */
static bool reader_has_left(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

/* Flushes the standard output; if that fails, it is the error. */
static int finish_output(int rc, struct err *err)
{
    bool failed = fflush(stdout) != 0;
    int why = failed ? errno : 0;

    if (!failed && !ferror(stdout))
        return rc;
    if (why == EPIPE || reader_has_left()) {
        die_with_reader();
        raise(SIGPIPE);
    }
    if (rc)
        return rc;
    if (why)
        return err_set_errno(err, ERR_IO, why, "standard output");
    return err_set(err, ERR_IO, "the standard output cannot be written");
}

/* --- main --------------------------------------------------------------- */

static int dispatch(int argc, char **argv, struct err *err)
{
    const char *name = argv[1];
    const struct verb *verb = find(name);

    if (verb)
        return run(verb, argc - 1, argv + 1, err);
    if (!strcmp(name, "--help") || !strcmp(name, "-h"))
        help_all(verbs, N_VERBS, stdout);
    else if (!strcmp(name, "--version") || !strcmp(name, "-V"))
        puts("mneme " PACKAGE_VERSION);
    else
        return no_such_verb(name, err);
    return 0;
}

int main(int argc, char **argv)
{
    const struct verb *verb = argc > 1 ? find(argv[1]) : NULL;
    struct err err = ERR_INIT;
    int rc;

    ops_restart(argv);
    setlocale(LC_CTYPE, "");
    fileio_occupy_closed();
    die_with_reader();
    if (argc < 2) {
        help_all(verbs, N_VERBS, stderr);
        return 2;
    }
    rc = finish_output(dispatch(argc, argv, &err), &err);
    if (rc && err.msg[0]) {
        char *who = xasprintf("mneme%s%s", verb ? " " : "",
                              verb ? verb->name : "");

        log_plain(who, err.msg);
        free(who);
    }
    return err_exit_status(rc);
}

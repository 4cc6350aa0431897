/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every thread blocks SIGTERM, SIGINT and SIGHUP, and the main thread waits for
 * them. When another thread wants the process to end, it sends SIGTERM to the
 * main thread. While the main thread stops the parts, another thread waits for
 * a second SIGTERM. start() and stop() follow the order in daemon.h.
 */
#include "config.h"

#include "daemon/daemon.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/board/control.h"
#include "daemon/http/http.h"
#include "daemon/train/learning.h"
#include "daemon/train/options.h"
#include "daemon/publish/publisher.h"
#include "daemon/stream/queue.h"
#include "daemon/train/restore.h"
#include "daemon/publish/serving.h"
#include "daemon/stream/source.h"
#include "daemon/board/status.h"
#include "daemon/train/trainer.h"
#include "daemon/watch.h"
#include "learner/kernels/ops.h"
#include "store/store.h"

#define SECOND_MS 300 /* timeout(1) sends two signals at once: they are one */

struct daemon {
    struct conf *conf;
    daemon_reload_fn *reload;
    void *reload_arg;

    struct store *store;
    struct catalog *catalog;
    struct status_board board;
    struct prefix_cache *prefixes; /* NULL: off */
    struct serving *serving;
    struct control *control;
    struct queue *queue;
    struct source *source;
    struct learning learning;
    bool learning_open;
    struct model_shape shape; /* that learning will have; not linear */
    int generations;          /* completions at the same time */
    struct publisher *publisher;
    struct trainer *trainer;
    struct http *http;
    struct watch *watch;

    atomic_bool ends_by_itself; /* a part has asked for the stop */
    pthread_mutex_t mutex;      /* guards fatal */
    struct err fatal;
};

static pthread_t main_thread;
static _Atomic pthread_t signal_thread; /* waits for the operator's signals */

/* --- calls from other threads ------------------------------------------- */

static void on_end(void *arg)
{
    struct daemon *d = arg;

    atomic_store(&d->ends_by_itself, true);
    pthread_kill(main_thread, SIGTERM);
}

static void on_fatal(const struct err *err, void *arg)
{
    struct daemon *d = arg;

    pthread_mutex_lock(&d->mutex);
    if (d->fatal.code == ERR_OK)
        d->fatal = *err;
    pthread_mutex_unlock(&d->mutex);
    atomic_store(&d->ends_by_itself, true);
    pthread_kill(main_thread, SIGTERM);
}

static void wake_trainer(void *arg)
{
    struct daemon *d = arg;

    queue_wake(d->queue);
}

static void wake_publisher(void *arg)
{
    struct daemon *d = arg;

    publisher_wake(d->publisher);
}

/* --- starting ----------------------------------------------------------- */

/* Logs what store_open found in the directory, and what it changed there. */
static void log_findings(struct daemon *d)
{
    const char *dir = d->conf->data_dir;

    if (store_privacy(d->store) == FILEIO_TIGHTENED)
        log_warn("private",
                 "dir=%s result=\"other users could enter it; its mode is now "
                 "0700\"",
                 dir);
    else if (store_privacy(d->store) == FILEIO_OPEN)
        log_warn("private",
                 "dir=%s result=\"other users can enter it. mnemed does not "
                 "change that: the directory belongs to another user, is "
                 "shared, or holds other files. The files of mnemed are "
                 "private\"",
                 dir);
    if (store_swept(d->store))
        log_warn("swept",
                 "dir=%s/versions names=\"%s\" result=\"these folders are not "
                 "in the database. They were renamed to .swept-NAME. The next "
                 "version or the next start removes them\"",
                 dir, store_swept(d->store));
    if (store_strangers(d->store))
        log_warn("swept",
                 "dir=%s/versions names=\"%s\" result=\"these folders are not "
                 "in the database and not of this store: they stay as they "
                 "are\"",
                 dir, store_strangers(d->store));
    if (store_lost(d->store))
        log_error("damaged",
                  "file=%s/mneme.db-wal error=\"the last %d transactions are "
                  "lost: repeat any pin, skip or rollback among them\"",
                  dir, store_lost(d->store));
}

static int open_store(struct daemon *d, int threads, int *shards,
                      struct err *err)
{
    const struct store_schema replay = {"replay", replay_schema,
                                        replay_schema_n};
    int rc = store_open(d->conf->data_dir, &replay, 1, &d->store, err);

    if (rc)
        return rc;
    log_findings(d);
    rc = restore_settings(d->store, d->conf, threads, shards, err);
    if (rc == 0)
        rc = catalog_open(d->conf->data_dir, &d->catalog, err);
    return rc;
}

/* Logs the most memory that the daemon will use, before it is used. */
static void announce_memory(struct daemon *d)
{
    struct learner_options learner;
    const struct model_shape *s = NULL;
    int64_t bytes;

    if (d->learning.has_model &&
        restore_shape(d->catalog, d->conf, &d->shape, NULL) == 0)
        s = &d->shape;
    d->generations = options_generations(s);
    options_learner(d->conf, s, NULL, d->learning.threads,
                    d->learning.shards, &learner);
    bytes = (int64_t)options_memory(d->conf, &learner);
    status_lock(&d->board)->memory_announced = bytes;
    status_unlock(&d->board);
    log_info("memory", "at_most_mib=%lld", (long long)(bytes >> 20));
}

static void create_publisher(struct daemon *d)
{
    struct publisher_options options = {
        .conf = d->conf,
        .store = d->store,
        .catalog = d->catalog,
        .serving = d->serving,
        .control = d->control,
        .board = &d->board,
        .source = d->source,
        .on_fatal = on_fatal,
        .wake_trainer = wake_trainer,
        .arg = d,
    };

    d->publisher = publisher_create(&options);
    if (d->learning.learner)
        publisher_prepare(d->publisher, learning_shape(&d->learning),
                          d->learning.tokenizer);
}

static void create_trainer(struct daemon *d)
{
    struct trainer_options options = {
        .conf = d->conf,
        .learning = &d->learning,
        .queue = d->queue,
        .source = d->source,
        .publisher = d->publisher,
        .control = d->control,
        .serving = d->serving,
        .board = &d->board,
        .catalog = d->catalog,
        .on_end = on_end,
        .on_fatal = on_fatal,
        .arg = d,
    };

    d->trainer = trainer_create(&options);
}

/* Starts all parts in order. After an error, stop() frees the started parts. */
static int start(struct daemon *d, struct err *err)
{
    int threads = d->conf->learner.threads ? (int)d->conf->learner.threads
                                           : options_cores();
    struct infer_options infer;
    struct source_position *positions;
    size_t n_positions = 0;
    int shards = 1;
    int rc = open_store(d, threads, &shards, err);

    if (rc)
        return rc;

    d->learning_open = true;
    rc = learning_open(&d->learning, d->conf, threads, shards, err);
    if (rc)
        return rc;
    announce_memory(d);
    rc = restore_state(d->store, d->conf, &d->learning, err);
    if (rc)
        return rc;

    options_infer(d->conf, &infer);
    infer.figures = &d->board.infer;
    if (d->conf->serve.prefix_cache_mib)
        d->prefixes = prefix_cache_create(
            (size_t)d->conf->serve.prefix_cache_mib << 20, &d->board.infer);
    infer.prefixes = d->prefixes;
    d->serving = serving_create(d->catalog, &infer);
    if (d->learning.learner) {
        serving_prepare(d->serving, learning_shape(&d->learning),
                        d->learning.tokenizer);
        rc = restore_serving(d->store, d->catalog, d->serving, err);
        if (rc)
            return rc;
    }

    d->queue = queue_create(OPTIONS_QUEUE_RECORDS, OPTIONS_QUEUE_BYTES);
    rc = source_create(&(struct source_options){.conf = d->conf,
                                                .data_dir = d->conf->data_dir,
                                                .store_id = store_id(d->store),
                                                .queue = d->queue},
                       &d->source, err);
    if (rc)
        return rc;
    d->control = control_create(wake_trainer, wake_publisher, d);
    create_publisher(d);
    create_trainer(d);
    d->board.source_get_health = source_get_health;
    d->board.source_get_partitions = source_get_partitions;
    d->board.source = d->source;
    progress_show(&d->learning.progress, &d->board, status_lock(&d->board));
    status_unlock(&d->board);

    publisher_start(d->publisher);
    rc = http_start(&(struct http_context){.conf = d->conf,
                                           .board = &d->board,
                                           .serving = d->serving,
                                           .catalog = d->catalog,
                                           .control = d->control,
                                           .source = d->source,
                                           .generations = d->generations},
                    &d->http, err);
    if (rc)
        return rc;
    log_info("http", "address=%s", http_address(d->http));
    d->watch = watch_start(&d->board);
    positions = progress_positions(&d->learning.progress, &n_positions);
    rc = source_begin(d->source, positions, n_positions, 0, err);
    free(positions);
    if (rc == 0)
        trainer_start(d->trainer);
    return rc;
}

/* --- stopping ----------------------------------------------------------- */

/* Stops all parts in order. After a failed start some parts are NULL. */
static void stop(struct daemon *d)
{
    status_set_state(&d->board, STATUS_STOPPING, NULL);
    watch_stopping(d->watch);
    http_close(d->http);
    if (d->trainer)
        trainer_stop(d->trainer);
    http_stop(d->http);
    if (d->publisher)
        publisher_stop(d->publisher);
    watch_stop(d->watch); /* it reads the source's positions */
    d->board.source = NULL;
    source_free(d->source);
    trainer_free(d->trainer);
    publisher_free(d->publisher);
    control_free(d->control);
    queue_free(d->queue);
    if (d->learning_open)
        learning_close(&d->learning);
    serving_free(d->serving);
    prefix_cache_free(d->prefixes);
    catalog_close(d->catalog);
    store_close(d->store);
}

/* --- running ------------------------------------------------------------ */

/* Applies the new configuration as a whole, or refuses it as a whole. */
static void reload(struct daemon *d)
{
    struct conf *next = d->reload(d->reload_arg);
    struct conf_strings changed = {0}, fixed = {0};
    struct err err = ERR_INIT;

    if (!next) {
        log_error("reload", "result=\"refused: the configuration is not valid. "
                            "Nothing has changed\"");
        return;
    }
    if (http_reload_check(d->conf, next, &err) != 0) {
        log_error("reload", "result=\"refused: nothing has changed\" error=\""
                            "%s\"", err.msg);
        conf_free(next);
        return;
    }
    conf_reload_diff(d->conf, next, &changed, &fixed);
    trainer_reload(d->trainer, d->conf, next);
    if (http_reload(d->http, &err) != 0)
        log_error("reload", "%s", err.msg);
    log_configure(d->conf->log.level, d->conf->log.format);
    for (size_t i = 0; i < changed.n; i++)
        log_info("reloaded", "key=%s", changed.items[i]);
    for (size_t i = 0; i < fixed.n; i++)
        log_warn("reload", "key=%s result=\"needs a restart\"",
                 fixed.items[i]);
    conf_strings_release(&changed);
    conf_strings_release(&fixed);
    conf_free(next);
}

/* Handles signals until one of them stops the daemon. */
static void wait_for_stop(struct daemon *d, const sigset_t *signals)
{
    for (;;) {
        int signal = 0;

        if (sigwait(signals, &signal) != 0 || signal != SIGHUP)
            return;
        watch_reloading(d->watch);
        reload(d);
        watch_reloaded(d->watch);
    }
}

/* --- a second signal ---------------------------------------------------- */

/* Ends the process at once, after `arg` signals. That is as safe as a power
 * cut: the next start goes on from the newest version. */
static void *await_second_signal(void *arg)
{
    int64_t first_ms = timing_mono_ms();
    intptr_t left = (intptr_t)arg;
    sigset_t signals;
    int signal;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    while (left) {
        if (sigwait(&signals, &signal) != 0)
            return NULL;
        if (timing_mono_ms() - first_ms < SECOND_MS)
            continue;
        first_ms = timing_mono_ms();
        left--;
    }
    log_plain("mnemed", "a second signal: stopped at once. The records after "
                        "the newest version are read again at the next start");
    _exit(DAEMON_STOPPED_AT_ONCE);
}

static void watch_for_second_signal(struct daemon *d)
{
    intptr_t n = atomic_load(&d->ends_by_itself) ? 2 : 1;
    pthread_attr_t detached;
    pthread_t thread;

    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &detached, await_second_signal,
                       (void *)n) == 0)
        atomic_store(&signal_thread, thread);
    pthread_attr_destroy(&detached);
}

static void forward_signal(int signal)
{
    pthread_kill(atomic_load(&signal_thread), signal);
}

/* OpenBLAS may start threads before main(), and they block no signals. A signal
 * that reaches such a thread would end the process. So a handler forwards it to
 * the thread that waits for signals. */
static void block_signals(sigset_t *signals)
{
    static const int handled[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction action = {.sa_handler = forward_signal,
                               .sa_flags = SA_RESTART};

    main_thread = pthread_self();
    atomic_store(&signal_thread, main_thread);
    sigemptyset(signals);
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        sigaddset(signals, handled[i]);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
    action.sa_mask = *signals;
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        sigaction(handled[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int daemon_run(struct conf *conf, daemon_reload_fn *reload_conf, void *arg,
               struct err *err)
{
    struct daemon *d = xcalloc(1, sizeof *d);
    sigset_t signals;
    int rc;

    d->conf = conf;
    d->reload = reload_conf;
    d->reload_arg = arg;
    pthread_mutex_init(&d->mutex, NULL);
    status_board_init(&d->board);
    d->board.now.source_type = conf_source_name(conf->source.type);
    block_signals(&signals);
    ops_init();
    rc = start(d, err);
    if (rc == 0)
        wait_for_stop(d, &signals);
    watch_for_second_signal(d);
    stop(d);
    if (rc == 0 && d->fatal.code != ERR_OK) {
        *err = d->fatal;
        rc = err->code;
    }
    status_board_release(&d->board);
    pthread_mutex_destroy(&d->mutex);
    free(d);
    return rc;
}

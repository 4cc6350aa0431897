/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals are blocked in every thread and taken by sigwait in the main one;
 * other threads that want the process to end leave a note and send it
 * SIGTERM.
 */
#include "config.h"

#include "daemon/daemon.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/board/control.h"
#include "daemon/http/http.h"
#include "daemon/train/learning.h"
#include "daemon/notify.h"
#include "daemon/train/options.h"
#include "daemon/publish/publisher.h"
#include "daemon/stream/queue.h"
#include "daemon/train/restore.h"
#include "daemon/publish/serving.h"
#include "daemon/stream/source.h"
#include "daemon/board/status.h"
#include "daemon/train/trainer.h"
#include "learner/kernels/ops.h"
#include "store/store.h"

#define READY_LOOK_MS 100
#define READY_TELL_MS 15000 /* each extension is for a minute */

struct daemon {
    struct conf *conf;
    daemon_reload_fn *reload;
    void *reload_arg;
    pthread_t main_thread;

    struct store *store;
    struct catalog *catalog;
    struct status_board board;
    struct serving *serving;
    struct control *control;
    struct queue *queue;
    struct source *source;
    struct learning learning;
    bool learning_open;
    struct publisher *publisher;
    struct trainer *trainer;
    struct http *http;

    pthread_mutex_t mutex; /* guards fatal */
    struct err fatal;
};

/* --- what other threads ask of this one --------------------------------- */

static void on_end(void *arg)
{
    struct daemon *d = arg;

    pthread_kill(d->main_thread, SIGTERM);
}

static void on_fatal(const struct err *err, void *arg)
{
    struct daemon *d = arg;

    pthread_mutex_lock(&d->mutex);
    if (d->fatal.code == ERR_OK)
        d->fatal = *err;
    pthread_mutex_unlock(&d->mutex);
    pthread_kill(d->main_thread, SIGTERM);
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

static const struct store_schema *schemas(void)
{
    static struct store_schema replay;

    replay = (struct store_schema){"replay", replay_schema, replay_schema_n};
    return &replay;
}

/* Logs what store_open found in the directory, and changed there. */
static void say_what_was_found(struct daemon *d)
{
    const char *dir = d->conf->data_dir;

    if (store_privacy(d->store) == FILEIO_TIGHTENED)
        log_warn("private",
                 "dir=%s result=\"other users could enter it; its mode is 0700 "
                 "now\"",
                 dir);
    else if (store_privacy(d->store) == FILEIO_OPEN)
        log_warn("private",
                 "dir=%s result=\"other users can enter it, and mnemed leaves "
                 "it so: it belongs to another user, is shared, or holds other "
                 "files. Files of mnemed are private\"",
                 dir);
    if (store_swept(d->store))
        log_warn("swept",
                 "dir=%s/versions names=\"%s\" result=\"not in the "
                 "database: renamed to .swept-NAME, and removed with the next "
                 "version or at the next start\"",
                 dir, store_swept(d->store));
    if (store_strangers(d->store))
        log_warn("swept",
                 "dir=%s/versions names=\"%s\" result=\"not in the "
                 "database, and not of this store: left as they are\"",
                 dir, store_strangers(d->store));
    if (store_lost(d->store))
        log_error("damaged",
                  "file=%s/mneme.db-wal error=\"the last %d transactions are "
                  "lost: pins, skips and rollbacks among them have to be "
                  "asked for again\"",
                  dir, store_lost(d->store));
}

static int open_store(struct daemon *d, int *shards, struct err *err)
{
    int threads = d->conf->learner.threads ? (int)d->conf->learner.threads
                                           : options_cores();
    int rc = store_open(d->conf->data_dir, schemas(), 1, &d->store, err);

    if (rc)
        return rc;
    say_what_was_found(d);
    rc = restore_settings(d->store, d->conf, threads, shards, err);
    if (rc == 0)
        rc = catalog_open(d->conf->data_dir, &d->catalog, err);
    return rc;
}

/* What it will use, said before it is used. */
static void announce_memory(struct daemon *d)
{
    struct learner_options learner;
    struct model_shape shape;
    struct err err = ERR_INIT;
    const struct model_shape *s = NULL;
    int64_t bytes;

    if (d->learning.has_model &&
        options_shape(d->conf, (int)d->conf->model.vocab_size, &shape,
                      &err) == 0)
        s = &shape;
    options_learner(d->conf, s, NULL, d->learning.threads,
                    d->learning.shards, &learner);
    bytes = (int64_t)options_memory(d->conf, &learner);
    status_lock(&d->board)->memory_announced = bytes;
    status_unlock(&d->board);
    log_info("memory", "at_most_mib=%lld", (long long)(bytes >> 20));
}

static int open_learning(struct daemon *d, int shards, struct err *err)
{
    int threads = d->conf->learner.threads ? (int)d->conf->learner.threads
                                           : options_cores();
    const struct model_shape *shape;
    int rc;

    rc = learning_open(&d->learning, d->conf, threads, shards, err);
    d->learning_open = true;
    if (rc)
        return rc;
    announce_memory(d);
    rc = restore_state(d->store, d->conf, &d->learning, err);
    if (rc || !d->learning.learner)
        return rc;
    shape = d->learning.has_model ? &d->learning.shape : NULL;
    serving_prepare(d->serving, shape, d->learning.tokenizer);
    return restore_serving(d->store, d->catalog, d->serving, err);
}

static int make_source(struct daemon *d, struct err *err)
{
    struct source_options options = {
        .conf = d->conf,
        .data_dir = d->conf->data_dir,
        .store_id = store_id(d->store),
        .queue = d->queue,
    };

    return source_create(&options, &d->source, err);
}

static void make_publisher(struct daemon *d)
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
        publisher_prepare(d->publisher,
                          d->learning.has_model ? &d->learning.shape : NULL,
                          d->learning.tokenizer);
}

static void make_trainer(struct daemon *d)
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

static int start_http(struct daemon *d, struct err *err)
{
    struct http_context context = {
        .conf = d->conf,
        .board = &d->board,
        .serving = d->serving,
        .catalog = d->catalog,
        .control = d->control,
    };
    int rc = http_start(&context, &d->http, err);

    if (rc == 0)
        log_info("http", "address=%s", http_address(d->http));
    return rc;
}

static int begin_source(struct daemon *d, struct err *err)
{
    size_t n = 0;
    struct source_position *positions =
        progress_positions(&d->learning.progress, &n);
    int rc = source_begin(d->source, positions, n, 0, err);

    free(positions);
    return rc;
}

static int start(struct daemon *d, struct err *err)
{
    struct infer_options infer;
    int shards = 1;
    int rc = open_store(d, &shards, err);

    if (rc)
        return rc;
    options_infer(d->conf, &infer);
    d->serving = serving_create(d->catalog, &infer);
    rc = open_learning(d, shards, err);
    if (rc)
        return rc;
    d->queue = queue_create(OPTIONS_QUEUE_RECORDS, OPTIONS_QUEUE_BYTES);
    rc = make_source(d, err);
    if (rc)
        return rc;
    d->control = control_create(wake_trainer, wake_publisher, d);
    make_publisher(d);
    make_trainer(d);
    d->board.source_get_health = source_get_health;
    d->board.source_get_partitions = source_get_partitions;
    d->board.source = d->source;
    progress_show(&d->learning.progress, &d->board, status_lock(&d->board));
    status_unlock(&d->board);
    publisher_start(d->publisher);
    rc = start_http(d, err);
    if (rc == 0)
        rc = begin_source(d, err);
    if (rc == 0)
        trainer_start(d->trainer);
    return rc;
}

/* --- stopping ----------------------------------------------------------- */

static void stop(struct daemon *d)
{
    status_set_state(&d->board, STATUS_STOPPING, NULL);
    notify_send("STOPPING=1");
    http_close(d->http);
    if (d->trainer)
        trainer_stop(d->trainer);
    http_stop(d->http);
    if (d->publisher)
        publisher_stop(d->publisher);
    d->board.source = NULL;
    source_free(d->source);
    trainer_free(d->trainer);
    publisher_free(d->publisher);
    control_free(d->control);
    queue_free(d->queue);
    if (d->learning_open)
        learning_close(&d->learning);
    serving_free(d->serving);
    catalog_close(d->catalog);
    store_close(d->store);
}

/* --- running ------------------------------------------------------------ */

static void log_names(const char *event, const struct conf_strings *names)
{
    for (size_t i = 0; i < names->n; i++)
        log_info(event, "key=%s", names->items[i]);
}

static void reload(struct daemon *d)
{
    struct conf *next = d->reload(d->reload_arg);
    struct conf_strings changed = {0}, fixed = {0};
    struct err err = ERR_INIT;

    if (!next)
        return;
    conf_reload_diff(d->conf, next, &changed, &fixed);
    trainer_reload(d->trainer, d->conf, next);
    if (http_reload(d->http, &err) != 0)
        log_warn("reload", "%s", err.msg);
    log_configure(d->conf->log.level, d->conf->log.format);
    log_names("reloaded", &changed);
    for (size_t i = 0; i < fixed.n; i++)
        log_warn("reload", "key=%s result=\"needs a restart\"",
                 fixed.items[i]);
    conf_strings_release(&changed);
    conf_strings_release(&fixed);
    conf_free(next);
}

/* Waits for a signal, and returns it. Before the daemon is ready it waits for
 * at most READY_LOOK_MS; 0: no signal came. */
static int next_signal(const sigset_t *signals, bool ready)
{
    const struct timespec look = {0, READY_LOOK_MS * 1000000};
    int signal = 0;

    if (!ready)
        signal = sigtimedwait(signals, NULL, &look);
    else if (sigwait(signals, &signal) != 0)
        signal = SIGTERM;
    return signal > 0 ? signal : 0;
}

/* Tells the service manager READY=1 once a version serves, as /readyz does.
 * That may have to wait for text from the stream; until then the manager's
 * limit on the start is extended. True: ready has been told. */
static bool tell_readiness(struct daemon *d, int64_t *told_ms)
{
    int64_t now = timing_mono_ms();

    if (serving_version(d->serving)) {
        notify_send("READY=1\nSTATUS=a version serves");
        return true;
    }
    if (*told_ms == 0 || now - *told_ms >= READY_TELL_MS) {
        notify_send("EXTEND_TIMEOUT_USEC=60000000\n"
                    "STATUS=no version serves yet: waiting for text");
        *told_ms = now;
    }
    return false;
}

static void wait_for_the_end(struct daemon *d, const sigset_t *signals)
{
    int64_t told_ms = 0;
    bool ready = false;

    for (;;) {
        int signal;

        ready = ready || tell_readiness(d, &told_ms);
        signal = next_signal(signals, ready);
        if (signal == SIGHUP)
            reload(d);
        else if (signal)
            return;
    }
}

static pthread_t waiting_thread;

static void pass_on(int signal)
{
    pthread_kill(waiting_thread, signal);
}

/* OpenBLAS may start threads before main(), and they block no signals. A signal
 * that reached one of them would end the process, so the handler passes it on
 * to the main thread, which takes it when it waits. */
static void block_signals(sigset_t *signals)
{
    static const int taken[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};

    waiting_thread = pthread_self();
    sigemptyset(signals);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        sigaddset(signals, taken[i]);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
    action.sa_mask = *signals;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        sigaction(taken[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static const char *source_type(const struct conf *conf)
{
    static const char *const names[] = {"kafka", "file", "stdin"};

    return names[conf->source.type];
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
    d->main_thread = pthread_self();
    pthread_mutex_init(&d->mutex, NULL);
    status_board_init(&d->board);
    d->board.now.source_type = source_type(conf);
    block_signals(&signals);
    ops_init();
    rc = start(d, err);
    if (rc == 0)
        wait_for_the_end(d, &signals);
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

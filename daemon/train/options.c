/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/train/options.h"

#include <sched.h>
#include <stdlib.h>

#include "daemon/board/series.h"
#include "daemon/board/status.h"
#include "interchange/import.h"
#include "learner/model.h"

/* Measured: 3e-3 is best at 96 channels, 1e-3 at 256 (bench/NOTES.md). */
#define RATE_TIMES_WIDTH 0.28f

#define HOLDOUT_RECENT 0.25

/* With preset linear, replay rows stay in memory: reading one from the database
 * takes as long as all other work on a short text. */
#define LINEAR_KEPT_BYTES ((size_t)96 << 20)

/* Memory of a domain and of a label, in all versions in memory together: names,
 * counters, results and their JSON. */
#define DOMAIN_BYTES 6144
#define LABEL_BYTES 1024

/* Request bodies: HTTP_BODIES of the largest size, but at least HTTP_BYTES. */
#define HTTP_BYTES ((size_t)64 << 20)
#define HTTP_BODIES 4

/* Memory of a connection that follows events: two threads, and buffers.
 * Measured with 1,500 of them. */
#define CONNECTION_BYTES ((size_t)240 << 10)
#define TLS_BYTES ((size_t)96 << 10) /* of a connection, with http.tls */
#define FEW_CONNECTIONS 256

/* Completions at the same time, fewer when they would need more memory. */
#define GENERATIONS 32
#define GENERATION_BYTES ((size_t)64 << 20)

int options_shape(const struct conf *conf, int vocab_size,
                  struct model_shape *shape, struct err *err)
{
    const struct conf_model *m = &conf->model;
    bool custom = m->preset == CONF_PRESET_CUSTOM;
    char *preset = conf_text(conf, "model.preset");
    int rc = model_preset(custom ? "small" : preset, shape, err);

    free(preset);
    if (rc)
        return rc;
    if (custom) {
        shape->dim = (int)m->dim;
        shape->layers = (int)m->layers;
        shape->heads = (int)m->heads;
        shape->kv_heads = (int)m->kv_heads;
        shape->head_dim = (int)(m->dim / m->heads);
        shape->ffn_dim = (int)m->ffn_dim;
        shape->context = (int)m->context;
    }
    shape->vocab_size = vocab_size;
    shape->qk_norm = m->qk_norm;
    return model_shape_check(shape, err);
}

void options_limit_context(const struct conf *conf, struct model_shape *shape)
{
    int64_t most = conf->model.context ? conf->model.context
                                       : OPTIONS_INIT_CONTEXT;

    if (shape->context > most)
        shape->context = (int)most;
}

int options_first_shape(const struct conf *conf, struct model_shape *shape,
                        struct err *err)
{
    int rc;

    if (!conf->model.init)
        return options_shape(conf, (int)conf->model.vocab_size, shape, err);
    rc = import_read_shape(conf->model.init, shape, err);
    if (rc == 0)
        options_limit_context(conf, shape);
    return rc;
}

float options_rate(const struct conf *conf, const struct model_shape *shape)
{
    if (conf->learner.optimizer.lr > 0 || !shape)
        return (float)conf->learner.optimizer.lr;
    return RATE_TIMES_WIDTH / (float)shape->dim;
}

void options_learner(const struct conf *conf, const struct model_shape *shape,
                     const struct tokenizer *tokenizer, int threads,
                     int shards, struct learner_options *out)
{
    const struct conf_learner *l = &conf->learner;

    learner_options_default(out);
    out->shape = shape;
    out->tokenizer = tokenizer;
    out->threads = threads;
    out->shards = shards;
    out->seed = (uint64_t)l->seed;
    out->optim.lr = options_rate(conf, shape);
    out->optim.warmup_steps = (int)l->optimizer.warmup_steps;
    out->optim.weight_decay = (float)l->optimizer.weight_decay;
    out->optim.clip_norm = (float)l->optimizer.clip_norm;
    out->optim.skip_medians = conf->filter.gradient_norm.enabled
                                  ? (float)conf->filter.gradient_norm.medians
                                  : 0.0f;
    out->ewc.enabled = l->ewc.enabled;
    out->ewc.lambda = (float)l->ewc.lambda;
    out->ewc.decay = (float)l->ewc.decay;
    switch (l->ewc.consolidate.kind) {
    case CONF_CONSOLIDATE_OFF:
        out->ewc.consolidate = EWC_OFF;
        break;
    case CONF_CONSOLIDATE_EVERY:
        out->ewc.consolidate = EWC_EVERY;
        break;
    case CONF_CONSOLIDATE_AUTO:
        out->ewc.consolidate = EWC_AUTO;
        break;
    }
    out->ewc.every_steps = l->ewc.consolidate.every_steps;
    out->average.enabled = l->average.enabled;
    out->average.decay = (float)l->average.decay;
    out->ngram.enabled = l->ngram.enabled && shape != NULL;
    out->ngram.mib = (int)l->ngram.mib;
    out->head.max_labels = (int)conf->model.max_labels;
    out->head.seed = (uint64_t)l->seed;
}

void options_infer(const struct conf *conf, struct infer_options *out)
{
    infer_options_default(out);
    if (conf->serve.quantize == CONF_QUANTIZE_INT8)
        out->quantize = INFER_INT8;
    out->pass_threads = options_cores();
}

void options_replay(const struct conf *conf, enum replay_kind kind,
                    struct replay_options *out)
{
    const struct conf_learner *l = &conf->learner;

    replay_options_default(out, kind);
    out->seed = (uint64_t)l->seed;
    out->capacity = kind == REPLAY_HOLDOUT ? l->holdout.capacity
                                           : l->replay.capacity;
    if (kind == REPLAY_HOLDOUT) /* the gate needs the newest rows */
        out->recent_share = HOLDOUT_RECENT;
    if (l->replay.balance == CONF_BALANCE_NONE)
        out->quota_exponent = 1;
    if (kind == REPLAY_ROWS && conf->model.preset == CONF_PRESET_LINEAR)
        out->cache_bytes = (int64_t)LINEAR_KEPT_BYTES;
}

json_t *options_settings(const struct conf *conf)
{
    struct conf_strings keys = {0};
    json_t *settings = json_object();

    conf_learning_keys(&keys);
    for (size_t i = 0; i < keys.n; i++) {
        char *value = conf_text(conf, keys.items[i]);

        json_object_set_new(settings, keys.items[i], json_string(value));
        free(value);
    }
    conf_strings_release(&keys);
    return settings;
}

int options_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
}

size_t options_http_bytes(const struct conf *conf)
{
    size_t few = HTTP_BODIES * (size_t)conf->http.max_body_bytes;

    return few > HTTP_BYTES ? few : HTTP_BYTES;
}

/* The most memory of one completion; 0: preset linear. */
static size_t generation_bytes(const struct model_shape *shape)
{
    return shape ? infer_generation_bytes(shape) : 0;
}

int options_generations(const struct model_shape *shape)
{
    size_t one = generation_bytes(shape);
    size_t n = one ? GENERATION_BYTES / one : 1;

    if (n < (size_t)options_cores())
        return options_cores();
    return n < GENERATIONS ? (int)n : GENERATIONS;
}

size_t options_memory(const struct conf *conf,
                      const struct learner_options *learner)
{
    const struct conf_replay *replay = &conf->learner.replay;
    double replayed = !replay->enabled  ? 0
                      : replay->adaptive ? 4
                                         : replay->ratio;
    size_t step_tokens =
        (size_t)((double)conf->learner.batch_tokens * (1 + replayed)) + 1024;
    size_t replay_row = 128; /* in the index */
    size_t rows =
        (size_t)(replay->capacity + conf->learner.holdout.capacity);
    size_t kept = learner->shape ? 0 : LINEAR_KEPT_BYTES;
    /* Code, SQLite, librdkafka, and FEW_CONNECTIONS connections. */
    size_t fixed = (size_t)96 << 20;
    size_t connections = conf->http.max_connections > FEW_CONNECTIONS
                             ? (size_t)conf->http.max_connections -
                                   FEW_CONNECTIONS
                             : 0;
    size_t tls = conf->http.tls.cert
                     ? (size_t)conf->http.max_connections * TLS_BYTES
                     : 0;
    size_t labels = (size_t)conf->model.max_labels;
    size_t dim = learner->shape ? (size_t)learner->shape->dim : 0;
    /* A label's row and prototype. Besides the learner's (learner_bytes), a
     * snapshot and each loaded version have them. */
    size_t label_row =
        2 * (2 * dim + (size_t)learner->head.gram_dim) * sizeof(float);
    size_t label_rows = 6 * labels * label_row;
    size_t batch_logits =
        (size_t)conf->learner.batch_tokens * labels * sizeof(float);
    /* A holder without a slot may take one extra (http_slots.h). */
    size_t generations =
        (size_t)(options_generations(learner->shape) + 1) *
        generation_bytes(learner->shape);
    size_t block = 0, ngram = 0, working = 0;

    if (learner->shape) {
        struct model *m = NULL;
        int cores = options_cores();

        /* Requests use the serving version and three others. The publisher
         * reads four times as many tokens at once. */
        working = 4 * infer_kept_bytes(learner->shape, cores) +
                  (size_t)(cores + 4) * infer_reading_bytes(learner->shape) +
                  ((size_t)conf->serve.prefix_cache_mib << 20);

        if (model_create(learner->shape, &m, NULL) == 0)
            block = m->n_params * sizeof(float);
        model_free(m);
    }
    if (learner->ngram.enabled)
        ngram = ngram_bytes(learner->shape->vocab_size, learner->ngram.mib);
    /* Blocks: a snapshot has seven, for average and live weights, two moments,
     * two of Fisher, and the anchor. The serving version, the candidate and
     * three versions that requests name have one each. All of these have an
     * n-gram memory; a version has it twice while it is loaded. */
    return learner_bytes(learner, step_tokens) +
           (7 + 5) * block + (1 + 6) * ngram + rows * replay_row + label_rows +
           batch_logits + labels * LABEL_BYTES +
           (size_t)conf->model.max_domains * DOMAIN_BYTES +
           series_bytes(STATUS_MAX_DOMAINS) + OPTIONS_STAGED_BYTES + kept +
           OPTIONS_QUEUE_BYTES + options_http_bytes(conf) + generations +
           working + connections * CONNECTION_BYTES + tls + fixed;
}

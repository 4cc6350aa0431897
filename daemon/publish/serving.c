/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/publish/serving.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "store/current.h"
#include "store/store.h"

#define MOST_KEPT 3 /* versions in memory besides the serving one */
#define MOST_LABELS 65536

struct serving {
    struct catalog *catalog;
    struct current *current;
    struct infer_options options;
    pthread_mutex_t loading; /* one request loads a version at a time */
    pthread_mutex_t mutex;   /* guards the two below */
    const struct model_shape *shape; /* NULL: preset linear */
    const struct tokenizer *tokenizer;
};

static void free_infer(void *object)
{
    infer_free(object);
}

struct serving *serving_create(struct catalog *catalog,
                               const struct infer_options *options)
{
    struct serving *s = xcalloc(1, sizeof *s);

    infer_options_default(&s->options);
    if (options)
        s->options = *options;
    s->catalog = catalog;
    s->current = current_create(free_infer, MOST_KEPT);
    pthread_mutex_init(&s->loading, NULL);
    pthread_mutex_init(&s->mutex, NULL);
    return s;
}

void serving_prepare(struct serving *s, const struct model_shape *shape,
                     const struct tokenizer *tokenizer)
{
    pthread_mutex_lock(&s->mutex);
    s->shape = shape;
    s->tokenizer = tokenizer;
    pthread_mutex_unlock(&s->mutex);
}

void serving_free(struct serving *s)
{
    if (!s)
        return;
    current_free(s->current);
    pthread_mutex_destroy(&s->loading);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

const struct infer_options *serving_options(const struct serving *s)
{
    return &s->options;
}

int serving_load(struct serving *s, int64_t version, struct infer **infer,
                 struct err *err)
{
    struct tensor_list weights = TENSOR_LIST_INIT, head = TENSOR_LIST_INIT;
    struct tensor_list ngram = TENSOR_LIST_INIT;
    struct names labels = NAMES_INIT;
    struct buf json = BUF_INIT;
    const struct model_shape *shape;
    const struct tokenizer *tokenizer;
    struct infer *loaded = NULL;
    int rc = 0;

    pthread_mutex_lock(&s->mutex);
    shape = s->shape;
    tokenizer = s->tokenizer;
    pthread_mutex_unlock(&s->mutex);
    if (shape)
        rc = store_load(s->catalog, version, STORE_WEIGHTS, &weights, err);
    if (rc == 0)
        rc = store_load(s->catalog, version, STORE_HEAD, &head, err);
    if (rc == 0)
        rc = store_load(s->catalog, version, STORE_NGRAM, &ngram, err);
    if (rc == 0)
        rc = store_load_text(s->catalog, version, "labels.json", &json, err);
    if (rc == 0)
        rc = names_from_json(&labels, json.data, json.len, MOST_LABELS, err);
    if (rc == 0)
        rc = infer_create(shape, tokenizer, &weights, &head, &labels,
                          &s->options, &loaded, err);
    if (rc == 0)
        rc = infer_add_ngram(loaded, &ngram, err);
    tensor_list_release(&weights);
    tensor_list_release(&head);
    tensor_list_release(&ngram);
    names_release(&labels);
    buf_release(&json);
    if (rc) {
        infer_free(loaded);
        err_prefix(err, "version %lld", (long long)version);
        return rc;
    }
    *infer = loaded;
    return 0;
}

void serving_switch(struct serving *s, int64_t version, struct infer *infer)
{
    current_swap(s->current, version, infer);
}

const struct infer *serving_get(struct serving *s, int64_t version,
                                int64_t *got, struct err *err)
{
    const struct infer *found = current_get(s->current, version, got);
    struct infer *infer = NULL;

    if (found)
        return found;
    if (version == 0) {
        err_set(err, ERR_STATE, "no version serves yet");
        return NULL;
    }
    *got = version;
    pthread_mutex_lock(&s->loading);
    found = current_get(s->current, version, NULL);
    if (!found && serving_load(s, version, &infer, err) == 0)
        found = current_keep(s->current, version, infer);
    pthread_mutex_unlock(&s->loading);
    return found;
}

int serving_choose(struct serving *s, int64_t version, struct err *err)
{
    const struct infer *infer;
    struct catalog_version v;
    bool is_judged;
    int64_t got;
    int rc = catalog_get(s->catalog, version, &v, err);

    if (rc)
        return rc;
    is_judged = v.state != STORE_PENDING;
    catalog_version_release(&v);
    if (!is_judged)
        return err_set(err, ERR_STATE, "version %lld has no verdict yet",
                       (long long)version);
    infer = serving_get(s, version, &got, err);
    if (!infer)
        return err->code;
    if (!current_choose(s->current, version))
        rc = err_set(err, ERR_NOTFOUND, "version %lld has just been removed",
                     (long long)version);
    serving_put(s, infer);
    return rc;
}

void serving_put(struct serving *s, const struct infer *infer)
{
    current_put(s->current, infer);
}

void serving_retain(struct serving *s, const int64_t *versions, size_t n)
{
    current_retain(s->current, versions, n);
}

int64_t serving_version(struct serving *s)
{
    int64_t version = 0;

    current_put(s->current, current_get(s->current, 0, &version));
    return version;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A learner's state out and in. Everything that can be wrong is looked at
 * before anything is changed: an import happens whole or not at all.
 */
#include "config.h"

#include "learner/learner.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "learner/learner_private.h"

enum { N_STEPS, N_FISHER_CREDIT, N_COUNTERS };

/* --- out ---------------------------------------------------------------- */

static void export_weights(const struct learner *l, struct tensor_list *out)
{
    for (size_t i = 0; l->model && i < l->model->n_tensors; i++) {
        const struct model_tensor *t = &l->model->tensors[i];

        tensor_add_copy(out, t->name, TENSOR_F32, t->n_dims, t->shape,
                        l->params + t->offset);
    }
}

static void export_state(const struct learner *l, struct tensor_list *out)
{
    int64_t counters[N_COUNTERS] = {
        [N_STEPS] = l->steps,
        [N_FISHER_CREDIT] = l->fisher_credit,
    };

    tensor_add_i64(out, "learner.counters", counters, N_COUNTERS);
    if (l->model) {
        optim_export(&l->optim, out);
        ewc_export(&l->ewc, out, NULL);
    }
}

void learner_export(const struct learner *l, struct tensor_list *weights,
                    struct tensor_list *state, struct tensor_list *anchor,
                    struct tensor_list *head, int64_t *anchor_generation)
{
    int64_t generation = l->ewc.consolidations;

    if (weights)
        export_weights(l, weights);
    if (state)
        export_state(l, state);
    if (anchor && l->model &&
        !(anchor_generation && *anchor_generation == generation))
        ewc_export(&l->ewc, NULL, anchor);
    if (anchor && anchor_generation)
        *anchor_generation = generation;
    head_export(l->head, head, state);
}

/* --- in ----------------------------------------------------------------- */

static int check_weights(const struct learner *l,
                         const struct tensor_list *in, struct err *err)
{
    const struct tensor *t;
    int rc = 0;

    if (!l->model)
        return 0;
    if (!in)
        return err_set(err, ERR_CORRUPT, "the model's weights are missing");
    for (size_t i = 0; rc == 0 && i < l->model->n_tensors; i++)
        rc = model_expect(&l->model->tensors[i], in, &t, err);
    return rc;
}

static void take_weights(struct learner *l, const struct tensor_list *in)
{
    for (size_t i = 0; l->model && i < l->model->n_tensors; i++) {
        const struct model_tensor *m = &l->model->tensors[i];

        memcpy(l->params + m->offset, tensor_find(in, m->name)->data,
               m->count * sizeof *l->params);
    }
}

static int check_counters(const struct tensor_list *state,
                          const int64_t **counters, struct err *err)
{
    const struct tensor *t;
    int rc = tensor_expect(state, "learner.counters", TENSOR_I64, N_COUNTERS,
                           &t, err);

    if (rc)
        return rc;
    *counters = t->data;
    if ((*counters)[N_STEPS] < 0 ||
        (*counters)[N_STEPS] > TENSOR_COUNTER_MOST ||
        (*counters)[N_FISHER_CREDIT] < -TENSOR_COUNTER_MOST ||
        (*counters)[N_FISHER_CREDIT] > TENSOR_COUNTER_MOST)
        return err_set(err, ERR_CORRUPT,
                       "tensor learner.counters: values out of range");
    return 0;
}

/* ewc_import goes last of what can fail: it changes nothing then. */
int learner_import(struct learner *l, const struct tensor_list *weights,
                   const struct tensor_list *state,
                   const struct tensor_list *anchor,
                   const struct tensor_list *head, struct err *err)
{
    struct head *h = head_create(&l->options.head);
    const int64_t *counters;
    int rc;

    if ((rc = check_counters(state, &counters, err)) ||
        (rc = check_weights(l, weights, err)) ||
        (rc = head_import(h, head, state, err)))
        goto out;
    if (l->model && ((rc = optim_check(&l->optim, state, err)) ||
                     (rc = ewc_import(&l->ewc, state, anchor, err)) ||
                     (rc = optim_import(&l->optim, state, err))))
        goto out;
    take_weights(l, weights);
    head_free(l->head);
    l->head = h;
    h = NULL;
    l->steps = counters[N_STEPS];
    l->fisher_credit = counters[N_FISHER_CREDIT];
out:
    head_free(h);
    return rc;
}

int learner_import_weights(struct learner *l,
                           const struct tensor_list *weights,
                           struct err *err)
{
    int rc = check_weights(l, weights, err);

    if (rc)
        return rc;
    take_weights(l, weights);
    if (l->model) {
        optim_release(&l->optim);
        optim_init(&l->optim, &l->options.optim, l->model->n_params);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/train/retrain_compare.h"

#include <string.h>

#include "store/store.h"

struct comparison {
    struct learning *l;
    const struct catalog_version *was;
    json_t *differences;
};

static void add_difference(const struct comparison *c, const char *what,
                           json_t *details)
{
    json_object_set_new(details, "what", json_string(what));
    json_array_append_new(c->differences, details);
}

static void compare_tensor(const struct comparison *c, const struct tensor *was,
                           const struct tensor *is)
{
    size_t size = tensor_type_size(was->type), n = tensor_count(was);
    size_t first = n, count = 0;
    const char *a = was->data, *b;

    if (!is || is->type != was->type || tensor_count(is) != n) {
        add_difference(c, was->name,
                       json_pack("{s:I, s:I}", "elements", (json_int_t)n, "now",
                                 (json_int_t)(is ? tensor_count(is) : 0)));
        return;
    }
    b = is->data;
    for (size_t i = 0; i < n; i++) {
        if (memcmp(a + i * size, b + i * size, size) == 0)
            continue;
        first = count ? first : i;
        count++;
    }
    if (count)
        add_difference(c, was->name,
                       json_pack("{s:I, s:I, s:I}", "elements", (json_int_t)n,
                                 "different", (json_int_t)count, "first",
                                 (json_int_t)first));
}

/* Each tensor of the version's files. Which file holds a tensor is not
 * compared: in older versions the index of the holdout is in the state. */
static int compare_files(const struct comparison *c, const struct snapshot *s,
                         struct err *err)
{
    const struct tensor_list *const is[] = {&s->weights, &s->state, &s->holdout,
                                            &s->anchor, &s->head, &s->ngram};
    const size_t n_lists = sizeof is / sizeof *is;
    size_t n_was = 0, n_is = 0;
    int rc = 0;

    for (int part = STORE_WEIGHTS; rc == 0 && part < STORE_N_PARTS; part++) {
        struct tensor_list was = TENSOR_LIST_INIT;

        rc = store_load(c->l->catalog, c->was->version, (enum store_part)part,
                        &was, err);
        n_was += was.n;
        for (size_t i = 0; i < was.n; i++) {
            const struct tensor *found = NULL;

            for (size_t k = 0; k < n_lists && !found; k++)
                found = tensor_find(is[k], was.items[i].name);
            compare_tensor(c, &was.items[i], found);
        }
        tensor_list_release(&was);
    }
    for (size_t k = 0; k < n_lists; k++)
        n_is += is[k]->n;
    if (rc == 0 && n_was != n_is)
        add_difference(c, "tensors",
                       json_pack("{s:I, s:I}", "elements", (json_int_t)n_was,
                                 "now", (json_int_t)n_is));
    return rc;
}

static void compare_number(const struct comparison *c, const char *what,
                           int64_t was, int64_t is)
{
    if (was != is)
        add_difference(c, what,
                       json_pack("{s:I, s:I}", "was", (json_int_t)was, "is",
                                 (json_int_t)is));
}

/* Versions of programs without a drift test store no state of the test. For
 * them, nothing is compared. */
static void compare_drift(const struct comparison *c,
                          const struct progress *was)
{
    const struct progress *is = &c->l->progress;

    for (size_t i = 0; i < was->domains.n && i < is->domains.n; i++) {
        const struct progress_domain *a = &was->by_domain[i];
        const struct progress_domain *b = &is->by_domain[i];

        if (a->drift.n == 0 && a->drift.bytes == 0 && a->drifted.alarms == 0)
            continue;
        if (memcmp(&a->drift, &b->drift, sizeof a->drift) != 0 ||
            memcmp(&a->drifted, &b->drifted, sizeof a->drifted) != 0)
            add_difference(c, "drift test",
                           json_pack("{s:s}", "domain",
                                     was->domains.items[i]));
    }
}

static int compare_counters(const struct comparison *c, struct err *err)
{
    const struct progress *is = &c->l->progress;
    struct progress was;
    int rc;

    progress_init(&was);
    rc = progress_import(&was, c->was->metadata_json,
                         strlen(c->was->metadata_json), err);
    if (rc == 0) {
        compare_number(c, "records.learned", was.records.learned,
                       is->records.learned);
        compare_number(c, "records.holdout", was.records.holdout,
                       is->records.holdout);
        compare_number(c, "records.quarantined", was.records.quarantined,
                       is->records.quarantined);
        compare_number(c, "tokens_seen", was.tokens_seen, is->tokens_seen);
        compare_number(c, "bytes_seen", was.bytes_seen, is->bytes_seen);
        if (memcmp(&was.loss, &is->loss, sizeof was.loss) != 0)
            add_difference(c, "prequential loss", json_object());
        compare_drift(c, &was);
        if (memcmp(&was.average_loss, &is->average_loss,
                   sizeof was.average_loss) != 0)
            add_difference(c, "prequential loss of the average", json_object());
    }
    progress_release(&was);
    return rc;
}

int retrain_compare(struct learning *l, const struct catalog_version *was,
                    json_t *differences, struct err *err)
{
    const struct comparison c = {l, was, differences};
    struct snapshot *s;
    int rc;

    l->anchor_generation = 0; /* the snapshot has to hold the anchor */
    s = learning_snapshot(l);
    rc = compare_files(&c, s, err);
    if (rc == 0)
        rc = compare_counters(&c, err);
    snapshot_not_stored(s, l->replay, l->holdout, &l->progress);
    return rc;
}

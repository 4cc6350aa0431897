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

static void differs(const struct comparison *c, const char *what, json_t *how)
{
    json_object_set_new(how, "what", json_string(what));
    json_array_append_new(c->differences, how);
}

static void compare_bytes(const struct comparison *c, const struct tensor *was,
                          const struct tensor *is)
{
    size_t size = tensor_type_size(was->type), n = tensor_count(was);
    size_t first = n, count = 0;
    const char *a = was->data, *b = is->data;

    for (size_t i = 0; i < n; i++) {
        if (memcmp(a + i * size, b + i * size, size) == 0)
            continue;
        first = count ? first : i;
        count++;
    }
    if (count)
        differs(c, was->name,
                json_pack("{s:I, s:I, s:I}", "elements", (json_int_t)n,
                          "different", (json_int_t)count, "first",
                          (json_int_t)first));
}

static void compare_lists(const struct comparison *c,
                          const struct tensor_list *was,
                          const struct tensor_list *is)
{
    for (size_t i = 0; i < was->n; i++) {
        const struct tensor *a = &was->items[i];
        const struct tensor *b = tensor_find(is, a->name);

        if (!b || a->type != b->type || tensor_count(a) != tensor_count(b))
            differs(c, a->name,
                    json_pack("{s:I, s:I}", "elements",
                              (json_int_t)tensor_count(a), "now",
                              (json_int_t)(b ? tensor_count(b) : 0)));
        else
            compare_bytes(c, a, b);
    }
    if (was->n != is->n)
        differs(c, "tensors",
                json_pack("{s:I, s:I}", "elements", (json_int_t)was->n, "now",
                          (json_int_t)is->n));
}

/* A part of the version's files against what was learned again. */
static int compare_part(const struct comparison *c, enum store_part part,
                        const struct tensor_list *is, struct err *err)
{
    struct tensor_list was = TENSOR_LIST_INIT;
    int rc = store_load(c->l->catalog, c->was->version, part, &was, err);

    if (rc == 0)
        compare_lists(c, &was, is);
    tensor_list_release(&was);
    return rc;
}

static void borrow(struct tensor_list *to, const struct tensor_list *from)
{
    for (size_t i = 0; i < from->n; i++) {
        const struct tensor *t = &from->items[i];

        tensor_add_borrowed(to, t->name, t->type, t->n_dims, t->shape,
                            t->data);
    }
}

/* Compares the state and the index of the holdout together, since older
 * versions have the index in the state. */
static int compare_state(const struct comparison *c, const struct snapshot *s,
                         struct err *err)
{
    struct tensor_list state = TENSOR_LIST_INIT, holdout = TENSOR_LIST_INIT;
    struct tensor_list was = TENSOR_LIST_INIT, is = TENSOR_LIST_INIT;
    int64_t version = c->was->version;
    int rc = store_load(c->l->catalog, version, STORE_STATE, &state, err);

    if (rc == 0)
        rc = store_load(c->l->catalog, version, STORE_HOLDOUT, &holdout, err);
    if (rc == 0) {
        borrow(&was, &state);
        borrow(&was, &holdout);
        borrow(&is, &s->state);
        borrow(&is, &s->holdout);
        compare_lists(c, &was, &is);
    }
    tensor_list_release(&is);
    tensor_list_release(&was);
    tensor_list_release(&holdout);
    tensor_list_release(&state);
    return rc;
}

static void compare_number(const struct comparison *c, const char *what,
                           int64_t was, int64_t is)
{
    if (was != is)
        differs(c, what,
                json_pack("{s:I, s:I}", "was", (json_int_t)was, "is",
                          (json_int_t)is));
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
            differs(c, "prequential loss", json_object());
    }
    progress_release(&was);
    return rc;
}

int retrain_compare(struct learning *l, const struct catalog_version *was,
                    json_t *differences, struct err *err)
{
    const struct comparison c = {l, was, differences};
    struct snapshot *s;
    int rc = 0;

    l->anchor_generation = 0;
    s = learning_snapshot(l);
    if (l->has_model)
        rc = compare_part(&c, STORE_WEIGHTS, &s->weights, err);
    if (rc == 0)
        rc = compare_state(&c, s, err);
    if (rc == 0)
        rc = compare_part(&c, STORE_ANCHOR, &s->anchor, err);
    if (rc == 0)
        rc = compare_part(&c, STORE_HEAD, &s->head, err);
    if (rc == 0)
        rc = compare_counters(&c, err);
    snapshot_not_stored(s, l->replay, l->holdout, &l->progress);
    return rc;
}

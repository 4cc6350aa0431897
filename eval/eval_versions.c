/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report has the form of eval.c's, with one arm `versions`. It has no runs
 * but `versions`: [{version, loss [n], accuracy [n]}], oldest first. Besides
 * there is `serving`: {newest, seconds, behind_share, worst_behind,
 * behind_now}.
 *
 * A domain begins with the first version that has a result for it, and ends
 * before the version with which the next one begins. The matrix has a row for
 * the last version of each domain. A row is null if retention has removed its
 * versions. Each version was scored when it was made, on a sample of the
 * holdout of that time. `rows` names the rows.
 */
#include "config.h"

#include "eval/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_value.h"
#include "base/names.h"
#include "base/xalloc.h"
#include "eval/measures.h"
#include "store/catalog.h"

struct scored {
    int64_t version;
    double *loss, *accuracy; /* [n] */
};

struct table {
    struct names names; /* of the domains, in the order of their first result */
    size_t *first;      /* [n] the first version with a result, in items */
    struct scored *items; /* oldest first */
    size_t n_items;
    bool has_loss, has_accuracy;
};

/* --- losses ------------------------------------------------------------- */

/* A version that was rolled back is no ancestor of the present one. */
static bool counts(const struct catalog_version *v)
{
    return v->n_domains > 0 && v->state != STORE_ROLLED_BACK &&
           v->state != STORE_DAMAGED;
}

static int read_table(struct catalog *c, struct catalog_version **versions,
                      size_t *n, struct table *t, struct err *err)
{
    int rc = catalog_list(c, 0, 0, versions, n, err); /* newest first */

    if (rc)
        return rc;
    for (size_t i = *n; i-- > 0;)
        for (size_t d = 0;
             counts(&(*versions)[i]) && d < (*versions)[i].n_domains; d++)
            names_add(&t->names, (*versions)[i].domains[d].domain);
    if (t->names.n == 0)
        return err_set(err, ERR_STATE,
                       "%s: no version has results on held-out records yet",
                       catalog_dir(c));
    t->first = xcalloc(t->names.n, sizeof *t->first);
    t->items = xcalloc(*n, sizeof *t->items);
    for (size_t j = 0; j < t->names.n; j++)
        t->first[j] = SIZE_MAX;
    for (size_t i = *n; i-- > 0;) {
        const struct catalog_version *v = &(*versions)[i];
        struct scored *s = &t->items[t->n_items];

        if (!counts(v))
            continue;
        s->version = v->version;
        s->loss = xcalloc(t->names.n, sizeof *s->loss);
        s->accuracy = xcalloc(t->names.n, sizeof *s->accuracy);
        for (size_t j = 0; j < t->names.n; j++)
            s->loss[j] = s->accuracy[j] = NAN;
        for (size_t d = 0; d < v->n_domains; d++) {
            const struct catalog_domain *of = &v->domains[d];
            size_t j = (size_t)names_find(&t->names, of->domain);

            s->loss[j] = of->bits_per_byte;
            s->accuracy[j] = of->accuracy;
            t->has_loss |= !isnan(of->bits_per_byte);
            t->has_accuracy |= !isnan(of->accuracy);
            if (t->first[j] == SIZE_MAX)
                t->first[j] = t->n_items;
        }
        t->n_items++;
    }
    return 0;
}

static void table_release(struct table *t)
{
    for (size_t i = 0; i < t->n_items; i++) {
        free(t->items[i].loss);
        free(t->items[i].accuracy);
    }
    free(t->items);
    free(t->first);
    names_release(&t->names);
}

static json_t *to_json(const double *x, size_t n)
{
    json_t *list = json_array();

    for (size_t j = 0; j < n; j++)
        json_array_append_new(list, json_value_real(x[j]));
    return list;
}

/* Returns the last version of domain i, in items; SIZE_MAX: none is kept. */
static size_t last_version(const struct table *t, size_t i)
{
    size_t end = i + 1 < t->names.n ? t->first[i + 1] : t->n_items;

    return end > t->first[i] ? end - 1 : SIZE_MAX;
}

static json_t *arm_of(const struct table *t)
{
    size_t n = t->names.n;
    double *loss = xcalloc(n * n, sizeof *loss);
    double *accuracy = xcalloc(n * n, sizeof *accuracy);
    json_t *arm = json_pack("{s:s, s:[], s:[], s:[], s:{}}", "arm", "versions",
                            "matrix", "rows", "versions", "mean");
    json_t *matrix = json_object_get(arm, "matrix"), *rows = json_array();
    json_t *mean = json_object_get(arm, "mean");

    for (size_t i = 0; i < n; i++) {
        size_t at = last_version(t, i);

        for (size_t j = 0; j < n; j++) {
            loss[i * n + j] = at == SIZE_MAX ? NAN : t->items[at].loss[j];
            accuracy[i * n + j] =
                at == SIZE_MAX ? NAN : t->items[at].accuracy[j];
        }
        json_array_append_new(matrix, to_json(loss + i * n, n));
        json_array_append_new(
            json_object_get(arm, "rows"),
            at == SIZE_MAX
                ? json_null()
                : json_sprintf("%s (version %lld)", t->names.items[i],
                               (long long)t->items[at].version));
        json_array_append_new(rows, to_json(accuracy + i * n, n));
    }
    for (size_t i = 0; i < t->n_items; i++)
        json_array_append_new(json_object_get(arm, "versions"),
                              json_pack("{s:I, s:o, s:o}", "version",
                                        (json_int_t)t->items[i].version, "loss",
                                        to_json(t->items[i].loss, n),
                                        "accuracy",
                                        to_json(t->items[i].accuracy, n)));
    json_object_set_new(mean, "final_mean",
                        json_value_real(measures_final_mean(loss, n)));
    json_object_set_new(mean, "backward_transfer",
                        json_value_real(measures_backward_transfer(loss, n)));
    json_object_set_new(mean, "forgetting",
                        json_value_real(measures_forgetting(loss, n)));
    json_object_set_new(mean, "newest",
                        json_value_real(measures_newest(loss, n)));
    if (t->has_accuracy) {
        json_object_set(arm, "accuracy", rows);
        json_object_set_new(mean, "final_accuracy",
                            json_value_real(measures_final_mean(accuracy, n)));
        json_object_set_new(mean, "anytime_accuracy",
                            json_value_real(measures_anytime(accuracy, n)));
    }
    json_decref(rows);
    free(loss);
    free(accuracy);
    return arm;
}

/* --- serving ------------------------------------------------------------ */

/* A version was made, or a version began to serve. */
struct moment {
    int64_t at_ms, version;
    bool serves, rolled_back;
};

static int compare_moments(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;

    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return x->serves - y->serves;
}

/*
 * How many versions serving was behind the newest one, over time, from the
 * first version that served to the last moment. Version numbers count removed
 * versions, too. After a rollback there is no newer version.
 */
static json_t *lag_of(const struct moment *moments, size_t n)
{
    int64_t newest = 0, behind = 0, worst = 0, behind_ms = 0, all_ms = 0;
    bool serves = false;

    for (size_t i = 0; i < n; i++) {
        const struct moment *m = &moments[i];
        int64_t ms = i ? m->at_ms - moments[i - 1].at_ms : 0;

        all_ms += serves ? ms : 0;
        behind_ms += serves && behind > 0 ? ms : 0;
        if (!m->serves) {
            behind += m->version > newest ? m->version - newest : 0;
            newest = m->version > newest ? m->version : newest;
        } else {
            serves = true;
            behind =
                m->rolled_back || m->version > newest ? 0 : newest - m->version;
        }
        if (serves)
            worst = behind > worst ? behind : worst;
    }
    return json_pack("{s:I, s:f, s:o, s:I, s:I}", "newest", (json_int_t)newest,
                     "seconds", (double)all_ms / 1000, "behind_share",
                     json_value_real((double)behind_ms / (double)all_ms),
                     "worst_behind", (json_int_t)worst, "behind_now",
                     (json_int_t)behind);
}

static int read_lag(struct catalog *c, const struct catalog_version *versions,
                    size_t n, json_t **lag, struct err *err)
{
    struct catalog_history *history = NULL;
    struct moment *moments;
    size_t n_history = 0;
    int rc = catalog_history(c, 0, &history, &n_history, err);

    if (rc)
        return rc;
    moments = xcalloc(n + n_history + 1, sizeof *moments);
    for (size_t i = 0; i < n; i++)
        moments[i] = (struct moment){.at_ms = versions[i].created_ms,
                                     .version = versions[i].version};
    for (size_t i = 0; i < n_history; i++)
        moments[n + i] = (struct moment){
            .at_ms = history[i].from_ms,
            .version = history[i].version,
            .serves = true,
            .rolled_back = strstr(history[i].cause, "rollback") != NULL,
        };
    qsort(moments, n + n_history, sizeof *moments, compare_moments);
    *lag = lag_of(moments, n + n_history);
    free(moments);
    catalog_history_free(history, n_history);
    return 0;
}

int eval_versions(const char *data_dir, json_t **report, struct err *err)
{
    struct catalog *c = NULL;
    struct catalog_version *versions = NULL;
    struct table t = {0};
    json_t *lag = NULL, *domains;
    size_t n = 0;
    int rc = catalog_open(data_dir, &c, err);

    if (rc == 0)
        rc = read_table(c, &versions, &n, &t, err);
    if (rc == 0)
        rc = read_lag(c, versions, n, &lag, err);
    if (rc == 0) {
        domains = json_array();
        for (size_t j = 0; j < t.names.n; j++)
            json_array_append_new(
                domains,
                json_pack("{s:o}", "name", json_value_text(t.names.items[j])));
        *report =
            json_pack("{s:s, s:s, s:o, s:[o], s:o}", "program",
                      "mneme " PACKAGE_VERSION, "order", "versions", "domains",
                      domains, "arms", arm_of(&t), "serving", lag);
    }
    table_release(&t);
    catalog_versions_free(versions, n);
    catalog_close(c);
    return rc;
}

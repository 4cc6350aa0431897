/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import: makes a data directory whose version 1 is a published model.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/xalloc.h"
#include "cli/pick.h"
#include "cli/verb.h"
#include "conf/conf.h"
#include "daemon/train/import_directory.h"
#include "learner/kernels/ops.h"

/* The default configuration, with the source as model.init. */
static int load_conf(const char *source, int64_t context, struct conf *conf,
                     struct err *err)
{
    struct conf_problems problems = CONF_PROBLEMS_INIT;
    char *init = xasprintf("model.init=%s", source);
    char *limit = xasprintf("model.context=%" PRId64, context);
    const char *sets[] = {init, limit, "source.type=stdin"};
    int rc = conf_load(conf, NULL, sets, 3, NULL, &problems);

    if (rc)
        rc = err_set(err, ERR_INVALID, "%s", problems.items[0].text);
    conf_problems_release(&problems);
    free(init);
    free(limit);
    return rc;
}

static void print_json(const char *dir, const struct import_report *r)
{
    json_t *root = json_pack(
        "{s:s, s:i, s:I, s:i, s:i, s:i, s:i, s:i, s:I}", "directory", dir,
        "version", 1, "parameters", (json_int_t)r->n_params, "layers",
        r->shape.layers, "dim", r->shape.dim, "vocab_size", r->shape.vocab_size,
        "context", r->shape.context, "model_context", r->model_context,
        "memory_bytes", (json_int_t)r->memory_bytes);

    pick_print(root);
    json_decref(root);
}

static void print_text(const char *dir, const struct import_report *r)
{
    printf("%s: version 1: %.1f million parameters, %d layers of %d channels, "
           "a vocabulary of %d\n",
           dir, (double)r->n_params / 1e6, r->shape.layers, r->shape.dim,
           r->shape.vocab_size);
    if (r->model_context < MODEL_MAX_CONTEXT)
        printf("context: %d of the model's %d tokens\n", r->shape.context,
               r->model_context);
    else /* the source's own number was cut to this one */
        printf("context: %d of at most %d tokens, which is mneme's limit\n",
               r->shape.context, MODEL_MAX_CONTEXT);
    printf("mnemed will take at most %" PRId64
           " MiB with the default configuration\n",
           r->memory_bytes >> 20);
}

int cmd_import(const struct verb_args *args, struct err *err)
{
    const char *source = args->words[0], *dir = args->words[1];
    struct conf *conf = conf_create();
    struct import_report report;
    int64_t context = 0;
    int rc = verb_integer(args, "context", 2, MODEL_MAX_CONTEXT, &context, err);

    if (rc == 0)
        rc = load_conf(source, context, conf, err);
    ops_init();
    if (rc == 0)
        rc = import_directory(conf, dir, &report, err);
    if (rc == 0 && verb_has(args, "json"))
        print_json(dir, &report);
    else if (rc == 0)
        print_text(dir, &report);
    conf_free(conf);
    return rc;
}

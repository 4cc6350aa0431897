/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export: writes a version's Transformer for another program, and prints what
 * the rounding costs.
 *
 * The data directory is only read, so export works beside a running daemon. The
 * loss is measured on a sample of the version's holdout, as the daemon does it:
 * with the weights of the version, and with the rounded numbers that
 * interchange/export.h leaves behind.
 */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json_value.h"
#include "base/xalloc.h"
#include "cli/pick.h"
#include "cli/verb.h"
#include "daemon/intake/progress.h"
#include "daemon/publish/holdout_sample.h"
#include "interchange/export.h"
#include "learner/infer/infer.h"
#include "store/catalog.h"
#include "store/store.h"
#include "store/tags.h"
#include "store/version_files.h"

/* As the defaults of learner.seed and publish.gate.max_tokens. */
#define SAMPLE_SEED 42
#define SAMPLE_TOKENS 16384

#define MOST_LABELS 65536
#define MIB 1048576.0

struct export {
    int64_t version;
    enum export_format format;
    enum gguf_type type;
    struct export_model model;
    struct export_report report;
    struct tokenizer *tokenizer;
    struct tensor_list ngram;
    bool has_ngram, has_head;
    struct holdout_sample sample;
    size_t n_segments; /* that are scored */
    /* Bits per byte; NaN: not measured. */
    double served;  /* with the n-gram memory */
    double whole;   /* of the Transformer alone */
    double rounded; /* of the Transformer as it was written */
};

/* --- arguments ---------------------------------------------------------- */

static int parse_format(const struct verb_args *args, struct export *e,
                        struct err *err)
{
    const char *name = verb_value(args, "format");

    if (!name || strcmp(name, "hf") == 0) {
        e->format = EXPORT_HF;
        return 0;
    }
    if (strcmp(name, "gguf") == 0) {
        e->format = EXPORT_GGUF;
        return 0;
    }
    if (strcmp(name, "adapter") == 0 || strcmp(name, "gguf-adapter") == 0)
        return err_set(err, ERR_INVALID,
                       "--format %s: not supported; use hf or gguf", name);
    return err_set(err, ERR_INVALID, "--format %.40s: must be hf or gguf",
                   name);
}

static int parse_type(const struct verb_args *args, struct export *e,
                      struct err *err)
{
    const char *name = verb_value(args, "type");

    e->type = GGUF_F32;
    if (name && strcmp(name, "q4_k") == 0)
        return err_set(err, ERR_INVALID,
                       "--type q4_k: not supported: use q8_0 or q4_0");
    if (name && !gguf_type_find(name, &e->type))
        return err_set(err, ERR_INVALID,
                       "--type %.40s: must be f32, f16, bf16, q8_0 or q4_0",
                       name);
    return export_check_type(e->format, e->type, err);
}

/* --- the version -------------------------------------------------------- */

static int check_preset(struct catalog *c, struct export *e, struct err *err)
{
    struct catalog_file *files = NULL;
    char sha256[65];
    bool linear = true;
    size_t n = 0;
    int rc = catalog_files(c, e->version, &files, &n, sha256, err);

    for (size_t i = 0; i < n; i++)
        if (strcmp(files[i].name, VERSION_FILES_WEIGHTS) == 0)
            linear = false;
    catalog_files_free(files, n);
    if (rc == 0 && linear)
        rc = err_set(err, ERR_INVALID,
                     "version %" PRId64 " has classes only (preset linear): no "
                     "other program has such a model",
                     e->version);
    return rc;
}

static int read_texts(struct catalog *c, struct export *e, struct err *err)
{
    struct {
        const char *name;
        struct buf *text;
    } files[] = {
        {"config.json", &e->model.config_json},
        {"generation_config.json", &e->model.generation_config_json},
        {"tokenizer.json", &e->model.tokenizer_json},
        {"tokenizer_config.json", &e->model.tokenizer_config_json},
    };
    int rc = 0;

    for (size_t i = 0; i < sizeof files / sizeof *files && rc == 0; i++)
        rc = store_load_text(c, e->version, files[i].name, files[i].text, err);
    return rc;
}

/* The class head has a row for each label. */
static int read_labels(struct catalog *c, struct export *e, struct err *err)
{
    struct names labels = NAMES_INIT;
    struct buf text = BUF_INIT;
    int rc = store_load_text(c, e->version, "labels.json", &text, err);

    if (rc == 0)
        rc = names_from_json(&labels, text.data, text.len, MOST_LABELS, err);
    e->has_head = labels.n > 0;
    names_release(&labels);
    buf_release(&text);
    return rc;
}

static int read_version(struct catalog *c, const struct catalog_version *v,
                        struct export *e, struct err *err)
{
    int rc = check_preset(c, e, err);

    if (rc == 0)
        rc = store_load_shape(c, e->version, &e->model.shape, err);
    if (rc == 0)
        rc = read_texts(c, e, err);
    if (rc == 0)
        rc = store_load(c, e->version, STORE_WEIGHTS, &e->model.weights, err);
    if (rc == 0)
        rc = store_load(c, e->version, STORE_NGRAM, &e->ngram, err);
    if (rc == 0)
        rc = tokenizer_from_json(e->model.tokenizer_json.data,
                                 e->model.tokenizer_json.len, &e->tokenizer,
                                 err);
    if (rc == 0)
        rc = read_labels(c, e, err);
    if (rc == 0)
        rc = tokenizer_fit(e->tokenizer, e->model.shape.vocab_size, err);
    e->has_ngram = e->ngram.n > 0;
    e->model.sha256 = v->weights_sha256;
    return rc;
}

/* --- losses ------------------------------------------------------------- */

/* Keeps the segments that count for the losses by domain, as the gate does. */
static int take_sample(struct catalog *c, const struct catalog_version *v,
                       struct export *e, struct err *err)
{
    struct holdout_sample_options options = {
        .seed = SAMPLE_SEED,
        .max_tokens = SAMPLE_TOKENS,
        .reference_rows = INT64_MAX,
        .compared_rows = INT64_MAX,
        .limits = {.vocab_size = (size_t)e->model.shape.vocab_size,
                   .context = (size_t)e->model.shape.context},
    };
    struct progress progress;
    int rc;

    progress_init(&progress);
    rc = progress_import(&progress, v->metadata_json, strlen(v->metadata_json),
                         err);
    options.limits.domains = progress.domains.n;
    options.limits.labels = progress.labels.n;
    if (rc == 0)
        rc = holdout_sample_take(c, e->version, &options, &e->sample, err);
    for (size_t i = 0; rc == 0 && i < e->sample.n; i++)
        if (e->sample.roles[i].even)
            e->sample.segments.items[e->n_segments++] =
                e->sample.segments.items[i];
    progress_release(&progress);
    return rc;
}

static int score(const struct export *e, const struct infer *f,
                 double *bits_per_byte, struct err *err)
{
    double *nats = xcalloc(e->n_segments + 1, sizeof *nats);
    double sum = 0, bytes = 0;
    int rc = infer_segments(f, e->sample.segments.items, e->n_segments, nats,
                            NULL, NULL, err);

    for (size_t i = 0; i < e->n_segments; i++) {
        sum += nats[i];
        bytes += e->sample.segments.items[i].n_bytes;
    }
    if (rc == 0 && bytes > 0)
        *bits_per_byte = sum / log(2) / bytes;
    free(nats);
    return rc;
}

/* Scores the weights as they are. infer_create also checks every tensor.
 *   with_ngram  scores the mixture instead of the Transformer alone */
static int measure(const struct export *e, bool with_ngram,
                   double *bits_per_byte, struct err *err)
{
    const struct tensor_list none = TENSOR_LIST_INIT;
    struct names labels = NAMES_INIT;
    struct infer *f = NULL;
    int rc = infer_create(&e->model.shape, e->tokenizer, &e->model.weights,
                          &none, &labels, NULL, &f, err);

    if (rc == 0 && with_ngram)
        rc = infer_add_ngram(f, &e->ngram, err);
    if (rc == 0)
        rc = score(e, f, bits_per_byte, err);
    infer_free(f);
    return rc;
}

/* --- output ------------------------------------------------------------- */

static void print_left_out(const struct export *e)
{
    if (e->has_ngram)
        fprintf(stderr, "left out: the n-gram memory, which answers of mneme "
                        "use beside the Transformer\n");
    if (e->has_head)
        fprintf(stderr, "left out: the class head, which predicts labels\n");
    if (e->report.n_made_f16)
        fprintf(stderr,
                "f16 instead of %s: %zu matrices, whose rows do not consist "
                "of whole blocks of 32\n",
                gguf_type_name(e->type), e->report.n_made_f16);
}

static const char *format_name(const struct export *e)
{
    return e->format == EXPORT_HF ? "hf" : "gguf";
}

static void print_json(const struct export *e, const char *dir)
{
    json_t *left_out = json_array();
    json_t *root;

    if (e->has_ngram)
        json_array_append_new(left_out, json_string("n-gram memory"));
    if (e->has_head)
        json_array_append_new(left_out, json_string("class head"));
    root = json_pack(
        "{s:I, s:s, s:s, s:s, s:I, s:o, s:I, s:I, s:{s:o, s:o, s:o}}",
        "version", (json_int_t)e->version, "directory", dir, "format",
        format_name(e), "type", gguf_type_name(e->type), "bytes",
        (json_int_t)e->report.bytes, "left_out", left_out, "f16_matrices",
        (json_int_t)e->report.n_made_f16, "segments", (json_int_t)e->n_segments,
        "bits_per_byte", "served", json_value_real(e->served), "transformer",
        json_value_real(e->whole), "exported", json_value_real(e->rounded));
    pick_print(root);
    json_decref(root);
}

static void print_text(const struct export *e, const char *dir)
{
    double percent = 100 * (e->rounded / e->whole - 1);

    printf("%s: version %" PRId64 " as %s, %s, %.1f MiB\n", dir, e->version,
           format_name(e), gguf_type_name(e->type),
           (double)e->report.bytes / MIB);
    if (isnan(e->rounded)) {
        printf("bits per byte: not measured: no held-out text\n");
        return;
    }
    printf("bits per byte on the holdout, %zu segments:\n", e->n_segments);
    if (!isnan(e->served))
        printf("  %.4f  as mneme answers, with the n-gram memory\n", e->served);
    printf("  %.4f  the Transformer in f32%s\n", e->whole,
           e->type == GGUF_F32 ? ", as exported" : "");
    if (e->type == GGUF_F32)
        return;
    printf("  %.4f  the Transformer in %s, as exported (%+.2f %%)\n",
           e->rounded, gguf_type_name(e->type),
           fabs(percent) < 0.005 ? 0.0 : percent); /* no "-0.00" */
}

/* --- the verb ----------------------------------------------------------- */

static int run(struct catalog *c, const struct catalog_version *v,
               struct export *e, const char *dir, struct err *err)
{
    struct err unread = ERR_INIT;
    int rc = read_version(c, v, e, err);

    if (rc == 0) /* measuring takes minutes */
        rc = export_check(&e->model, e->format, e->type, err);
    /* A damaged holdout does not stop the export. */
    if (rc == 0 && take_sample(c, v, e, &unread) != 0) {
        fprintf(stderr, "the losses are not measured: %s\n", unread.msg);
        e->n_segments = 0;
    }
    if (rc == 0 && e->has_ngram)
        rc = measure(e, true, &e->served, err);
    if (rc == 0)
        rc = measure(e, false, &e->whole, err);
    if (rc == 0)
        rc = export_write(&e->model, e->format, e->type, dir, &e->report, err);
    e->rounded = e->whole;
    if (rc == 0 && e->type != GGUF_F32)
        rc = measure(e, false, &e->rounded, err);
    return rc;
}

int cmd_export(const struct verb_args *args, struct err *err)
{
    struct export e = {.served = NAN, .whole = NAN, .rounded = NAN};
    const char *dir = args->words[1];
    struct catalog_version v = {0};
    struct catalog *c = NULL;
    bool moves, found = false;
    int rc = parse_format(args, &e, err);

    if (rc == 0)
        rc = parse_type(args, &e, err);
    if (rc == 0)
        rc = export_check_target(dir, err);
    if (rc == 0)
        rc = catalog_open(verb_data_dir(args), &c, err);
    if (rc == 0)
        rc = tags_resolve(c, args->words[0], &e.version, &moves, err);
    if (rc == 0) {
        rc = catalog_get(c, e.version, &v, err);
        found = rc == 0;
    }
    if (rc == 0) {
        e.model.name = xasprintf("mneme version %" PRId64, e.version);
        rc = run(c, &v, &e, dir, err);
    }
    if (rc == 0) {
        if (verb_has(args, "json"))
            print_json(&e, dir);
        else
            print_text(&e, dir);
        if (fflush(stdout) == 0) /* else main reports the error */
            print_left_out(&e);
    }
    free((char *)e.model.name);
    export_model_release(&e.model);
    holdout_sample_release(&e.sample);
    tensor_list_release(&e.ngram);
    tokenizer_free(e.tokenizer);
    if (found)
        catalog_version_release(&v);
    catalog_close(c);
    return rc;
}

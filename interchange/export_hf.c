/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The version's own files, with the weights rounded. config.json is the
 * version's, with another torch_dtype.
 */
#include "config.h"

#include "interchange/export_private.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/safetensors.h"

static const char *dtype_of(enum gguf_type type)
{
    return type == GGUF_F16 ? "float16"
           : type == GGUF_BF16 ? "bfloat16"
                               : "float32";
}

static int write_text(const char *dir, const char *name, const struct buf *text,
                      struct export_report *report, struct err *err)
{
    char *path = fileio_join(dir, name);
    int rc = fileio_write_sync(path, text->data, text->len, err);

    report->bytes += text->len;
    free(path);
    return rc;
}

static int write_config(const char *dir, const struct buf *config,
                        enum gguf_type type, struct export_report *report,
                        struct err *err)
{
    json_t *root = json_loadb(config->data, config->len, 0, NULL);
    struct buf text = BUF_INIT;
    char *dump;
    int rc;

    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(err, ERR_CORRUPT, "config.json: not a JSON object");
    }
    json_object_set_new(root, "torch_dtype", json_string(dtype_of(type)));
    if (json_object_get(root, "dtype"))
        json_object_set_new(root, "dtype", json_string(dtype_of(type)));
    dump = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    buf_adds(&text, dump);
    buf_addc(&text, '\n');
    rc = write_text(dir, "config.json", &text, report, err);
    free(dump);
    buf_release(&text);
    json_decref(root);
    return rc;
}

/* Adds a rounded copy of a tensor, and rounds the tensor. */
static int add_rounded(struct tensor_list *l, struct tensor *t,
                       enum gguf_type type, struct err *err)
{
    size_t n = tensor_count(t);
    void *to = tensor_add_copy(l, t->name,
                               type == GGUF_F16 ? TENSOR_F16 : TENSOR_BF16,
                               t->n_dims, t->shape, NULL);

    if (!gguf_encode(type, t->data, n, to))
        return export_unfit(t, type, err);
    gguf_decode(type, to, n, t->data);
    return 0;
}

static int write_weights(struct export_model *m, enum gguf_type type,
                         const char *dir, struct export_report *report,
                         struct err *err)
{
    const struct safetensors_pair lineage[] = {
        {"program", "mneme " PACKAGE_VERSION},
        {"name", m->name},
        {"weights_sha256", m->sha256},
    };
    char *path = fileio_join(dir, "model.safetensors");
    struct tensor_list rounded = TENSOR_LIST_INIT;
    struct safetensors_file file;
    int rc = 0;

    for (size_t i = 0; i < m->weights.n && type != GGUF_F32 && rc == 0; i++)
        rc = add_rounded(&rounded, &m->weights.items[i], type, err);
    if (rc == 0)
        rc = safetensors_write(path, type == GGUF_F32 ? &m->weights : &rounded,
                               lineage, sizeof lineage / sizeof *lineage, &file,
                               err);
    if (rc == 0)
        report->bytes += file.bytes;
    tensor_list_release(&rounded);
    free(path);
    return rc;
}

int export_hf(struct export_model *m, enum gguf_type type, const char *dir,
              struct export_report *report, struct err *err)
{
    int rc = write_config(dir, &m->config_json, type, report, err);

    if (rc == 0)
        rc = write_text(dir, "generation_config.json",
                        &m->generation_config_json, report, err);
    if (rc == 0)
        rc = write_text(dir, "tokenizer.json", &m->tokenizer_json, report, err);
    if (rc == 0)
        rc = write_text(dir, "tokenizer_config.json", &m->tokenizer_config_json,
                        report, err);
    return rc ? rc : write_weights(m, type, dir, report, err);
}

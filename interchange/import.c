/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder is read in two passes. The first one reads config.json, the index
 * and the header of each tensor file, and compares all names, types and shapes
 * with the table of store/hf.h. The second one reads the numbers.
 */
#include "config.h"

#include "interchange/import.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "interchange/import_gguf.h"
#include "store/hf.h"
#include "store/safetensors.h"

#define MAX_CONFIG_BYTES (1u << 20)
#define MAX_INDEX_BYTES (16u << 20)
#define MAX_TOKENIZER_BYTES (64u << 20)
#define MAX_WEIGHTS_BYTES ((uint64_t)64 << 30)
#define MAX_FILES 1000

#define ONE_FILE "model.safetensors"
#define INDEX "model.safetensors.index.json"

void import_release(struct import_model *m)
{
    tensor_list_release(&m->weights);
    buf_release(&m->tokenizer_json);
    *m = (struct import_model)IMPORT_MODEL_INIT;
}

/* --- the index ---------------------------------------------------------- */

/* The tensor files of a folder. */
struct files {
    json_t *map; /* tensor name -> file name; NULL: one file */
    const char *names[MAX_FILES];
    size_t n;
};

/* True for the name of a file in the folder itself. */
static bool is_plain_name(const char *name)
{
    return *name && name[0] != '.' && !strchr(name, '/');
}

static int add_file(struct files *f, const char *name, struct err *err)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->names[i], name) == 0)
            return 0;
    if (f->n == MAX_FILES)
        return err_set(err, ERR_LIMIT, INDEX ": more than %d files", MAX_FILES);
    f->names[f->n++] = name;
    return 0;
}

int import_parse_index(const char *json, size_t n_bytes, json_t **map,
                       struct err *err)
{
    json_error_t why;
    json_t *root = json_loadb(json, n_bytes, JSON_REJECT_DUPLICATES, &why);
    json_t *found = json_object_get(root, "weight_map"), *value;
    const char *tensor;
    int rc = 0;

    if (!json_is_object(found))
        rc = err_set(err, ERR_CORRUPT, INDEX ": %s",
                     root ? "weight_map is not an object" : why.text);
    json_object_foreach(found, tensor, value)
    {
        const char *file = json_string_value(value);

        if (rc == 0 && (!file || !is_plain_name(file)))
            rc = err_set(err, ERR_INVALID,
                         INDEX ": tensor %.80s is not in a file of this folder",
                         tensor);
    }
    if (rc == 0)
        *map = json_incref(found);
    json_decref(root);
    return rc;
}

static int find_files(const char *dir, struct files *f, struct err *err)
{
    char *one = fileio_join(dir, ONE_FILE), *index = fileio_join(dir, INDEX);
    struct buf json = BUF_INIT;
    const char *tensor;
    json_t *value;
    int rc = 0;

    if (fileio_exists(one) || !fileio_exists(index)) {
        rc = add_file(f, ONE_FILE, err);
        goto out;
    }
    rc = fileio_read(index, MAX_INDEX_BYTES, &json, err);
    if (rc == 0)
        rc = import_parse_index(json.data ? json.data : "", json.len, &f->map,
                                err);
    json_object_foreach(rc == 0 ? f->map : NULL, tensor, value)
    {
        if (rc == 0)
            rc = add_file(f, json_string_value(value), err);
    }
out:
    buf_release(&json);
    free(one);
    free(index);
    return rc;
}

/* --- tensors ------------------------------------------------------------ */

/* Some programs store the angles of rotary positions. They follow from
 * config.json. */
static bool is_rotary_angles(const char *name)
{
    static const char end[] = ".rotary_emb.inv_freq";
    size_t n = strlen(name), k = sizeof end - 1;

    return n >= k && strcmp(name + n - k, end) == 0;
}

static void drop_rotary_angles(struct tensor_list *l)
{
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++) {
        struct tensor *t = &l->items[i];

        if (!is_rotary_angles(t->name)) {
            l->items[n++] = *t;
            continue;
        }
        if (t->owned)
            free(t->data);
        free(t->name);
    }
    l->n = n;
}

/* Checks that the index names this file for each tensor in it. */
static int check_index(const struct files *f, const char *file,
                       const struct tensor_list *l, struct err *err)
{
    for (size_t i = 0; f->map && i < l->n; i++) {
        const char *said =
            json_string_value(json_object_get(f->map, l->items[i].name));

        if (!said || strcmp(said, file) != 0)
            return err_set(err, ERR_CORRUPT,
                           "%s: tensor %s is not in this file, says " INDEX,
                           file, l->items[i].name);
    }
    return 0;
}

/* Moves the tensors of `from` to the end of `to`. */
static void move_tensors(struct tensor_list *to, struct tensor_list *from)
{
    for (size_t i = 0; i < from->n; i++) {
        XGROW(to->items, to->n, to->cap);
        to->items[to->n++] = from->items[i];
    }
    from->n = 0;
    tensor_list_release(from);
}

/* Reads the headers of all files; or, with `numbers`, everything. */
static int read_files(const char *dir, const struct files *f, bool numbers,
                      struct tensor_list *out, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < f->n && rc == 0; i++) {
        struct tensor_list l = TENSOR_LIST_INIT;
        char *path = fileio_join(dir, f->names[i]);

        rc =
            numbers
                ? safetensors_read(path, NULL, MAX_WEIGHTS_BYTES, &l, NULL, err)
                : safetensors_read_shapes(path, MAX_WEIGHTS_BYTES, &l, err);
        free(path);
        drop_rotary_angles(&l);
        if (rc == 0)
            rc = check_index(f, f->names[i], &l, err);
        move_tensors(out, &l);
    }
    return rc;
}

/* --- a folder ----------------------------------------------------------- */

static int read_text(const char *dir, const char *name, size_t limit_bytes,
                     struct buf *out, struct err *err)
{
    char *path = fileio_join(dir, name);
    int rc = fileio_read(path, limit_bytes, out, err);

    free(path);
    return rc;
}

/* Reads the shape, and checks it against the headers of the tensor files. */
static int read_shape(const char *dir, struct model_shape *shape,
                      int64_t *end_of_text, struct files *f, struct err *err)
{
    struct tensor_list l = TENSOR_LIST_INIT;
    struct buf config = BUF_INIT;
    int rc = read_text(dir, "config.json", MAX_CONFIG_BYTES, &config, err);

    if (rc == 0)
        rc = hf_parse_config(config.data ? config.data : "", config.len, shape,
                             end_of_text, err);
    if (rc == 0)
        rc = find_files(dir, f, err);
    if (rc == 0)
        rc = read_files(dir, f, false, &l, err);
    if (rc == 0)
        rc = hf_check_weights(shape, &l, err);
    tensor_list_release(&l);
    buf_release(&config);
    return rc;
}

static int read_folder(const char *dir, struct import_model *m, bool all,
                       struct err *err)
{
    struct files f = {0};
    int rc = read_shape(dir, &m->shape, &m->end_of_text, &f, err);

    if (rc == 0 && all)
        rc = read_text(dir, "tokenizer.json", MAX_TOKENIZER_BYTES,
                       &m->tokenizer_json, err);
    if (rc == 0 && all)
        rc = read_files(dir, &f, true, &m->weights, err);
    if (rc == 0 && all) /* again: they have their numbers now */
        rc = hf_check_weights(&m->shape, &m->weights, err);
    if (rc && err && strncmp(err->msg, dir, strlen(dir)) != 0)
        err_prefix(err, "%s", dir);
    json_decref(f.map);
    return rc;
}

/* --- either kind ------------------------------------------------------ */

static int read_source(const char *source, struct import_model *m, bool all,
                       struct err *err)
{
    struct stat st;
    int rc;

    if (stat(source, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? err_set(err, ERR_NOTFOUND, "%s: there is no such model",
                             source)
                   : err_set_errno(err, ERR_IO, errno, "%s: cannot read",
                                   source);
    rc = S_ISDIR(st.st_mode) ? read_folder(source, m, all, err)
                             : import_gguf_read(source, m, all, err);
    if (rc)
        import_release(m);
    return rc;
}

int import_read(const char *source, struct import_model *m, struct err *err)
{
    return read_source(source, m, true, err);
}

int import_read_shape(const char *source, struct model_shape *shape,
                      struct err *err)
{
    struct import_model m = IMPORT_MODEL_INIT;
    int rc = read_source(source, &m, false, err);

    if (rc == 0)
        *shape = m.shape;
    import_release(&m);
    return rc;
}

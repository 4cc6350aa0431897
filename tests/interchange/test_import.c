/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models of other programs: the logits that transformers has for them
 * (tests/data/models), and files that do not fit together.
 */
#include "config.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "interchange/export.h"
#include "interchange/gguf_reader.h"
#include "interchange/import.h"
#include "learner/infer/frozen.h"
#include "learner/model.h"
#include "learner/tokenizer/tokenizer.h"
#include "store/hf.h"
#include "store/safetensors.h"

#define MODELS "/tests/data/models/"
#define STEP 61 /* between the ids in expected.txt: make_models.py */

static char *model_dir(const char *name)
{
    const char *top = getenv("srcdir");

    return xasprintf("%s%s%s", top ? top : ".", MODELS, name);
}

static char *temp_dir(void)
{
    const char *top = getenv("TMPDIR");
    char *dir = xasprintf("%s/mneme-import-XXXXXX", top ? top : "/tmp");

    assert_non_null(mkdtemp(dir));
    return dir;
}

/* Removes a directory with folders of files, and frees its name. */
static void remove_temp(char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e;

    assert_non_null(d);
    while ((e = readdir(d)))
        if (e->d_type == DT_DIR && e->d_name[0] != '.') {
            char *sub = fileio_join(dir, e->d_name);

            assert_int_equal(fileio_remove_dir(sub, NULL), 0);
            free(sub);
        }
    closedir(d);
    assert_int_equal(fileio_remove_dir(dir, NULL), 0);
    free(dir);
}

static struct import_model imported(const char *source)
{
    struct import_model m = IMPORT_MODEL_INIT;
    struct err err = ERR_INIT;

    if (import_read(source, &m, &err) != 0)
        fail_msg("%s: %s", source, err.msg);
    return m;
}

/* --- logits ------------------------------------------------------------- */

/* A model in both forms: for learning and for answers. */
struct both {
    struct model *m;
    float *params;
    struct frozen *f;
};

static struct both build(const struct import_model *source)
{
    struct both b;

    assert_int_equal(model_create(&source->shape, &b.m, NULL), 0);
    b.params = xfloats(b.m->n_params);
    b.f = frozen_create(b.m, false);
    for (size_t i = 0; i < b.m->n_tensors; i++) {
        const struct model_tensor *t = &b.m->tensors[i];
        const struct tensor *from;

        assert_int_equal(model_expect(t, &source->weights, &from, NULL), 0);
        memcpy(b.params + t->offset, from->data, t->count * sizeof(float));
        frozen_set_tensor(b.f, t, from->data);
    }
    return b;
}

static void both_release(struct both *b)
{
    frozen_free(b->f);
    free(b->params);
    model_free(b->m);
}

/* The ids of expected.txt as a segment of one batch. */
static void read_ids(FILE *f, struct batch *b)
{
    token_id ids[128];
    struct segment s = {.tokens = ids};
    size_t n;

    assert_int_equal(fscanf(f, " ids %zu", &n), 1);
    assert_true(n <= 127);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(fscanf(f, "%u", &ids[i]), 1);
    ids[n] = 0; /* the last target, which is not looked at */
    s.n_tokens = (uint32_t)n;
    batch_add(b, &s);
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* Returns the largest difference of logits from expected.txt, relative to the
 * largest logit: of the model that learns, and of the one that answers. */
static void compare_logits(const struct import_model *source, const char *dir,
                           double *learns, double *answers)
{
    char *path = fileio_join(dir, "expected.txt");
    FILE *f = fopen(path, "r");
    struct both both = build(source);
    size_t c = (size_t)source->shape.dim, v = (size_t)source->shape.vocab_size;
    struct batch b = {0};
    struct model_work *w = model_work_create(both.m, 128);
    struct frozen_work *fw = frozen_work_create(both.f, 128);
    float *logits = xfloats(v);
    double most = 0.0;
    size_t rows, columns;

    assert_non_null(f);
    read_ids(f, &b);
    model_forward(both.m, both.params, &b, w, NULL);
    frozen_read(both.f, &b, fw, NULL);
    assert_int_equal(fscanf(f, " logits %zu %zu", &rows, &columns), 2);
    assert_int_equal(rows, b.n_tokens);
    *learns = *answers = 0.0;
    for (size_t i = 0; i < rows; i++) {
        const float *state = model_states(w) + i * c;

        frozen_logits(both.f, frozen_states(fw) + i * c, fw, logits);
        for (size_t j = 0; j < columns; j++) {
            size_t id = j * STEP;
            double want, got;

            assert_int_equal(fscanf(f, "%lf", &want), 1);
            got = dot(state, both.params + both.m->lm_head + id * c, c);
            *learns = fmax(*learns, fabs(got - want));
            *answers = fmax(*answers, fabs((double)logits[id] - want));
            most = fmax(most, fabs(want));
        }
    }
    *learns /= most;
    *answers /= most;
    fclose(f);
    free(path);
    free(logits);
    batch_release(&b);
    frozen_work_free(fw);
    model_work_free(w);
    both_release(&both);
}

static const char *const names[] = {"llama",   "smollm", "llama3", "linear",
                                    "mistral", "qwen2",  "qwen3"};

#define N_NAMES (sizeof names / sizeof *names)

static void logits_are_those_of_transformers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        char *dir = model_dir(names[i]);
        struct import_model m = imported(dir);
        double learns, answers;

        compare_logits(&m, dir, &learns, &answers);
        print_message("# %s: %.2g when learning, %.2g when answering\n",
                      names[i], learns, answers);
        assert_true(learns < 1e-4 && answers < 1e-4);
        import_release(&m);
        free(dir);
    }
}

static void shapes_are_read(void **state)
{
    char *dir = model_dir("mistral");
    struct model_shape s;

    (void)state;
    assert_int_equal(import_read_shape(dir, &s, NULL), 0);
    assert_int_equal(s.context, 64); /* its sliding window */
    assert_int_equal(s.head_dim, 12);
    assert_false(s.tied);
    free(dir);
    dir = model_dir("llama3");
    assert_int_equal(import_read_shape(dir, &s, NULL), 0);
    assert_int_equal(s.rope.kind, ROPE_LLAMA3);
    assert_int_equal(s.context, 128);
    assert_true(s.tied);
    free(dir);
}

/* What Hugging Face transformers makes of a version that it has loaded and
 * saved again (tests/data/saved_again/README). */
static void a_version_saved_again(void **state)
{
    char *dir = model_dir("../saved_again");
    struct import_model m = imported(dir);

    (void)state;
    assert_int_equal(m.shape.vocab_size, 257);
    assert_int_equal(m.shape.dim, 8);
    assert_int_equal(m.end_of_text, 256);
    import_release(&m);
    free(dir);
}

/* --- folders that do not fit -------------------------------------------- */

/* A copy of llama3, which has two files and an index. */
static char *copy_model(void)
{
    static const char *const files[] = {
        "config.json", "tokenizer.json", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors", "model.safetensors.index.json"};
    char *from = model_dir("llama3"), *to = temp_dir();

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *source = fileio_join(from, files[i]);
        char *target = fileio_join(to, files[i]);
        struct buf bytes = BUF_INIT;

        assert_int_equal(fileio_read(source, 1 << 20, &bytes, NULL), 0);
        assert_int_equal(fileio_write_sync(target, bytes.data, bytes.len, NULL),
                         0);
        buf_release(&bytes);
        free(source);
        free(target);
    }
    free(from);
    return to;
}

/* Replaces the first `was` of a file by `is`. */
static void edit(const char *dir, const char *name, const char *was,
                 const char *is)
{
    char *path = fileio_join(dir, name);
    struct buf bytes = BUF_INIT, changed = BUF_INIT;
    const char *at;

    assert_int_equal(fileio_read(path, 1 << 20, &bytes, NULL), 0);
    at = memmem(bytes.data, bytes.len, was, strlen(was));
    assert_non_null(at);
    buf_add(&changed, bytes.data, (size_t)(at - bytes.data));
    buf_adds(&changed, is);
    at += strlen(was);
    buf_add(&changed, at, (size_t)(bytes.data + bytes.len - at));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fileio_write_sync(path, changed.data, changed.len, NULL),
                     0);
    buf_release(&bytes);
    buf_release(&changed);
    free(path);
}

#define FIRST "model-00001-of-00002.safetensors"
#define INDEX "model.safetensors.index.json"
#define CONFIG "config.json"

static void folders_that_do_not_fit(void **state)
{
    static const struct {
        const char *file, *was, *is;
        int code;
        const char *names; /* what the message must name */
    } cases[] = {
        {CONFIG, "\"llama\"", "\"gemma\"", ERR_INVALID, "gemma"},
        {CONFIG, "\"hidden_size\": 16", "\"hidden_size\": 8192", ERR_INVALID,
         "embed_tokens"},
        {CONFIG, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         ERR_INVALID, "model.layers.2"},
        {CONFIG, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
         ERR_INVALID, "model.layers.1"},
        {CONFIG, "\"attention_bias\": false", "\"attention_bias\": true",
         ERR_INVALID, "q_proj.bias"},
        {CONFIG, "\"tie_word_embeddings\": true",
         "\"tie_word_embeddings\": false", ERR_INVALID, "lm_head"},
        {INDEX, "weight_map", "weight_mop", ERR_CORRUPT, "weight_map"},
        {INDEX, "model-00001", "../model-00001", ERR_INVALID, INDEX},
        {INDEX, "model-00001-of-00002", "model-00003-of-00002", ERR_NOTFOUND,
         "model-00003"},
        {INDEX, "model-00001-of-00002", "model-00002-of-00002", ERR_CORRUPT,
         INDEX},
        {INDEX, "model.layers.0.mlp", "model.layers.0.mla", ERR_CORRUPT, INDEX},
        {FIRST, "mlp.gate_proj.weight\":{", "mlp.gote_proj.weight\":{",
         ERR_CORRUPT, "gote_proj"},
        {FIRST, "\"BF16\"", "\"F8XX\"", ERR_INVALID, "F8XX"},
        {FIRST, "\"BF16\"", "\"I16Z\"", ERR_INVALID, "I16Z"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct import_model m = IMPORT_MODEL_INIT;
        struct err err = ERR_INIT;
        char *dir = copy_model();
        int rc;

        edit(dir, cases[i].file, cases[i].was, cases[i].is);
        rc = import_read(dir, &m, &err);
        if (rc != cases[i].code || !strstr(err.msg, cases[i].names) ||
            strncmp(err.msg, dir, strlen(dir)) != 0)
            fail_msg("%s: %s: code %d: %s", cases[i].file, cases[i].is, rc,
                     err.msg);
        assert_int_equal(m.weights.n, 0);
        assert_int_equal(fileio_remove_dir(dir, NULL), 0);
        free(dir);
    }
}

static void missing_files_are_named(void **state)
{
    static const char *const files[] = {CONFIG, "tokenizer.json", FIRST};
    struct import_model m = IMPORT_MODEL_INIT;

    (void)state;
    assert_int_equal(import_read("/no/such/model", &m, NULL), ERR_NOTFOUND);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct err err = ERR_INIT;
        char *dir = copy_model(), *path = fileio_join(dir, files[i]);

        assert_int_equal(unlink(path), 0);
        assert_int_equal(import_read(dir, &m, &err), ERR_NOTFOUND);
        assert_non_null(strstr(err.msg, files[i]));
        assert_int_equal(fileio_remove_dir(dir, NULL), 0);
        free(path);
        free(dir);
    }
}

/* The tensors of one file, with a tied output matrix and the angles of rotary
 * positions beside them. */
static void harmless_tensors_are_left_out(void **state)
{
    char *source = model_dir("llama3"), *dir = copy_model();
    char *path = fileio_join(dir, "model.safetensors");
    struct import_model m = imported(source), back;
    size_t half = 2, n = m.weights.n;
    const struct tensor *embedding =
        tensor_find(&m.weights, "model.embed_tokens.weight");

    (void)state;
    tensor_add_copy(&m.weights, "model.layers.0.self_attn.rotary_emb.inv_freq",
                    TENSOR_F32, 1, &half, NULL);
    embedding = tensor_find(&m.weights, "model.embed_tokens.weight");
    tensor_add_copy(&m.weights, "lm_head.weight", TENSOR_F32, 2,
                    embedding->shape, embedding->data);
    assert_int_equal(safetensors_write(path, &m.weights, NULL, 0, NULL, NULL),
                     0);
    back = imported(dir); /* model.safetensors goes before an index */
    assert_int_equal(back.weights.n, n + 1);
    import_release(&back);
    import_release(&m);
    assert_int_equal(fileio_remove_dir(dir, NULL), 0);
    free(source);
    free(path);
    free(dir);
}

static const struct hf_text text_256 = HF_TEXT_OWN(256);

/* --- GGUF --------------------------------------------------------------- */

/* Writes a model of tests/data/models as GGUF; the caller frees the path. */
static char *make_gguf(const char *name, enum gguf_type type, const char *dir)
{
    char *source = model_dir(name);
    char *out = xasprintf("%s/%s-%s", dir, name, gguf_type_name(type));
    char *path = fileio_join(out, "model.gguf");
    char *json = model_dir("tokenizer.json");
    struct import_model in = imported(source);
    struct export_model m = {.name = "a model",
                             .sha256 = "0",
                             .shape = in.shape,
                             .weights = in.weights};
    struct export_report report;
    struct err err = ERR_INIT;

    hf_config_json(&m.shape, &text_256, &m.config_json);
    hf_generation_config_json(&text_256, &m.generation_config_json);
    hf_tokenizer_config_json(&m.shape, &text_256, &m.tokenizer_config_json);
    assert_int_equal(fileio_read(json, 1 << 20, &m.tokenizer_json, NULL), 0);
    if (export_write(&m, EXPORT_GGUF, type, out, &report, &err) != 0)
        fail_msg("%s", err.msg);
    in.weights = (struct tensor_list)TENSOR_LIST_INIT;
    import_release(&in);
    export_model_release(&m);
    free(json);
    free(source);
    free(out);
    return path;
}

/* F32 keeps the logits; q and k have their rows in Hugging Face's order. */
static void a_gguf_file_has_the_same_logits(void **state)
{
    static const char *const kinds[] = {"llama",   "smollm", "qwen3", "llama3",
                                        "mistral", "qwen2",  "linear"};
    char *dir = temp_dir();

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char *path = make_gguf(kinds[i], GGUF_F32, dir);
        char *source = model_dir(kinds[i]);
        struct import_model m = imported(path);
        double learns, answers;

        compare_logits(&m, source, &learns, &answers);
        if (!(learns < 1e-4 && answers < 1e-4))
            fail_msg("%s: %g %g", kinds[i], learns, answers);
        assert_int_equal(m.end_of_text, 256);
        import_release(&m);
        free(source);
        free(path);
    }
    remove_temp(dir);
}

static void gguf_types_are_decoded(void **state)
{
    static const enum gguf_type types[] = {GGUF_F16, GGUF_BF16, GGUF_Q8_0,
                                           GGUF_Q4_0};
    char *dir = temp_dir(), *source = model_dir("llama");
    struct import_model exact = imported(source);

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char *path = make_gguf("llama", types[i], dir);
        struct import_model m = imported(path);
        double off = 0.0, most = 0.0;

        assert_int_equal(m.weights.n, exact.weights.n);
        for (size_t j = 0; j < m.weights.n; j++) {
            const struct tensor *t = &m.weights.items[j];
            const float *a = t->data;
            const float *b = tensor_find(&exact.weights, t->name)->data;

            for (size_t k = 0; k < tensor_count(t); k++) {
                off = fmax(off, fabs((double)a[k] - b[k]));
                most = fmax(most, fabs((double)b[k]));
            }
        }
        assert_true(off <= most / (types[i] == GGUF_Q4_0 ? 8 : 128));
        import_release(&m);
        free(path);
    }
    import_release(&exact);
    remove_temp(dir);
    free(source);
}

static void a_gguf_tokenizer_is_read(void **state)
{
    static const char text[] = "the th\xc3\xa9 12 <|endoftext|>\n";
    char *dir = temp_dir(), *path = make_gguf("llama", GGUF_F16, dir);
    char *json = model_dir("tokenizer.json");
    struct import_model m = imported(path);
    struct token_list a = TOKEN_LIST_INIT, b = TOKEN_LIST_INIT;
    struct tokenizer *t = NULL, *first = NULL;
    struct buf bytes = BUF_INIT;
    struct err err = ERR_INIT;

    (void)state;
    assert_int_equal(fileio_read(json, 1 << 20, &bytes, NULL), 0);
    assert_int_equal(tokenizer_from_json(bytes.data, bytes.len, &first, NULL),
                     0);
    if (tokenizer_from_json(m.tokenizer_json.data, m.tokenizer_json.len, &t,
                            &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(tokenizer_vocab_size(t), tokenizer_vocab_size(first));
    assert_int_equal(tokenizer_end_of_text(t), 256);
    tokenizer_encode(t, text, sizeof text - 1, &a);
    tokenizer_encode(first, text, sizeof text - 1, &b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.items, b.items, a.n * sizeof *a.items);
    token_list_release(&a);
    token_list_release(&b);
    tokenizer_free(t);
    tokenizer_free(first);
    buf_release(&bytes);
    import_release(&m);
    remove_temp(dir);
    free(json);
    free(path);
}

/* Renames a key of a GGUF file. The data that follow must keep their place. */
static void rename_key(struct buf *file, const char *was, const char *is)
{
    const char *at = memmem(file->data, file->len, was, strlen(was));
    const char *end = file->data + file->len;
    uint64_t n = strlen(is);
    struct buf out = BUF_INIT;

    assert_non_null(at);
    buf_add(&out, file->data, (size_t)(at - file->data) - sizeof n);
    buf_add(&out, &n, sizeof n);
    buf_adds(&out, is);
    buf_add(&out, at + strlen(was), (size_t)(end - at) - strlen(was));
    buf_release(file);
    *file = out;
}

/* Renames two keys of the file at `path`, with the same length together. */
static void rename_keys(const char *path, const char *const was[2],
                        const char *const is[2])
{
    struct buf file = BUF_INIT;

    assert_int_equal(fileio_read(path, 1 << 20, &file, NULL), 0);
    rename_key(&file, was[0], is[0]);
    rename_key(&file, was[1], is[1]);
    assert_int_equal(fileio_write_sync(path, file.data, file.len, NULL), 0);
    buf_release(&file);
}

/* As llama.cpp reads it, with the key of old files for the factor, too. */
static void a_factor_without_a_type_is_linear(void **state)
{
    static const char *const was[] = {"llama.rope.scaling.type",
                                      "llama.rope.scaling.factor"};
    static const char *const is[][2] = {
        {"llama.rope.scaling.typo", "llama.rope.scaling.factor"},
        {"llama.rope.scaling.typo..", "llama.rope.scale_linear"}};
    char *source = model_dir("linear");
    struct model_shape want, got;

    (void)state;
    assert_int_equal(import_read_shape(source, &want, NULL), 0);
    assert_int_equal(want.rope.kind, ROPE_LINEAR);
    for (size_t i = 0; i < 2; i++) {
        char *dir = temp_dir(), *path = make_gguf("linear", GGUF_F16, dir);

        rename_keys(path, was, is[i]);
        assert_int_equal(import_read_shape(path, &got, NULL), 0);
        assert_int_equal(got.rope.kind, ROPE_LINEAR);
        assert_true(got.rope.factor == want.rope.factor);
        remove_temp(dir);
        free(path);
    }
    free(source);
}

/* The message says how to join the parts. general.file_type is 7 for Q8_0. */
static void a_part_of_a_split_file(void **state)
{
    static const char *const was[] = {"general.file_type", "general.name"};
    static const char *const is[] = {"split.count", "general.name......"};
    char *dir = temp_dir(), *path = make_gguf("llama", GGUF_Q8_0, dir);
    struct import_model m = IMPORT_MODEL_INIT;
    struct err err = ERR_INIT;

    (void)state;
    rename_keys(path, was, is);
    assert_int_equal(import_read(path, &m, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "7 parts"));
    assert_non_null(strstr(err.msg, "--merge"));
    remove_temp(dir);
    free(path);
}

/* A header that ends anywhere is refused, whether the file ends there or only
 * the bytes that were read. */
static void gguf_headers_are_checked(void **state)
{
    char *dir = temp_dir(), *path = make_gguf("smollm", GGUF_F16, dir);
    struct buf file = BUF_INIT;
    struct gguf *g = NULL;
    bool more;

    (void)state;
    assert_int_equal(fileio_read(path, 1 << 20, &file, NULL), 0);
    assert_int_equal(
        gguf_parse("f", file.data, file.len, file.len, &more, &g, NULL), 0);
    gguf_close(g);
    for (size_t n = 0; n < 9000; n += n < 200 ? 1 : 37) {
        char *cut = xmalloc(n + 1); /* so that a sanitizer sees a read beyond */

        memcpy(cut, file.data, n);
        assert_int_equal(gguf_parse("f", cut, n, n, &more, &g, NULL),
                         ERR_CORRUPT);
        assert_false(more);
        if (gguf_parse("f", cut, n, file.len, &more, &g, NULL) == 0) {
            gguf_close(g);
            assert_true(n > 5000); /* the whole header is there */
        } else {
            assert_true(more);
        }
        free(cut);
    }
    /* Each byte of the first counts and keys, changed. */
    for (size_t i = 0; i < 2000; i++) {
        char was = file.data[i];

        for (int bit = 0; bit < 8; bit += 3) {
            file.data[i] = (char)(was ^ 1 << bit);
            if (gguf_parse("f", file.data, file.len, file.len, &more, &g,
                           NULL) == 0)
                gguf_close(g);
        }
        file.data[i] = was;
    }
    buf_release(&file);
    remove_temp(dir);
    free(path);
}

static void a_file_of_another_kind(void **state)
{
    char *dir = temp_dir(), *path = fileio_join(dir, "x.gguf");
    struct import_model m = IMPORT_MODEL_INIT;
    struct err err = ERR_INIT;

    (void)state;
    assert_int_equal(fileio_write_sync(path, "PK\3\4 and more", 13, NULL), 0);
    assert_int_equal(import_read(path, &m, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "GGUF"));
    remove_temp(dir);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test(shapes_are_read),
        cmocka_unit_test(a_version_saved_again),
        cmocka_unit_test(folders_that_do_not_fit),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(harmless_tensors_are_left_out),
        cmocka_unit_test(a_gguf_file_has_the_same_logits),
        cmocka_unit_test(gguf_types_are_decoded),
        cmocka_unit_test(a_gguf_tokenizer_is_read),
        cmocka_unit_test(a_factor_without_a_type_is_linear),
        cmocka_unit_test(a_part_of_a_split_file),
        cmocka_unit_test(gguf_headers_are_checked),
        cmocka_unit_test(a_file_of_another_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

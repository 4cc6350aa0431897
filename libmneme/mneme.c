/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a version from a data directory or from a folder, and passes each call
 * on to learner/infer. The codes of mneme.h are those of base/err.h.
 *
 * A data directory is read on one read-only connection, which is closed when
 * the version is in memory. Retention may remove a version meanwhile; when the
 * caller has asked for a role or a tag, the role is looked up again.
 */
#include "config.h"

#include "libmneme/mneme.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fileio.h"
#include "base/names.h"
#include "base/xalloc.h"
#include "learner/infer/infer.h"
#include "store/catalog.h"
#include "interchange/import.h"
#include "store/safetensors.h"
#include "store/store.h"
#include "store/tags.h"
#include "store/version_files.h"

#define MOST_LABELS 65536
#define MOST_LABELS_BYTES (16u << 20)
#define MOST_PART_BYTES (UINT64_C(1) << 36)
#define TRIES 3 /* to find a version that is not removed meanwhile */

#define SAME(name)                                                             \
    _Static_assert((int)MNEME_ERR_##name == (int)ERR_##name,                   \
                   "the codes of mneme.h are those of err.h")
SAME(IO);
SAME(CORRUPT);
SAME(INVALID);
SAME(NOTFOUND);
SAME(STATE);
SAME(LIMIT);
SAME(FULL);
SAME(DIVERGED);
SAME(NOMEM);
_Static_assert(MNEME_ERROR_BYTES == ERR_MSG_MAX, "an error fits");

struct mneme {
    struct infer *infer;
    struct tokenizer *tokenizer; /* NULL: preset linear */
    int64_t version;
};

/* All that a version's files hold for answers. */
struct parts {
    struct model_shape shape;
    struct buf tokenizer_json; /* empty: preset linear */
    struct tensor_list weights, head, ngram;
    struct buf labels_json; /* empty: no labels */
};

static void parts_release(struct parts *p)
{
    buf_release(&p->tokenizer_json);
    buf_release(&p->labels_json);
    tensor_list_release(&p->weights);
    tensor_list_release(&p->head);
    tensor_list_release(&p->ngram);
    memset(p, 0, sizeof *p);
}

/* Gives an error to the caller. Returns its code. */
static int fail(struct mneme_error *error, const struct err *err)
{
    if (error) {
        error->code = err->code;
        memcpy(error->text, err->msg, sizeof error->text);
    }
    return err->code;
}

/* --- reading files ------------------------------------------------------ */

/* *linear: the version has no Transformer. */
static int is_linear(struct catalog *c, int64_t number, bool *linear,
                     struct err *err)
{
    struct catalog_file *files = NULL;
    char sha256[65];
    size_t n = 0;
    int rc = catalog_files(c, number, &files, &n, sha256, err);

    *linear = true;
    for (size_t i = 0; i < n; i++)
        if (strcmp(files[i].name, VERSION_FILES_WEIGHTS) == 0)
            *linear = false;
    catalog_files_free(files, n);
    return rc;
}

static int read_version(struct catalog *c, int64_t number, struct parts *p,
                        struct err *err)
{
    bool linear;
    int rc = is_linear(c, number, &linear, err);

    if (rc == 0 && !linear)
        rc = store_load_shape(c, number, &p->shape, err);
    if (rc == 0 && !linear)
        rc = store_load_text(c, number, "tokenizer.json", &p->tokenizer_json,
                             err);
    if (rc == 0 && !linear)
        rc = store_load(c, number, STORE_WEIGHTS, &p->weights, err);
    if (rc == 0)
        rc = store_load(c, number, STORE_HEAD, &p->head, err);
    if (rc == 0)
        rc = store_load(c, number, STORE_NGRAM, &p->ngram, err);
    if (rc == 0)
        rc = store_load_text(c, number, "labels.json", &p->labels_json, err);
    return rc;
}

static int read_store(const char *path, const char *name, struct parts *p,
                      int64_t *number, struct err *err)
{
    struct catalog *c;
    bool moves = true;
    int rc = catalog_open(path, &c, err);

    if (rc)
        return rc;
    for (int i = 0; i < TRIES && moves; i++) {
        parts_release(p);
        rc = tags_resolve(c, name, number, &moves, err);
        if (rc)
            break;
        rc = read_version(c, *number, p, err);
        if (rc != ERR_NOTFOUND)
            break;
    }
    catalog_close(c);
    return rc;
}

/* Reads a tensor file of a folder that may be absent. */
static int read_part(const char *dir, const char *name, struct tensor_list *out,
                     struct err *err)
{
    char *path = fileio_join(dir, name);
    int rc = 0;

    if (access(path, F_OK) == 0)
        rc = safetensors_read(path, NULL, MOST_PART_BYTES, out, NULL, err);
    free(path);
    return rc;
}

static int read_labels(const char *dir, struct buf *out, struct err *err)
{
    char *path = fileio_join(dir, "labels.json");
    int rc = 0;

    if (access(path, F_OK) == 0)
        rc = fileio_read(path, MOST_LABELS_BYTES, out, err);
    free(path);
    return rc;
}

static int read_folder(const char *dir, struct parts *p, struct err *err)
{
    char *config = fileio_join(dir, "config.json");
    bool linear = access(config, F_OK) != 0;
    struct import_model m = IMPORT_MODEL_INIT;
    int rc = 0;

    free(config);
    if (!linear)
        rc = import_read(dir, &m, err);
    if (rc == 0 && !linear) {
        p->shape = m.shape;
        p->weights = m.weights;
        p->tokenizer_json = m.tokenizer_json;
    }
    if (rc == 0)
        rc = read_part(dir, VERSION_FILES_HEAD, &p->head, err);
    if (rc == 0)
        rc = read_part(dir, VERSION_FILES_NGRAM, &p->ngram, err);
    if (rc == 0)
        rc = read_labels(dir, &p->labels_json, err);
    if (rc == 0 && linear && p->head.n == 0)
        rc = err_set(err, ERR_NOTFOUND,
                     "%s: neither a data directory nor a version: it has no "
                     "mneme.db, config.json or " VERSION_FILES_HEAD,
                     dir);
    return rc;
}

/* --- open and close ----------------------------------------------------- */

static int create(struct mneme *m, struct parts *p, unsigned flags,
                  struct err *err)
{
    const struct infer_options options = {
        .quantize = flags & MNEME_INT8 ? INFER_INT8 : INFER_FLOAT};
    struct names labels = NAMES_INIT;
    int rc = 0;

    if (p->tokenizer_json.len)
        rc = tokenizer_from_json(p->tokenizer_json.data, p->tokenizer_json.len,
                                 &m->tokenizer, err);
    if (rc == 0 && m->tokenizer)
        rc = tokenizer_fit(m->tokenizer, p->shape.vocab_size, err);
    if (rc == 0 && p->labels_json.len)
        rc = names_from_json(&labels, p->labels_json.data, p->labels_json.len,
                             MOST_LABELS, err);
    if (rc == 0)
        rc = infer_create(m->tokenizer ? &p->shape : NULL, m->tokenizer,
                          &p->weights, &p->head, &labels, &options, &m->infer,
                          err);
    if (rc == 0)
        rc = infer_add_ngram(m->infer, &p->ngram, err);
    names_release(&labels);
    return rc;
}

static int read_path(const char *path, const char *version, struct parts *p,
                     int64_t *number, struct err *err)
{
    char *db = fileio_join(path, "mneme.db");
    bool is_store = access(db, F_OK) == 0;
    int rc;

    free(db);
    if (is_store)
        return read_store(path, version, p, number, err);
    rc = access(path, X_OK);
    if (rc)
        return err_set(err, access(path, F_OK) ? ERR_NOTFOUND : ERR_IO,
                       "%s: not a folder that can be read", path);
    if (version && *version)
        return err_set(err, ERR_INVALID,
                       "%s: not a data directory, so it has no version to "
                       "choose",
                       path);
    return read_folder(path, p, err);
}

int mneme_open(const char *path, const char *version, unsigned flags,
               struct mneme **m, struct mneme_error *error)
{
    struct parts p = {0};
    struct err err = ERR_INIT;
    struct mneme *opened = xcalloc(1, sizeof *opened);
    int rc;

    if (!path || !m || (flags & ~MNEME_INT8))
        rc = err_set(&err, ERR_INVALID, "mneme_open: path, m or flags");
    else
        rc = read_path(path, version, &p, &opened->version, &err);
    if (rc == 0)
        rc = create(opened, &p, flags, &err);
    parts_release(&p);
    if (rc) {
        mneme_close(opened);
        return fail(error, &err);
    }
    *m = opened;
    return 0;
}

void mneme_close(struct mneme *m)
{
    if (!m)
        return;
    infer_free(m->infer);
    tokenizer_free(m->tokenizer);
    free(m);
}

/* --- properties of a version -------------------------------------------- */

int mneme_library_version(void)
{
    return MNEME_VERSION;
}

const char *mneme_library_version_text(void)
{
    return PACKAGE_VERSION;
}

int64_t mneme_version(const struct mneme *m)
{
    return m ? m->version : 0;
}

size_t mneme_context(const struct mneme *m)
{
    return m && m->tokenizer ? (size_t)infer_shape(m->infer)->context : 0;
}

size_t mneme_vocabulary(const struct mneme *m)
{
    return m && m->tokenizer ? (size_t)infer_shape(m->infer)->vocab_size : 0;
}

size_t mneme_dim(const struct mneme *m)
{
    return m && m->tokenizer ? (size_t)infer_shape(m->infer)->dim : 0;
}

size_t mneme_n_labels(const struct mneme *m)
{
    return m ? infer_labels(m->infer)->n : 0;
}

const char *mneme_label(const struct mneme *m, size_t i)
{
    return i < mneme_n_labels(m) ? infer_labels(m->infer)->items[i] : NULL;
}

/* --- texts -------------------------------------------------------------- */

/* Checks what every function is given. A NULL text becomes "". */
static int check_text(const struct mneme *m, const char **text, size_t n_bytes,
                      struct err *err)
{
    if (!m)
        return err_set(err, ERR_INVALID, "no version is open");
    if (!*text && n_bytes)
        return err_set(err, ERR_INVALID, "the text is NULL");
    if (n_bytes > MNEME_TEXT_BYTES)
        return err_set(err, ERR_LIMIT,
                       "the text has %zu bytes; the limit is %d", n_bytes,
                       MNEME_TEXT_BYTES);
    if (!*text)
        *text = "";
    return 0;
}

/* Cuts a text, when the version has a Transformer. */
static int encode(const struct mneme *m, const char *text, size_t n_bytes,
                  struct token_list *ids, struct err *err)
{
    int rc = check_text(m, &text, n_bytes, err);

    if (rc)
        return rc;
    if (!m->tokenizer)
        return err_set(err, ERR_INVALID,
                       "this version has classes only (preset linear)");
    tokenizer_encode(m->tokenizer, text, n_bytes, ids);
    return 0;
}

static void copy_ids(const struct token_list *from, uint32_t *to,
                     size_t capacity)
{
    for (size_t i = 0; to && i < from->n && i < capacity; i++)
        to[i] = from->items[i];
}

int mneme_tokenize(const struct mneme *m, const char *text, size_t n_bytes,
                   uint32_t *ids, size_t capacity, size_t *n,
                   struct mneme_error *error)
{
    struct token_list list = TOKEN_LIST_INIT;
    struct err err = ERR_INIT;
    int rc = encode(m, text, n_bytes, &list, &err);

    if (rc == 0 && n)
        *n = list.n;
    if (rc == 0)
        copy_ids(&list, ids, capacity);
    token_list_release(&list);
    return rc ? fail(error, &err) : 0;
}

const char *mneme_token_bytes(const struct mneme *m, uint32_t id,
                              size_t *n_bytes)
{
    size_t ignored;

    if (!n_bytes)
        n_bytes = &ignored;
    *n_bytes = 0;
    if (id >= mneme_vocabulary(m))
        return "";
    return tokenizer_bytes(m->tokenizer, (token_id)id, n_bytes);
}

int mneme_score(const struct mneme *m, const char *text, size_t n_bytes,
                struct mneme_score *score, struct mneme_error *error)
{
    return mneme_score_tokens(m, text, n_bytes, score, NULL, NULL, 0, error);
}

int mneme_score_tokens(const struct mneme *m, const char *text, size_t n_bytes,
                       struct mneme_score *score, uint32_t *ids,
                       float *logprobs, size_t capacity,
                       struct mneme_error *error)
{
    struct infer_score s = {0};
    struct err err = ERR_INIT;
    int rc = check_text(m, &text, n_bytes, &err);

    if (rc == 0)
        rc = infer_score(m->infer, text, n_bytes, capacity > 0, NULL, &s, &err);
    if (rc)
        return fail(error, &err);
    if (score)
        *score = (struct mneme_score){.n_tokens = s.n_tokens,
                                      .nats = s.nats,
                                      .bits_per_byte = s.bits_per_byte};
    copy_ids(&s.tokens, ids, capacity);
    for (size_t i = 0; logprobs && i < s.n_tokens && i < capacity; i++)
        logprobs[i] = s.logprobs[i];
    infer_score_release(&s);
    return 0;
}

int mneme_classify(const struct mneme *m, const char *text, size_t n_bytes,
                   float *p, size_t n_labels, struct mneme_error *error)
{
    struct err err = ERR_INIT;
    float *scores = NULL;
    int rc = check_text(m, &text, n_bytes, &err);

    if (rc == 0 && (!p || n_labels != mneme_n_labels(m)))
        rc = err_set(&err, ERR_INVALID, "n_labels is %zu; the version has %zu",
                     n_labels, mneme_n_labels(m));
    if (rc == 0)
        scores = xcalloc(n_labels + 1, sizeof *scores);
    if (rc == 0)
        rc = infer_classify(m->infer, text, n_bytes, NULL, scores, &err);
    if (rc == 0)
        memcpy(p, scores, n_labels * sizeof *p);
    free(scores);
    return rc ? fail(error, &err) : 0;
}

/* --- generate ----------------------------------------------------------- */

void mneme_sampling_init(struct mneme_sampling *s, size_t size)
{
    const struct mneme_sampling defaults = {
        .size = size, .max_tokens = 16, .temperature = 1, .top_p = 1};

    if (!s)
        return;
    memset(s, 0, size);
    memcpy(s, &defaults, size < sizeof defaults ? size : sizeof defaults);
}

/* Takes the settings over, as far as the caller knows them. */
static int take_sampling(const struct mneme_sampling *from,
                         struct infer_sampling *s, struct err *err)
{
    struct mneme_sampling known;

    mneme_sampling_init(&known, sizeof known);
    if (from && from->size < sizeof known)
        return err_set(err, ERR_INVALID,
                       "sampling: size is %zu; call mneme_sampling_init first",
                       from->size);
    if (from)
        known = *from;
    if (known.n_stop && !known.stop)
        return err_set(err, ERR_INVALID, "sampling: stop is NULL");
    for (size_t i = 0; i < known.n_stop; i++)
        if (!known.stop[i])
            return err_set(err, ERR_INVALID, "sampling: stop %zu is NULL", i);
    infer_sampling_default(s);
    s->max_tokens = known.max_tokens;
    s->temperature = known.temperature;
    s->top_p = known.top_p;
    s->top_k = known.top_k;
    s->seed = known.seed;
    s->stop = known.stop;
    s->n_stop = known.n_stop;
    s->n_logprobs = -1;
    return 0;
}

struct listening {
    const struct tokenizer *tokenizer;
    mneme_token_fn *on_token;
    void *arg;
};

static bool pass_on(const struct infer_token *token, void *arg)
{
    const struct listening *l = arg;
    size_t n;
    const char *bytes = tokenizer_bytes(l->tokenizer, token->id, &n);

    return l->on_token(bytes, n, l->arg) != 0;
}

int mneme_generate(const struct mneme *m, const char *prompt, size_t n_bytes,
                   const struct mneme_sampling *sampling,
                   mneme_token_fn *on_token, void *arg, char **text,
                   size_t *n_text, struct mneme_error *error)
{
    struct token_list ids = TOKEN_LIST_INIT;
    struct infer_completion c = {0};
    struct infer_sampling s;
    struct err err = ERR_INIT;
    struct listening l = {m ? m->tokenizer : NULL, on_token, arg};
    const struct infer_listener listener = {on_token ? pass_on : NULL, &l,
                                            NULL};
    int rc = encode(m, prompt, n_bytes, &ids, &err);

    if (rc == 0)
        rc = take_sampling(sampling, &s, &err);
    if (rc == 0)
        rc =
            infer_complete(m->infer, ids.items, ids.n, &s, &listener, &c, &err);
    token_list_release(&ids);
    if (rc)
        return fail(error, &err);
    if (n_text)
        *n_text = c.text.len;
    if (text)
        *text = buf_detach(&c.text);
    infer_completion_release(&c);
    return 0;
}

void mneme_free(char *text)
{
    free(text);
}

/* --- embed -------------------------------------------------------------- */

int mneme_embed(const struct mneme *m, const char *text, size_t n_bytes,
                float *out, size_t dim, struct mneme_error *error)
{
    struct token_list ids = TOKEN_LIST_INIT;
    struct err err = ERR_INIT;
    float *values = NULL;
    int rc = encode(m, text, n_bytes, &ids, &err);

    if (rc == 0 && (!out || dim != mneme_dim(m)))
        rc = err_set(&err, ERR_INVALID, "dim is %zu; the version has %zu", dim,
                     mneme_dim(m));
    if (rc == 0)
        values = xfloats(dim);
    if (rc == 0)
        rc = infer_embed(m->infer, ids.items, ids.n, NULL, values, &err);
    if (rc == 0)
        memcpy(out, values, dim * sizeof *out);
    free(values);
    token_list_release(&ids);
    return rc ? fail(error, &err) : 0;
}

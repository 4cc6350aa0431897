/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/intake/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "daemon/intake/intake.h"

#define FILE_LIMIT ((size_t)64 << 20)

/* Collecting also ends when the records take so much memory, in an error if
 * all of them are bad or held out. */
#define MEMORY_LIMIT ((size_t)256 << 20)

void vocabulary_init(struct vocabulary *v, const struct conf *conf)
{
    memset(v, 0, sizeof *v);
    v->conf = conf;
}

void vocabulary_release(struct vocabulary *v)
{
    for (size_t i = 0; i < v->n; i++)
        record_free(v->records[i]);
    free(v->records);
    buf_release(&v->text);
    memset(v, 0, sizeof *v);
}

static int from_file(const struct conf *conf, struct tokenizer **tokenizer,
                     struct err *err)
{
    const char *path = conf->model.tokenizer_from;
    const char *suffix = strrchr(path, '.');
    struct buf file = BUF_INIT;
    int rc = fileio_read(path, FILE_LIMIT, &file, err);

    if (rc == 0 && suffix && strcmp(suffix, ".json") == 0)
        rc = tokenizer_from_json(file.data, file.len, tokenizer, err);
    else if (rc == 0)
        rc = tokenizer_train(file.data, file.len,
                             (int)conf->model.vocab_size, NULL, NULL,
                             tokenizer, err);
    buf_release(&file);
    if (rc)
        err_prefix(err, "model.tokenizer_from");
    return rc;
}

int vocabulary_known(const struct conf *conf, struct tokenizer **tokenizer,
                     struct err *err)
{
    *tokenizer = NULL;
    if (conf->model.tokenizer_from)
        return from_file(conf, tokenizer, err);
    if (conf->model.tokenizer == CONF_TOKENIZER_BYTES)
        *tokenizer = tokenizer_create_bytes();
    if (conf->model.tokenizer != CONF_TOKENIZER_BUILTIN)
        return 0;
    /* Not a rule of conf_check: a directory that was made with model.tokenizer
     * bpe may have a larger vocabulary. */
    if (conf->model.vocab_size > TOKENIZER_BUILTIN_MAX)
        return err_set(err, ERR_INVALID,
                       "model.vocab_size is %lld, and the built-in vocabulary "
                       "has at most %d tokens: set it lower, or "
                       "model.tokenizer: bpe",
                       (long long)conf->model.vocab_size,
                       TOKENIZER_BUILTIN_MAX);
    *tokenizer = tokenizer_create_builtin((int)conf->model.vocab_size);
    return 0;
}

static void add_text(struct vocabulary *v, const struct record *rec)
{
    if (rec->kind != RECORD_DATA || rec->reason ||
        intake_holds_out(rec->text, rec->text_bytes, (int64_t)v->n,
                         v->conf->learner.holdout.fraction))
        return;
    if (rec->prompt) {
        buf_add(&v->text, rec->prompt, rec->prompt_bytes);
        buf_addc(&v->text, '\n');
    }
    buf_add(&v->text, rec->text, rec->text_bytes);
    buf_addc(&v->text, '\n');
}

bool vocabulary_add(struct vocabulary *v, struct record *rec)
{
    add_text(v, rec);
    XGROW(v->records, v->n, v->cap);
    v->records[v->n++] = rec;
    v->memory += record_memory(rec);
    return v->text.len >= (size_t)v->conf->model.tokenizer_bytes ||
           v->memory >= MEMORY_LIMIT;
}

int vocabulary_learn(struct vocabulary *v, struct tokenizer **tokenizer,
                     struct err *err)
{
    if (v->text.len == 0)
        return err_set(err, ERR_STATE,
                       "no text for a vocabulary in %zu records: is "
                       "source.format right? Or set model.tokenizer: builtin, "
                       "or model.tokenizer_from",
                       v->n);
    return tokenizer_train(v->text.data, v->text.len,
                           (int)v->conf->model.vocab_size, NULL, NULL,
                           tokenizer, err);
}

struct record **vocabulary_take(struct vocabulary *v, size_t *n)
{
    struct record **records = v->records;

    *n = v->n;
    v->records = NULL;
    v->n = v->cap = v->memory = 0;
    buf_release(&v->text);
    return records;
}

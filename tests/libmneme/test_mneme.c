/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions of mneme.h give what learner/infer gives for the same weights,
 * from a data directory and from a copy of a version's files; they refuse wrong
 * arguments and damaged files; and they only read.
 */
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "libmneme/mneme.h"
#include "store/tags.h"
#include "tests/util/infer_util.h"
#include "tests/util/store_util.h"

static const size_t n_text = sizeof util_text - 1;

/* Publishes the model of infer_fix as a version that passed. */
static int64_t publish(struct store *s, int64_t parent, bool serve)
{
    struct tensor_list none = TENSOR_LIST_INIT;
    struct buf tokenizer = BUF_INIT, labels = BUF_INIT;
    struct util_version v;
    struct err err = ERR_INIT;
    int64_t version = 0;

    util_version_init(&v, parent, parent + 1);
    tokenizer_to_json(infer_fix.tokenizer, &tokenizer);
    names_to_json(&infer_fix.labels, &labels);
    v.p.shape = &infer_util_shape;
    v.p.weights = &infer_fix.weights;
    v.p.head = &infer_fix.head;
    v.p.ngram = &none;
    v.p.tokenizer_json = tokenizer.data;
    v.p.tokenizer_json_bytes = tokenizer.len;
    v.p.labels_json = labels.data;
    if (store_publish(s, &v.p, &version, &err) != 0 ||
        store_verdict(s, version, STORE_PASSED, "{}", NULL, NULL, 0, serve, "",
                      &err) != 0)
        fail_msg("%s", err.msg);
    util_version_release(&v);
    buf_release(&tokenizer);
    buf_release(&labels);
    return version;
}

/* Versions 1 and 2 serve one after the other; 3 is the head; 1 is `first`. */
static void make_store(const char *dir)
{
    struct store *s = util_open_store(dir);
    int64_t before;

    assert_int_equal(publish(s, 0, true), 1);
    assert_int_equal(publish(s, 1, true), 2);
    assert_int_equal(publish(s, 2, false), 3);
    assert_int_equal(tags_put(s, "first", 1, &before, NULL), 0);
    store_close(s);
}

static struct mneme *open_or_fail(const char *path, const char *version,
                                  unsigned flags)
{
    struct mneme_error error = {0};
    struct mneme *m = NULL;

    if (mneme_open(path, version, flags, &m, &error) != 0)
        fail_msg("%s", error.text);
    return m;
}

/* --- the same numbers ---------------------------------------------------- */

static void compare_scores(const struct mneme *m)
{
    struct infer_score wanted;
    struct mneme_score got, again;
    uint32_t ids[sizeof util_text], alone[4];
    float logprobs[sizeof util_text];
    size_t n;

    assert_int_equal(infer_score(infer_fix.infer, util_text, n_text, true, NULL,
                                 &wanted, NULL),
                     0);
    assert_int_equal(mneme_score_tokens(m, util_text, n_text, &got, ids,
                                        logprobs, n_text, NULL),
                     0);
    assert_int_equal(got.n_tokens, wanted.n_tokens);
    assert_true(got.nats == wanted.nats);
    assert_true(got.bits_per_byte == wanted.bits_per_byte);
    for (size_t i = 0; i < wanted.n_tokens; i++) {
        assert_int_equal(ids[i], wanted.tokens.items[i]);
        assert_true(logprobs[i] == wanted.logprobs[i]);
        assert_memory_equal(mneme_token_bytes(m, ids[i], &n), util_text + i, 1);
        assert_int_equal(n, 1);
    }
    assert_int_equal(mneme_score(m, util_text, n_text, &again, NULL), 0);
    assert_true(again.nats == wanted.nats);
    assert_int_equal(mneme_tokenize(m, util_text, n_text, alone, 4, &n, NULL),
                     0);
    assert_int_equal(n, wanted.n_tokens);
    assert_memory_equal(alone, ids, sizeof alone);
    infer_score_release(&wanted);
}

static void compare_classes(const struct mneme *m)
{
    float wanted[3], got[3];

    assert_int_equal(mneme_n_labels(m), 3);
    assert_string_equal(mneme_label(m, 1), "blue");
    assert_null(mneme_label(m, 3));
    assert_int_equal(
        infer_classify(infer_fix.infer, "red wine", 8, NULL, wanted, NULL), 0);
    assert_int_equal(mneme_classify(m, "red wine", 8, got, 3, NULL), 0);
    assert_memory_equal(got, wanted, sizeof got);
}

static void compare_embeddings(const struct mneme *m)
{
    struct token_list ids = TOKEN_LIST_INIT;
    float wanted[32], got[32];

    assert_int_equal(mneme_dim(m), 32);
    tokenizer_encode(infer_fix.tokenizer, util_text, n_text, &ids);
    assert_int_equal(
        infer_embed(infer_fix.infer, ids.items, ids.n, NULL, wanted, NULL), 0);
    assert_int_equal(mneme_embed(m, util_text, n_text, got, 32, NULL), 0);
    assert_memory_equal(got, wanted, sizeof got);
    token_list_release(&ids);
}

/* Collects the bytes of tokens, and stops after `most` of them. */
struct collected {
    struct buf bytes;
    int n, most;
};

static int collect(const char *bytes, size_t n_bytes, void *arg)
{
    struct collected *c = arg;

    buf_add(&c->bytes, bytes, n_bytes);
    return ++c->n == c->most;
}

static void compare_completions(const struct mneme *m)
{
    struct token_list ids = TOKEN_LIST_INIT;
    struct collected c = {BUF_INIT, 0, 3};
    struct infer_completion wanted;
    struct infer_sampling is;
    struct mneme_sampling s;
    size_t n = 0;
    char *text = NULL;

    infer_sampling_default(&is);
    mneme_sampling_init(&s, sizeof s);
    assert_int_equal(s.max_tokens, is.max_tokens);
    s.max_tokens = is.max_tokens = 40;
    s.seed = is.seed = 12;
    s.top_k = is.top_k = 50;
    tokenizer_encode(infer_fix.tokenizer, "A version", 9, &ids);
    assert_int_equal(infer_complete(infer_fix.infer, ids.items, ids.n, &is,
                                    NULL, &wanted, NULL),
                     0);
    assert_int_equal(
        mneme_generate(m, "A version", 9, &s, NULL, NULL, &text, &n, NULL), 0);
    assert_int_equal(n, wanted.text.len);
    assert_string_equal(text, wanted.text.data);
    mneme_free(text);
    assert_int_equal(
        mneme_generate(m, "A version", 9, &s, collect, &c, NULL, NULL, NULL),
        0);
    assert_int_equal(c.n, 3);
    for (size_t i = 0; i < c.bytes.len; i++)
        assert_int_equal((unsigned char)c.bytes.data[i],
                         wanted.tokens.items[i]);
    buf_release(&c.bytes);
    infer_completion_release(&wanted);
    token_list_release(&ids);
}

static void compare_all(const struct mneme *m)
{
    assert_int_equal(mneme_context(m), UTIL_CONTEXT);
    assert_int_equal(mneme_vocabulary(m), UTIL_V);
    compare_scores(m);
    compare_classes(m);
    compare_embeddings(m);
    compare_completions(m);
}

static void test_store(void **state)
{
    static const struct {
        const char *name;
        int64_t number;
    } names[] = {{NULL, 2}, {"", 2},  {"latest", 3}, {"previous", 1},
                 {"1", 1},  {"3", 3}, {"first", 1}};
    struct mneme *m;

    make_store(*state);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        m = open_or_fail(*state, names[i].name, 0);
        assert_int_equal(mneme_version(m), names[i].number);
        compare_all(m);
        mneme_close(m);
    }
}

static void copy(const char *dir, const char *to, const char *name)
{
    char *from = util_file_of(dir, 2, name), *path = fileio_join(to, name);
    struct buf bytes = BUF_INIT;
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fileio_read(from, 1 << 24, &bytes, NULL), 0);
    assert_int_equal(fwrite(bytes.data, 1, bytes.len, f), bytes.len);
    fclose(f);
    buf_release(&bytes);
    free(from);
    free(path);
}

static void test_folder(void **state)
{
    static const char *const model[] = {"config.json", "model.safetensors",
                                        "tokenizer.json"};
    struct mneme_error error;
    struct mneme_score score;
    struct mneme *m;
    char *to = fileio_join(*state, "versions/copy");
    float none;

    make_store(*state);
    assert_int_equal(mkdir(to, 0700), 0);
    assert_int_equal(mneme_open(to, NULL, 0, &m, &error), MNEME_ERR_NOTFOUND);
    for (size_t i = 0; i < 3; i++)
        copy(*state, to, model[i]);
    m = open_or_fail(to, NULL, 0);
    assert_int_equal(mneme_version(m), 0);
    compare_scores(m);
    assert_int_equal(mneme_n_labels(m), 0);
    assert_int_equal(mneme_classify(m, "red", 3, &none, 0, &error),
                     MNEME_ERR_STATE);
    mneme_close(m);
    copy(*state, to, "head.safetensors");
    copy(*state, to, "labels.json");
    m = open_or_fail(to, NULL, 0);
    compare_all(m);
    mneme_close(m);
    /* A folder has one version, so none can be chosen. */
    assert_int_equal(mneme_open(to, "1", 0, &m, &error), MNEME_ERR_INVALID);
    m = open_or_fail(to, NULL, MNEME_INT8);
    assert_int_equal(mneme_score(m, util_text, n_text, &score, NULL), 0);
    assert_true(score.bits_per_byte > 0);
    mneme_close(m);
    free(to);
}

/* Preset linear: classes, and nothing else. */
static void test_linear(void **state)
{
    struct tensor_list head = TENSOR_LIST_INIT, none = TENSOR_LIST_INIT;
    struct util_version v;
    struct infer *infer = NULL;
    struct store *s = util_open_store(*state);
    struct mneme_error error;
    struct mneme_score score;
    struct mneme *m;
    float wanted[3], got[3];
    int64_t version;
    size_t n;

    util_make_head(0, &head);
    util_version_init(&v, 0, 1);
    v.p.shape = NULL;
    v.p.weights = NULL;
    v.p.ngram = &none;
    v.p.tokenizer_json = NULL;
    v.p.tokenizer_json_bytes = 0;
    v.p.head = &head;
    v.p.labels_json = "[\"red\", \"blue\", \"never seen\"]";
    assert_int_equal(store_publish(s, &v.p, &version, NULL), 0);
    store_close(s);
    m = open_or_fail(*state, "latest", 0);
    assert_int_equal(infer_create(NULL, NULL, &none, &head, &infer_fix.labels,
                                  NULL, &infer, NULL),
                     0);
    assert_int_equal(infer_classify(infer, "red wine", 8, NULL, wanted, NULL),
                     0);
    assert_int_equal(mneme_classify(m, "red wine", 8, got, 3, NULL), 0);
    assert_memory_equal(got, wanted, sizeof got);
    assert_true(mneme_context(m) == 0 && mneme_dim(m) == 0 &&
                mneme_vocabulary(m) == 0);
    assert_int_equal(mneme_score(m, "a", 1, &score, &error), MNEME_ERR_INVALID);
    assert_int_equal(mneme_tokenize(m, "a", 1, NULL, 0, &n, &error),
                     MNEME_ERR_INVALID);
    assert_int_equal(mneme_embed(m, "a", 1, NULL, 0, &error),
                     MNEME_ERR_INVALID);
    assert_int_equal(
        mneme_generate(m, "a", 1, NULL, NULL, NULL, NULL, NULL, &error),
        MNEME_ERR_INVALID);
    assert_string_equal(mneme_token_bytes(m, 65, &n), "");
    mneme_close(m);
    infer_free(infer);
    util_version_release(&v);
    tensor_list_release(&head);
}

/* Writes a byte of a file, and returns the one that was there. */
static int put_byte(const char *path, long at, int byte)
{
    FILE *f = fopen(path, "r+b");
    int old;

    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    old = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    fputc(byte, f);
    fclose(f);
    return old;
}

/* A folder has no checksums: whatever its files hold, opening gives an error or
 * a version that answers. */
static void test_changed_bytes(void **state)
{
    static const char *const names[] = {"config.json", "model.safetensors",
                                        "tokenizer.json", "head.safetensors",
                                        "labels.json"};
    char *to = fileio_join(*state, "versions/copy"), *paths[5];
    struct mneme_score score;
    struct mneme *m;
    struct stat st;
    int refused = 0;

    make_store(*state);
    assert_int_equal(mkdir(to, 0700), 0);
    for (int i = 0; i < 5; i++) {
        copy(*state, to, names[i]);
        paths[i] = fileio_join(to, names[i]);
    }
    for (uint64_t i = 0; i < 400; i++) {
        const char *path = paths[i % 5];
        uint64_t r = rng_u64(3, RNG_INIT, 0, i);
        int old;
        long at;

        assert_int_equal(stat(path, &st), 0);
        at = (long)(r % (uint64_t)(i & 8 ? st.st_size : st.st_size / 8 + 1));
        old = put_byte(path, at, (int)(r >> 40 & 0xff));
        if (mneme_open(to, NULL, 0, &m, NULL) == 0) {
            mneme_score(m, util_text, n_text, &score, NULL);
            mneme_close(m);
        } else {
            refused++;
        }
        put_byte(path, at, old);
    }
    assert_in_range(refused, 50, 399);
    m = open_or_fail(to, NULL, 0);
    compare_all(m);
    mneme_close(m);
    for (int i = 0; i < 5; i++)
        free(paths[i]);
    free(to);
}

/* --- refusals ------------------------------------------------------------ */

static void expect(const char *path, const char *version, unsigned flags,
                   int code)
{
    struct mneme_error error = {0};
    struct mneme *m = NULL;

    assert_int_equal(mneme_open(path, version, flags, &m, &error), code);
    assert_int_equal(error.code, code);
    assert_true(strlen(error.text) > 5);
    assert_null(m);
    assert_int_equal(mneme_open(path, version, flags, &m, NULL), code);
}

static void damage(const char *dir, int64_t version, const char *name)
{
    char *path = util_file_of(dir, version, name);
    FILE *f = fopen(path, "r+b");

    assert_non_null(f);
    assert_int_equal(fseek(f, -1, SEEK_END), 0);
    fputc(0x55, f);
    fclose(f);
    free(path);
}

static void test_refused_versions(void **state)
{
    const char *dir = *state;
    char *empty = fileio_join(dir, "versions");

    expect("/nonexistent", NULL, 0, MNEME_ERR_NOTFOUND);
    expect(dir, NULL, 0, MNEME_ERR_NOTFOUND);
    expect(NULL, NULL, 0, MNEME_ERR_INVALID);
    store_close(util_open_store(dir));
    expect(dir, NULL, 0, MNEME_ERR_STATE);
    expect(dir, "latest", 0, MNEME_ERR_STATE);
    expect(dir, "previous", 0, MNEME_ERR_STATE);
    make_store(dir);
    expect(dir, "4", 0, MNEME_ERR_NOTFOUND);
    expect(dir, "0", 0, MNEME_ERR_NOTFOUND);
    expect(dir, "99999999999999999999", 0, MNEME_ERR_INVALID);
    expect(dir, "no-such-tag", 0, MNEME_ERR_NOTFOUND);
    expect(dir, "../1", 0, MNEME_ERR_INVALID);
    expect(dir, NULL, 2, MNEME_ERR_INVALID);
    expect(empty, "1", 0, MNEME_ERR_INVALID);
    damage(dir, 1, "model.safetensors");
    expect(dir, "1", 0, MNEME_ERR_CORRUPT);
    damage(dir, 3, "labels.json");
    expect(dir, "latest", 0, MNEME_ERR_CORRUPT);
    mneme_close(open_or_fail(dir, NULL, 0));
    free(empty);
}

static void test_refused_arguments(void **state)
{
    struct mneme_error error = {0};
    struct mneme_sampling s;
    struct mneme_score score;
    const char *const stop[] = {NULL};
    float out[32];
    struct mneme *m;
    size_t n;
    char *text;

    make_store(*state);
    m = open_or_fail(*state, NULL, 0);
    assert_int_equal(mneme_score(NULL, "a", 1, &score, &error),
                     MNEME_ERR_INVALID);
    assert_int_equal(mneme_score(m, NULL, 1, &score, &error),
                     MNEME_ERR_INVALID);
    assert_int_equal(mneme_score(m, "a", MNEME_TEXT_BYTES + 1u, &score, &error),
                     MNEME_ERR_LIMIT);
    assert_int_equal(error.code, MNEME_ERR_LIMIT);
    assert_int_equal(mneme_classify(m, "a", 1, out, 2, &error),
                     MNEME_ERR_INVALID);
    assert_int_equal(mneme_classify(m, "a", 1, NULL, 3, &error),
                     MNEME_ERR_INVALID);
    assert_int_equal(mneme_embed(m, "a", 1, out, 31, &error),
                     MNEME_ERR_INVALID);
    assert_int_equal(mneme_embed(m, "a", 1, NULL, 32, &error),
                     MNEME_ERR_INVALID);
    mneme_sampling_init(&s, sizeof s);
    s.size = 8;
    assert_int_equal(
        mneme_generate(m, "a", 1, &s, NULL, NULL, &text, NULL, &error),
        MNEME_ERR_INVALID);
    mneme_sampling_init(&s, sizeof s);
    s.temperature = NAN;
    assert_int_equal(
        mneme_generate(m, "a", 1, &s, NULL, NULL, &text, NULL, &error),
        MNEME_ERR_INVALID);
    mneme_sampling_init(&s, sizeof s);
    s.max_tokens = -1;
    assert_int_equal(
        mneme_generate(m, "a", 1, &s, NULL, NULL, &text, NULL, &error),
        MNEME_ERR_INVALID);
    s.max_tokens = 1;
    s.stop = stop;
    s.n_stop = 1;
    assert_int_equal(
        mneme_generate(m, "a", 1, &s, NULL, NULL, &text, NULL, &error),
        MNEME_ERR_INVALID);
    assert_string_equal(mneme_token_bytes(m, 256, &n), "");
    assert_int_equal(n, 0);
    assert_string_equal(mneme_token_bytes(m, UINT32_MAX, NULL), "");
    mneme_close(m);
    mneme_close(NULL);
    mneme_free(NULL);
}

/* Empty texts, and bytes that are no text. */
static void test_odd_texts(void **state)
{
    static const char odd[] = {0, '\xff', 0, '\xc3', 'a'};
    struct mneme_score score;
    float out[32], norm = 0;
    struct mneme *m;
    size_t n;
    char *text;

    make_store(*state);
    m = open_or_fail(*state, NULL, 0);
    assert_int_equal(mneme_score(m, NULL, 0, &score, NULL), 0);
    assert_true(score.n_tokens == 0 && score.bits_per_byte == 0);
    assert_int_equal(mneme_score(m, odd, sizeof odd, &score, NULL), 0);
    assert_int_equal(score.n_tokens, sizeof odd);
    assert_int_equal(mneme_embed(m, NULL, 0, out, 32, NULL), 0);
    for (int i = 0; i < 32; i++)
        norm += out[i] * out[i];
    assert_true(fabsf(norm - 1) < 1e-4f);
    assert_int_equal(
        mneme_generate(m, NULL, 0, NULL, NULL, NULL, &text, &n, NULL), 0);
    assert_int_equal(strlen(text) <= n, 1);
    mneme_free(text);
    assert_int_equal(mneme_classify(m, odd, sizeof odd, out, 3, NULL), 0);
    mneme_close(m);
}

/* --- threads, and a data directory in use --------------------------------- */

static void *score_often(void *arg)
{
    struct mneme_score first = {0}, score = {0};

    for (int i = 0; i < 20; i++) {
        if (mneme_score(arg, util_text, n_text, &score, NULL) != 0)
            return "failed";
        if (i == 0)
            first = score;
        if (score.nats != first.nats)
            return "another score";
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    struct mneme *m;
    void *problem;

    make_store(*state);
    m = open_or_fail(*state, NULL, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, score_often, m), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &problem), 0);
        assert_null(problem);
    }
    mneme_close(m);
}

/* The writer publishes while a version is opened, and stays whole. */
static void test_beside_writer(void **state)
{
    struct mneme *m[3];
    struct store *s;
    int64_t head, n;

    make_store(*state);
    s = util_open_store(*state);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(publish(s, 3 + i, true), 4 + i);
        m[i] = open_or_fail(*state, NULL, 0);
        assert_int_equal(mneme_version(m[i]), 4 + i);
        assert_int_equal(store_check(s, NULL), 0);
    }
    for (int i = 0; i < 3; i++) {
        compare_scores(m[i]);
        mneme_close(m[i]);
    }
    store_close(s);
    util_check_whole(*state, &head, &n);
    assert_int_equal(head, 6);
    assert_int_equal(n, 6);
}

static void test_version_of_library(void **state)
{
    char text[32];

    (void)state;
    snprintf(text, sizeof text, "%d.%d.%d", MNEME_VERSION_MAJOR,
             MNEME_VERSION_MINOR, MNEME_VERSION_PATCH);
    assert_string_equal(text, PACKAGE_VERSION);
    assert_string_equal(text, mneme_library_version_text());
    assert_int_equal(mneme_library_version(), MNEME_VERSION);
}

#define WITH_TEMP(f)                                                           \
    cmocka_unit_test_setup_teardown(f, util_make_temp, util_remove_temp)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TEMP(test_store),
        WITH_TEMP(test_folder),
        WITH_TEMP(test_linear),
        WITH_TEMP(test_changed_bytes),
        WITH_TEMP(test_refused_versions),
        WITH_TEMP(test_refused_arguments),
        WITH_TEMP(test_odd_texts),
        WITH_TEMP(test_threads),
        WITH_TEMP(test_beside_writer),
        cmocka_unit_test(test_version_of_library),
    };

    return cmocka_run_group_tests(tests, util_setup, util_teardown);
}

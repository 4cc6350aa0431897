/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/fileio.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "store/safetensors.h"
#include "store/store_private.h"
#include "tests/util/store_util.h"

int util_make_temp(void **state)
{
    const char *top = getenv("TMPDIR");
    char *path = xasprintf("%s/mneme-store-XXXXXX", top ? top : "/tmp");

    *state = mkdtemp(path);
    return *state ? 0 : -1;
}

/* Two levels: versions/ has directories with plain files. */
int util_remove_temp(void **state)
{
    char *top = fileio_join(*state, "versions");
    const struct dirent *e;
    DIR *dir = opendir(top);
    int rc;

    fileio_fault = NULL;
    timing_set_fake(NULL);
    while (dir && (e = readdir(dir))) {
        char *path = fileio_join(top, e->d_name);

        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            fileio_remove_dir(path, NULL);
        free(path);
    }
    if (dir)
        closedir(dir);
    fileio_remove_dir(top, NULL);
    rc = fileio_remove_dir(*state, NULL);
    free(top);
    free(*state);
    return rc;
}

static void add_numbers(struct tensor_list *l, const char *name, size_t n,
                        int64_t seed)
{
    float *f = tensor_add_copy(l, name, TENSOR_F32, 1, &n, NULL);

    for (size_t i = 0; i < n; i++)
        f[i] = (float)seed + (float)i / 8.0f;
}

static void init_rows(struct util_version *v, int64_t seed)
{
    int64_t at = 100 * seed;

    v->offsets[0] =
        (struct store_offset){.partition_id = 0,
                              .topic = "text",
                              .partition = 0,
                              .next_offset = at + 12,
                              .tokens_done = 3,
                              .last_learned = at + 11,
                              .last_hash = UINT64_MAX - (uint64_t)seed};
    v->offsets[1] = (struct store_offset){.partition_id = 1,
                                          .topic = "text",
                                          .partition = 1,
                                          .next_offset = at + 1,
                                          .last_learned = -1};
    v->ledger[0] = (struct store_ledger_run){seed, 0, at, at + 9, 10, 'l'};
    v->ledger[1] = (struct store_ledger_run){seed, 0, at + 10, at + 11, 2, 'h'};
    v->ledger[2] = (struct store_ledger_run){seed, 1, at, at, 1, 'q'};
    v->quarantine[0] = (struct store_quarantine_row){.partition_id = 1,
                                                     .offset = at,
                                                     .time_ms = seed,
                                                     .reason = "not_utf8",
                                                     .bytes = "\xff\0x",
                                                     .n_bytes = 3,
                                                     .id = "record"};
}

struct store *util_open_store(const char *dir)
{
    struct store *s = NULL;
    struct err err = ERR_INIT;

    if (store_open(dir, NULL, 0, &s, &err) != 0)
        fail_msg("%s", err.msg);
    return s;
}

struct catalog *util_open_catalog(const char *dir)
{
    struct catalog *c = NULL;
    struct err err = ERR_INIT;

    if (catalog_open(dir, &c, &err) != 0)
        fail_msg("%s", err.msg);
    return c;
}

struct util_both util_open_both(const char *dir)
{
    struct util_both b;

    b.s = util_open_store(dir);
    b.c = util_open_catalog(dir);
    return b;
}

void util_close_both(struct util_both *b)
{
    catalog_close(b->c);
    store_close(b->s);
}

void util_version_init(struct util_version *v, int64_t parent, int64_t seed)
{
    memset(v, 0, sizeof *v);
    v->shape = (struct model_shape){.vocab_size = 257,
                                    .dim = 8,
                                    .layers = 1,
                                    .heads = 2,
                                    .kv_heads = 1,
                                    .head_dim = 4,
                                    .ffn_dim = 16,
                                    .context = 32,
                                    .norm_eps = 1e-6f,
                                    .rope_theta = 10000.0f,
                                    .tied = true};
    add_numbers(&v->weights, "model.norm.weight", 8, seed);
    add_numbers(&v->weights, "model.embed_tokens.weight", 64, seed);
    add_numbers(&v->state, "optim.m", 72, seed);
    add_numbers(&v->holdout, "holdout.nats", 20, seed);
    add_numbers(&v->anchor, "ewc.fisher", 72, seed);
    add_numbers(&v->head, "head.rows", 16, seed);
    add_numbers(&v->ngram, "ngram.weights", 24, seed);
    init_rows(v, seed);
    v->p = (struct store_publication){.parent = parent,
                                      .created_ms = 1000 * seed,
                                      .step = 10 * seed,
                                      .tokens_seen = 512 * seed,
                                      .shape = &v->shape,
                                      .weights = &v->weights,
                                      .state = &v->state,
                                      .holdout = &v->holdout,
                                      .anchor = &v->anchor,
                                      .head = &v->head,
                                      .ngram = &v->ngram,
                                      .tokenizer_json = "{\"model\":{}}",
                                      .tokenizer_json_bytes = 12,
                                      .end_of_text = 256,
                                      .labels_json = "[\"spam\"]",
                                      .metadata_json =
                                          "{\"kernels\":\"\xc3\xa4\"}",
                                      .offsets = v->offsets,
                                      .n_offsets = 2,
                                      .ledger = v->ledger,
                                      .n_ledger = 3,
                                      .quarantine = v->quarantine,
                                      .n_quarantine = 1};
}

void util_version_release(struct util_version *v)
{
    tensor_list_release(&v->weights);
    tensor_list_release(&v->state);
    tensor_list_release(&v->holdout);
    tensor_list_release(&v->anchor);
    tensor_list_release(&v->head);
    tensor_list_release(&v->ngram);
}

int64_t util_publish(struct store *s, int64_t parent, int64_t seed)
{
    struct util_version v;
    struct err err = ERR_INIT;
    int64_t version = 0;

    util_version_init(&v, parent, seed);
    if (store_publish(s, &v.p, &version, &err) != 0)
        fail_msg("%s", err.msg);
    util_version_release(&v);
    return version;
}

int64_t util_pass(struct store *s, int64_t seed, bool serve)
{
    int64_t version = util_publish(s, util_head(s), seed);

    assert_int_equal(store_verdict(s, version, STORE_PASSED, "{}", NULL,
                                   NULL, 0, serve, "better", NULL),
                     0);
    return version;
}

void util_make_first(const char *dir)
{
    struct store *s = util_open_store(dir);

    util_publish(s, 0, 1);
    store_close(s);
}

int util_rewind_to(struct store *s, int64_t version)
{
    const struct store_rollback r = {
        .to = version, .mode = "rewind", .reason = ""};

    return store_rollback(s, &r, NULL);
}

void util_assert_state(struct catalog *c, int64_t version,
                       enum store_state state)
{
    struct catalog_version v;

    assert_int_equal(catalog_get(c, version, &v, NULL), 0);
    assert_string_equal(store_state_name(v.state), store_state_name(state));
    catalog_version_release(&v);
}

int64_t util_number(struct store *s, const char *sql)
{
    sqlite3_stmt *q;
    int64_t number;

    assert_int_equal(sqlite3_prepare_v2(db_handle(s->db), sql, -1, &q, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    number = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return number;
}

struct util_totals util_totals(struct catalog *c, int64_t version)
{
    static const char sql[] =
        "WITH RECURSIVE branch (version) AS (SELECT ?1 UNION"
        " SELECT base FROM versions JOIN branch USING (version)"
        " WHERE base > 0), runs AS"
        " (SELECT version, kind, count FROM ledger UNION ALL"
        "  SELECT version, kind, count FROM ledger_merged)"
        " SELECT total(count) FILTER (WHERE kind = 'l'),"
        " total(count) FILTER (WHERE kind = 'h'),"
        " total(count) FILTER (WHERE kind = 'q'),"
        " total(count) FILTER (WHERE kind = 's')"
        " FROM runs JOIN branch USING (version)";
    struct util_totals t;
    sqlite3_stmt *q;

    assert_int_equal(sqlite3_prepare_v2(catalog_lock(c), sql, -1, &q, NULL),
                     SQLITE_OK);
    sqlite3_bind_int64(q, 1, version);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    t = (struct util_totals){
        sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 1),
        sqlite3_column_int64(q, 2), sqlite3_column_int64(q, 3)};
    sqlite3_finalize(q);
    catalog_unlock(c);
    return t;
}

int util_read_tensors(const void *bytes, size_t n_bytes,
                      struct tensor_list *out, struct buf *metadata_json,
                      struct err *err)
{
    int fd = memfd_create("tensors", MFD_CLOEXEC), rc;
    char path[64];

    assert_true(fd >= 0);
    assert_int_equal(fileio_write_all(fd, bytes, n_bytes, "memory", NULL), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    rc = safetensors_read(path, NULL, UINT64_MAX, out, metadata_json, err);
    close(fd);
    return rc;
}

int64_t util_head(struct store *s)
{
    return util_number(s, "SELECT head FROM pointers");
}

char *util_file_of(const char *dir, int64_t version, const char *name)
{
    return xasprintf("%s/versions/%06lld/%s", dir, (long long)version, name);
}

int util_count_dirs(const char *dir)
{
    char *top = fileio_join(dir, "versions");
    DIR *d = opendir(top);
    const struct dirent *e;
    int n = 0;

    assert_non_null(d);
    while ((e = readdir(d)))
        n += strncmp(e->d_name, ".swept-", 7) != 0;
    closedir(d);
    free(top);
    return n - 2;
}

void util_check_whole(const char *dir, int64_t *head, int64_t *n_versions)
{
    struct catalog_version *versions;
    struct catalog_pointers pointers;
    struct util_both b = util_open_both(dir);
    struct catalog *c = b.c;
    struct err err = ERR_INIT;
    size_t n;

    assert_int_equal(catalog_check(c, NULL), 0);
    assert_int_equal(catalog_pointers(c, &pointers, NULL), 0);
    assert_int_equal(catalog_list(c, 0, 0, &versions, &n, NULL), 0);
    assert_int_equal(util_count_dirs(dir), n);
    for (size_t i = 0; i < n; i++) {
        if (store_verify(c, versions[i].version, &err) != 0)
            fail_msg("%s", err.msg);
        assert_int_equal(versions[i].n_offsets, 2);
    }
    catalog_versions_free(versions, n);
    *head = pointers.head;
    *n_versions = (int64_t)n;
    util_close_both(&b);
}

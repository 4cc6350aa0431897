/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mutated inputs of the parsers, from fixed seeds. Every input is read, or
 * refused with a reason; an input that is read keeps the promises of the
 * parser's header. MNEME_MUTATIONS (default 1) multiplies their number. The
 * inputs of the configuration are in test_conf.c.
 */
#include "config.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/stream/record.h"
#include "learner/tokenizer/tokenizer.h"
#include "replay/replay.h"
#include "replay/replay_db.h"
#include "store/safetensors.h"
#include "tests/util/http_util.h"
#include "tests/util/store_util.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static uint64_t many(uint64_t n)
{
    const char *times = getenv("MNEME_MUTATIONS");

    return n * (times ? strtoull(times, NULL, 10) : 1);
}

static uint64_t below(uint64_t n, uint64_t seed, uint64_t edit, uint64_t what)
{
    return rng_below(n, seed, RNG_SAMPLE, edit, what);
}

/* Text that has a meaning in JSON, or in numbers and names. */
static const char *const pieces[] = {
    "\"",     "\\",         "{",        "}",     "[",      "]",
    ",",      ":",          "null",     "true",  "-1",     "0",
    "1e400",  "1e-400",     "-0",       "0.5",   "65536",  "4294967296",
    "\"\"",   "[]",         "{}",       "\\u",   "\\u0000", "\\ud800",
    "\xff",   "\xc3",       "\xf4\x90\x80\x80",  "\x1b",   "\xef\xbb\xbf",
    "[[[[[[", "9223372036854775807",    "18446744073709551616", "\n", " "};

/* Makes one to three edits, each of one of the kinds in the switch. */
static void mutate(const char *from, size_t n_from, uint64_t seed,
                   struct buf *out)
{
    uint64_t n_edits = 1 + below(3, seed, 0, 0);

    out->len = 0;
    buf_add(out, from, n_from);
    for (uint64_t i = 1; i <= n_edits && out->len > 0; i++) {
        size_t n = out->len, at = below(n, seed, i, 0);
        size_t cut = below(24, seed, i, 1), from_at = below(n, seed, i, 2);
        char *old = xmalloc(n);
        const char *piece = pieces[below(COUNT(pieces), seed, i, 3)];
        char byte = (char)below(256, seed, i, 4);

        memcpy(old, out->data, n);
        cut = cut < n - at ? cut : n - at;
        out->len = at;
        switch (below(6, seed, i, 5)) {
        case 0: /* replace a byte */
            buf_addc(out, byte);
            buf_add(out, old + at + 1, n - at - 1);
            break;
        case 1: /* remove bytes */
            buf_add(out, old + at + cut, n - at - cut);
            break;
        case 2: /* double bytes */
            buf_add(out, old + at, cut);
            buf_add(out, old + at, n - at);
            break;
        case 3: /* insert bytes of another position */
            cut = cut < n - from_at ? cut : n - from_at;
            buf_add(out, old + from_at, cut);
            buf_add(out, old + at, n - at);
            break;
        case 4: /* replace bytes by a piece */
            buf_adds(out, piece);
            buf_add(out, old + at + cut, n - at - cut);
            break;
        default: /* truncate */
            break;
        }
        free(old);
    }
    buf_addc(out, '\0'); /* parsers may rely on a NUL after the text */
    out->len--;
}

/* Some inputs are read and some are refused; otherwise the test is too weak. */
static void assert_both(const char *what, uint64_t n_read, uint64_t n)
{
    print_message("# %s: %llu of %llu are read\n", what,
                  (unsigned long long)n_read, (unsigned long long)n);
    assert_true(n_read > 0 && n_read < n);
}

/* --- tensor files ------------------------------------------------------- */

/* The file of two tensors, as safetensors_write() writes it. */
static void tensor_file(struct buf *out)
{
    static const char json[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],"
        "\"data_offsets\":[0,24]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}}";
    uint64_t n = (sizeof json - 1 + 7) / 8 * 8;

    for (int i = 0; i < 8; i++)
        buf_addc(out, (char)(n >> 8 * i));
    buf_adds(out, json);
    while (out->len < 8 + n)
        buf_addc(out, ' ');
    for (int i = 0; i < 32; i++)
        buf_addc(out, (char)i);
}

static void tensor_files(void **state)
{
    struct buf good = BUF_INIT, bad = BUF_INIT;
    uint64_t n = many(20000), n_read = 0;

    (void)state;
    tensor_file(&good);
    for (uint64_t seed = 0; seed < n; seed++) {
        struct tensor_list list = TENSOR_LIST_INIT;
        struct buf metadata = BUF_INIT;
        struct err err = ERR_INIT;
        size_t held = 0;
        int rc;

        mutate(good.data, good.len, seed, &bad);
        rc = util_read_tensors(bad.data, bad.len, &list, &metadata,
                               &err);
        for (size_t i = 0; i < list.n; i++)
            held += tensor_bytes(&list.items[i]);
        n_read += rc == 0;
        if (rc == 0) /* 16-bit numbers become 32-bit floats */
            assert_true(held <= 2 * bad.len);
        else
            assert_true(list.n == 0 && strstr(err.msg, "/proc/self/fd/") &&
                        (rc == ERR_CORRUPT || rc == ERR_LIMIT ||
                         rc == ERR_INVALID));
        tensor_list_release(&list);
        buf_release(&metadata);
    }
    assert_both("tensor files", n_read, n);
    buf_release(&good);
    buf_release(&bad);
}

/* --- tokenizer.json ----------------------------------------------------- */

/* A tokenizer that is read encodes any text without loss, and its JSON is read
 * and written again without a change. */
static void check_tokenizer(const struct tokenizer *t)
{
    static const char text[] = "the thin \xc3\xa9 then\n\0 7 \xff th";
    struct token_list ids = TOKEN_LIST_INIT;
    struct buf json = BUF_INIT, again = BUF_INIT, back = BUF_INIT;
    struct tokenizer *twin = NULL;

    tokenizer_encode(t, text, sizeof text - 1, &ids);
    for (size_t i = 0; i < ids.n; i++)
        assert_true(ids.items[i] < (token_id)tokenizer_vocab_size(t));
    tokenizer_decode(t, ids.items, ids.n, &back);
    assert_int_equal(back.len, sizeof text - 1);
    assert_memory_equal(back.data, text, back.len);
    tokenizer_to_json(t, &json);
    assert_int_equal(tokenizer_from_json(json.data, json.len, &twin, NULL), 0);
    tokenizer_to_json(twin, &again);
    assert_string_equal(json.data, again.data);
    tokenizer_free(twin);
    token_list_release(&ids);
    buf_release(&json);
    buf_release(&again);
    buf_release(&back);
}

static void tokenizer_files(void **state)
{
    static const char text[] = "the thin then that this thus the then thin";
    struct buf good = BUF_INIT, bad = BUF_INIT;
    struct tokenizer *t = NULL;
    uint64_t n = many(1500), n_read = 0;

    (void)state;
    assert_int_equal(tokenizer_train(text, sizeof text - 1, 262, NULL, NULL, &t,
                                     NULL),
                     0);
    tokenizer_to_json(t, &good);
    tokenizer_free(t);
    for (uint64_t seed = 0; seed < n; seed++) {
        struct err err = ERR_INIT;
        int rc;

        mutate(good.data, good.len, seed, &bad);
        t = NULL;
        rc = tokenizer_from_json(bad.data, bad.len, &t, &err);
        if (rc == 0) {
            n_read++;
            check_tokenizer(t);
            tokenizer_free(t);
        } else {
            assert_true(!t && err.msg[0]);
        }
    }
    assert_both("tokenizers", n_read, n);
    buf_release(&good);
    buf_release(&bad);
}

/* --- records ------------------------------------------------------------ */

static bool is_name(const char *s)
{
    return !s || (strlen(s) <= RECORD_NAME_MAX && utf8_valid(s, strlen(s)));
}

static void records(void **state)
{
    static const char *const good[] = {
        "{\"text\":\"A tide \\u00e9\\n\",\"domain\":\"harbour\","
        "\"label\":\"x\",\"id\":\"17\",\"ts\":1700000000000}",
        "{\"prompt\":\"2+2=\",\"completion\":\"4\",\"more\":[1,{\"a\":null}]}",
        "Plain text \xc3\xa9 of a line."};
    static const enum conf_format formats[] = {
        CONF_FORMAT_AUTO, CONF_FORMAT_JSON, CONF_FORMAT_TEXT};
    struct record_maker maker;
    struct buf bad = BUF_INIT;
    uint64_t n = many(30000), n_read = 0;

    (void)state;
    record_maker_init(&maker, true);
    for (uint64_t seed = 0; seed < n; seed++) {
        const char *from = good[seed % COUNT(good)];
        struct record *r;

        mutate(from, strlen(from), seed, &bad);
        r = record_create_data(&maker, bad.data, bad.len);
        r->topic = "topic";
        record_parse(&maker, r, formats[below(3, seed, 9, 0)], 200, NULL);
        assert_memory_equal(r->value, bad.data,
                            bad.len); /* quarantine keeps it */
        if (!r->reason) {
            n_read++;
            assert_true(utf8_valid(r->text, r->text_bytes));
            assert_true(!r->prompt || utf8_valid(r->prompt, r->prompt_bytes));
            assert_true(r->text_bytes + r->prompt_bytes <= 200);
            assert_true(is_name(r->label) && is_name(r->domain) &&
                        is_name(r->id));
        }
        record_free(r);
    }
    record_maker_release(&maker);
    assert_both("records", n_read, n);
    buf_release(&bad);
}

/* --- HTTP bodies -------------------------------------------------------- */

static void http_bodies(void **state)
{
    static const char *const good[][2] = {
        {"/v1/score", "{\"text\":[\"a tide\",\"\"],\"tokens\":true,"
                      "\"model\":\"mneme@1\",\"domain\":\"d\"}"},
        {"/v1/classify", "{\"text\":\"a tide\",\"model\":\"mneme\"}"},
        {"/v1/embeddings", "{\"input\":[\"a\",\"b\"],\"model\":\"mneme\","
                           "\"encoding_format\":\"float\"}"},
        {"/v1/completions",
         "{\"prompt\":\"a\",\"max_tokens\":3,\"temperature\":0.5,\"top_p\":0.9,"
         "\"seed\":7,\"stop\":[\"x\"],\"logprobs\":2,\"echo\":true,\"n\":1}"},
        {"/v1/completions",
         "{\"prompt\":\"a\",\"max_tokens\":2,\"stream\":true}"},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
         "\"max_tokens\":2,\"model\":\"mneme\"}"},
        {"/v1/completions",
         "{\"prompt\":[97,98],\"max_tokens\":2,\"logit_bias\":{\"97\":-100},"
         "\"frequency_penalty\":1.5,\"truncate_prompt_tokens\":1,"
         "\"stream_options\":{\"include_usage\":true},\"stream\":true}"},
        {"/v1/responses",
         "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":"
         "\"input_text\",\"text\":\"a\"}]}],\"instructions\":\"b\","
         "\"max_output_tokens\":2,\"tools\":[],\"metadata\":{\"k\":\"v\"}}"},
        {"/tokenize", "{\"prompt\":\"a tide\"}"},
        {"/detokenize", "{\"tokens\":[65,66,67]}"},
        {"/v1/quarantine/release", "{\"reason\":\"near_duplicate\"}"}};
    struct buf bad = BUF_INIT;
    uint64_t n = many(1200), n_read = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct util_answer a = util_post(good[i][0], good[i][1]);

        if (a.status / 100 != 2)
            fail_msg("%s: %.300s", good[i][0], a.text);
        util_release(&a);
    }
    for (uint64_t seed = 0; seed < n; seed++) {
        const char *const *from = good[seed % COUNT(good)];
        struct util_answer a;

        mutate(from[1], strlen(from[1]), seed, &bad);
        a = util_ask("POST", from[0], NULL, bad.data, bad.len);
        n_read += a.status / 100 == 2;
        if (a.status / 100 != 2 && a.status != 400 && a.status != 404 &&
            a.status != 413)
            fail_msg("seed %llu, %s: %.200s", (unsigned long long)seed, from[0],
                     a.text);
        if (a.status / 100 != 2)
            assert_non_null(util_at(a.json, "error.message"));
        util_release(&a);
    }
    util_check_ok(util_get("/healthz"));
    assert_both("bodies", n_read, n);
    buf_release(&bad);
}

/* --- replay rows -------------------------------------------------------- */

static const token_id row_tokens[] = {7, 300, 0, 258, 9};

static struct sqlite3 *open_rows(void)
{
    struct segment s = {.tokens = row_tokens,
                        .n_tokens = 4,
                        .n_bytes = 11,
                        .domain = 3,
                        .label = 2};
    struct segment_origin o = {.partition_id = 4, .offset = 9, .id = "a-17"};
    struct replay_changes *c = xcalloc(1, sizeof *c);
    struct sqlite3 *db = NULL;
    struct err err = ERR_INIT;

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    for (size_t i = 0; i < replay_schema_n; i++)
        assert_int_equal(
            sqlite3_exec(db, replay_schema[i], NULL, NULL, NULL), SQLITE_OK);
    c->kind = REPLAY_ROWS;
    c->born = xcalloc(1, sizeof *c->born);
    c->born[0] = row_copy(42, &s, &o, 12.5);
    c->slots = xcalloc(1, sizeof *c->slots);
    c->n_born = 1;
    assert_int_equal(replay_db_write(db, c, 1, &err), 0);
    replay_changes_free(c);
    return db;
}

/* Whatever value and type a column has, the row is read as it was written, or
 * not at all. */
static void rows(void **state)
{
    static const char *const columns[] = {
        "domain",   "label",    "partition_id", "record_offset", "part",
        "id",       "time_ms",  "text_hash",    "n_tokens",      "n_masked",
        "n_bytes",  "ends",     "tokens",       "text",          "logits",
        "checksum"};
    static const char *const values[] = {
        "0", "1", "-1", "3", "70000", "9223372036854775807",
        "-9223372036854775807 - 1", "1e300", "'a-17'", "''", "NULL",
        "zeroblob(9)", "zeroblob(10)", "zeroblob(1000000)",
        "x'07002c01000002010900'", "CAST(%1$s AS BLOB)", "%1$s + 1",
        "substr(%1$s, 2)", "%1$s || x'00'"};
    struct sqlite3 *db = open_rows();
    uint64_t n = COUNT(columns) * COUNT(values), n_read = 0;

    (void)state;
    for (uint64_t i = 0; i < n; i++) {
        const char *column = columns[i % COUNT(columns)];
        char *value, *sql;
        struct replay_segments read = {0};
        int64_t key = 42;

        sqlite3_exec(db, "SAVEPOINT before", NULL, NULL, NULL);
        value = xasprintf(values[i / COUNT(columns)], column);
        sql = xasprintf("UPDATE replay_rows SET %s = %s", column, value);
        sqlite3_exec(db, sql, NULL, NULL, NULL); /* some columns refuse NULL */
        assert_int_equal(
            replay_db_read(db, REPLAY_ROWS, &key, 1, &read, NULL), 0);
        assert_int_equal(read.n + read.n_damaged, 1);
        if (read.n == 1) {
            n_read++;
            if (read.items[0].n_tokens != 4 || read.items[0].domain != 3 ||
                read.items[0].label != 2 || read.items[0].n_bytes != 11 ||
                memcmp(read.items[0].tokens, row_tokens, sizeof row_tokens))
                fail_msg("another row is read: %s", sql);
        }
        replay_segments_free(&read);
        sqlite3_exec(db, "ROLLBACK TO before", NULL, NULL, NULL);
        free(value);
        free(sql);
    }
    assert_both("rows", n_read, n);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensor_files),
        cmocka_unit_test(tokenizer_files),
        cmocka_unit_test(records),
        cmocka_unit_test(http_bodies),
        cmocka_unit_test(rows),
    };

    return cmocka_run_group_tests(tests, util_open_all, util_close_all);
}

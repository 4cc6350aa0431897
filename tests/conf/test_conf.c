/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: values, overrides, printing, reload, and mutated texts.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "tests/util/conf_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* --- loading ------------------------------------------------------------ */

static void values(void **state)
{
    struct conf *c = util_load_good(
        "source:\n"
        "  type: stdin\n"
        "  path: -      # no file\n"
        "  kafka:\n"
        "    topics: one\n"
        "    start: timestamp:1700000000123\n"
        "    dead_letter: ~\n"
        "learner.ewc: {consolidate: every:200, lambda: 10}\n"
        "publish:\n"
        "  gate: {protect: [\"a: b\", \xc3\xa9t\xc3\xa9], enabled: off}\n"
        "model:\n"
        "  init: /models/one\n"
        "  qk_norm: yes\n"
        "log: {level: warn, format: json}\n");

    (void)state;
    assert_int_equal(c->source.type, CONF_SOURCE_STDIN);
    assert_string_equal(c->source.path, "-");
    assert_string_equal(c->source.kafka.topics.items[0], "one");
    assert_int_equal(c->source.kafka.start.kind, CONF_START_TIMESTAMP);
    assert_true(c->source.kafka.start.timestamp_ms == 1700000000123);
    assert_null(c->source.kafka.dead_letter);
    assert_int_equal(c->learner.ewc.consolidate.kind, CONF_CONSOLIDATE_EVERY);
    assert_int_equal(c->learner.ewc.consolidate.every_steps, 200);
    assert_true(c->learner.ewc.lambda == 10);
    assert_int_equal(c->publish.gate.protect.n, 2);
    assert_string_equal(c->publish.gate.protect.items[0], "a: b");
    assert_false(c->publish.gate.enabled);
    assert_string_equal(c->model.init, "/models/one");
    assert_true(c->model.qk_norm);
    assert_int_equal(c->log.level, LOG_WARN);
    assert_int_equal(c->log.format, LOG_JSON);
    conf_free(c);
}

static void overrides(void **state)
{
    static const char *const good[] = {
        "source.kafka.topics=[a,b]",
        "source.kafka.properties.bootstrap.servers=h1:9092,h2:9092",
        "source.kafka.properties.sasl.password=- #\"x: [",
        "learner.ewc={lambda: 3, enabled: no}",
        "source.path=-",
        "http.listen=[::1]:0",
        "data_dir=\"/a b\"",
        "log.level=debug",
        "log.level=warn",
        "source.kafka.dead_letter=",
    };
    struct conf *c;
    char *problems;

    (void)state;
    c = util_load("log: {level: error}\n", good, COUNT(good), &problems);
    assert_string_equal(problems, "");
    free(problems);
    util_assert_key(c, "source.kafka.topics", "[a, b]");
    assert_string_equal(c->source.kafka.properties.items[0].value,
                        "h1:9092,h2:9092");
    assert_string_equal(c->source.kafka.properties.items[0].where, "--set:2:1");
    assert_string_equal(c->source.kafka.properties.items[2].value, "- #\"x: [");
    assert_true(c->learner.ewc.lambda == 3);
    assert_false(c->learner.ewc.enabled);
    assert_string_equal(c->http.listen_host, "::1");
    assert_string_equal(c->data_dir, "/a b");
    assert_int_equal(c->log.level, LOG_WARN);
    conf_set_data_dir(c, "elsewhere");
    assert_string_equal(c->data_dir, "elsewhere");
    conf_free(c);
}

/* Behind a key a lone dash is a text. Every other dash is YAML's. */
static void lone_dashes(void **state)
{
    static const char *const good[] = {
        "source.path: -",
        "source.path: -\r\n",
        "source:\n  path:\t-\t# no\n",
        "source.kafka.topics:\n- a\n- b\nsource.path: -\n",
        "source:\n  path: \"-\"\n  # path: -\n",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct conf *c = util_load_good(good[i]);

        assert_string_equal(c->source.path, "-");
        conf_free(c);
    }
    util_assert_refused(&(struct util_refused){
        "source.path: - a\n",
        "t.yaml:1:14: block sequence entries are not allowed in this "
        "context"});
}

static void wrong_overrides(void **state)
{
    static const char *const bad[] = {
        "nonsense",
        "log.levle=info",
        "log.level=loud",
        "learner.threads=[1",
        "source.kafka.properties.enable.auto.commit=true",
        "=3",
        "learner.replai.ratio=2",
        "data_dir=\xff",
    };
    struct conf *c;
    char *problems;

    (void)state;
    c = util_load(NULL, bad, COUNT(bad), &problems);
    assert_string_equal(
        problems,
        "--set:1:1: nonsense: expected KEY=VALUE, in UTF-8\n"
        "--set:2:1: log.levle: unknown key; did you mean 'log.level'?\n"
        "--set:3:11: log.level: expected error | warn | info | debug, found "
        "'loud'\n"
        "--set:4:19: learner.threads: did not find expected ',' or ']' "
        "(while parsing a flow sequence)\n"
        "--set:5:1: source.kafka.properties.enable.auto.commit: mneme "
        "commits an offset after the version that accounts for it\n"
        "--set:6:1: '=3': expected KEY=VALUE, in UTF-8\n"
        "--set:7:1: learner.replai.ratio: unknown key; did you mean "
        "'learner.replay.ratio'?\n"
        "--set:8:1: 'data_dir=\xef\xbf\xbd': expected KEY=VALUE, in UTF-8\n");
    free(problems);
    conf_free(c);
}

static void properties(void **state)
{
    static const struct util_refused bad = {
        "source:\n  kafka:\n    properties:\n"
        "      grup.id: x\n"
        "      auto.offset.reset: latest\n"
        "      client.id: bad\n"
        "      group.id:\n"
        "      sasl.password: \"********\"\n"
        "      test.mock.num.brokers: 3\n",
        "t.yaml:4:7: source.kafka.properties.grup.id: librdkafka has no such "
        "property or value\n"
        "t.yaml:5:7: source.kafka.properties.auto.offset.reset: mneme never "
        "skips records silently; see source.kafka.start and "
        "source.kafka.on_gap\n"
        "t.yaml:6:7: source.kafka.properties.client.id: librdkafka has no "
        "such property or value\n"
        "t.yaml:7:7: source.kafka.properties.group.id: expected a value: "
        "write NAME: VALUE\n"
        "t.yaml:8:7: source.kafka.properties.sasl.password: this is the mask "
        "of a printed configuration, not the value\n"
        "t.yaml:9:7: source.kafka.properties.test.mock.num.brokers: set "
        "bootstrap.servers: embedded for a broker inside mnemed"};
    struct conf *c = util_load_good("source:\n  kafka:\n    properties:\n"
                                    "      sasl.username: me\n"
                                    "      sasl.password: hunter2\n"
                                    "      group.id: 17\n");
    const struct conf_property *p = c->source.kafka.properties.items;
    struct buf printed = BUF_INIT;

    (void)state;
    util_assert_refused(&bad);
    assert_int_equal(c->source.kafka.properties.n, 4);
    assert_string_equal(p[1].name, "group.id");
    assert_string_equal(p[1].value, "17");
    assert_string_equal(p[2].where, "t.yaml:5:7");
    assert_true(p[2].is_secret);
    assert_false(p[3].is_secret);
    conf_print(c, &printed);
    assert_null(strstr(printed.data, "hunter2"));
    assert_non_null(strstr(printed.data, "sasl.password: \"********\""));
    buf_release(&printed);
    conf_free(c);
}

static void addresses(void **state)
{
    static const struct {
        const char *listen, *host;
        int port;
        bool is_local;
    } good[] = {
        {"127.0.0.1:0", "127.0.0.1", 0, true},
        {"127.1.2.3:65535", "127.1.2.3", 65535, true},
        {"localhost:80", "localhost", 80, true},
        {"[::1]:80", "::1", 80, true},
        {"unix:/run/mneme.sock", "/run/mneme.sock", 0, true},
        {"0.0.0.0:80", "0.0.0.0", 80, false},
        {"[::]:80", "::", 80, false},
        {"10.0.0.7:80", "10.0.0.7", 80, false},
        {"example.org:80", "example.org", 80, false},
    };
    static const char *const bad[] = {
        "localhost",  ":80",   "[::1]",  "[::1:80",  "[]:80", "::1:80",
        "1.2.3:80",   "unix:", "a b:80", "h:65536",  "h:-1",  "h:",
        "127.0.0.1:", "*:80",  "[x]:80", "h:999999", "[:80",  "256.0.0.1:1"};
    struct conf *c;
    char *problems, *set;

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        const char *sets[] = {NULL, "http.token_file=tokens"};

        set = xasprintf("http.listen=%s", good[i].listen);
        sets[0] = set;
        c = util_load(NULL, sets, 2, &problems);
        assert_string_equal(problems, "");
        assert_string_equal(c->http.listen_host, good[i].host);
        assert_int_equal(c->http.listen_port, good[i].port);
        assert_int_equal(c->http.listen_local, good[i].is_local);
        conf_free(c);
        free(problems);
        free(set);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        set = xasprintf("http.listen=%s", bad[i]);
        c = util_load(NULL, (const char *const *)&set, 1, &problems);
        assert_non_null(strstr(problems, "http.listen: expected HOST:PORT"));
        conf_free(c);
        free(problems);
        free(set);
    }
}

static void finding_the_file(void **state)
{
    char *path;

    (void)state;
    setenv("MNEME_CONF", "given.yaml", 1);
    path = conf_find();
    assert_string_equal(path, "given.yaml");
    free(path);
    unsetenv("MNEME_CONF");
    assert_int_equal(rename(UTIL_FILE, "mneme.yaml"), 0);
    path = conf_find();
    assert_string_equal(path, "./mneme.yaml");
    free(path);
    assert_int_equal(rename("mneme.yaml", UTIL_FILE), 0);
}

/* --- printing and reloading --------------------------------------------- */

/* A printed configuration loads to the same values, and prints the same. */
static void assert_round_trip(const struct conf *c)
{
    struct buf printed = BUF_INIT, again = BUF_INIT;
    struct conf_problems p = CONF_PROBLEMS_INIT;
    struct conf *back = conf_create();
    char *problems;

    conf_print(c, &printed);
    util_write_file(printed.data, printed.len);
    conf_load(back, UTIL_FILE, NULL, 0, NULL, &p);
    problems = util_lines(&p);
    assert_string_equal(problems, "");
    assert_int_equal(util_differences(c, back), 0);
    conf_print(back, &again);
    assert_string_equal(again.data, printed.data);
    free(problems);
    conf_problems_release(&p);
    conf_free(back);
    buf_release(&again);
    buf_release(&printed);
}

static void printed_loads_back(void **state)
{
    struct conf *c = conf_create();

    (void)state;
    assert_round_trip(c);
    conf_free(c);
    c = util_load_good(
        "data_dir: \"a \\\"b\\\\ \\t\\e #: \\x85\\L\\P\\uFEFF \xe6"
        "\x97\xa5 \xf0\x9f\x98\x80\"\n"
        "model: {preset: custom, dim: 64, layers: 2, heads: 4, "
        "kv_heads: 2, ffn_dim: 128, context: 64, init: \"random\", "
        "tokenizer_from: \"null\"}\n"
        "publish: {every_seconds: 0.1, every_tokens: 0, gate: "
        "{protect: [\"-\", \"\xc3\xa9\", \"a,b\", \"[\"]}}\n"
        "learner: {optimizer: {lr: 0.00123456789012345678}}\n"
        "source.kafka.start: timestamp:7\n"
        "source.kafka.properties: {client.id: \"a\\nb: c\"}\n");
    assert_string_equal(c->model.init, "random");
    assert_string_equal(c->model.tokenizer_from, "null");
    assert_round_trip(c);
    conf_free(c);
}

static void reload(void **state)
{
    struct conf *now = util_load_good("log: {level: info}\n");
    struct conf *next = util_load_good(
        "log: {level: debug}\npublish: {gate: {protect: [a, b]}}\n"
        "learner: {optimizer: {lr: 0.5}, threads: 3}\n"
        "source.kafka.properties: {client.id: x}\n"
        "http: {listen: \"127.0.0.1:1\", token_file: t}\n");
    struct conf_strings yes = {NULL, 0}, no = {NULL, 0};

    (void)state;
    assert_int_equal(conf_reload_diff(now, next, &yes, &no), 7);
    assert_int_equal(yes.n, 4);
    assert_string_equal(yes.items[0], "learner.optimizer.lr");
    assert_string_equal(yes.items[1], "publish.gate.protect");
    assert_string_equal(yes.items[2], "http.token_file");
    assert_string_equal(yes.items[3], "log.level");
    assert_int_equal(no.n, 3);
    assert_string_equal(no.items[0], "source.kafka.properties");
    assert_string_equal(no.items[1], "learner.threads");
    assert_string_equal(no.items[2], "http.listen");
    conf_strings_release(&yes);
    conf_strings_release(&no);

    conf_reload_apply(now, next);
    assert_int_equal(now->log.level, LOG_DEBUG);
    assert_int_equal(now->publish.gate.protect.n, 2);
    assert_true(now->learner.optimizer.lr == 0.5);
    assert_string_equal(now->http.token_file, "t");
    assert_int_equal(now->learner.threads, 0);
    assert_int_equal(util_differences(now, next), 3);
    conf_free(now);
    conf_free(next);
}

/* A reload does not remove the token file that a public address needs. */
static void reload_keeps_the_tokens(void **state)
{
    struct conf *now =
        util_load_good("http: {listen: 0.0.0.0:1, token_file: t}\n");
    struct conf *next = util_load_good("http: {listen: \"127.0.0.1:1\"}\n");
    struct conf_strings yes = {NULL, 0}, no = {NULL, 0};

    (void)state;
    assert_int_equal(conf_reload_diff(now, next, &yes, &no), 2);
    assert_int_equal(yes.n, 0);
    conf_strings_release(&yes);
    conf_strings_release(&no);
    conf_reload_apply(now, next);
    assert_string_equal(now->http.token_file, "t");
    conf_free(now);
    conf_free(next);
}

/* A reload takes another certificate, and neither begins nor ends TLS. */
static void reload_keeps_tls(void **state)
{
    struct conf *now = util_load_good("http.tls: {cert: a, key: b}\n");
    struct conf *other = util_load_good("http.tls: {cert: c, key: d}\n");
    struct conf *none = util_load_good("log: {level: debug}\n");

    (void)state;
    conf_reload_apply(now, other);
    assert_string_equal(now->http.tls.cert, "c");
    assert_string_equal(now->http.tls.key, "d");
    conf_reload_apply(now, none);
    assert_string_equal(now->http.tls.cert, "c");
    assert_string_equal(now->http.tls.key, "d");
    conf_reload_apply(none, other);
    assert_null(none->http.tls.cert);
    assert_null(none->http.tls.key);
    conf_free(now);
    conf_free(other);
    conf_free(none);
}

/* --- mutated copies ----------------------------------------------------- */

/* Makes one or two edits: changes a byte, cuts, doubles or moves a part, or
 * inserts characters with a meaning in YAML. */
static void mutate(struct buf *text, uint64_t seed)
{
    static const char *const bits[] = {
        "&a ",  "*a",   "- ", ": ",    "\"",   "'",   "[",
        "{",    "}",    "\n", "  ",    "#",    "|\n", ">\n",
        "!!x ", "\\",   "%",  "---\n", "\xff", "?",   "99999999999999999999",
        "-1",   "1e400"};
    size_t n_edits = 1 + rng_below(2, seed, RNG_SAMPLE, 0, 0);

    for (size_t i = 1; i <= n_edits && text->len > 0; i++) {
        size_t at = rng_below(text->len, seed, RNG_SAMPLE, i, 0);
        size_t n = rng_below(40, seed, RNG_SAMPLE, i, 1);
        uint64_t kind = rng_below(4, seed, RNG_SAMPLE, i, 2);
        const char *bit = bits[rng_below(COUNT(bits), seed, RNG_SAMPLE, i, 3)];
        char *tail = xstrndup(text->data + at, text->len - at);
        size_t n_tail = strlen(tail);

        n = n < n_tail ? n : n_tail;
        text->len = at;
        if (kind == 0) {
            buf_addc(text, (char)(1 + rng_below(255, seed, RNG_SAMPLE, i, 4)));
            buf_add(text, tail + 1, n_tail - 1);
        } else if (kind == 1) {
            buf_add(text, tail + n, n_tail - n);
        } else if (kind == 2) {
            buf_add(text, tail, n);
            buf_add(text, tail, n_tail);
        } else {
            buf_adds(text, bit);
            buf_add(text, tail, n_tail);
        }
        text->data[text->len] = '\0';
        free(tail);
    }
}

/* Any text is refused with an origin, or gives a configuration that prints and
 * loads again. */
static void mutated_copies(void **state)
{
    char *sample = util_document("conf/mneme.yaml", NULL);
    int n_good = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 600; seed++) {
        struct conf *c = conf_create();
        struct conf_problems p = CONF_PROBLEMS_INIT;
        struct buf text = BUF_INIT;

        /* edits inside comments would have no effect */
        for (char *line = sample; *line;) {
            size_t n = strcspn(line, "\n");

            if (line[strspn(line, " ")] != '#')
                buf_add(&text, line, n + 1);
            line += n + 1;
        }
        mutate(&text, seed);
        util_write_file(text.data, text.len);
        if (conf_load(c, UTIL_FILE, NULL, 0, NULL, &p) == 0) {
            n_good++;
            assert_round_trip(c);
        }
        for (size_t i = 0; i < p.n; i++)
            assert_int_equal(strncmp(p.items[i].text, UTIL_FILE ":", 7), 0);
        conf_problems_release(&p);
        buf_release(&text);
        conf_free(c);
    }
    print_message("# %d are good\n", n_good);
    assert_true(n_good > 10 && n_good < 590);
    free(sample);
}

/* --- keys that a version keeps ------------------------------------------ */

/* A retrain uses the values that a version keeps, and anybody may have made the
 * version. So no such key may name a file, an address or a program. */
static void test_learning_keys(void **state)
{
    static const char *const never[] = {
        "data_dir", "source.type", "source.path", "source.kafka.", "http.",
        "log.",     "model.init",  "model.tokenizer_from",
    };
    struct conf_strings keys = {0};

    (void)state;
    conf_learning_keys(&keys);
    assert_true(keys.n > 30);
    for (size_t i = 0; i < keys.n; i++)
        for (size_t k = 0; k < sizeof never / sizeof *never; k++)
            assert_int_not_equal(
                strncmp(keys.items[i], never[k], strlen(never[k])), 0);
    conf_strings_release(&keys);
}

static void test_set_stored(void **state)
{
    static const struct {
        const char *key, *value;
        int rc;
    } cases[] = {
        {"learner.seed", "42", 0},
        {"learner.ewc.consolidate", "every:7", 0},
        {"learner.ewc.lambda", "3", 0},
        {"learner.ewc.lambda", "auto", 0},
        {"model.preset", "nano", 0},
        {"learner.gone", "1", ERR_NOTFOUND},
        {"learner.seed", NULL, ERR_CORRUPT},
        {"learner.seed", "-1", ERR_CORRUPT},
        {"learner.seed", "1e99", ERR_CORRUPT},
        {"learner.seed", "[1, 2]", ERR_CORRUPT},
        {"learner.seed", "1\nsource: {path: /etc/passwd}", ERR_CORRUPT},
        {"learner.ewc.consolidate", "every:99999999999999999999", ERR_CORRUPT},
        {"learner", "{seed: 1}", ERR_CORRUPT},
        {"data_dir", "/", ERR_CORRUPT},
        {"source.path", "/etc/passwd", ERR_CORRUPT},
        {"model.init", "/tmp", ERR_CORRUPT},
        {"http.listen", "0.0.0.0:80", ERR_CORRUPT},
        {"source.kafka.properties.sasl.kerberos.kinit.cmd", "touch x",
         ERR_CORRUPT},
        {"source.kafka.properties.plugin.library.paths", "x.so", ERR_CORRUPT},
        {"source.kafka.properties", "{}", ERR_CORRUPT},
    };

    struct conf *c = conf_create();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = ERR_INIT;

        assert_int_equal(
            conf_set_stored(c, cases[i].key, cases[i].value, &err),
            cases[i].rc);
        if (cases[i].rc)
            assert_non_null(strstr(err.msg, cases[i].key));
    }
    util_assert_key(c, "learner.ewc.consolidate", "every:7");
    util_assert_key(c, "learner.ewc.lambda", "auto");
    util_assert_key(c, "model.preset", "nano");
    conf_free(c);
}

static void test_set_default(void **state)
{
    static const char *const sets[] = {"model.tokenizer=bytes"};
    struct conf *c = conf_create(), *other = conf_create();
    struct conf_problems p = CONF_PROBLEMS_INIT;
    struct conf_strings x = {0}, y = {0};
    struct err err = ERR_INIT;

    (void)state;
    assert_int_equal(conf_load(c, NULL, sets, 1, NULL, &p), 0);
    assert_int_equal(conf_load(other, NULL, sets, 1, NULL, &p), 0);
    assert_int_equal(conf_set_default(c, "model.tokenizer", "bpe", &err), 0);
    util_assert_key(c, "model.tokenizer", "bytes"); /* it was set */
    assert_int_equal(conf_set_default(c, "model.vocab_size", "1234", &err), 0);
    util_assert_key(c, "model.vocab_size", "1234");
    assert_int_equal(conf_set_default(c, "model.vocab_size", "x", &err),
                     ERR_CORRUPT);
    util_assert_key(c, "model.vocab_size", "1234");
    /* A reload finds no difference. */
    assert_int_equal(conf_reload_diff(c, other, &x, &y), 0);
    conf_strings_release(&x);
    conf_strings_release(&y);
    conf_problems_release(&p);
    conf_free(c);
    conf_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learning_keys),
        cmocka_unit_test(test_set_stored),
        cmocka_unit_test(test_set_default),
        cmocka_unit_test(values),
        cmocka_unit_test(overrides),
        cmocka_unit_test(lone_dashes),
        cmocka_unit_test(wrong_overrides),
        cmocka_unit_test(properties),
        cmocka_unit_test(addresses),
        cmocka_unit_test(finding_the_file),
        cmocka_unit_test(printed_loads_back),
        cmocka_unit_test(reload),
        cmocka_unit_test(reload_keeps_the_tokens),
        cmocka_unit_test(reload_keeps_tls),
        cmocka_unit_test(mutated_copies),
    };

    return cmocka_run_group_tests(tests, util_enter_temp, util_leave_temp);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Problems of a configuration: their origins and texts. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "conf/conf_yaml.h"
#include "tests/util/conf_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void wrong_keys(void **state)
{
    static const struct util_refused cases[] = {
        {"sorce:\n  type: file\n",
         "t.yaml:1:1: sorce: unknown key; did you mean 'source'?"},
        {"source:\n  kafak:\n    topics: [a]\n",
         "t.yaml:2:3: source.kafak: unknown key; did you mean "
         "'source.kafka'?"},
        {"learner:\n  optimizer: {lr: 1.0e-3, warmup: 3}\n",
         "t.yaml:2:27: learner.optimizer.warmup: unknown key"},
        {"topics: [a]\n", "t.yaml:1:1: topics: unknown key; did you mean "
                          "'source.kafka.topics'?"},
        {"learner:\n  replai: {enabled: false}\n",
         "t.yaml:2:3: learner.replai: unknown key; did you mean "
         "'learner.replay'?"},
        {"zzzzzz: 1\n", "t.yaml:1:1: zzzzzz: unknown key"},
        {"\"a\\x1b[31mb\": 1\n", "t.yaml:1:1: 'a?[31mb': unknown key"},
        {"log:\n  level: info\n  level: debug\n",
         "t.yaml:3:3: log.level: given twice; first in line 2"},
        {"log: {level: info}\nlog.level: debug\n",
         "t.yaml:2:1: log.level: given twice; first in line 1"},
        {"log:\n  level: info\nhttp:\nlog:\n  format: json\n",
         "t.yaml:4:1: log: given twice; first in line 1"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        util_assert_refused(&cases[i]);
}

static void wrong_values(void **state)
{
    static const struct util_refused cases[] = {
        {"source:\n  type: kafak\n",
         "t.yaml:2:9: source.type: expected kafka | file | stdin | http, found "
         "'kafak'; did you mean 'kafka'?"},
        {"source: {type: tcp}\n", "t.yaml:1:16: source.type: expected kafka | "
                                  "file | stdin | http, found "
                                  "'tcp'"},
        {"learner: {threads: many}\n",
         "t.yaml:1:20: learner.threads: expected a whole number from 0 to "
         "256, found 'many'"},
        {"learner: {threads: 1.5}\n",
         "t.yaml:1:20: learner.threads: expected a whole number from 0 to "
         "256, found '1.5'"},
        {"learner: {threads: \"2\"}\n",
         "t.yaml:1:20: learner.threads: expected a whole number from 0 to "
         "256, found '2' in quotes"},
        {"learner: {seed: 99999999999999999999}\n",
         "t.yaml:1:17: learner.seed: expected a whole number from 0 to "
         "9007199254740991, found '99999999999999999999'"},
        {"learner.optimizer.lr: -1\n",
         "t.yaml:1:23: learner.optimizer.lr: expected a number from 0 to "
         "1, found '-1'"},
        {"learner.optimizer.lr: nan\n",
         "t.yaml:1:23: learner.optimizer.lr: expected a number from 0 to "
         "1, found 'nan'"},
        {"learner.ewc.lambda: 1e999\n",
         "t.yaml:1:21: learner.ewc.lambda: expected a number from 0 to "
         "1000000000, or auto, found '1e999'"},
        {"learner.ewc.lambda: -1\n",
         "t.yaml:1:21: learner.ewc.lambda: expected a number from 0 to "
         "1000000000, or auto, found '-1'"},
        {"publish.auto_rollback: maybe\n",
         "t.yaml:1:24: publish.auto_rollback: expected true | false, found "
         "'maybe'"},
        {"data_dir:\n", "t.yaml:1:10: data_dir: expected text, found nothing"},
        {"data_dir: [a]\n",
         "t.yaml:1:11: data_dir: expected text, found a list"},
        {"log: debug\n",
         "t.yaml:1:6: log: expected a mapping: `key: value` lines"},
        {"- a\n- b\n", "t.yaml:1:1: expected a mapping: `key: value` lines"},
        {"source.kafka.topics: {a: b}\n",
         "t.yaml:1:22: source.kafka.topics: expected a list of texts, found "
         "a mapping"},
        {"source.kafka.topics: [a, [b]]\n",
         "t.yaml:1:22: source.kafka.topics: expected texts in the list, found "
         "a list"},
        {"source.kafka.start: timestamp:soon\n",
         "t.yaml:1:21: source.kafka.start: expected earliest | latest | "
         "timestamp:MS, found 'timestamp:soon'; did you mean "
         "'timestamp:MS'?"},
        {"source.kafka.start: \"timestamp:-1\"\n",
         "t.yaml:1:21: source.kafka.start: expected earliest | latest | "
         "timestamp:MS, found 'timestamp:-1' in quotes; did you mean "
         "'timestamp:MS'?"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        util_assert_refused(&cases[i]);
}

static void wrong_yaml(void **state)
{
    static const struct util_refused cases[] = {
        {"log: &a {level: info}\n",
         "t.yaml:1:6: anchors (&) are not used here"},
        {"log: {level: *a}\n", "t.yaml:1:14: aliases (*) are not used here"},
        {"log: {level: !!str info}\n",
         "t.yaml:1:14: tags (!) are not used here"},
        {"log: {level: info}\n---\nlog: {level: info}\n",
         "t.yaml:2:1: a second document (---) in the same text"},
        {"{[a]: b}\n", "t.yaml:1:2: a key is plain text"},
        {"[[[[[[[[[[[[[[[[[[[[[[\n", "t.yaml:1:17: nested too deeply"},
        {"data_dir: \"a\\0b\"\n",
         "t.yaml:1:11: this text is too long or has a NUL in it"},
        {"log:\n  level: info\n format: text\n",
         "t.yaml:3:2: did not find expected key (while parsing a block "
         "mapping)"},
        {"\tlog: 1\n", "t.yaml:1:1: found character that cannot start any "
                       "token (while scanning for the next token)"},
        {"log:\n  level: \xff\n", "t.yaml:2:10: invalid leading UTF-8 octet"},
        /* the part before the error is checked, too */
        {"sorce: 1\nlog: [\n",
         "t.yaml:1:1: sorce: unknown key; did you mean 'source'?\n"
         "t.yaml:2:6: log: expected a mapping: `key: value` lines\n"
         "t.yaml:3:1: did not find expected node content (while parsing a "
         "flow node)"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        util_assert_refused(&cases[i]);
}

static void limits(void **state)
{
    struct buf text = BUF_INIT;
    struct conf_tree t = CONF_TREE_INIT;
    struct conf *c;
    char *problems;

    (void)state;
    buf_adds(&text, "source.kafka.topics: [a");
    for (int i = 0; i < CONF_YAML_MAX_NODES; i++)
        buf_adds(&text, ", a");
    buf_adds(&text, "]\n");
    c = util_load(text.data, NULL, 0, &problems);
    assert_non_null(strstr(problems, "too many values"));
    conf_free(c);
    free(problems);

    buf_clear(&text);
    buf_adds(&text, "data_dir: ");
    for (int i = 0; i < 5000; i++)
        buf_addc(&text, 'x');
    c = util_load(text.data, NULL, 0, &problems);
    assert_non_null(strstr(problems, "data_dir: expected text, found 'xxx"));
    conf_free(c);
    free(problems);

    buf_clear(&text);
    while (text.len <= CONF_YAML_MAX_BYTES)
        buf_adds(&text, "# too much\n");
    c = util_load(text.data, NULL, 0, &problems);
    assert_non_null(strstr(problems, "larger than the limit"));
    conf_free(c);
    free(problems);
    assert_int_equal(conf_tree_parse(&t, text.data, text.len), ERR_INVALID);
    conf_tree_release(&t);
    buf_release(&text);
}

static void missing_file(void **state)
{
    struct conf *c = conf_create();
    struct conf_problems p = CONF_PROBLEMS_INIT;

    (void)state;
    assert_int_equal(conf_load(c, "nowhere.yaml", NULL, 0, NULL, &p),
                     ERR_INVALID);
    assert_int_equal(p.n, 1);
    assert_non_null(strstr(p.items[0].text, "nowhere.yaml"));
    conf_problems_release(&p);
    conf_free(c);
}

static void checks_between_settings(void **state)
{
    static const struct util_refused cases[] = {
        {"source: {type: file}\n",
         "t.yaml:1:16: source.path: source.type: file needs the path of a "
         "file (for the standard input: source.type: stdin)"},
        {"model: {vocab_size: 299}\n",
         "t.yaml:1:21: model.vocab_size: model.tokenizer: builtin needs at "
         "least 300"},
        {"model: {dim: 64}\n",
         "t.yaml:1:14: model.dim: only with model.preset: custom; a preset "
         "has its own"},
        {"model: {preset: custom, dim: 64, layers: 2, heads: 4, ffn_dim: 128,"
         " context: 64}\n",
         "t.yaml:1:17: model.kv_heads: needed with model.preset: custom"},
        {"model: {preset: custom, dim: 66, layers: 2, heads: 4, kv_heads: 3,"
         " ffn_dim: 128, context: 1}\n",
         "t.yaml:1:30: model.dim: 66 is not a multiple of model.heads, 4\n"
         "t.yaml:1:65: model.kv_heads: 3 does not divide model.heads, 4\n"
         "t.yaml:1:91: model.context: at least 2 tokens"},
        {"model: {preset: custom, dim: 12, layers: 2, heads: 4, kv_heads: 2,"
         " ffn_dim: 128, context: 64}\n",
         "t.yaml:1:30: model.dim: model.dim / model.heads is 3, which is not "
         "even"},
        /* a wrong preset has no consequences */
        {"model: {preset: custm, dim: 64}\n",
         "t.yaml:1:17: model.preset: expected nano | tiny | small | base | "
         "large | custom | linear, found 'custm'; did you mean 'custom'?"},
        {"model: {preest: custom, dim: 64}\n",
         "t.yaml:1:9: model.preest: unknown key; did you mean "
         "'model.preset'?"},
        {"http.tls: {cert: a.pem}\n",
         "t.yaml:1:18: http.tls.key: a certificate and its key are needed "
         "together"},
        {"http: {listen: \"unix:/s\", tls: {cert: a, key: b}}\n",
         "t.yaml:1:39: http.tls.cert: a unix socket (http.listen) needs no "
         "TLS"},
        {"http: {admin: socket}\n",
         "t.yaml:1:15: http.admin_socket: needed with http.admin: socket"},
        {"http: {admin_group: adm}\n",
         "t.yaml:1:21: http.admin_socket: needed with http.admin_group"},
        {"source.kafka.topics: []\n",
         "t.yaml:1:22: source.kafka.topics: needs at least one topic"},
        {"source.kafka.topics: [a, a]\n",
         "t.yaml:1:22: source.kafka.topics: topic 'a' is given twice"},
        {"source.kafka.topics: [a b]\n",
         "t.yaml:1:22: source.kafka.topics: 'a b' is no topic name: letters, "
         "digits, '.', '_' and '-', at most 249 of them"},
        {"source.kafka.dead_letter: text\n",
         "t.yaml:1:27: source.kafka.dead_letter: bad records from 'text' "
         "would be sent to it again: name another topic"},
        {"learner.ewc.consolidate: every:0\n",
         "t.yaml:1:26: learner.ewc.consolidate: every:STEPS needs at least 1; "
         "to switch it off: off"},
        {"publish: {every_seconds: 0, every_tokens: 0}\n",
         "t.yaml:1:43: publish.every_tokens: publish.every_seconds is 0, too, "
         "so no version would be published: set one of them above 0"},
        {"learner.holdout.fraction: 0\n",
         "t.yaml:1:27: learner.holdout.fraction: the gate needs held-out "
         "records: set it above 0, or publish.gate.enabled: false"},
        {"http.listen: 0.0.0.0:80\n",
         "t.yaml:1:14: http.listen: anybody who reaches this address could "
         "send requests and roll back: set http.token_file, or listen on "
         "127.0.0.1 or "
         "unix:PATH"},
        {"http.cors_origins: [\"*\"]\n",
         "t.yaml:1:20: http.cors_origins: every web page could roll back and "
         "read what was learned: set http.token_file, or name the origins"},
        {"http.cors_origins: [https://a.example/]\n",
         "t.yaml:1:20: http.cors_origins: expected http://HOST[:PORT], "
         "https://HOST[:PORT] or \"*\", found 'https://a.example/'"},
        {"http.listen: 6636\n",
         "t.yaml:1:14: http.listen: expected HOST:PORT, [IPV6]:PORT or "
         "unix:PATH, found '6636'"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        util_assert_refused(&cases[i]);
}

static void all_problems_at_once(void **state)
{
    static const struct util_refused two = {
        "publish:\n  gate: {max_regresion: 0.1}\nhttp:\n"
        "  listen: 0.0.0.0:1\n  max_connections: 0\nsource:\n  type: file\n",
        "t.yaml:2:10: publish.gate.max_regresion: unknown key; did you mean "
        "'publish.gate.max_regression'?\n"
        "t.yaml:4:11: http.listen: anybody who reaches this address could "
        "send requests and roll back: set http.token_file, or listen on "
        "127.0.0.1 or "
        "unix:PATH\n"
        "t.yaml:5:20: http.max_connections: expected a whole number from 1 "
        "to 4096, found '0'\n"
        "t.yaml:7:9: source.path: source.type: file needs the path of a file "
        "(for the standard input: source.type: stdin)"};
    struct buf text = BUF_INIT;
    struct conf_problems p = CONF_PROBLEMS_INIT;
    struct conf *c = conf_create();

    (void)state;
    util_assert_refused(&two);
    for (int i = 0; i < CONF_MAX_PROBLEMS + 5; i++)
        buf_addf(&text, "nothing%d: 1\n", i);
    util_write_file(text.data, text.len);
    assert_int_equal(conf_load(c, UTIL_FILE, NULL, 0, NULL, &p), ERR_INVALID);
    assert_int_equal(p.n, CONF_MAX_PROBLEMS);
    assert_int_equal(p.n_dropped, 5);
    conf_problems_release(&p);
    conf_free(c);
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_keys),
        cmocka_unit_test(wrong_values),
        cmocka_unit_test(wrong_yaml),
        cmocka_unit_test(limits),
        cmocka_unit_test(missing_file),
        cmocka_unit_test(checks_between_settings),
        cmocka_unit_test(all_problems_at_once),
    };

    return cmocka_run_group_tests(tests, util_enter_temp, util_leave_temp);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: defaults, what is refused and with which words, printing
 * that loads back, overrides, reload, and the two documents made from the
 * table. With MNEME_WRITE_DOCS=1 in the environment the documents are written
 * instead of compared.
 */
#include "config.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fileio.h"
#include "base/rng.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "conf/conf_doc.h"
#include "conf/conf_map.h"
#include "conf/conf_near.h"
#include "conf/conf_yaml.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define FILE_NAME "t.yaml" /* in the temporary directory, where tests run */

static char top_srcdir[PATH_MAX];
static char temp_dir[PATH_MAX];

/* --- help --------------------------------------------------------------- */

static int enter_temp(void **state)
{
    const char *top = getenv("top_srcdir");
    const char *tmp = getenv("TMPDIR");

    (void)state;
    if (!realpath(top ? top : ".", top_srcdir))
        return -1;
    snprintf(temp_dir, sizeof temp_dir, "%s/mneme-conf-XXXXXX",
             tmp ? tmp : "/tmp");
    return mkdtemp(temp_dir) && chdir(temp_dir) == 0 ? 0 : -1;
}

static int leave_temp(void **state)
{
    (void)state;
    unlink(FILE_NAME);
    return chdir("/") == 0 ? rmdir(temp_dir) : -1;
}

static void write_file(const char *text, size_t n_bytes)
{
    FILE *f = fopen(FILE_NAME, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n_bytes, f), n_bytes);
    fclose(f);
}

/* Every problem, one a line. */
static char *lines(const struct conf_problems *p)
{
    struct buf out = BUF_INIT;

    for (size_t i = 0; i < p->n; i++)
        buf_addf(&out, "%s\n", p->items[i].text);
    return buf_detach(&out);
}

/* Knows what the tests use, as the daemon's check knows librdkafka's. */
static int check_property(const char *name, const char *value, char *why,
                          size_t why_size)
{
    static const char *const known[] = {
        "bootstrap.servers", "group.id",       "sasl.password",
        "sasl.username",     "sasl.mechanism", "security.protocol",
        "client.id"};

    for (size_t i = 0; i < COUNT(known); i++) {
        if (strcmp(known[i], name) == 0 && strcmp(value, "bad") != 0)
            return 0;
    }
    snprintf(why, why_size, "librdkafka has no such property or value");
    return ERR_INVALID;
}

/* Loads a text and overrides; *problems is what came of it, to be freed. */
static struct conf *load(const char *text, const char *const *sets,
                         size_t n_sets, char **problems)
{
    struct conf *c = conf_create();
    struct conf_problems p = CONF_PROBLEMS_INIT;
    int rc;

    if (text)
        write_file(text, strlen(text));
    rc =
        conf_load(c, text ? FILE_NAME : NULL, sets, n_sets, check_property, &p);
    assert_int_equal(rc, p.n ? ERR_INVALID : 0);
    *problems = lines(&p);
    conf_problems_release(&p);
    return c;
}

static struct conf *load_good(const char *text)
{
    char *problems;
    struct conf *c = load(text, NULL, 0, &problems);

    assert_string_equal(problems, "");
    free(problems);
    return c;
}

/* How many keys differ. */
static size_t differences(const struct conf *a, const struct conf *b)
{
    struct conf_strings x = {NULL, 0}, y = {NULL, 0};
    size_t n = conf_reload_diff(a, b, &x, &y);

    assert_int_equal(n, x.n + y.n);
    conf_strings_release(&x);
    conf_strings_release(&y);
    return n;
}

static void assert_key(const struct conf *c, const char *key,
                       const char *expected)
{
    char *text = conf_text(c, key);

    assert_string_equal(text, expected);
    free(text);
}

/* --- defaults and documents --------------------------------------------- */

static void defaults(void **state)
{
    struct conf *c = conf_create();

    (void)state;
    assert_string_equal(c->data_dir, "./mneme-data");
    assert_int_equal(c->source.type, CONF_SOURCE_KAFKA);
    assert_string_equal(c->source.path, "-");
    assert_int_equal(c->source.kafka.topics.n, 1);
    assert_string_equal(c->source.kafka.topics.items[0], "text");
    assert_int_equal(c->source.kafka.start.kind, CONF_START_EARLIEST);
    assert_null(c->source.kafka.dead_letter);
    assert_int_equal(c->source.kafka.properties.n, 2);
    assert_string_equal(c->source.kafka.properties.items[0].value,
                        "localhost:9092");
    assert_string_equal(c->source.kafka.properties.items[0].where, "default");
    assert_int_equal(c->source.max_record_bytes, 65536);
    assert_int_equal(c->model.preset, CONF_PRESET_SMALL);
    assert_int_equal(c->model.tokenizer, CONF_TOKENIZER_BPE);
    assert_int_equal(c->model.vocab_size, 4096);
    assert_null(c->model.init);
    assert_int_equal(c->learner.seed, 42);
    assert_true(c->learner.optimizer.lr == 0);
    assert_true(c->learner.ewc.decay == 0.95);
    assert_int_equal(c->learner.ewc.consolidate.kind, CONF_CONSOLIDATE_AUTO);
    assert_int_equal(c->learner.replay.capacity, 100000);
    assert_true(c->filter.surprise.enabled && c->filter.surprise.mads == 6);
    assert_int_equal(c->filter.near_duplicate.burst, 64);
    assert_true(c->filter.repetition.share == 0.95);
    assert_true(c->filter.share_cap.share == 1);
    assert_true(c->filter.gradient_norm.medians == 100);
    assert_true(c->publish.gate.max_regression == 0.02);
    assert_int_equal(c->publish.gate.protect.n, 0);
    assert_int_equal(c->publish.keep.daily, 14);
    assert_int_equal(c->serve.quantize, CONF_QUANTIZE_NONE);
    assert_string_equal(c->http.listen_host, "127.0.0.1");
    assert_int_equal(c->http.listen_port, 6636);
    assert_true(c->http.listen_local);
    assert_int_equal(c->log.level, LOG_INFO);
    assert_int_equal(c->log.format, LOG_TEXT);
    conf_free(c);
    conf_free(NULL);
}

static void empty_files(void **state)
{
    static const char *const texts[] = {"",
                                        "\n",
                                        "# nothing\n",
                                        "---\n...\n",
                                        "null\n",
                                        "source:\nmodel: {}\n",
                                        "\xef\xbb\xbf# with a mark\n"};
    struct conf *fresh = conf_create();

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct conf *c = load_good(texts[i]);

        assert_int_equal(differences(fresh, c), 0);
        conf_free(c);
    }
    conf_free(fresh);
}

/* The text of a file of the source, or written there when asked to. */
static char *document(const char *name, const char *fresh)
{
    char *path = fileio_join(top_srcdir, name);
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;
    FILE *f;

    if (fresh && getenv("MNEME_WRITE_DOCS")) {
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(fresh, f);
        fclose(f);
    }
    if (fileio_read(path, 1 << 20, &text, &err) != 0)
        fail_msg("%s", err.msg);
    free(path);
    return buf_detach(&text);
}

static void sample_is_the_defaults(void **state)
{
    struct buf made = BUF_INIT;
    struct conf *fresh = conf_create();
    struct conf *c;
    char *text;

    (void)state;
    conf_doc_sample(&made);
    text = document("conf/mneme.yaml", made.data);
    assert_string_equal(text, made.data);
    c = load_good(text);
    assert_int_equal(differences(fresh, c), 0);
    conf_free(c);
    conf_free(fresh);
    free(text);
    buf_release(&made);
}

/* The page with its KEYS section replaced. */
static char *with_keys(const char *page, const char *keys)
{
    const char *begin = strstr(page, ".SH KEYS\n");
    const char *end = begin ? strstr(begin + 1, "\n.SH ") : NULL;
    struct buf out = BUF_INIT;

    assert_non_null(begin);
    assert_non_null(end);
    buf_add(&out, page, (size_t)(begin - page));
    buf_adds(&out, keys);
    buf_adds(&out, end + 1);
    return buf_detach(&out);
}

static void man_page_has_the_table(void **state)
{
    struct buf keys = BUF_INIT;
    char *page = document("man/mneme.yaml.5", NULL);
    char *expected, *text;

    (void)state;
    conf_doc_man(&keys);
    expected = with_keys(page, keys.data);
    text = document("man/mneme.yaml.5", expected);
    assert_string_equal(text, expected);
    free(text);
    free(expected);
    free(page);
    buf_release(&keys);
}

/* The lines of an example as the reader sees them. */
static char *example(const char *begin, const char *end)
{
    struct buf out = BUF_INIT;

    for (const char *s = begin; s < end; s++) {
        if (s[0] != '\\' || s[1] != '-')
            buf_addc(&out, *s);
    }
    return buf_detach(&out);
}

static void man_page_examples_load(void **state)
{
    char *page = document("man/mneme.yaml.5", NULL);
    const char *s = strstr(page, "\n.SH EXAMPLES\n");
    const char *end;
    char *text;
    int n = 0;

    (void)state;
    assert_non_null(s);
    while ((s = strstr(s, "\n.nf\n")) != NULL) {
        s += strlen("\n.nf\n");
        end = strstr(s, "\n.fi\n");
        assert_non_null(end);
        text = example(s, end);
        conf_free(load_good(text));
        free(text);
        n++;
    }
    assert_int_equal(n, 4);
    free(page);
}

static void table_is_in_order(void **state)
{
    const char *name, *section;

    (void)state;
    for (size_t i = 0; i < conf_map_n; i++) {
        name = conf_map[i].name;
        assert_ptr_equal(conf_map_find(name), &conf_map[i]);
        assert_ptr_equal(conf_near_key(name), &conf_map[i]);
        assert_non_null(conf_map[i].doc);
        if (conf_map_depth(name) == 0)
            continue;
        section = xstrndup(name, (size_t)(conf_map_leaf(name) - name) - 1);
        assert_non_null(conf_map_find(section));
        assert_int_equal(conf_map_find(section)->type, CONF_SECTION);
        assert_true(conf_map_find(section) < &conf_map[i]);
        free((char *)section);
    }
}

/* --- what is refused ---------------------------------------------------- */

struct refused {
    const char *text;
    const char *problems; /* without the final newline */
};

static void assert_refused(const struct refused *x)
{
    struct conf *c;
    char *problems;
    char *expected = xasprintf("%s\n", x->problems);

    c = load(x->text, NULL, 0, &problems);
    assert_string_equal(problems, expected);
    conf_free(c);
    free(problems);
    free(expected);
}

static void wrong_keys(void **state)
{
    static const struct refused cases[] = {
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
        assert_refused(&cases[i]);
}

static void wrong_values(void **state)
{
    static const struct refused cases[] = {
        {"source:\n  type: kafak\n",
         "t.yaml:2:9: source.type: expected kafka | file | stdin, found "
         "'kafak'; did you mean 'kafka'?"},
        {"source: {type: tcp}\n",
         "t.yaml:1:16: source.type: expected kafka | file | stdin, found "
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
         "1000000000, found '1e999'"},
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
        assert_refused(&cases[i]);
}

static void wrong_yaml(void **state)
{
    static const struct refused cases[] = {
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
        /* what stands before the error is looked at all the same */
        {"sorce: 1\nlog: [\n",
         "t.yaml:1:1: sorce: unknown key; did you mean 'source'?\n"
         "t.yaml:2:6: log: expected a mapping: `key: value` lines\n"
         "t.yaml:3:1: did not find expected node content (while parsing a "
         "flow node)"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_refused(&cases[i]);
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
    c = load(text.data, NULL, 0, &problems);
    assert_non_null(strstr(problems, "too many values"));
    conf_free(c);
    free(problems);

    buf_clear(&text);
    buf_adds(&text, "data_dir: ");
    for (int i = 0; i < 5000; i++)
        buf_addc(&text, 'x');
    c = load(text.data, NULL, 0, &problems);
    assert_non_null(strstr(problems, "data_dir: expected text, found 'xxx"));
    conf_free(c);
    free(problems);

    buf_clear(&text);
    while (text.len <= CONF_YAML_MAX_BYTES)
        buf_adds(&text, "# too much\n");
    c = load(text.data, NULL, 0, &problems);
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
    static const struct refused cases[] = {
        {"source: {type: file}\n",
         "t.yaml:1:16: source.path: source.type: file needs the path of a "
         "file (for the standard input: source.type: stdin)"},
        {"model: {vocab_size: 299}\n",
         "t.yaml:1:21: model.vocab_size: model.tokenizer: bpe needs at least "
         "300"},
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
        /* nothing follows from a preset that is itself wrong */
        {"model: {preset: custm, dim: 64}\n",
         "t.yaml:1:17: model.preset: expected nano | tiny | small | base | "
         "large | custom | linear, found 'custm'; did you mean 'custom'?"},
        {"model: {preest: custom, dim: 64}\n",
         "t.yaml:1:9: model.preest: unknown key; did you mean "
         "'model.preset'?"},
        {"source.kafka.topics: []\n",
         "t.yaml:1:22: source.kafka.topics: needs at least one topic"},
        {"source.kafka.topics: [a, a]\n",
         "t.yaml:1:22: source.kafka.topics: topic 'a' is there twice"},
        {"source.kafka.topics: [a b]\n",
         "t.yaml:1:22: source.kafka.topics: 'a b' is no topic name: letters, "
         "digits, '.', '_' and '-', at most 249 of them"},
        {"source.kafka.dead_letter: text\n",
         "t.yaml:1:27: source.kafka.dead_letter: bad records from 'text' "
         "would come back to it: name another topic"},
        {"learner.ewc.consolidate: every:0\n",
         "t.yaml:1:26: learner.ewc.consolidate: every:STEPS needs at least 1; "
         "to switch it off: off"},
        {"publish: {every_seconds: 0, every_tokens: 0}\n",
         "t.yaml:1:43: publish.every_tokens: with publish.every_seconds 0 as "
         "well no version would be made: one of them has to be above 0"},
        {"learner.holdout.fraction: 0\n",
         "t.yaml:1:27: learner.holdout.fraction: the gate has nothing to "
         "measure with: above 0, or publish.gate.enabled: false"},
        {"http.listen: 0.0.0.0:80\n",
         "t.yaml:1:14: http.listen: anybody who reaches this address could "
         "ask and roll back: set http.token_file, or listen on 127.0.0.1 or "
         "unix:PATH"},
        {"http.listen: 6636\n",
         "t.yaml:1:14: http.listen: expected HOST:PORT, [IPV6]:PORT or "
         "unix:PATH, found '6636'"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_refused(&cases[i]);
}

static void all_problems_at_once(void **state)
{
    static const struct refused two = {
        "publish:\n  gate: {max_regresion: 0.1}\nhttp:\n"
        "  listen: 0.0.0.0:1\n  max_connections: 0\nsource:\n  type: file\n",
        "t.yaml:2:10: publish.gate.max_regresion: unknown key; did you mean "
        "'publish.gate.max_regression'?\n"
        "t.yaml:4:11: http.listen: anybody who reaches this address could "
        "ask and roll back: set http.token_file, or listen on 127.0.0.1 or "
        "unix:PATH\n"
        "t.yaml:5:20: http.max_connections: expected a whole number from 1 "
        "to 4096, found '0'\n"
        "t.yaml:7:9: source.path: source.type: file needs the path of a file "
        "(for the standard input: source.type: stdin)"};
    struct buf text = BUF_INIT;
    struct conf_problems p = CONF_PROBLEMS_INIT;
    struct conf *c = conf_create();

    (void)state;
    assert_refused(&two);
    for (int i = 0; i < CONF_MAX_PROBLEMS + 5; i++)
        buf_addf(&text, "nothing%d: 1\n", i);
    write_file(text.data, text.len);
    assert_int_equal(conf_load(c, FILE_NAME, NULL, 0, NULL, &p), ERR_INVALID);
    assert_int_equal(p.n, CONF_MAX_PROBLEMS);
    assert_int_equal(p.n_dropped, 5);
    conf_problems_release(&p);
    conf_free(c);
    buf_release(&text);
}

/* --- what is taken ------------------------------------------------------ */

static void values(void **state)
{
    struct conf *c = load_good(
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
    char *where;

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
    where = conf_where(c, "model.init");
    assert_string_equal(where, "t.yaml:12:9");
    free(where);
    where = conf_where(c, "data_dir");
    assert_string_equal(where, "default");
    free(where);
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
    char *problems, *where;

    (void)state;
    c = load("log: {level: error}\n", good, COUNT(good), &problems);
    assert_string_equal(problems, "");
    free(problems);
    assert_key(c, "source.kafka.topics", "[a, b]");
    assert_string_equal(c->source.kafka.properties.items[0].value,
                        "h1:9092,h2:9092");
    assert_string_equal(c->source.kafka.properties.items[0].where, "--set:2:1");
    assert_string_equal(c->source.kafka.properties.items[2].value, "- #\"x: [");
    assert_true(c->learner.ewc.lambda == 3);
    assert_false(c->learner.ewc.enabled);
    assert_string_equal(c->http.listen_host, "::1");
    assert_string_equal(c->data_dir, "/a b");
    assert_int_equal(c->log.level, LOG_WARN);
    where = conf_where(c, "log.level");
    assert_string_equal(where, "--set:9:11");
    free(where);
    conf_set_data_dir(c, "elsewhere");
    assert_string_equal(c->data_dir, "elsewhere");
    conf_free(c);
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
    c = load(NULL, bad, COUNT(bad), &problems);
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
    static const struct refused bad = {
        "source:\n  kafka:\n    properties:\n"
        "      grup.id: x\n"
        "      auto.offset.reset: latest\n"
        "      client.id: bad\n"
        "      group.id:\n"
        "      sasl.password: \"********\"\n",
        "t.yaml:4:7: source.kafka.properties.grup.id: librdkafka has no such "
        "property or value\n"
        "t.yaml:5:7: source.kafka.properties.auto.offset.reset: a silent jump "
        "is never wanted here; see source.kafka.start and "
        "source.kafka.on_gap\n"
        "t.yaml:6:7: source.kafka.properties.client.id: librdkafka has no "
        "such property or value\n"
        "t.yaml:7:7: source.kafka.properties.group.id: expected a value: "
        "write NAME: VALUE\n"
        "t.yaml:8:7: source.kafka.properties.sasl.password: this is the mask "
        "of a printed configuration, not the value"};
    struct conf *c = load_good("source:\n  kafka:\n    properties:\n"
                               "      sasl.username: me\n"
                               "      sasl.password: hunter2\n"
                               "      group.id: 17\n");
    const struct conf_property *p = c->source.kafka.properties.items;
    struct buf printed = BUF_INIT;

    (void)state;
    assert_refused(&bad);
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
        c = load(NULL, sets, 2, &problems);
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
        c = load(NULL, (const char *const *)&set, 1, &problems);
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
    assert_int_equal(rename(FILE_NAME, "mneme.yaml"), 0);
    path = conf_find();
    assert_string_equal(path, "./mneme.yaml");
    free(path);
    assert_int_equal(rename("mneme.yaml", FILE_NAME), 0);
}

/* --- printing and reloading --------------------------------------------- */

/* What is printed loads back to the same, and prints the same. */
static void assert_round_trip(const struct conf *c)
{
    struct buf printed = BUF_INIT, again = BUF_INIT;
    struct conf_problems p = CONF_PROBLEMS_INIT;
    struct conf *back = conf_create();
    char *problems;

    conf_print(c, &printed);
    write_file(printed.data, printed.len);
    conf_load(back, FILE_NAME, NULL, 0, NULL, &p);
    problems = lines(&p);
    assert_string_equal(problems, "");
    assert_int_equal(differences(c, back), 0);
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
    c = load_good("data_dir: \"a \\\"b\\\\ \\t\\e #: \\x85\\L\\P\\uFEFF \xe6"
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
    struct conf *now = load_good("log: {level: info}\n");
    struct conf *next =
        load_good("log: {level: debug}\npublish: {gate: {protect: [a, b]}}\n"
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
    assert_int_equal(differences(now, next), 3);
    conf_free(now);
    conf_free(next);
}

/* A public address does not lose its tokens by a reload. */
static void reload_keeps_the_tokens(void **state)
{
    struct conf *now = load_good("http: {listen: 0.0.0.0:1, token_file: t}\n");
    struct conf *next = load_good("http: {listen: \"127.0.0.1:1\"}\n");
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

/* --- mutated copies ----------------------------------------------------- */

/* One or two edits: a byte changed, a piece cut, doubled or moved, or
 * something that means much to YAML put in. */
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

/* Any text is refused with a place, or gives a configuration that prints and
 * loads back. */
static void mutated_copies(void **state)
{
    char *sample = document("conf/mneme.yaml", NULL);
    int n_good = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 600; seed++) {
        struct conf *c = conf_create();
        struct conf_problems p = CONF_PROBLEMS_INIT;
        struct buf text = BUF_INIT;

        /* without comments every edit hits something */
        for (char *line = sample; *line;) {
            size_t n = strcspn(line, "\n");

            if (line[strspn(line, " ")] != '#')
                buf_add(&text, line, n + 1);
            line += n + 1;
        }
        mutate(&text, seed);
        write_file(text.data, text.len);
        if (conf_load(c, FILE_NAME, NULL, 0, NULL, &p) == 0) {
            n_good++;
            assert_round_trip(c);
        }
        for (size_t i = 0; i < p.n; i++)
            assert_int_equal(strncmp(p.items[i].text, FILE_NAME ":", 7), 0);
        conf_problems_release(&p);
        buf_release(&text);
        conf_free(c);
    }
    print_message("# %d are good\n", n_good);
    assert_true(n_good > 10 && n_good < 590);
    free(sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(empty_files),
        cmocka_unit_test(sample_is_the_defaults),
        cmocka_unit_test(man_page_has_the_table),
        cmocka_unit_test(man_page_examples_load),
        cmocka_unit_test(table_is_in_order),
        cmocka_unit_test(wrong_keys),
        cmocka_unit_test(wrong_values),
        cmocka_unit_test(wrong_yaml),
        cmocka_unit_test(limits),
        cmocka_unit_test(missing_file),
        cmocka_unit_test(checks_between_settings),
        cmocka_unit_test(all_problems_at_once),
        cmocka_unit_test(values),
        cmocka_unit_test(overrides),
        cmocka_unit_test(wrong_overrides),
        cmocka_unit_test(properties),
        cmocka_unit_test(addresses),
        cmocka_unit_test(finding_the_file),
        cmocka_unit_test(printed_loads_back),
        cmocka_unit_test(reload),
        cmocka_unit_test(reload_keeps_the_tokens),
        cmocka_unit_test(mutated_copies),
    };

    return cmocka_run_group_tests(tests, enter_temp, leave_temp);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The defaults, and the two documents that are generated from the table. With
 * MNEME_WRITE_DOCS=1 the program writes the documents instead of comparing
 * them.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "conf/conf_doc.h"
#include "conf/conf_map.h"
#include "conf/conf_near.h"
#include "tests/util/conf_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

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
    assert_int_equal(c->source.http.log_bytes, 1 << 30);
    assert_int_equal(c->source.kafka.properties.n, 2);
    assert_string_equal(c->source.kafka.properties.items[0].value,
                        "localhost:9092");
    assert_string_equal(c->source.kafka.properties.items[0].where, "default");
    assert_int_equal(c->source.max_record_bytes, 65536);
    assert_int_equal(c->model.preset, CONF_PRESET_SMALL);
    assert_int_equal(c->model.tokenizer, CONF_TOKENIZER_BUILTIN);
    assert_int_equal(c->model.vocab_size, 4096);
    assert_null(c->model.init);
    assert_int_equal(c->learner.seed, 42);
    assert_true(c->learner.optimizer.lr == 0);
    assert_true(c->learner.ewc.lambda == CONF_REAL_WORD);
    assert_true(c->learner.drift.enabled);
    assert_true(c->learner.ewc.decay == 0.95);
    assert_int_equal(c->learner.ewc.consolidate.kind, CONF_CONSOLIDATE_AUTO);
    assert_true(c->learner.average.enabled);
    assert_true(c->learner.average.decay == 0.99);
    assert_true(c->learner.ngram.enabled);
    assert_int_equal(c->learner.ngram.mib, 4);
    assert_int_equal(c->learner.replay.capacity, 100000);
    assert_true(c->filter.surprise.enabled && c->filter.surprise.mads == 6);
    assert_int_equal(c->filter.near_duplicate.burst, 64);
    assert_true(c->filter.repetition.share == 0.95);
    assert_true(c->filter.share_cap.share == 1);
    assert_true(c->filter.gradient_norm.medians == 100);
    assert_true(c->publish.gate.max_regression == 0.02);
    assert_true(c->publish.gate.max_domain_regression == 0.1);
    assert_true(c->publish.gate.traffic_half_life == 2000);
    assert_int_equal(c->publish.gate.protect.n, 0);
    assert_int_equal(c->publish.keep.daily, 14);
    assert_int_equal(c->serve.quantize, CONF_QUANTIZE_NONE);
    assert_int_equal(c->serve.prefix_cache_mib, 64);
    assert_string_equal(c->http.listen_host, "127.0.0.1");
    assert_int_equal(c->http.listen_port, 6636);
    assert_true(c->http.listen_local);
    assert_true(c->http.cpu_share == 0.5);
    assert_null(c->http.admin_socket);
    assert_null(c->http.admin_group);
    assert_int_equal(c->http.admin, CONF_ADMIN_ANYWHERE);
    assert_null(c->http.tls.cert);
    assert_null(c->http.tls.key);
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
        struct conf *c = util_load_good(texts[i]);

        assert_int_equal(util_differences(fresh, c), 0);
        conf_free(c);
    }
    conf_free(fresh);
}

static void sample_is_the_defaults(void **state)
{
    struct buf made = BUF_INIT;
    struct conf *fresh = conf_create();
    struct conf *c;
    char *text;

    (void)state;
    conf_doc_sample(&made);
    text = util_document("conf/mneme.yaml", made.data);
    assert_string_equal(text, made.data);
    c = util_load_good(text);
    assert_int_equal(util_differences(fresh, c), 0);
    conf_free(c);
    conf_free(fresh);
    free(text);
    buf_release(&made);
}

/* Returns the man page with its KEYS section replaced. */
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
    char *page = util_document("man/mneme.yaml.5", NULL);
    char *expected, *text;

    (void)state;
    conf_doc_man(&keys);
    expected = with_keys(page, keys.data);
    text = util_document("man/mneme.yaml.5", expected);
    assert_string_equal(text, expected);
    free(text);
    free(expected);
    free(page);
    buf_release(&keys);
}

/* Returns the lines of an example as man shows them. */
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
    char *page = util_document("man/mneme.yaml.5", NULL);
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
        conf_free(util_load_good(text));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(empty_files),
        cmocka_unit_test(sample_is_the_defaults),
        cmocka_unit_test(man_page_has_the_table),
        cmocka_unit_test(man_page_examples_load),
        cmocka_unit_test(table_is_in_order),
    };

    return cmocka_run_group_tests(tests, util_enter_temp, util_leave_temp);
}

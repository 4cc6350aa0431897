/* SPDX-License-Identifier: Apache-2.0 */
/* Names of tensors in GGUF and in Hugging Face's files, and rows of pairs. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "interchange/gguf_names.h"

static void names_are_translated_both_ways(void **state)
{
    static const char *const pairs[][2] = {
        {"model.embed_tokens.weight", "token_embd.weight"},
        {"model.norm.weight", "output_norm.weight"},
        {"lm_head.weight", "output.weight"},
        {"model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight"},
        {"model.layers.0.self_attn.q_proj.bias", "blk.0.attn_q.bias"},
        {"model.layers.17.self_attn.k_norm.weight",
         "blk.17.attn_k_norm.weight"},
        {"model.layers.127.mlp.down_proj.weight", "blk.127.ffn_down.weight"},
    };
    char name[GGUF_NAMES_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_true(gguf_names_from_hf(pairs[i][0], name));
        assert_string_equal(name, pairs[i][1]);
        assert_true(gguf_names_to_hf(pairs[i][1], name));
        assert_string_equal(name, pairs[i][0]);
    }
}

static void other_names_are_refused(void **state)
{
    static const char *const names[] = {
        "",
        ".weight",
        "weight",
        "blk.0.weight",
        "blk..attn_q.weight",
        "blk.x.attn_q.weight",
        "blk.1234567.attn_q.weight",
        "blk.0.attn_q",
        "blk.0.attn_q.scale",
        "blk.0.output_norm.weight",
        "attn_q.weight",
        "rope_freqs.weight",
    };
    char name[GGUF_NAMES_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(gguf_names_to_hf(names[i], name));
    assert_false(gguf_names_from_hf("model.layers.0.mlp.weight", name));
    assert_false(gguf_names_from_hf("model.layers.0.norm.weight", name));
}

static void rows_of_q_and_k_are_pairs(void **state)
{
    /* Two heads of six: the halves 0 1 2 and 3 4 5 become pairs. */
    static const size_t rows[] = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11};

    (void)state;
    for (size_t r = 0; r < 12; r++)
        assert_int_equal(gguf_names_row(r, 6), rows[r]);
    assert_true(gguf_names_has_pairs("blk.3.attn_q.weight"));
    assert_true(gguf_names_has_pairs("blk.3.attn_k.bias"));
    assert_false(gguf_names_has_pairs("blk.3.attn_v.weight"));
    assert_false(gguf_names_has_pairs("blk.3.attn_q_norm.weight"));
    assert_false(gguf_names_has_pairs("output.weight"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_translated_both_ways),
        cmocka_unit_test(other_names_are_refused),
        cmocka_unit_test(rows_of_q_and_k_are_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each measure on texts that are made here; then both filters through filter.h,
 * with their settled state, its export and its import.
 */
#include "config.h"

#include "daemon/intake/filter.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/xalloc.h"
#include "daemon/intake/families.h"
#include "daemon/intake/simhash.h"
#include "daemon/intake/surprise.h"
#include "daemon/intake/texture.h"
#include "learner/tokenizer/cut.h"
#include "learner/tokenizer/grams.h"

static const char prose[] =
    "The harbour lay still under the lantern, and the pilot counted the boats "
    "that had come in with the tide: three ferries, a tug, and one crane barge "
    "whose cargo nobody could name. When the drizzle stopped he walked along "
    "the quay to the ledger house, wrote down what he had seen, and went to "
    "bed without a word to anybody about the light beyond the mooring.";

static uint64_t below(uint64_t n, uint64_t stream, uint64_t i)
{
    return rng_below(n, 11, RNG_INIT, stream, i);
}

/* n words of a made-up language, others for each stream. */
static char *words(size_t n, uint64_t stream)
{
    static const char *const parts[] = {"ka", "mor", "ti", "sel", "un",
                                        "dra", "vo", "pim", "lar", "ez"};
    char *text = xcalloc(n, 16);

    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < 3; k++)
            strcat(text, parts[below(10, stream, 3 * i + (size_t)k)]);
        if (i + 1 < n)
            strcat(text, " ");
    }
    return text;
}

static void shuffle(char *text, size_t n, uint64_t stream)
{
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)below(i, stream, i);
        char c = text[i - 1];

        text[i - 1] = text[k];
        text[k] = c;
    }
}

/* --- simhash ------------------------------------------------------------ */

static uint64_t hash(const char *text)
{
    struct gram_list grams = GRAM_LIST_INIT;
    uint64_t h;

    gram_list_add_text(&grams, text, strlen(text));
    h = simhash(grams.items, grams.n);
    gram_list_release(&grams);
    return h;
}

/* Against counting, bit by bit. */
static void simhash_is_the_majority(void **state)
{
    (void)state;
    for (size_t n = 0; n < 40; n++) {
        uint32_t grams[40];
        uint64_t want = 0, got;

        for (size_t i = 0; i < n; i++)
            grams[i] = (uint32_t)below(UINT32_MAX, 7, i);
        got = simhash(grams, n);
        for (int bit = 0; bit < 64; bit++) {
            size_t count = 0;

            for (size_t i = 0; i < n; i++)
                count += simhash(&grams[i], 1) >> bit & 1;
            want |= (uint64_t)(2 * count > n) << bit;
        }
        assert_true(got == want);
    }
}

static void simhash_is_near_for_like_texts(void **state)
{
    char *a = xstrdup(prose);
    char *other = words(60, 1);

    (void)state;
    memcpy(strstr(a, "pilot"), "baker", 5);
    assert_true(hash("One  two, THREE") == hash("one two , three"));
    assert_in_range(simhash_distance(hash(prose), hash(a)), 0, 10);
    assert_in_range(simhash_distance(hash(prose), hash(other)), 18, 46);
    free(a);
    free(other);
}

/* --- texture ------------------------------------------------------------ */

static void repetition_is_measured(void **state)
{
    char text[4000];

    (void)state;
    assert_true(texture_repeated("", 0) == 0.0);
    assert_true(texture_repeated("short", 5) == 0.0);
    assert_true(texture_repeated(prose, sizeof prose - 1) < 0.2);
    memset(text, 'a', sizeof text);
    assert_true(texture_repeated(text, sizeof text) > 0.99);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = prose[i % 37];
    assert_true(texture_repeated(text, sizeof text) > 0.98);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)below(256, 3, i);
    assert_true(texture_repeated(text, sizeof text) == 0.0);
}

static void entropy_is_measured(void **state)
{
    (void)state;
    assert_true(texture_entropy("", 0) == 0.0);
    assert_true(texture_entropy("aaaa", 4) == 0.0);
    assert_true(fabs(texture_entropy("abab", 4) - 1) < 1e-12);
    assert_true(fabs(texture_entropy("abcdefgh", 8) - 3) < 1e-12);
}

static void shuffled_letters_have_no_pairs(void **state)
{
    size_t n = sizeof prose - 1, wrong = 0;
    char text[sizeof prose];

    (void)state;
    assert_true(texture_pairs("ab", 2) == 0.0);
    assert_true(texture_pairs(prose, n) > 4);
    assert_true(texture_pairs(prose, 120) > 2);
    for (uint64_t k = 0; k < 200; k++) {
        memcpy(text, prose, sizeof prose);
        shuffle(text, n, k);
        wrong += texture_pairs(text, n) >= 2;
    }
    assert_in_range(wrong, 0, 12);
}

/* --- families ----------------------------------------------------------- */

static const struct family_limits limits = {.bits = 3, .burst = 8,
                                            .share = 0.1f};

static bool comes(struct families *f, uint64_t h)
{
    return !families_too_many(f, h, &limits);
}

static uint64_t other(uint64_t i)
{
    return below(UINT64_MAX, 21, i);
}

/* A family alone is cut off after the burst. Other records give it a share. */
static void a_family_is_bounded(void **state)
{
    struct families *f = xcalloc(1, sizeof *f);
    uint64_t h = 0x0123456789abcdef;
    int n = 0;

    (void)state;
    for (int i = 0; i < 1000; i++)
        n += comes(f, h ^ (uint64_t)1 << i % 3 * 20); /* within 3 bits */
    assert_int_equal(n, 8);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(comes(f, other(i)));
        n += comes(f, h);
    }
    assert_in_range(n, 8 + 95, 8 + 105);
    free(f);
}

/* Families with a tenth of the stream each lose nothing, nor do rare ones. */
static void a_tenth_of_the_stream_is_fine(void **state)
{
    struct families *f = xcalloc(1, sizeof *f);

    (void)state;
    for (uint64_t i = 0; i < 20000; i++)
        assert_true(comes(f, other(i % 11)));
    for (uint64_t i = 0; i < 20000; i++)
        assert_true(comes(f, i % 12 ? other(i) : 77));
    free(f);
}

/* --- surprise ----------------------------------------------------------- */

static void learn_levels(struct surprise *s, int32_t domain, int n)
{
    for (int i = 0; i < n; i++)
        surprise_learned(s, domain, 2.0 + 0.1 * (i % 5)); /* 2.2, MAD 0.1 */
}

static enum surprise_level tell(const struct surprise *s, double x)
{
    return surprise_compare(s, 3, x, 6, 64);
}

static void surprise_is_by_median_and_mad(void **state)
{
    struct surprise s;

    (void)state;
    surprise_init(&s);
    assert_int_equal(tell(&s, 100), SURPRISE_NONE);
    learn_levels(&s, 3, 63);
    assert_int_equal(tell(&s, 100), SURPRISE_NONE); /* too few */
    learn_levels(&s, 3, 500);
    assert_int_equal(tell(&s, 2.75), SURPRISE_NONE);
    assert_int_equal(tell(&s, 2.85), SURPRISE_HIGH);
    assert_int_equal(tell(&s, 1.0), SURPRISE_NONE); /* not a quarter */
    assert_int_equal(tell(&s, 0.5), SURPRISE_LOW);
    assert_int_equal(surprise_compare(&s, 4, 100, 6, 64), SURPRISE_NONE);
    surprise_release(&s);
}

/* Median and MAD of the ring, against sorting. */
static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void the_ring_stays_sorted(void **state)
{
    struct surprise s;
    double last[SURPRISE_KEPT], away[SURPRISE_KEPT], m;

    (void)state;
    surprise_init(&s);
    for (uint64_t i = 0; i < 1000; i++) {
        double x = (double)(float)(2 + rng_unit(5, RNG_INIT, 4, i));

        surprise_learned(&s, 3, x);
        last[i % SURPRISE_KEPT] = x;
    }
    qsort(last, SURPRISE_KEPT, sizeof *last, compare);
    m = (last[63] + last[64]) / 2;
    for (int i = 0; i < SURPRISE_KEPT; i++)
        away[i] = fabs(last[i] - m);
    qsort(away, SURPRISE_KEPT, sizeof *away, compare);
    assert_int_equal(tell(&s, m + 6 * away[63] - 1e-6), SURPRISE_NONE);
    assert_int_equal(tell(&s, m + 6 * away[64] + 1e-6), SURPRISE_HIGH);
    surprise_release(&s);
}

static void a_level_that_stays_is_accepted(void **state)
{
    struct surprise s;

    (void)state;
    surprise_init(&s);
    learn_levels(&s, 3, 200);
    for (int i = 0; i < 99; i++)
        surprise_refused(&s, 3, 100);
    surprise_learned(&s, 3, 2.2); /* one of the old kind between them */
    for (int i = 0; i < 99; i++)
        surprise_refused(&s, 3, 100);
    assert_int_equal(tell(&s, 5), SURPRISE_HIGH);
    surprise_refused(&s, 3, 100);
    assert_int_equal(tell(&s, 5), SURPRISE_NONE);
    for (int i = 0; i < 64; i++)
        surprise_learned(&s, 3, 5 + 0.1 * (i % 3));
    assert_int_equal(tell(&s, 5.1), SURPRISE_NONE);
    assert_int_equal(tell(&s, 9), SURPRISE_HIGH);
    surprise_release(&s);
}

/* --- filter.h ----------------------------------------------------------- */

struct world {
    struct conf *conf;
    struct tokenizer *tokenizer;
    struct filter *f;
};

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);

    w->conf = conf_create();
    w->tokenizer = tokenizer_create_bytes();
    w->f = filter_create(&w->conf->filter, w->tokenizer);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    filter_free(w->f);
    tokenizer_free(w->tokenizer);
    conf_free(w->conf);
    free(w);
    return 0;
}

static const char *admit_as(struct world *w, const char *text, int32_t domain,
                            bool released, struct filter_mark *mark)
{
    const struct filter_record r = {
        .text = text,
        .n_bytes = strlen(text),
        .domain = domain,
        .released = released,
    };

    return filter_admit(w->f, &r, mark);
}

static const char *admit(struct world *w, const char *text, int32_t domain)
{
    struct filter_mark mark;

    return admit_as(w, text, domain, false, &mark);
}

/* The reason; "" for NULL. */
static const char *word(const char *reason)
{
    return reason ? reason : "";
}

static char *repeated(const char *piece, size_t times)
{
    char *text = xcalloc(times, strlen(piece) + 1);

    for (size_t i = 0; i < times; i++)
        strcat(text, piece);
    return text;
}

static void records_are_refused_by_reason(void **state)
{
    struct world *w = *state;
    char *again = repeated("All work and no play. ", 40);
    struct filter_mark mark;
    size_t n = 0;

    assert_null(admit(w, prose, 0));
    assert_string_equal(word(admit(w, again, 0)), "repetition");
    assert_null(admit_as(w, again, 0, true, &mark));
    w->conf->filter.repetition.enabled = false;
    assert_null(admit(w, again, 0));
    while (!admit(w, "One and the same.", 0))
        n++;
    assert_int_equal(n, 64);
    assert_string_equal(word(admit(w, "one and the SAME .", 0)),
                        "near_duplicate");
    assert_null(admit_as(w, "One and the same.", 0, true, &mark));
    w->conf->filter.near_duplicate.enabled = false;
    assert_null(admit(w, "One and the same.", 0));
    free(again);
}

/* Different texts without words are different families. */
static void marks_alone_are_texts(void **state)
{
    struct world *w = *state;
    char text[64];

    w->conf->filter.near_duplicate.burst = 1;
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof text, "%*s", i + 1, "\t");
        assert_null(admit(w, text, 0));
    }
}

/* A domain with nine tenths of the stream is thinned to half while the other
 * domain's records arrive. Alone, it keeps all its records again. */
static void a_domain_has_its_share(void **state)
{
    struct world *w = *state;
    size_t n[2] = {0}, alone = 0;

    w->conf->filter.near_duplicate.enabled = false;
    w->conf->filter.share_cap.share = 0.5;
    w->conf->filter.share_cap.window_bytes = 4096;
    for (int i = 0; i < 2000; i++) {
        int32_t domain = i % 10 == 0;

        n[domain] += i >= 1000 && !admit(w, "Some thirty bytes of a record.",
                                         domain);
    }
    assert_in_range(n[1], 95, 100);
    assert_in_range(n[0], 90, 125);
    for (int i = 0; i < 2000; i++)
        alone = admit(w, "Some thirty bytes of a record.", 0) ? 0 : alone + 1;
    assert_in_range(alone, 1000, 2000);
}

/* --- filter_judge ------------------------------------------------------- */

/* Judges a record with this text and this loss. */
static const char *judge(struct world *w, const char *text, int32_t domain,
                         double bits, bool released)
{
    struct cut c = CUT_INIT;
    const char *reason;

    cut_record(&c, w->tokenizer, 4096, NULL, 0, text, strlen(text), domain,
               -1);
    reason = filter_judge(w->f, &c.segments[0],
                          bits * log(2.0) * (double)strlen(text), released);
    cut_release(&c);
    return reason;
}

static const char *judge_held_out(struct world *w, const char *text,
                                  bool released)
{
    struct cut c = CUT_INIT;
    const char *reason;

    cut_record(&c, w->tokenizer, 4096, NULL, 0, text, strlen(text), 0, -1);
    reason = filter_judge_held_out(w->f, &c.segments[0], released);
    cut_release(&c);
    return reason;
}

static void have_history(struct world *w, int32_t domain)
{
    for (int i = 0; i < 100; i++)
        assert_null(judge(w, prose, domain, 2.0 + 0.1 * (i % 5), false));
}

static void noise_is_refused_and_news_is_not(void **state)
{
    struct world *w = *state;
    char noise[sizeof prose];
    char *strange = words(60, 4);

    memcpy(noise, prose, sizeof prose);
    shuffle(noise, sizeof prose - 1, 1);
    assert_null(judge(w, noise, 1, 8, false)); /* no history yet */
    have_history(w, 0);
    assert_string_equal(word(judge(w, noise, 0, 5, false)), "surprise");
    assert_null(judge(w, noise, 0, 4, false)); /* below the entropy */
    assert_null(judge(w, strange, 0, 6, false)); /* has structure */
    assert_null(judge(w, noise, 0, 5, true));
    assert_null(judge(w, "too short to tell", 0, 9, false));
    assert_string_equal(word(judge(w, prose, 0, 0.1, false)), "predictable");
    w->conf->filter.surprise.enabled = false;
    assert_null(judge(w, noise, 0, 5, false));
    free(strange);
}

/* Held-out noise is refused when the last record of its domain was. */
static void noise_is_not_held_out(void **state)
{
    struct world *w = *state;
    char noise[sizeof prose];

    memcpy(noise, prose, sizeof prose);
    shuffle(noise, sizeof prose - 1, 1);
    assert_null(judge_held_out(w, noise, false));
    have_history(w, 0);
    assert_null(judge_held_out(w, noise, false));
    judge(w, noise, 0, 5, false);
    assert_string_equal(word(judge_held_out(w, noise, false)), "surprise");
    assert_string_equal(word(judge_held_out(w, noise, false)), "surprise");
    assert_null(judge_held_out(w, prose, false));
    assert_null(judge_held_out(w, noise, true));
    assert_null(judge(w, prose, 0, 2, false));
    assert_null(judge_held_out(w, noise, false));
}

static void noise_that_stays_is_accepted(void **state)
{
    struct world *w = *state;
    char noise[sizeof prose];
    int refused = 0;

    memcpy(noise, prose, sizeof prose);
    shuffle(noise, sizeof prose - 1, 1);
    have_history(w, 0);
    for (int i = 0; i < 2000; i++)
        refused += judge(w, noise, 0, 5 + 0.1 * (i % 3), false) != NULL;
    assert_int_equal(refused, 1000);
}

/* --- state -------------------------------------------------------------- */

static void assert_same_state(const struct filter *a, const struct filter *b)
{
    struct tensor_list x = TENSOR_LIST_INIT, y = TENSOR_LIST_INIT;

    filter_export(a, &x);
    filter_export(b, &y);
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++) {
        assert_string_equal(x.items[i].name, y.items[i].name);
        assert_int_equal(tensor_bytes(&x.items[i]), tensor_bytes(&y.items[i]));
        if (memcmp(x.items[i].data, y.items[i].data,
                   tensor_bytes(&x.items[i])))
            fail_msg("%s differs", x.items[i].name);
    }
    tensor_list_release(&x);
    tensor_list_release(&y);
}

/* Record i is of one of few families, so that many are refused. */
static const char *admit_some(struct world *w, uint64_t i,
                              struct filter_mark *mark)
{
    char text[64];

    snprintf(text, sizeof text, "line %d of a kind %d",
             (int)below(40, 30, i), (int)below(400, 31, i) / 100);
    return admit_as(w, text, (int32_t)below(i < 500 ? 2 : 4, 32, i), false,
                    mark);
}

static const char *admit_and_settle(struct world *w, uint64_t i)
{
    struct filter_mark mark;
    const char *reason = admit_some(w, i, &mark);

    filter_settle(w->f, &mark);
    return reason;
}

/* The state counts settled records only, and a filter that rewinds to it
 * decides the other records the same again. */
static void the_state_is_of_settled_records(void **state)
{
    enum { N = 6000, SETTLED = 2500 };
    struct world *w = *state;
    struct filter *whole = w->f, *ahead;
    struct filter_mark *marks = xcalloc(N, sizeof *marks);
    const char **reasons = xcalloc(N, sizeof *reasons);
    size_t refused = 0;

    w->conf->filter.near_duplicate.burst = 3;
    w->conf->filter.share_cap.share = 0.3;
    w->conf->filter.share_cap.window_bytes = 2048;
    ahead = filter_create(&w->conf->filter, w->tokenizer);
    w->f = ahead;
    for (uint64_t i = 0; i < N; i++) {
        reasons[i] = admit_some(w, i, &marks[i]);
        refused += reasons[i] != NULL;
    }
    assert_in_range(refused, 50, N - 50);
    assert_same_state(ahead, whole); /* nothing is settled */
    for (uint64_t i = 0; i < SETTLED; i++)
        filter_settle(ahead, &marks[i]);
    w->f = whole;
    for (uint64_t i = 0; i < SETTLED; i++)
        assert_string_equal(word(admit_and_settle(w, i)), word(reasons[i]));
    assert_same_state(ahead, whole);
    for (int round = 0; round < 2; round++) {
        filter_rewind(ahead);
        w->f = ahead;
        for (uint64_t i = SETTLED; i < N; i++)
            assert_string_equal(word(admit_some(w, i, &marks[i])),
                                word(reasons[i]));
        assert_same_state(ahead, whole);
    }
    filter_free(ahead);
    w->f = whole;
    free(marks);
    free(reasons);
}

static void state_goes_out_and_in(void **state)
{
    struct world *w = *state;
    struct tensor_list out = TENSOR_LIST_INIT;
    struct filter *again = filter_create(&w->conf->filter, w->tokenizer);

    assert_int_equal(filter_import(again, &out, NULL), 0);
    assert_same_state(again, w->f); /* nothing at all */
    w->conf->filter.share_cap.share = 0.5;
    for (uint64_t i = 0; i < 6000; i++)
        admit_and_settle(w, i);
    have_history(w, 2);
    filter_export(w->f, &out);
    assert_int_equal(filter_import(again, &out, NULL), 0);
    assert_same_state(again, w->f);
    for (uint64_t i = 0; i < 500; i++) {
        const char *a = admit_and_settle(w, 6000 + i);
        struct filter *f = w->f;
        const char *b;

        w->f = again;
        b = admit_and_settle(w, 6000 + i);
        w->f = f;
        assert_string_equal(word(a), word(b));
    }
    assert_same_state(again, w->f);
    tensor_list_release(&out);
    filter_free(again);
}

static void a_damaged_state_is_refused(void **state)
{
    static const char *const names[] = {
        "filter.families.counters", "filter.families.last",
        "filter.surprise.counters", "filter.share.at"};
    struct world *w = *state;

    w->conf->filter.share_cap.share = 0.5;
    for (uint64_t i = 0; i < 100; i++)
        admit_and_settle(w, i);
    have_history(w, 2);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct tensor_list out = TENSOR_LIST_INIT;
        const struct tensor *t;
        struct err err = ERR_INIT;

        filter_export(w->f, &out);
        t = tensor_find(&out, names[i]);
        assert_non_null(t);
        *(int64_t *)t->data = -5;
        assert_int_equal(filter_import(w->f, &out, &err), ERR_CORRUPT);
        *(int64_t *)t->data = 1;
        ((struct tensor *)t)->shape[0]--;
        assert_int_equal(filter_import(w->f, &out, &err), ERR_CORRUPT);
        ((struct tensor *)t)->shape[0]++;
        tensor_list_release(&out);
    }
}

#define FACE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simhash_is_the_majority),
        cmocka_unit_test(simhash_is_near_for_like_texts),
        cmocka_unit_test(repetition_is_measured),
        cmocka_unit_test(entropy_is_measured),
        cmocka_unit_test(shuffled_letters_have_no_pairs),
        cmocka_unit_test(a_family_is_bounded),
        cmocka_unit_test(a_tenth_of_the_stream_is_fine),
        cmocka_unit_test(surprise_is_by_median_and_mad),
        cmocka_unit_test(the_ring_stays_sorted),
        cmocka_unit_test(a_level_that_stays_is_accepted),
        FACE(records_are_refused_by_reason),
        FACE(marks_alone_are_texts),
        FACE(a_domain_has_its_share),
        FACE(noise_is_refused_and_news_is_not),
        FACE(noise_is_not_held_out),
        FACE(noise_that_stays_is_accepted),
        FACE(the_state_is_of_settled_records),
        FACE(state_goes_out_and_in),
        FACE(a_damaged_state_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

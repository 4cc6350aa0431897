/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The board as JSON and as metrics: every field and every metric has its value,
 * an unknown figure is null or left out, and no name breaks either format.
 */
#include "config.h"

#include "daemon/board/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/timing.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "daemon/board/metrics.h"

static struct status_board board;

static int setup(void **state)
{
    (void)state;
    status_board_init(&board);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    status_board_release(&board);
    return 0;
}

static const json_t *at(const json_t *j, const char *path)
{
    char *copy = xstrdup(path), *save = NULL;

    for (char *p = strtok_r(copy, ".", &save); p;
         p = strtok_r(NULL, ".", &save))
        j = json_object_get(j, p);
    free(copy);
    return j;
}

static void test_promised(void **state)
{
    static const char *const paths[] = {
        "state", "serving_version", "head_version", "step", "tokens_seen",
        "records.consumed", "records.learned", "records.skipped",
        "records.quarantined", "records.holdout", "tokens_per_second",
        "loss.train_bits_per_byte", "loss.prequential_bits_per_byte",
        "replay.records", "replay.capacity", "replay.bytes", "ewc.penalty",
        "ewc.consolidations", "ewc.lambda", "source.type",
        "source.partitions", "freshness_seconds"};
    json_t *j = status_to_json(&board);

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (!at(j, paths[i]))
            fail_msg("no %s", paths[i]);
    assert_string_equal(json_string_value(at(j, "state")), "starting");
    assert_true(json_is_null(at(j, "loss.train_bits_per_byte")));
    assert_true(json_is_null(at(j, "freshness_seconds")));
    json_decref(j);
}

static void test_values(void **state)
{
    static _Atomic int64_t now = 1700000010000;
    struct status *s;
    json_t *j;

    (void)state;
    timing_set_fake(&now);
    s = status_lock(&board);
    s->records.consumed = 7;
    s->train_bits_per_byte = 1.25;
    s->serving_record_ms = now - 2500;
    status_unlock(&board);
    status_set_state(&board, STATUS_PAUSED, "the disk is full");
    j = status_to_json(&board);
    timing_set_fake(NULL);
    assert_string_equal(json_string_value(at(j, "state")), "paused");
    assert_string_equal(json_string_value(at(j, "reason")),
                        "the disk is full");
    assert_int_equal(json_integer_value(at(j, "records.consumed")), 7);
    assert_float_equal(json_real_value(at(j, "loss.train_bits_per_byte")),
                       1.25, 1e-9);
    assert_float_equal(json_real_value(at(j, "freshness_seconds")), 2.5,
                       1e-9);
    json_decref(j);
}

/* --- every figure once --------------------------------------------------- */

static void two_partitions_health(struct source *s,
                                  struct source_health *health)
{
    (void)s;
    *health = (struct source_health){
        .state = SOURCE_RETRYING,
        .reason = "no broker",
        .gaps = 101,
        .records_read = 102,
        .times_cut = 103,
        .time_cut_ms = 1699999900000,
        .dead_lettered = 104,
        .dead_letters_failed = 105,
        .dead_letters_waiting = 106,
    };
}

static size_t two_partitions(struct source *s, struct source_partition **rows)
{
    static const struct source_partition all[] = {
        {"news", 0, 0, 900, 1000},
        {"news", 7, -1, 70, -1}, /* the end is not known */
    };

    (void)s;
    *rows = xmalloc(sizeof all);
    memcpy(*rows, all, sizeof all);
    return sizeof all / sizeof all[0];
}

/* Gives every figure a value of its own. */
static void fill_board(int64_t now_ms)
{
    struct status *s = status_lock(&board);
    struct status_publish *p = &s->publish;

    s->state = STATUS_LEARNING;
    strcpy(s->reason, "all is well");
    s->started_ms = timing_mono_ms() - 61500;
    s->source_type = "kafka";
    s->serving_version = 1;
    s->head_version = 2;
    s->serving_pinned = true;
    s->step = 3;
    s->tokens_seen = 4;
    s->bytes_seen = 5;
    s->records = (struct status_records){40, 7, 8, 9, 16};
    s->tokens_per_second = 10.5;
    s->records_per_second = 11.25;
    s->train_bits_per_byte = 1.5;
    s->prequential_bits_per_byte = 1.25;
    s->average_prequential = 1.0625;
    s->prequential_total = 1.125;
    s->accuracy = 0.5;
    s->labels = 12;
    s->replay = (struct status_replay){13, 14, 15, 17, 18};
    s->holdout_rows = 19;
    s->ewc = (struct status_ewc){0.25, 0.125, 2.5, 20};
    s->grad_norm = 0.75;
    s->rate = 0.001;
    s->steps_skipped = 21;
    histogram_add(&s->step_seconds, 0.001); /* a bound belongs to its bucket */
    histogram_add(&s->step_seconds, 0.125);
    histogram_add(&s->step_seconds, 0.249);
    histogram_add(&s->step_seconds, 64);
    histogram_add(&s->slot_seconds, 0.125);
    board.infer.passes = 107;
    board.infer.pass_requests = 108;
    board.infer.pass_tokens = 109;
    board.infer.prompt_tokens = 110;
    board.infer.prefix_tokens = 111;
    board.infer.prefix_bytes = 112;
    s->newest_record_ms = now_ms;
    s->serving_record_ms = now_ms - 2500;
    p->count = 22;
    p->failed = 23;
    p->last_seconds = 2.25;
    p->last_cpu_seconds = 2.125;
    p->last_stop_seconds = 0.0625;
    p->interval_seconds = 30.5;
    p->next_waits_for = "publish.every_seconds";
    p->next_ms = timing_mono_ms() + 4500;
    p->passed = 24;
    p->refused = 25;
    p->rollbacks = 27;
    p->automatic = 28;
    p->newest_version = 29;
    p->judged_version = 30;
    strcpy(p->last_verdict, "failed");
    strcpy(p->last_reason, "few records");
    p->refused_in_a_row = 31;
    p->reference_version = 32;
    p->shadow_records = 33;
    p->shadow_difference = 0.03125;
    p->shadow_evidence = -1.5;
    strcpy(p->last_rollback, "asked for");
    s->vocabulary_bytes = 34;
    s->vocabulary_wanted = 35;
    s->flushes = 36;
    s->memory_announced = 37;
    s->erasure_pending = true;
    s->n_quarantine = 2;
    s->quarantine[0].reason = status_name(&board, "empty");
    s->quarantine[0].count = 6;
    s->quarantine[1].reason = status_name(&board, "surprise");
    s->quarantine[1].count = 38;
    s->n_domains = 2;
    s->n_domains_known = 39;
    s->domains[0] = (struct status_domain){status_name(&board, "news"), 41,
                                           42, 3.5, 0.625, 43,
                                           {47, 48, 2.5, 3.75, 0.75}};
    s->domains[1] = (struct status_domain){status_name(&board, "code"), 44,
                                           45, NAN, NAN, 46,
                                           {0, -1, NAN, NAN, 0}};
    s->n_holdouts = 1;
    s->holdouts[0] =
        (struct status_holdout){status_name(&board, "news"), 3.25, 3.125};
    status_unlock(&board);
    status_count_reply(&board, "/v1/score", "POST", 200, 0.0625);
    status_count_reply(&board, "/v1/score", "POST", 503, 0.25);
    status_count_reply(&board, "/healthz", "GET", 200, 0.0005);
    status_count_reply(&board, NULL, NULL, 404, 0.0005);
    board.source = (struct source *)&board; /* only its two functions matter */
    board.source_get_health = two_partitions_health;
    board.source_get_partitions = two_partitions;
}

/* The whole text: a new metric is a new line here. */
static void test_every_metric(void **state)
{
    static const char expected[] =
        "# HELP mneme_up 1 while the process runs.\n"
        "# TYPE mneme_up gauge\n"
        "mneme_up 1\n"
        "# HELP mneme_build_info 1; the label names the program version.\n"
        "# TYPE mneme_build_info gauge\n"
        "mneme_build_info{version=\"" PACKAGE_VERSION "\"} 1\n"
        "# HELP mneme_learning_paused 1 while learning is paused.\n"
        "# TYPE mneme_learning_paused gauge\n"
        "mneme_learning_paused 0\n"
        "# HELP mneme_records_consumed_total Records decided.\n"
        "# TYPE mneme_records_consumed_total counter\n"
        "mneme_records_consumed_total 40\n"
        "# HELP mneme_records_learned_total Records learned.\n"
        "# TYPE mneme_records_learned_total counter\n"
        "mneme_records_learned_total 7\n"
        "# HELP mneme_records_skipped_total Records skipped.\n"
        "# TYPE mneme_records_skipped_total counter\n"
        "mneme_records_skipped_total 8\n"
        "# HELP mneme_records_quarantined_total Records quarantined.\n"
        "# TYPE mneme_records_quarantined_total counter\n"
        "mneme_records_quarantined_total 9\n"
        "# HELP mneme_records_holdout_total Records held out.\n"
        "# TYPE mneme_records_holdout_total counter\n"
        "mneme_records_holdout_total 16\n"
        "# HELP mneme_quarantine_reasons_total Records quarantined by "
        "reason.\n"
        "# TYPE mneme_quarantine_reasons_total counter\n"
        "mneme_quarantine_reasons_total{reason=\"empty\"} 6\n"
        "mneme_quarantine_reasons_total{reason=\"surprise\"} 38\n"
        "# HELP mneme_stalled_threads Threads that have not moved for longer "
        "than their longest task takes.\n"
        "# TYPE mneme_stalled_threads gauge\n"
        "mneme_stalled_threads 0\n"
        "# HELP mneme_steps_total Optimizer steps.\n"
        "# TYPE mneme_steps_total counter\n"
        "mneme_steps_total 3\n"
        "# HELP mneme_steps_skipped_total Steps without an update.\n"
        "# TYPE mneme_steps_skipped_total counter\n"
        "mneme_steps_skipped_total 21\n"
        "# HELP mneme_tokens_learned_total New tokens learned.\n"
        "# TYPE mneme_tokens_learned_total counter\n"
        "mneme_tokens_learned_total 4\n"
        "# HELP mneme_bytes_learned_total Bytes of text learned.\n"
        "# TYPE mneme_bytes_learned_total counter\n"
        "mneme_bytes_learned_total 5\n"
        "# HELP mneme_flushes_total Part-filled batches learned in a pause.\n"
        "# TYPE mneme_flushes_total counter\n"
        "mneme_flushes_total 36\n"
        "# HELP mneme_tokens_per_second New tokens learned a second.\n"
        "# TYPE mneme_tokens_per_second gauge\n"
        "mneme_tokens_per_second 10.5\n"
        "# HELP mneme_records_per_second Records decided a second.\n"
        "# TYPE mneme_records_per_second gauge\n"
        "mneme_records_per_second 11.25\n"
        "# HELP mneme_step_duration_seconds Durations of steps.\n"
        "# TYPE mneme_step_duration_seconds histogram\n"
        "mneme_step_duration_seconds_bucket{le=\"0.001\"} 1\n"
        "mneme_step_duration_seconds_bucket{le=\"0.0025\"} 1\n"
        "mneme_step_duration_seconds_bucket{le=\"0.005\"} 1\n"
        "mneme_step_duration_seconds_bucket{le=\"0.01\"} 1\n"
        "mneme_step_duration_seconds_bucket{le=\"0.025\"} 1\n"
        "mneme_step_duration_seconds_bucket{le=\"0.05\"} 1\n"
        "mneme_step_duration_seconds_bucket{le=\"0.1\"} 1\n"
        "mneme_step_duration_seconds_bucket{le=\"0.25\"} 3\n"
        "mneme_step_duration_seconds_bucket{le=\"0.5\"} 3\n"
        "mneme_step_duration_seconds_bucket{le=\"1.0\"} 3\n"
        "mneme_step_duration_seconds_bucket{le=\"2.5\"} 3\n"
        "mneme_step_duration_seconds_bucket{le=\"5.0\"} 3\n"
        "mneme_step_duration_seconds_bucket{le=\"10.0\"} 3\n"
        "mneme_step_duration_seconds_bucket{le=\"60.0\"} 3\n"
        "mneme_step_duration_seconds_bucket{le=\"+Inf\"} 4\n"
        "mneme_step_duration_seconds_sum 64.375\n"
        "mneme_step_duration_seconds_count 4\n"
        "# HELP mneme_prequential_loss_bpb Loss before learning in bits per "
        "byte, recent mean.\n"
        "# TYPE mneme_prequential_loss_bpb gauge\n"
        "mneme_prequential_loss_bpb 1.25\n"
        "# HELP mneme_average_prequential_loss_bpb Loss of the moving average "
        "before learning in bits per byte, recent mean of one segment in "
        "sixteen.\n"
        "# TYPE mneme_average_prequential_loss_bpb gauge\n"
        "mneme_average_prequential_loss_bpb 1.0625\n"
        "# HELP mneme_train_loss_bpb Loss of new and replayed segments in "
        "bits per byte, recent mean.\n"
        "# TYPE mneme_train_loss_bpb gauge\n"
        "mneme_train_loss_bpb 1.5\n"
        "# HELP mneme_accuracy Share of labels predicted correctly.\n"
        "# TYPE mneme_accuracy gauge\n"
        "mneme_accuracy 0.5\n"
        "# HELP mneme_gradient_norm Gradient norm before clipping.\n"
        "# TYPE mneme_gradient_norm gauge\n"
        "mneme_gradient_norm 0.75\n"
        "# HELP mneme_learning_rate Learning rate of the last step.\n"
        "# TYPE mneme_learning_rate gauge\n"
        "mneme_learning_rate 0.001\n"
        "# HELP mneme_ewc_penalty EWC penalty in nats.\n"
        "# TYPE mneme_ewc_penalty gauge\n"
        "mneme_ewc_penalty 0.25\n"
        "# HELP mneme_ewc_share Weight change by EWC, divided by that of the "
        "optimizer.\n"
        "# TYPE mneme_ewc_share gauge\n"
        "mneme_ewc_share 0.125\n"
        "# HELP mneme_ewc_consolidations_total Consolidations completed.\n"
        "# TYPE mneme_ewc_consolidations_total counter\n"
        "mneme_ewc_consolidations_total 20\n"
        "# HELP mneme_replay_records Live replay rows.\n"
        "# TYPE mneme_replay_records gauge\n"
        "mneme_replay_records 13\n"
        "# HELP mneme_replay_capacity Most live replay rows.\n"
        "# TYPE mneme_replay_capacity gauge\n"
        "mneme_replay_capacity 14\n"
        "# HELP mneme_replay_bytes Bytes of live replay rows.\n"
        "# TYPE mneme_replay_bytes gauge\n"
        "mneme_replay_bytes 15\n"
        "# HELP mneme_replay_damaged_total Replay rows found damaged or "
        "missing when sampled.\n"
        "# TYPE mneme_replay_damaged_total counter\n"
        "mneme_replay_damaged_total 17\n"
        "# HELP mneme_replay_missing_total Rows that a loaded index named "
        "and the table did not have.\n"
        "# TYPE mneme_replay_missing_total counter\n"
        "mneme_replay_missing_total 18\n"
        "# HELP mneme_serving_version The version that answers.\n"
        "# TYPE mneme_serving_version gauge\n"
        "mneme_serving_version 1\n"
        "# HELP mneme_head_version The newest version.\n"
        "# TYPE mneme_head_version gauge\n"
        "mneme_head_version 2\n"
        "# HELP mneme_publishes_total Versions published by this process.\n"
        "# TYPE mneme_publishes_total counter\n"
        "mneme_publishes_total 22\n"
        "# HELP mneme_publish_failures_total Publishes that failed.\n"
        "# TYPE mneme_publish_failures_total counter\n"
        "mneme_publish_failures_total 23\n"
        "# HELP mneme_rollbacks_total Rollbacks by this process.\n"
        "# TYPE mneme_rollbacks_total counter\n"
        "mneme_rollbacks_total 27\n"
        "# HELP mneme_automatic_rollbacks_total Automatic rollbacks.\n"
        "# TYPE mneme_automatic_rollbacks_total counter\n"
        "mneme_automatic_rollbacks_total 28\n"
        "# HELP mneme_gate_refused_in_a_row Versions since one passed the "
        "gate.\n"
        "# TYPE mneme_gate_refused_in_a_row gauge\n"
        "mneme_gate_refused_in_a_row 31\n"
        "# HELP mneme_shadow_records Held-out segments of the shadow "
        "comparison.\n"
        "# TYPE mneme_shadow_records gauge\n"
        "mneme_shadow_records 33\n"
        "# HELP mneme_shadow_difference_ratio Loss of the live version over "
        "the reference's, minus 1.\n"
        "# TYPE mneme_shadow_difference_ratio gauge\n"
        "mneme_shadow_difference_ratio 0.03125\n"
        "# HELP mneme_shadow_evidence Ln of the evidence that the reference "
        "is 3 % better.\n"
        "# TYPE mneme_shadow_evidence gauge\n"
        "mneme_shadow_evidence -1.5\n"
        "# HELP mneme_publish_seconds Duration of the last publish.\n"
        "# TYPE mneme_publish_seconds gauge\n"
        "mneme_publish_seconds 2.25\n"
        "# HELP mneme_publish_cpu_seconds The processor time of the last "
        "publish.\n"
        "# TYPE mneme_publish_cpu_seconds gauge\n"
        "mneme_publish_cpu_seconds 2.125\n"
        "# HELP mneme_publish_stop_seconds How long the trainer waited for "
        "the last publish.\n"
        "# TYPE mneme_publish_stop_seconds gauge\n"
        "mneme_publish_stop_seconds 0.0625\n"
        "# HELP mneme_publish_interval_seconds Least time between two "
        "versions; longer when they cost much.\n"
        "# TYPE mneme_publish_interval_seconds gauge\n"
        "mneme_publish_interval_seconds 30.5\n"
        "# HELP mneme_erasure_pending 1 while mneme.db may hold bytes of "
        "forgotten records.\n"
        "# TYPE mneme_erasure_pending gauge\n"
        "mneme_erasure_pending 1\n"
        "# HELP mneme_gate_verdicts_total Gate verdicts by this process.\n"
        "# TYPE mneme_gate_verdicts_total counter\n"
        "mneme_gate_verdicts_total{verdict=\"pass\"} 24\n"
        "mneme_gate_verdicts_total{verdict=\"fail\"} 25\n"
        "# HELP mneme_freshness_seconds Age of the newest record in the "
        "serving version.\n"
        "# TYPE mneme_freshness_seconds gauge\n"
        "mneme_freshness_seconds 2.5\n"
        "# HELP mneme_domain_prequential_loss_bpb Loss before learning by "
        "domain in bits per byte, recent mean.\n"
        "# TYPE mneme_domain_prequential_loss_bpb gauge\n"
        "mneme_domain_prequential_loss_bpb{domain=\"news\"} 3.5\n"
        "# HELP mneme_domain_holdout_loss_bpb Loss of the judged version on "
        "the holdout in bits per byte.\n"
        "# TYPE mneme_domain_holdout_loss_bpb gauge\n"
        "mneme_domain_holdout_loss_bpb{domain=\"news\"} 3.25\n"
        "# HELP mneme_domain_holdout_best_loss_bpb The lowest holdout loss "
        "so far in bits per byte.\n"
        "# TYPE mneme_domain_holdout_best_loss_bpb gauge\n"
        "mneme_domain_holdout_best_loss_bpb{domain=\"news\"} 3.125\n"
        "# HELP mneme_domain_accuracy Share of labels that were predicted "
        "right.\n"
        "# TYPE mneme_domain_accuracy gauge\n"
        "mneme_domain_accuracy{domain=\"news\"} 0.625\n"
        "# HELP mneme_domain_drift_level State of the drift test: 0.5 is a "
        "warning; at 1 it raises an alarm and begins again at 0.\n"
        "# TYPE mneme_domain_drift_level gauge\n"
        "mneme_domain_drift_level{domain=\"news\"} 0.75\n"
        "mneme_domain_drift_level{domain=\"code\"} 0\n"
        "# HELP mneme_domains Domains known; the first 257 have series.\n"
        "# TYPE mneme_domains gauge\n"
        "mneme_domains 39\n"
        "# HELP mneme_domain_records_total Records learned by domain.\n"
        "# TYPE mneme_domain_records_total counter\n"
        "mneme_domain_records_total{domain=\"news\"} 41\n"
        "mneme_domain_records_total{domain=\"code\"} 44\n"
        "# HELP mneme_domain_drift_alarms_total Drift alarms by domain.\n"
        "# TYPE mneme_domain_drift_alarms_total counter\n"
        "mneme_domain_drift_alarms_total{domain=\"news\"} 47\n"
        "mneme_domain_drift_alarms_total{domain=\"code\"} 0\n"
        "# HELP mneme_source_up 1 while the source is read or has ended; 0 "
        "while it retries or has stopped.\n"
        "# TYPE mneme_source_up gauge\n"
        "mneme_source_up 0\n"
        "# HELP mneme_source_gaps_total Gaps in the stream that were "
        "skipped.\n"
        "# TYPE mneme_source_gaps_total counter\n"
        "mneme_source_gaps_total 101\n"
        "# HELP mneme_source_times_cut_total Event times in the future, "
        "replaced by the present time.\n"
        "# TYPE mneme_source_times_cut_total counter\n"
        "mneme_source_times_cut_total 103\n"
        "# HELP mneme_dead_letters_delivered_total Dead letters that were "
        "delivered.\n"
        "# TYPE mneme_dead_letters_delivered_total counter\n"
        "mneme_dead_letters_delivered_total 104\n"
        "# HELP mneme_dead_letters_failed_total Dead letters that failed for "
        "good.\n"
        "# TYPE mneme_dead_letters_failed_total counter\n"
        "mneme_dead_letters_failed_total 105\n"
        "# HELP mneme_dead_letters_waiting Dead letters that are not "
        "delivered yet.\n"
        "# TYPE mneme_dead_letters_waiting gauge\n"
        "mneme_dead_letters_waiting 106\n"
        "# HELP mneme_source_lag Records that are not learned yet.\n"
        "# TYPE mneme_source_lag gauge\n"
        "mneme_source_lag{topic=\"news\",partition=\"0\"} 1000\n"
        "# HELP mneme_memory_announced_bytes The most memory that the process "
        "announced at its start.\n"
        "# TYPE mneme_memory_announced_bytes gauge\n"
        "mneme_memory_announced_bytes 37\n"
        "# HELP mneme_http_request_duration_seconds From the head of a "
        "request to the end of its reply.\n"
        "# TYPE mneme_http_request_duration_seconds histogram\n";
    static const char replies[] =
        "# HELP mneme_http_replies_total Replies by status code.\n"
        "# TYPE mneme_http_replies_total counter\n"
        "mneme_http_replies_total{code=\"200\"} 2\n"
        "mneme_http_replies_total{code=\"404\"} 1\n"
        "mneme_http_replies_total{code=\"503\"} 1\n"
        "# HELP process_cpu_seconds_total Processor time of the process, user "
        "and system.\n"
        "# TYPE process_cpu_seconds_total counter\n"
        "process_cpu_seconds_total ";
    static const char passes[] =
        "# HELP mneme_generation_passes_total Forward passes that completions "
        "shared.\n"
        "# TYPE mneme_generation_passes_total counter\n"
        "mneme_generation_passes_total 107\n"
        "# HELP mneme_generation_pass_requests_total Completions in these "
        "passes; divided by the passes, the mean size of a batch.\n"
        "# TYPE mneme_generation_pass_requests_total counter\n"
        "mneme_generation_pass_requests_total 108\n"
        "# HELP mneme_generation_pass_tokens_total Tokens that these passes "
        "read, of prompts and of answers.\n"
        "# TYPE mneme_generation_pass_tokens_total counter\n"
        "mneme_generation_pass_tokens_total 109\n"
        "# HELP mneme_generation_prompt_tokens_total Tokens of the prompts of "
        "completions.\n"
        "# TYPE mneme_generation_prompt_tokens_total counter\n"
        "mneme_generation_prompt_tokens_total 110\n"
        "# HELP mneme_prefix_cache_hit_tokens_total Prompt tokens of "
        "completions that the prefix cache had.\n"
        "# TYPE mneme_prefix_cache_hit_tokens_total counter\n"
        "mneme_prefix_cache_hit_tokens_total 111\n"
        "# HELP mneme_prefix_cache_bytes Memory that the prefix cache takes.\n"
        "# TYPE mneme_prefix_cache_bytes gauge\n"
        "mneme_prefix_cache_bytes 112\n";
    static const char *const series[] = {
        "mneme_http_slot_wait_seconds_bucket{le=\"0.1\"} 0\n",
        "mneme_http_slot_wait_seconds_sum 0.125\n",
        "{endpoint=\"/v1/score\",method=\"POST\",le=\"0.1\"} 1\n",
        "{endpoint=\"/v1/score\",method=\"POST\",le=\"0.25\"} 2\n",
        "_sum{endpoint=\"/v1/score\",method=\"POST\"} 0.3125\n",
        "_count{endpoint=\"/v1/score\",method=\"POST\"} 2\n",
        "_count{endpoint=\"/healthz\",method=\"GET\"} 1\n",
    };
    static _Atomic int64_t now = 1700000010000;
    struct buf out = BUF_INIT;

    (void)state;
    timing_set_fake(&now);
    fill_board(now);
    status_to_metrics(&board, &out);
    timing_set_fake(NULL);
    assert_memory_equal(out.data, expected, sizeof expected - 1);
    for (size_t i = 0; i < sizeof series / sizeof *series; i++)
        if (!strstr(out.data + sizeof expected - 1, series[i]))
            fail_msg("no %s", series[i]);
    assert_non_null(strstr(out.data + sizeof expected - 1, replies));
    assert_non_null(strstr(out.data + sizeof expected - 1, passes));
    buf_release(&out);
}

/* The whole object: a new field is a new line here. */
static void test_every_field(void **state)
{
    static const char expected[] =
        "{\n"
        " \"state\": \"learning\",\n"
        " \"reason\": \"all is well\",\n"
        " \"serving_version\": 1,\n"
        " \"head_version\": 2,\n"
        " \"serving_pinned\": true,\n"
        " \"step\": 3,\n"
        " \"tokens_seen\": 4,\n"
        " \"bytes_seen\": 5,\n"
        " \"tokens_per_second\": 10.5,\n"
        " \"records_per_second\": 11.25,\n"
        " \"records\": {\n"
        "  \"consumed\": 40,\n"
        "  \"learned\": 7,\n"
        "  \"skipped\": 8,\n"
        "  \"quarantined\": 9,\n"
        "  \"holdout\": 16\n"
        " },\n"
        " \"loss\": {\n"
        "  \"train_bits_per_byte\": 1.5,\n"
        "  \"prequential_bits_per_byte\": 1.25,\n"
        "  \"average_prequential_bits_per_byte\": 1.0625,\n"
        "  \"prequential_total_bits_per_byte\": 1.125\n"
        " },\n"
        " \"accuracy\": 0.5,\n"
        " \"labels\": 12,\n"
        " \"replay\": {\n"
        "  \"records\": 13,\n"
        "  \"capacity\": 14,\n"
        "  \"bytes\": 15,\n"
        "  \"damaged\": 17,\n"
        "  \"missing\": 18\n"
        " },\n"
        " \"holdout_rows\": 19,\n"
        " \"ewc\": {\n"
        "  \"penalty\": 0.25,\n"
        "  \"share\": 0.125,\n"
        "  \"consolidations\": 20,\n"
        "  \"lambda\": 2.5\n"
        " },\n"
        " \"optimizer\": {\n"
        "  \"grad_norm\": 0.75,\n"
        "  \"rate\": 0.001,\n"
        "  \"steps_skipped\": 21\n"
        " },\n"
        " \"flushes\": 36,\n"
        " \"domains\": [\n"
        "  {\n"
        "   \"domain\": \"news\",\n"
        "   \"records\": 41,\n"
        "   \"bytes\": 42,\n"
        "   \"prequential_bits_per_byte\": 3.5,\n"
        "   \"holdout_bits_per_byte\": 3.25,\n"
        "   \"holdout_best_bits_per_byte\": 3.125,\n"
        "   \"forgetting_bits_per_byte\": 0.125,\n"
        "   \"accuracy\": 0.625,\n"
        "   \"replay_rows\": 43,\n"
        "   \"drift\": {\n"
        "    \"alarms\": 47,\n"
        "    \"level\": 0.75,\n"
        "    \"record\": 48,\n"
        "    \"before_bits_per_byte\": 2.5,\n"
        "    \"after_bits_per_byte\": 3.75\n"
        "   }\n"
        "  },\n"
        "  {\n"
        "   \"domain\": \"code\",\n"
        "   \"records\": 44,\n"
        "   \"bytes\": 45,\n"
        "   \"prequential_bits_per_byte\": null,\n"
        "   \"holdout_bits_per_byte\": null,\n"
        "   \"holdout_best_bits_per_byte\": null,\n"
        "   \"forgetting_bits_per_byte\": null,\n"
        "   \"accuracy\": null,\n"
        "   \"replay_rows\": 46,\n"
        "   \"drift\": {\n"
        "    \"alarms\": 0,\n"
        "    \"level\": 0.0,\n"
        "    \"record\": null,\n"
        "    \"before_bits_per_byte\": null,\n"
        "    \"after_bits_per_byte\": null\n"
        "   }\n"
        "  }\n"
        " ],\n"
        " \"domains_known\": 39,\n"
        " \"quarantine\": {\n"
        "  \"empty\": 6,\n"
        "  \"surprise\": 38\n"
        " },\n"
        " \"publish\": {\n"
        "  \"count\": 22,\n"
        "  \"failed\": 23,\n"
        "  \"last_seconds\": 2.25,\n"
        "  \"last_cpu_seconds\": 2.125,\n"
        "  \"last_stop_seconds\": 0.0625,\n"
        "  \"interval_seconds\": 30.5,\n"
        "  \"next_version\": {\n"
        "   \"waits_for\": \"publish.every_seconds\",\n"
        "   \"in_seconds\": 4.5\n"
        "  },\n"
        "  \"judged_version\": 30,\n"
        "  \"passed\": 24,\n"
        "  \"refused\": 25,\n"
        "  \"rollbacks\": 27,\n"
        "  \"last_verdict\": \"failed\",\n"
        "  \"last_reason\": \"few records\",\n"
        "  \"automatic_rollbacks\": 28,\n"
        "  \"refused_in_a_row\": 31,\n"
        "  \"last_rollback\": \"asked for\",\n"
        "  \"shadow\": {\n"
        "   \"against\": 32,\n"
        "   \"records\": 33,\n"
        "   \"difference\": 0.03125,\n"
        "   \"evidence\": -1.5\n"
        "  }\n"
        " },\n"
        " \"source\": {\n"
        "  \"type\": \"kafka\",\n"
        "  \"state\": \"retrying\",\n"
        "  \"reason\": \"no broker\",\n"
        "  \"gaps\": 101,\n"
        "  \"records_read\": 102,\n"
        "  \"dead_lettered\": 104,\n"
        "  \"dead_letters_failed\": 105,\n"
        "  \"dead_letters_waiting\": 106,\n"
        "  \"times_cut\": 103,\n"
        "  \"time_cut_ago_seconds\": 110.0,\n"
        "  \"lag\": 1000,\n"
        "  \"partitions\": [\n"
        "   {\n"
        "    \"topic\": \"news\",\n"
        "    \"partition\": 0,\n"
        "    \"offset\": 0,\n"
        "    \"lag\": 1000\n"
        "   },\n"
        "   {\n"
        "    \"topic\": \"news\",\n"
        "    \"partition\": 7,\n"
        "    \"offset\": 70,\n"
        "    \"lag\": null\n"
        "   }\n"
        "  ]\n"
        " },\n"
        " \"freshness_seconds\": 2.5,\n"
        " \"uptime_seconds\": 61.5,\n"
        " \"memory_announced_bytes\": 37,\n"
        " \"stalled_threads\": 0,\n"
        " \"erasure_pending\": true\n"
        "}";
    static _Atomic int64_t now = 1700000010000;
    json_t *j;
    char *text;

    (void)state;
    timing_set_fake(&now);
    fill_board(now);
    j = status_to_json(&board);
    timing_set_fake(NULL);
    text = json_dumps(j, JSON_INDENT(1));
    assert_string_equal(text, expected);
    free(text);
    json_decref(j);
}

/* An object that does not apply is null, or is left out. */
static void test_fields_that_do_not_apply(void **state)
{
    static _Atomic int64_t now = 1700000010000;
    struct buf out = BUF_INIT;
    struct status *s;
    json_t *j;

    (void)state;
    timing_set_fake(&now);
    fill_board(now);
    s = status_lock(&board);
    s->head_version = 0;
    s->publish.reference_version = 0;
    s->publish.shadow_records = 0;
    s->publish.next_waits_for = NULL;
    s->serving_record_ms = 0;
    s->train_bits_per_byte = NAN;
    status_unlock(&board);
    j = status_to_json(&board);
    status_to_metrics(&board, &out);
    timing_set_fake(NULL);
    assert_true(json_is_null(at(j, "publish.shadow")));
    assert_true(json_is_null(at(j, "publish.next_version")));
    assert_true(json_is_null(at(j, "freshness_seconds")));
    assert_true(json_is_null(at(j, "loss.train_bits_per_byte")));
    assert_int_equal(json_integer_value(at(j, "vocabulary.bytes")), 34);
    assert_int_equal(json_integer_value(at(j, "vocabulary.wanted")), 35);
    assert_null(strstr(out.data, "mneme_freshness_seconds"));
    assert_null(strstr(out.data, "mneme_shadow_evidence"));
    assert_null(strstr(out.data, "mneme_shadow_difference_ratio"));
    assert_non_null(strstr(out.data, "\nmneme_shadow_records 0\n"));
    assert_non_null(strstr(out.data, "# TYPE mneme_train_loss_bpb"));
    assert_null(strstr(out.data, "\nmneme_train_loss_bpb "));
    json_decref(j);
    buf_release(&out);
}

static double value_of(const char *metrics, const char *name)
{
    char *line = xasprintf("\n%s ", name);
    const char *at = strstr(metrics, line);
    double value = at ? strtod(at + strlen(line), NULL) : (double)NAN;

    free(line);
    return value;
}

/* The figures of the process, against other ways to ask the system. */
static void test_process(void **state)
{
    struct buf out = BUF_INIT;
    struct timespec cpu;
    struct rusage usage;
    int fds[2];
    double files;

    (void)state;
    status_to_metrics(&board, &out);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    assert_true(value_of(out.data, "process_cpu_seconds_total") > 0);
    assert_true(value_of(out.data, "process_cpu_seconds_total") <=
                (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
    getrusage(RUSAGE_SELF, &usage);
    assert_true(value_of(out.data, "process_resident_memory_bytes") > 4096);
    assert_true(value_of(out.data, "process_resident_memory_bytes") <=
                1024.0 * (double)usage.ru_maxrss + (1 << 20));
    assert_true(value_of(out.data, "process_virtual_memory_bytes") >
                value_of(out.data, "process_resident_memory_bytes"));
    assert_true(value_of(out.data, "process_threads") >= 1);
    /* seconds of Unix time, after 2020, and not in the future */
    assert_true(value_of(out.data, "process_start_time_seconds") > 1.57e9);
    assert_true(value_of(out.data, "process_start_time_seconds") <=
                (double)time(NULL) + 1);
    files = value_of(out.data, "process_open_fds");
    assert_true(value_of(out.data, "process_max_fds") > files);
    buf_release(&out);
    assert_int_equal(pipe(fds), 0);
    status_to_metrics(&board, &out);
    assert_true(value_of(out.data, "process_open_fds") == files + 2);
    close(fds[0]);
    close(fds[1]);
    buf_release(&out);
}

/* A small text, converted by hand. */
static void test_openmetrics(void **state)
{
    struct buf out = BUF_INIT;

    (void)state;
    metrics_family(&out, "steps_total", "Steps, _total of all.");
    metrics_sample(&out, "steps_total", NULL, 0, 3);
    metrics_family(&out, "freshness_seconds", "Age.");
    metrics_sample(&out, "freshness_seconds", NULL, 0, 2.5);
    metrics_family(&out, "process_cpu_seconds_total", "Time.");
    metrics_sample(&out, "process_cpu_seconds_total", NULL, 0, 1);
    metrics_family(&out, "replay_bytes", "# TYPE in the help.");
    metrics_family(&out, "tokens_per_second", "Speed.");
    metrics_to_openmetrics(&out);
    assert_string_equal(out.data,
                        "# HELP mneme_steps Steps, _total of all.\n"
                        "# TYPE mneme_steps counter\n"
                        "mneme_steps_total 3\n"
                        "# HELP mneme_freshness_seconds Age.\n"
                        "# TYPE mneme_freshness_seconds gauge\n"
                        "# UNIT mneme_freshness_seconds seconds\n"
                        "mneme_freshness_seconds 2.5\n"
                        "# HELP process_cpu_seconds Time.\n"
                        "# TYPE process_cpu_seconds counter\n"
                        "# UNIT process_cpu_seconds seconds\n"
                        "process_cpu_seconds_total 1\n"
                        "# HELP mneme_replay_bytes # TYPE in the help.\n"
                        "# TYPE mneme_replay_bytes gauge\n"
                        "# UNIT mneme_replay_bytes bytes\n"
                        "# HELP mneme_tokens_per_second Speed.\n"
                        "# TYPE mneme_tokens_per_second gauge\n"
                        "# EOF\n");
    buf_release(&out);
}

/* The lag of all partitions whose end is known. */
static void test_lag(void **state)
{
    (void)state;
    assert_int_equal(status_lag(&board, NULL), -1);
    fill_board(1700000010000);
    assert_int_equal(status_lag(&board, NULL), 1000);
}

/* GET /v1/domains has the same rows as GET /v1/status, and no other field. */
static void test_every_domain_field(void **state)
{
    json_t *all, *domains;

    (void)state;
    fill_board(timing_wall_ms());
    all = status_to_json(&board);
    domains = status_domains_json(&board);
    assert_int_equal(json_object_size(domains), 2);
    assert_true(json_equal(at(domains, "domains"), at(all, "domains")));
    assert_true(json_equal(at(domains, "domains_known"),
                           at(all, "domains_known")));
    json_decref(all);
    json_decref(domains);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_promised),
        T(test_values),
        T(test_every_metric),
        T(test_every_field),
        T(test_fields_that_do_not_apply),
        T(test_lag),
        T(test_every_domain_field),
        T(test_process),
        T(test_openmetrics),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

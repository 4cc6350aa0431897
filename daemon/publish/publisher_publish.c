/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a snapshot as a version: files and one transaction (store_publish).
 * Retention removes old versions, and the replay rows that only they need.
 */
#include "config.h"

#include "daemon/publish/publisher_private.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/timing.h"
#include "base/xalloc.h"
#include "daemon/publish/verdict_memory.h"

static int write_replay(struct sqlite3 *db, int64_t version, void *arg,
                        struct err *err)
{
    const struct snapshot *s = arg;
    int rc = replay_db_write(db, s->replay_changes, version, err);

    return rc ? rc : replay_db_write(db, s->holdout_changes, version, err);
}

/* Gives the source the positions of a durable version. A Kafka source commits
 * them. */
static void tell_source(struct publisher *p, const struct snapshot *s)
{
    struct source_position *positions =
        xcalloc(s->n_offsets, sizeof *positions);

    for (size_t i = 0; i < s->n_offsets; i++)
        positions[i] = (struct source_position){
            .topic = s->offsets[i].topic,
            .partition = s->offsets[i].partition,
            .next_offset = s->offsets[i].next_offset,
            .last_learned = s->offsets[i].last_learned,
            .last_hash = s->offsets[i].last_hash,
        };
    source_published(p->options.source, positions, s->n_offsets);
    free(positions);
}

int publisher_publish(struct publisher *p, const struct snapshot *s,
                      int64_t *version, struct err *err)
{
    int64_t started = timing_mono_ns();
    struct hf_text text = p->tokenizer ? snapshot_text(p->tokenizer)
                                       : (struct hf_text){0};
    struct catalog_pointers pointers;
    struct store_publication publication = {
        .created_ms = s->created_ms,
        .step = s->step,
        .tokens_seen = s->tokens_seen,
        .shape = p->shape,
        .weights = p->shape ? &s->weights : NULL,
        .state = &s->state,
        .holdout = &s->holdout,
        .anchor = s->anchor_unchanged ? NULL : &s->anchor,
        .head = &s->head,
        .ngram = &s->ngram,
        .tokenizer_json = p->tokenizer ? p->tokenizer_json.data : NULL,
        .tokenizer_json_bytes = p->tokenizer_json.len,
        .text = p->tokenizer ? &text : NULL,
        .labels_json = s->labels_json.data,
        .metadata_json = s->metadata.data,
        .offsets = s->offsets,
        .n_offsets = s->n_offsets,
        .ledger = s->stage.ledger,
        .n_ledger = s->stage.n_ledger,
        .quarantine = s->stage.quarantine,
        .n_quarantine = s->stage.n_quarantine,
        .in_transaction = write_replay,
        .arg = (void *)s,
    };
    int rc = catalog_pointers(p->options.catalog, &pointers, err);

    probe_release(&p->probe);
    p->probed_version = 0;
    if (rc)
        return rc;
    probe_take(s, p->shape, p->tokenizer,
               serving_options(p->options.serving), &p->probe);
    publication.parent = pointers.head;
    rc = store_publish(p->options.store, &publication, version, err);
    if (rc)
        return rc;
    p->probed_version = *version;
    tell_source(p, s);
    log_info("publish", "version=%lld step=%lld tokens=%lld seconds=%.3f",
             (long long)*version, (long long)s->step,
             (long long)s->tokens_seen, timing_seconds_since(started));
    publisher_show(p, NULL);
    return 0;
}

/* Called in the transaction that prunes. `kept` are the versions that stay. */
static int sweep_replay(struct sqlite3 *db, const int64_t *kept,
                        size_t n_kept, void *arg, struct err *err)
{
    struct publisher *p = arg;
    int64_t deleted;

    serving_retain(p->options.serving, kept, n_kept);
    return replay_db_sweep(db, kept, n_kept, 20000, &deleted, err);
}

int publisher_prune(struct publisher *p, struct err *err)
{
    const struct conf_keep *k = &p->options.conf->publish.keep;
    struct store_keep keep = {(int)k->newest, (int)k->hourly, (int)k->daily,
                              0};
    struct catalog_pointers pointers;
    struct verdict_memory memory;
    int removed = 0, rc;

    /* Keeps the reference version. Without it the next candidate would be
     * compared with the serving version, which may be worse. */
    if (catalog_pointers(p->options.catalog, &pointers, NULL) == 0 &&
        verdict_memory_load(p->options.catalog, pointers.head, &memory,
                            NULL) == 0)
        keep.also = memory.reference;
    rc = store_prune(p->options.store, &keep, timing_wall_ms(), sweep_replay,
                     p, &removed, err);
    if (removed)
        log_debug("retention", "removed=%d", removed);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mutex guards everything but the parts of a round while it runs. A round:
 *
 *     GATHER   all wait  --begin_round-->  RUN  --last group--> end_round
 *
 * begin_round chooses tokens of each waiting request, in the order of the
 * line, and cuts them into groups of consecutive requests. Each waiting thread
 * takes groups until none is left. The thread that finishes the last group
 * ends the round: requests that are done return, and the others go to the end
 * of the line, which shares the tokens of prompts among them.
 *
 * A member is awaited while it chooses a token. When a round begins although
 * some members have not come, it gives up all of these: it sets n_awaited to 0
 * and raises n_given_up. A member remembers n_given_up from when it went away.
 * If the number is another one when the member comes back, it is no longer part
 * of n_awaited. A member that was away for longer than the patience takes part
 * when it comes, but is not awaited for its next token.
 */
#include "config.h"

#include "learner/infer/shared_pass.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/timing.h"
#include "base/xalloc.h"

#define GROUP_TOKENS 6 /* as many as a product reads together */

/* A waiting request, on the stack of its thread. */
struct request {
    struct frozen_part left; /* the tokens that are not read yet */
    size_t n_round;          /* tokens of it in this round; may be 0 */
    struct shared_pass_member *member;
    bool is_late, done;
    struct request *next;
};

struct group {
    size_t from, n; /* parts of the round */
};

struct shared_pass {
    const struct frozen *f;
    struct infer_figures *figures;
    int64_t patience_ms;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    struct request *line; /* the longest waiting first */
    size_t n_joined, n_awaited;
    uint64_t n_given_up; /* how often members were given up */
    struct frozen_part *parts; /* [n_parts] of the round */
    size_t n_parts, cap_parts;
    struct group *groups; /* [n_groups], room for n_threads */
    struct frozen_work **works; /* [n_threads] of the groups */
    size_t n_threads, n_groups, next_group, unfinished;
};

struct shared_pass *shared_pass_create(const struct frozen *f, int n_threads,
                                       int64_t patience_ms,
                                       struct infer_figures *figures)
{
    struct shared_pass *p = xcalloc(1, sizeof *p);

    p->f = f;
    p->figures = figures;
    p->patience_ms = patience_ms;
    p->n_threads = n_threads > 0 ? (size_t)n_threads : 1;
    p->groups = xcalloc(p->n_threads, sizeof *p->groups);
    p->works = xcalloc(p->n_threads, sizeof *p->works);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    return p;
}

void shared_pass_free(struct shared_pass *p)
{
    if (!p)
        return;
    BUG_ON(p->n_joined > 0);
    for (size_t i = 0; i < p->n_threads; i++)
        frozen_work_free(p->works[i]);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    free(p->works);
    free(p->groups);
    free(p->parts);
    free(p);
}

/* --- who is awaited ----------------------------------------------------- */

/* Locks: needs p->mutex, as the next two */
static void go_away(struct shared_pass *p, struct shared_pass_member *m,
                    bool is_awaited)
{
    m->is_awaited = is_awaited;
    m->n_given_up = p->n_given_up;
    m->away_ms = timing_mono_ms();
    p->n_awaited += is_awaited;
}

/* Returns true when m has come late. */
static bool come_back(struct shared_pass *p, const struct shared_pass_member *m)
{
    if (m->is_awaited && m->n_given_up == p->n_given_up)
        p->n_awaited--;
    return p->patience_ms >= 0 &&
           timing_mono_ms() - m->away_ms > p->patience_ms;
}

static void give_up(struct shared_pass *p)
{
    if (p->n_awaited > 0)
        p->n_given_up++;
    p->n_awaited = 0;
}

void shared_pass_join(struct shared_pass *p, struct shared_pass_member *m)
{
    pthread_mutex_lock(&p->mutex);
    p->n_joined++;
    go_away(p, m, true);
    pthread_mutex_unlock(&p->mutex);
}

void shared_pass_leave(struct shared_pass *p, struct shared_pass_member *m)
{
    pthread_mutex_lock(&p->mutex);
    p->n_joined--;
    come_back(p, m);
    pthread_cond_broadcast(&p->changed); /* now none may be awaited */
    pthread_mutex_unlock(&p->mutex);
}

/* --- a round ------------------------------------------------------------ */

/* Puts the next tokens of r into the round. Locks: needs p->mutex */
static void add_part(struct shared_pass *p, struct request *r, size_t n)
{
    struct frozen_part *part;

    r->n_round = n;
    if (n == 0)
        return;
    if (p->n_parts == p->cap_parts) {
        p->cap_parts = p->cap_parts ? 2 * p->cap_parts : 16;
        p->parts = xreallocarray(p->parts, p->cap_parts, sizeof *p->parts);
    }
    part = &p->parts[p->n_parts++];
    *part = r->left;
    part->n_new = n;
    if (part->n_losses > n)
        part->n_losses = n;
    if (n < r->left.n_new)
        part->logits = NULL;
}

/* Cuts the parts into groups of about equal size. Locks: needs p->mutex */
static void make_groups(struct shared_pass *p, size_t n_tokens)
{
    size_t most = n_tokens / GROUP_TOKENS, seen = 0, i = 0;

    most = most < 1 ? 1 : most > p->n_threads ? p->n_threads : most;
    p->n_groups = p->next_group = 0;
    while (i < p->n_parts) {
        struct group *g = &p->groups[p->n_groups++];

        *g = (struct group){.from = i};
        while (i < p->n_parts &&
               (g->n == 0 || p->n_groups == most ||
                seen + p->parts[i].n_new <= n_tokens * p->n_groups / most)) {
            seen += p->parts[i++].n_new;
            g->n++;
        }
    }
    p->unfinished = p->n_groups;
}

/* Locks: needs p->mutex */
static void begin_round(struct shared_pass *p)
{
    size_t room = SHARED_PASS_PROMPT, n_tokens = 0;

    p->n_parts = 0;
    for (struct request *r = p->line; r; r = r->next) {
        size_t n = r->left.n_new;

        if (n > 1) {
            n = n < room ? n : room;
            room -= n;
        }
        add_part(p, r, n);
        n_tokens += n;
    }
    make_groups(p, n_tokens);
    if (p->figures) {
        atomic_fetch_add(&p->figures->passes, 1);
        atomic_fetch_add(&p->figures->pass_tokens, (long long)n_tokens);
        atomic_fetch_add(&p->figures->pass_requests, (long long)p->n_parts);
    }
    if (p->n_groups > 1)
        pthread_cond_broadcast(&p->changed); /* for help */
}

static void skip_tokens(struct frozen_part *left, size_t n)
{
    left->n_past += n;
    left->tokens += n;
    left->n_new -= n;
    n = n < left->n_losses ? n : left->n_losses;
    left->loss = left->loss ? left->loss + n : NULL;
    left->n_losses -= n;
}

/* Locks: needs p->mutex */
static void end_round(struct shared_pass *p)
{
    struct request *served = NULL, **served_end = &served;
    struct request **at = &p->line, *r;

    while ((r = *at)) {
        if (r->n_round == 0) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        skip_tokens(&r->left, r->n_round);
        r->n_round = 0;
        r->next = NULL;
        r->done = r->left.n_new == 0;
        if (r->done) {
            go_away(p, r->member, !r->is_late);
        } else {
            *served_end = r;
            served_end = &r->next;
        }
    }
    *at = served;
    p->n_groups = p->next_group = 0;
    pthread_cond_broadcast(&p->changed);
}

/* Locks: needs p->mutex, and unlocks it while a group runs */
static void run_groups(struct shared_pass *p)
{
    while (p->next_group < p->n_groups) {
        size_t i = p->next_group++;
        struct group g = p->groups[i];

        pthread_mutex_unlock(&p->mutex);
        if (!p->works[i])
            p->works[i] = frozen_work_create(p->f, SHARED_PASS_PROMPT);
        frozen_extend_all(p->f, p->parts + g.from, g.n, p->works[i]);
        pthread_mutex_lock(&p->mutex);
        if (--p->unfinished == 0)
            end_round(p);
    }
}

void shared_pass_extend(struct shared_pass *p, struct shared_pass_member *m,
                        const struct frozen_part *part)
{
    struct request r = {.left = *part, .member = m}, **end = &p->line;
    struct timespec late = timing_deadline(p->patience_ms);
    bool is_over = false; /* the patience */

    pthread_mutex_lock(&p->mutex);
    while (*end)
        end = &(*end)->next;
    *end = &r;
    r.is_late = come_back(p, m);
    while (!r.done) {
        bool running = p->n_groups > 0;

        if (running)
            is_over = false; /* another one has begun a round */
        if (!running && (is_over || p->n_awaited == 0)) {
            give_up(p);
            begin_round(p);
            is_over = false;
        }
        if (p->next_group < p->n_groups) {
            run_groups(p);
            late = timing_deadline(p->patience_ms);
        } else if (running || p->patience_ms < 0) {
            pthread_cond_wait(&p->changed, &p->mutex);
            late = timing_deadline(p->patience_ms);
        } else {
            is_over = timing_wait(&p->changed, &p->mutex, &late) == ETIMEDOUT;
        }
    }
    pthread_mutex_unlock(&p->mutex);
}

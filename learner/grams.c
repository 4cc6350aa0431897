/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over the bytes: those that join a word are hashed on the way
 * (FNV-1a, 64 bits); at a word's end its hash, and that of it and the word
 * before, are mixed down to 32 bits.
 */
#include "config.h"

#include "learner/grams.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/xalloc.h"

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

/* What a byte does. */
enum kind { JOINS, SPACE, ALONE, LEAD3, LEAD4 };

static enum kind kind_of(unsigned char c)
{
    if (c >= 0xf0)
        return LEAD4;
    if (c >= 0xe0)
        return LEAD3;
    if (c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
        (c >= 'A' && c <= 'Z'))
        return JOINS;
    return c <= ' ' || c == 0x7f ? SPACE : ALONE;
}

static uint64_t add_byte(uint64_t hash, unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        c = (unsigned char)(c + ('a' - 'A'));
    return (hash ^ c) * FNV_PRIME;
}

static uint32_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(x >> 32);
}

struct scan {
    struct gram_list *out;
    uint64_t word;   /* hash of the bytes of the present word */
    uint64_t before; /* hash of the word before, 0: none */
    bool within;     /* a word */
};

static void end_word(struct scan *s)
{
    struct gram_list *l = s->out;

    if (!s->within)
        return;
    l->items[l->n++] = mix(s->word);
    if (s->before)
        l->items[l->n++] = mix(s->before * FNV_PRIME + s->word);
    s->before = s->word;
    s->word = FNV_BASIS;
    s->within = false;
}

static void join(struct scan *s, unsigned char c)
{
    s->word = add_byte(s->word, c);
    s->within = true;
}

/* The continuation bytes of a character of n_bytes, at p; returns how many. */
static size_t join_rest(struct scan *s, const unsigned char *p,
                        const unsigned char *end, size_t n_bytes)
{
    size_t n = 0;

    while (n + 1 < n_bytes && p + n < end && (p[n] & 0xc0) == 0x80)
        join(s, p[n++]);
    return n;
}

/* Every byte makes two hashes at most. */
static void make_room(struct gram_list *l, size_t n_bytes)
{
    size_t need = l->n + 2 * n_bytes;

    if (need <= l->cap)
        return;
    l->cap = need + need / 2;
    l->items = xreallocarray(l->items, l->cap, sizeof *l->items);
}

void gram_list_add_text(struct gram_list *l, const char *text, size_t n_bytes)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n_bytes;
    struct scan s = {.out = l, .word = FNV_BASIS};

    make_room(l, n_bytes);
    while (p < end) {
        unsigned char c = *p++;
        enum kind kind = kind_of(c);

        if (kind == JOINS) {
            join(&s, c);
            continue;
        }
        end_word(&s);
        if (kind == SPACE)
            continue;
        join(&s, c);
        if (kind != ALONE)
            p += join_rest(&s, p, end, kind == LEAD3 ? 3 : 4);
        end_word(&s);
    }
    end_word(&s);
}

void gram_list_release(struct gram_list *l)
{
    free(l->items);
    *l = (struct gram_list)GRAM_LIST_INIT;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over the bytes. The bytes of a word are hashed (FNV-1a, 64 bits). At
 * the end of a word, its hash and that of the pair with the word before are
 * mixed down to 32 bits. Three letters are a number of 24 bits, and are mixed
 * likewise.
 */
#include "config.h"

#include "learner/tokenizer/grams.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

/* The kinds of bytes. For a byte that belongs to a word, the number is what
 * must be added to make it a small letter. */
enum kind { JOINS = 0, CAPITAL = 'a' - 'A', SPACE, ALONE, LEAD3, LEAD4 };

static const uint8_t kinds[256] = {
    [0 ... ' '] = SPACE,       ['!' ... '/'] = ALONE,
    ['0' ... '9'] = JOINS,     [':' ... '@'] = ALONE,
    ['A' ... 'Z'] = CAPITAL,   ['[' ... '`'] = ALONE,
    ['a' ... 'z'] = JOINS,     ['{' ... '~'] = ALONE,
    [0x7f] = SPACE,            [0x80 ... 0xdf] = JOINS,
    [0xe0 ... 0xef] = LEAD3,   [0xf0 ... 0xff] = LEAD4,
};

static uint64_t add_byte(uint64_t hash, unsigned char c)
{
    return (hash ^ c) * FNV_PRIME;
}

static uint32_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(x >> 32);
}

struct scan {
    uint32_t *out;
    uint64_t before; /* hash of the previous word, 0: none */
};

static void end_word(struct scan *s, uint64_t word)
{
    *s->out++ = mix(word);
    if (s->before)
        *s->out++ = mix(s->before * FNV_PRIME + word);
    s->before = word;
}

/* Hashes the word that begins at p. */
static const unsigned char *hash_word(struct scan *s, const unsigned char *p,
                                      const unsigned char *end)
{
    uint64_t word = FNV_BASIS;

    do {
        word = add_byte(word, (unsigned char)(*p + kinds[*p]));
        p++;
    } while (p < end && kinds[*p] <= CAPITAL);
    end_word(s, word);
    return p;
}

/* Hashes a character of n_bytes, or as much of it as the text has, as a
 * word. */
static const unsigned char *hash_mark(struct scan *s, const unsigned char *p,
                                      const unsigned char *end, size_t n_bytes)
{
    uint64_t word = add_byte(FNV_BASIS, *p++);

    while (--n_bytes && p < end && (*p & 0xc0) == 0x80)
        word = add_byte(word, *p++);
    end_word(s, word);
    return p;
}

static void make_room(struct gram_list *l, size_t n)
{
    size_t need = l->n + n;

    if (need <= l->cap)
        return;
    l->cap = need + need / 2;
    l->items = xreallocarray(l->items, l->cap, sizeof *l->items);
}

void gram_list_add_text(struct gram_list *l, const char *text, size_t n_bytes)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n_bytes;
    struct scan s = {NULL, 0};

    if (n_bytes == 0)
        return;
    make_room(l, 2 * n_bytes); /* a byte makes at most two hashes */
    s.out = l->items + l->n;
    while (p < end) {
        enum kind kind = kinds[*p];

        if (kind <= CAPITAL)
            p = hash_word(&s, p, end);
        else if (kind == SPACE)
            p++;
        else
            p = hash_mark(&s, p, end,
                          kind == LEAD4   ? 4
                          : kind == LEAD3 ? 3
                                          : 1);
    }
    l->n = (size_t)(s.out - l->items);
}

/* Skips a space, a punctuation mark, or a character that is a word. */
static const unsigned char *skip_mark(const unsigned char *p,
                                      const unsigned char *end)
{
    size_t n_bytes = kinds[*p] == LEAD4 ? 4 : kinds[*p] == LEAD3 ? 3 : 1;

    for (p++; --n_bytes && p < end && (*p & 0xc0) == 0x80; p++)
        continue;
    return p;
}

/* Bit 24 tells three letters from anything else that is hashed. */
static uint32_t hash_letters(uint32_t last)
{
    return mix(((last & 0xffffff) | 0x1000000) * FNV_PRIME);
}

void gram_list_add_letters(struct gram_list *l, const char *text,
                           size_t n_bytes)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n_bytes;
    uint32_t *out, last;

    if (n_bytes == 0)
        return;
    make_room(l, n_bytes);
    out = l->items + l->n;
    while (p < end) {
        if (kinds[*p] > CAPITAL) {
            p = skip_mark(p, end);
            continue;
        }
        last = (uint32_t)'<' << 8 | (uint32_t)(*p + kinds[*p]);
        for (p++; p < end && kinds[*p] <= CAPITAL; p++) {
            last = last << 8 | (uint32_t)(*p + kinds[*p]);
            *out++ = hash_letters(last);
        }
        *out++ = hash_letters(last << 8 | '>');
    }
    l->n = (size_t)(out - l->items);
}

void gram_list_add(struct gram_list *l, const uint32_t *items, size_t n)
{
    make_room(l, n);
    if (n)
        memcpy(l->items + l->n, items, n * sizeof *items);
    l->n += n;
}

void gram_list_release(struct gram_list *l)
{
    free(l->items);
    *l = (struct gram_list)GRAM_LIST_INIT;
}

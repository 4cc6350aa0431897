/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A text is cut before each starter that nothing before it composes with. Each
 * piece is decomposed, its marks are sorted by combining class, and it is
 * composed again. Nearly all pieces are single characters, which stay as they
 * are.
 */
#include "config.h"

#include "learner/tokenizer/nfc.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "base/xalloc.h"
#include "learner/tokenizer/nfc_tables.h"

/* Hangul syllables, section 3.12 of the Unicode standard. */
enum {
    S_FIRST = 0xac00,
    L_FIRST = 0x1100,
    V_FIRST = 0x1161,
    T_FIRST = 0x11a7, /* one before the first tail */
    N_L = 19,
    N_V = 21,
    N_T = 28,
    N_S = N_L * N_V * N_T
};

#define FIRST_IN_TABLES 0x300 /* of nfc_ranges; those before stay */

static const struct nfc_range *range_of(uint32_t c)
{
    size_t low = 0, high = nfc_ranges_n;

    if (c < FIRST_IN_TABLES)
        return NULL;
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (c > nfc_ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < nfc_ranges_n && nfc_ranges[low].first <= c)
        return &nfc_ranges[low];
    return NULL;
}

bool nfc_is_normal(const char *text, size_t n_bytes)
{
    uint8_t order = 0;
    size_t at = 0;

    while (at < n_bytes) {
        const struct nfc_range *r = NULL;
        uint32_t c;
        size_t length = 1;

        if ((unsigned char)text[at] >= 0xcc) { /* the lead byte of U+0300 */
            length = utf8_decode(text + at, n_bytes - at, &c);
            if (length)
                r = range_of(c);
            else
                length = 1;
        }
        if (r && (r->unsure || (r->order && r->order < order)))
            return false;
        order = r ? r->order : 0;
        at += length;
    }
    return true;
}

/* --- one piece ---------------------------------------------------------- */

struct mark {
    uint32_t c;
    uint8_t order;
    size_t at; /* so that sorting is stable */
};

struct piece {
    struct mark *marks;
    size_t n, cap;
};

static void add_mark(struct piece *p, uint32_t c)
{
    const struct nfc_range *r = range_of(c);

    XGROW(p->marks, p->n, p->cap);
    p->marks[p->n] = (struct mark){c, r ? r->order : 0, p->n};
    p->n++;
}

static int compare_parts(const void *key, const void *item)
{
    uint32_t c = *(const uint32_t *)key;
    uint32_t other = ((const struct nfc_parts *)item)->code_point;

    return c < other ? -1 : c > other;
}

static void add_parts(struct piece *p, uint32_t c)
{
    const struct nfc_parts *found;

    if (c - S_FIRST < N_S) {
        uint32_t s = c - S_FIRST;

        add_mark(p, L_FIRST + s / (N_V * N_T));
        add_mark(p, V_FIRST + s / N_T % N_V);
        if (s % N_T)
            add_mark(p, T_FIRST + s % N_T);
        return;
    }
    found =
        bsearch(&c, nfc_parts, nfc_parts_n, sizeof *nfc_parts, compare_parts);
    if (!found)
        add_mark(p, c);
    for (int i = 0; found && i < NFC_MOST_PARTS && found->parts[i]; i++)
        add_mark(p, found->parts[i]);
}

static int compare_marks(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;

    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Sorts each run of marks between two starters by combining class. */
static void sort_marks(struct piece *p)
{
    size_t from = 0;

    while (from < p->n) {
        size_t to = from;

        while (to < p->n && p->marks[to].order)
            to++;
        if (to - from > 1)
            qsort(p->marks + from, to - from, sizeof *p->marks, compare_marks);
        from = to + 1;
    }
}

static int compare_pairs(const void *key, const void *item)
{
    const struct nfc_pair *a = key, *b = item;

    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return a->second < b->second ? -1 : a->second > b->second;
}

/* Returns the composite of two characters, or 0. */
static uint32_t composite(uint32_t first, uint32_t second)
{
    struct nfc_pair key = {first, second, 0};
    const struct nfc_pair *found;

    if (first - L_FIRST < N_L && second - V_FIRST < N_V)
        return S_FIRST + ((first - L_FIRST) * N_V + (second - V_FIRST)) * N_T;
    if (first - S_FIRST < N_S && (first - S_FIRST) % N_T == 0 &&
        second - T_FIRST - 1 < N_T - 1)
        return first + (second - T_FIRST);
    found =
        bsearch(&key, nfc_pairs, nfc_pairs_n, sizeof *nfc_pairs, compare_pairs);
    return found ? found->composite : 0;
}

/* Composes a character with the last starter before it, unless a mark of the
 * same or a higher class, or another starter, is between them. */
static void compose(struct piece *p)
{
    size_t kept = 0, starter = SIZE_MAX;

    for (size_t i = 0; i < p->n; i++) {
        struct mark m = p->marks[i];
        bool blocked =
            starter == SIZE_MAX ||
            (kept > starter + 1 && p->marks[kept - 1].order >= m.order);
        uint32_t c = blocked ? 0 : composite(p->marks[starter].c, m.c);

        if (c) {
            p->marks[starter].c = c;
            continue;
        }
        if (m.order == 0)
            starter = kept;
        p->marks[kept++] = m;
    }
    p->n = kept;
}

static void add_utf8(uint32_t c, struct buf *out)
{
    if (c < 0x80) {
        buf_addc(out, (char)c);
    } else if (c < 0x800) {
        buf_addc(out, (char)(0xc0 | c >> 6));
    } else if (c < 0x10000) {
        buf_addc(out, (char)(0xe0 | c >> 12));
    } else {
        buf_addc(out, (char)(0xf0 | c >> 18));
        buf_addc(out, (char)(0x80 | (c >> 12 & 0x3f)));
    }
    if (c >= 0x800)
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
    if (c >= 0x80)
        buf_addc(out, (char)(0x80 | (c & 0x3f)));
}

static void add_piece(struct piece *p, const char *text, size_t n_bytes,
                      struct buf *out)
{
    p->n = 0;
    for (size_t at = 0, length; at < n_bytes; at += length) {
        uint32_t c;

        length = utf8_decode(text + at, n_bytes - at, &c);
        add_parts(p, c);
    }
    sort_marks(p);
    compose(p);
    for (size_t i = 0; i < p->n; i++)
        add_utf8(p->marks[i].c, out);
}

/* --- a text ------------------------------------------------------------- */

void nfc_add(const char *text, size_t n_bytes, struct buf *out)
{
    struct piece p = {0};
    size_t at = 0;

    while (at < n_bytes) {
        uint32_t c;
        size_t length = utf8_decode(text + at, n_bytes - at, &c);
        size_t end = at + length, next;
        bool single;

        if (length == 0) {
            buf_addc(out, text[at++]);
            continue;
        }
        single = !range_of(c);
        while ((next = utf8_decode(text + end, n_bytes - end, &c)) != 0 &&
               range_of(c)) {
            end += next;
            single = false;
        }
        if (single)
            buf_add(out, text + at, length);
        else
            add_piece(&p, text + at, end - at, out);
        at = end;
    }
    free(p.marks);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "conf/conf_near.h"

#include <string.h>

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;

    return m < c ? m : c;
}

/* Counts insertions, deletions, changes and swaps of neighbours between two
 * words (Damerau 1964, restricted). Returns CONF_MAX_WORD for longer words. */
static int edits(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    int d[CONF_MAX_WORD + 1][CONF_MAX_WORD + 1];

    if (n > CONF_MAX_WORD || m > CONF_MAX_WORD)
        return CONF_MAX_WORD;
    for (size_t i = 0; i <= n; i++)
        d[i][0] = (int)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
                           d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
                a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    }
    return d[n][m];
}

/* Returns how many edits make a word near: 1 for words of up to three letters,
 * a third of the letters for longer ones. */
static int near_enough(const char *word)
{
    size_t n = strlen(word);

    return n < 4 ? 1 : (int)(n / 3);
}

static bool same_section(const char *a, const char *b)
{
    size_t n = (size_t)(conf_map_leaf(a) - a);

    return (size_t)(conf_map_leaf(b) - b) == n && memcmp(a, b, n) == 0;
}

/* Returns the distance of a row from a wrong name, or limit when it is not
 * near. The last part counts most. The whole name decides between equal last
 * parts. */
static int distance(const char *name, const char *row, int limit)
{
    int leaf = edits(conf_map_leaf(name), conf_map_leaf(row));

    return leaf > near_enough(conf_map_leaf(name))
               ? limit
               : leaf * 2 * CONF_MAX_WORD + edits(name, row);
}

const struct conf_key *conf_near_key(const char *name)
{
    const struct conf_key *best = NULL;
    int best_distance, d;

    for (int elsewhere = 0; elsewhere < 2 && !best; elsewhere++) {
        best_distance = CONF_MAX_WORD * CONF_MAX_WORD * 2;
        for (size_t i = 0; i < conf_map_n; i++) {
            if (!elsewhere && !same_section(conf_map[i].name, name))
                continue;
            d = distance(name, conf_map[i].name, best_distance);
            if (d < best_distance) {
                best_distance = d;
                best = &conf_map[i];
            }
        }
    }
    return best;
}

bool conf_near_word(const char *words, const char *word,
                    char nearest[CONF_MAX_WORD + 1])
{
    char candidate[CONF_MAX_WORD + 1];
    int fewest = near_enough(word) + 1;
    bool is_near = false;
    int n;

    while ((words = conf_map_next_word(words, candidate)) != NULL) {
        n = edits(word, candidate);
        if (n < fewest) {
            fewest = n;
            memcpy(nearest, candidate, sizeof candidate);
            is_near = true;
        }
    }
    return is_near;
}

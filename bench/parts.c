/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "bench/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* Seconds of machine, train, score, generate, presets, quantize, replay,
 * publish, more or less. gpt2, in which one step takes longer than a window,
 * has its own. */
static const double weights[] = {6, 5, 6, 6, 5, 12, 6, 4};
static const double gpt2_weights[] = {0, 50, 14, 14};

static struct part *add(struct part *p, enum part_kind kind,
                        const char *group, const char *name, size_t index)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s%s%s", group, name ? "." : "",
             name ? name : "");
    p->kind = kind;
    p->index = index;
    p->weight = weights[kind];
    if (kind >= PART_TRAIN && kind <= PART_GENERATE && index == SHAPES_N - 1)
        p->weight = gpt2_weights[kind];
    return p + 1;
}

void parts_list(struct part parts[PARTS_N])
{
    struct part *p = add(parts, PART_MACHINE, "machine", NULL, 0);

    for (size_t i = 0; i < SHAPES_N; i++) {
        const char *name = shape_comparison_name(i);

        p = add(p, PART_TRAIN, "train", name, i);
        p = add(p, PART_SCORE, "score", name, i);
        p = add(p, PART_GENERATE, "generate", name, i);
    }
    p = add(p, PART_QUANTIZE, "quantize", NULL, PARTS_QUANTIZE);
    for (size_t i = 0; i < SHAPES_PRESETS_N; i++)
        p = add(p, PART_PRESET, "presets", shape_preset_name(i), i);
    p = add(p, PART_REPLAY, "replay", NULL, 0);
    add(p, PART_PUBLISH, "publish", NULL, 0);
}

static bool fits(const struct part *p, const char *word)
{
    const char *dot = strchr(p->name, '.');
    size_t n = strlen(word);

    if (!strcmp(p->name, word))
        return true;
    if (!dot)
        return false;
    if (n == (size_t)(dot - p->name) && !strncmp(p->name, word, n))
        return true; /* all of a group */
    if (p->kind == PART_PRESET)
        return !strncmp(word, "preset-", 7) && !strcmp(word + 7, dot + 1);
    return !strcmp(word, dot + 1);
}

int parts_choose(struct part parts[PARTS_N], const char *only,
                 struct err *err)
{
    char *words = xstrdup(only ? only : ""), *rest = NULL;
    int rc = 0;

    for (size_t i = 0; i < PARTS_N; i++)
        parts[i].chosen = only == NULL;
    for (char *word = strtok_r(words, ", ", &rest); word && rc == 0;
         word = strtok_r(NULL, ", ", &rest)) {
        bool found = false;

        for (size_t i = 0; i < PARTS_N; i++)
            if (fits(&parts[i], word))
                found = parts[i].chosen = true;
        if (!found)
            rc = err_set(err, ERR_INVALID,
                         "--only: there is no part %s; see: mneme bench "
                         "--help",
                         word);
    }
    free(words);
    return rc;
}

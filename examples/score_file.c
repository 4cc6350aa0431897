/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score_file DIRECTORY FILE - prints how well the serving version of a data
 * directory predicts each line of a file, and the token that it expected least.
 *
 *     cc score_file.c $(pkg-config --cflags --libs mneme) -o score_file
 *     ./score_file /var/lib/mneme notes.txt
 */
#include <mneme.h>

#include <stdio.h>
#include <stdlib.h>

/* Prints one line of the file. */
static int score_line(const struct mneme *m, const char *line, size_t n_bytes)
{
    /* A text has at most one token for each byte. */
    uint32_t *ids = calloc(n_bytes + 1, sizeof *ids);
    float *logprobs = calloc(n_bytes + 1, sizeof *logprobs);
    struct mneme_error error;
    struct mneme_score score;
    size_t least = 0, n;
    int rc = -1;

    if (!ids || !logprobs) {
        perror("score_file");
        goto out;
    }
    rc = mneme_score_tokens(m, line, n_bytes, &score, ids, logprobs, n_bytes,
                            &error);
    if (rc) {
        fprintf(stderr, "score_file: %s\n", error.text);
        goto out;
    }
    for (size_t i = 1; i < score.n_tokens; i++)
        if (logprobs[i] < logprobs[least])
            least = i;
    printf("%.3f bits per byte, %zu tokens", score.bits_per_byte,
           score.n_tokens);
    if (score.n_tokens) {
        const char *bytes = mneme_token_bytes(m, ids[least], &n);

        printf(", least expected: \"%.*s\" (%.2f nats)", (int)n, bytes,
               -logprobs[least]);
    }
    putchar('\n');
out:
    free(ids);
    free(logprobs);
    return rc;
}

int main(int argc, char **argv)
{
    struct mneme_error error;
    struct mneme *m;
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    FILE *file;
    int rc = 0;

    if (argc != 3) {
        fprintf(stderr, "Usage: score_file DIRECTORY FILE\n");
        return 2;
    }
    file = fopen(argv[2], "r");
    if (!file) {
        perror(argv[2]);
        return 1;
    }
    if (mneme_open(argv[1], NULL, 0, &m, &error) != 0) {
        fprintf(stderr, "score_file: %s\n", error.text);
        fclose(file);
        return 1;
    }
    printf("version %lld\n", (long long)mneme_version(m));
    while (rc == 0 && (n = getline(&line, &cap, file)) > 0)
        rc = score_line(m, line, (size_t)(line[n - 1] == '\n' ? n - 1 : n));
    free(line);
    fclose(file);
    mneme_close(m);
    return rc ? 1 : 0;
}

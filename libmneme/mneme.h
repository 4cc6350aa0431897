/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mneme.h - libmneme: use the versions of mneme in another program.
 *
 * The library opens one version of a model and answers from it: it scores,
 * completes, classifies and embeds texts, with the same numbers as mnemed. It
 * learns nothing, and writes no file of a version.
 *
 *     struct mneme_error error;
 *     struct mneme_score score;
 *     struct mneme *m;
 *
 *     if (mneme_open("/var/lib/mneme", NULL, 0, &m, &error) != 0)
 *         errx(1, "%s", error.text);
 *     if (mneme_score(m, text, strlen(text), &score, &error) == 0)
 *         printf("%.3f bits per byte\n", score.bits_per_byte);
 *     mneme_close(m);
 *
 * Compile and link with: cc x.c $(pkg-config --cflags --libs mneme)
 *
 * Texts    bytes with a length, normally UTF-8; other bytes and NUL are fine.
 *          At most MNEME_TEXT_BYTES, else MNEME_ERR_LIMIT. NULL is a text of
 *          length 0.
 * Errors   a function that can fail returns 0 or a negative enum mneme_code. If
 *          `error` is not NULL, it then holds the code and one line of text.
 *          Success does not change it. A failed call changes no output, except
 *          those that say so.
 * Owner    the caller owns what it passes; the library copies what it keeps.
 *          A struct mneme owns all that its functions return, except texts of
 *          mneme_generate, which mneme_free frees.
 * Threads  any number of threads may use one struct mneme at once, as it does
 *          not change. mneme_close must be the last call.
 * Memory   a version takes 4 bytes a parameter, about one byte with MNEME_INT8,
 *          and learner.ngram.mib of the daemon for its n-gram memory; twice as
 *          much while it is opened. When malloc fails, the library may print a
 *          line and call abort(). No argument and no file makes it abort.
 * Process  the library changes no signal, locale or umask, and prints nothing.
 *          The first mneme_open sets OpenBLAS to one thread in this process.
 * ABI      within one soname, functions and constants are only added. Structs
 *          keep their size, but for struct mneme_sampling, which says its own.
 */
#ifndef MNEME_H
#define MNEME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The program version that this header belongs to. */
#define MNEME_VERSION_MAJOR 0
#define MNEME_VERSION_MINOR 1
#define MNEME_VERSION_PATCH 0
#define MNEME_VERSION                                                          \
    (MNEME_VERSION_MAJOR * 10000 + MNEME_VERSION_MINOR * 100 +                 \
     MNEME_VERSION_PATCH)

/* Returns MNEME_VERSION of the library that runs, and the same as text:
 * "0.1.0". */
int mneme_library_version(void);
const char *mneme_library_version_text(void);

enum mneme_code {
    MNEME_OK = 0,
    MNEME_ERR_IO = -1,       /* a file cannot be read */
    MNEME_ERR_CORRUPT = -2,  /* a file is damaged */
    MNEME_ERR_INVALID = -3,  /* an argument is wrong, or this model cannot do
                                it: preset linear has classes only */
    MNEME_ERR_NOTFOUND = -4, /* no such version, or no data directory */
    MNEME_ERR_STATE = -5,    /* not now: no version serves yet, no labels yet,
                                another program version made the directory */
    MNEME_ERR_LIMIT = -6,    /* larger than a limit */
    MNEME_ERR_FULL = -7,     /* no free file descriptor */
    MNEME_ERR_DIVERGED = -8, /* a result is not finite */
    MNEME_ERR_NOMEM = -11    /* no memory for the weights */
};

#define MNEME_ERROR_BYTES 512

struct mneme_error {
    int code;                     /* enum mneme_code */
    char text[MNEME_ERROR_BYTES]; /* one line with a NUL, for a person */
};

#define MNEME_TEXT_BYTES (1 << 26)

/* One version, in memory. */
struct mneme;

/* --- open and close ----------------------------------------------------- */

/* Hold the matrices as int8: less memory, faster, and nearly the same numbers,
 * as the daemon with serve.quantize: int8. */
#define MNEME_INT8 1u

/*
 * Opens a version and reads all of its files.
 *   path     a data directory; or a folder that has a copy of the files of one
 *            version, or a model of Hugging Face (config.json,
 *            model.safetensors, tokenizer.json)
 *   version  of a data directory: NULL or "" the serving version; "latest" the
 *            newest; "previous" the one that served before; a number as "42";
 *            or a tag. Of a folder: NULL or "".
 *   flags    0 or MNEME_INT8
 *   m        out: the version, for mneme_close
 *
 * A data directory is only read, also while mnemed runs. Files are compared
 * with their checksums, but not those of a folder, which has no checksums. The
 * result does not follow the daemon: open again to use a newer version. The
 * caller needs the rights to read the directory (its owner's, as a rule).
 */
int mneme_open(const char *path, const char *version, unsigned flags,
               struct mneme **m, struct mneme_error *error);

/* NULL is fine. */
void mneme_close(struct mneme *m);

/* Returns the number of the version; 0 for a folder. */
int64_t mneme_version(const struct mneme *m);

/* These three return 0 for preset linear, which has no Transformer: the longest
 * segment in tokens, the number of token ids, the length of an embedding. */
size_t mneme_context(const struct mneme *m);
size_t mneme_vocabulary(const struct mneme *m);
size_t mneme_dim(const struct mneme *m);

/* --- tokens ------------------------------------------------------------- */

/*
 * Cuts a text into tokens.
 *   ids  uint32_t[capacity] out: the first ids; may be NULL with 0. A text has
 *        at most n_bytes tokens.
 *   n    out: the number of tokens of the text, also above capacity
 */
int mneme_tokenize(const struct mneme *m, const char *text, size_t n_bytes,
                   uint32_t *ids, size_t capacity, size_t *n,
                   struct mneme_error *error);

/* Returns the bytes of a token, which may be a part of a UTF-8 character. An
 * id that stands for no text, or is out of range, has none; never NULL. */
const char *mneme_token_bytes(const struct mneme *m, uint32_t id,
                              size_t *n_bytes);

/* --- score -------------------------------------------------------------- */

struct mneme_score {
    size_t n_tokens;
    double nats;          /* -ln p of the text */
    double bits_per_byte; /* nats / ln 2 / n_bytes; 0 for an empty text */
};

/* Computes the loss of a text, as a record of its own: it begins after
 * end-of-text, and every mneme_context() tokens the model begins anew. */
int mneme_score(const struct mneme *m, const char *text, size_t n_bytes,
                struct mneme_score *score, struct mneme_error *error);

/*
 * As mneme_score, and gives the tokens.
 *   ids       uint32_t[capacity] out: the first tokens; may be NULL
 *   logprobs  float[capacity] out: ln p of each of them, given those before it;
 *             may be NULL. The sum over all tokens is -score->nats.
 */
int mneme_score_tokens(const struct mneme *m, const char *text, size_t n_bytes,
                       struct mneme_score *score, uint32_t *ids,
                       float *logprobs, size_t capacity,
                       struct mneme_error *error);

/* --- classify ----------------------------------------------------------- */

/* Returns the number of labels, and the name of label i (UTF-8); NULL when
 * there is no such label. */
size_t mneme_n_labels(const struct mneme *m);
const char *mneme_label(const struct mneme *m, size_t i);

/*
 * Computes the probability of each label.
 *   p         float[n_labels] out; they sum to 1, and a label that was not
 *             learned yet has 0
 *   n_labels  mneme_n_labels(m)
 * MNEME_ERR_STATE when the version knows no label.
 */
int mneme_classify(const struct mneme *m, const char *text, size_t n_bytes,
                   float *p, size_t n_labels, struct mneme_error *error);

/* --- generate ----------------------------------------------------------- */

/* Set it with mneme_sampling_init, then change fields. Later versions of the
 * library add fields at the end; `size` tells which ones the caller knows. */
struct mneme_sampling {
    size_t size;       /* sizeof(struct mneme_sampling) */
    int max_tokens;    /* 16; 0 or more */
    int top_k;         /* 0: off; else from the k most likely tokens */
    float temperature; /* 1; 0: always the most likely token */
    float top_p;       /* 1: off; else from the most likely tokens that have
                          this probability together */
    uint64_t seed;     /* 0 */
    const char *const *stop; /* [n_stop] texts with a NUL: generation ends
                                before the first of them */
    size_t n_stop;
};

/* Sets the defaults that are named above. size: sizeof(*s). */
void mneme_sampling_init(struct mneme_sampling *s, size_t size);

/* Receives the bytes of a token as soon as it is chosen; they are valid during
 * the call. The bytes may be a part of a UTF-8 character. A stop text may begin
 * in bytes that were passed on already. Return 0 to go on, else to stop. */
typedef int mneme_token_fn(const char *bytes, size_t n_bytes, void *arg);

/*
 * Completes a prompt. Of a prompt longer than the context, the end counts. The
 * same version, prompt and sampling give the same text, on the same kind of
 * processor, whatever other threads do.
 *   sampling  NULL: the defaults
 *   on_token  called in this thread; may be NULL. It may block: the other
 *             generations of `m` go on.
 *   text      out: whole UTF-8 characters and a NUL, for mneme_free; a byte
 *             that is not UTF-8 becomes U+FFFD. It does not have the prompt.
 *             NULL: not wanted
 *   n_text    out: its bytes without the NUL; may be NULL
 */
int mneme_generate(const struct mneme *m, const char *prompt, size_t n_bytes,
                   const struct mneme_sampling *sampling,
                   mneme_token_fn *on_token, void *arg, char **text,
                   size_t *n_text, struct mneme_error *error);

/* NULL is fine. */
void mneme_free(char *text);

/* --- embed -------------------------------------------------------------- */

/*
 * Computes the embedding of a text: the mean of the Transformer's final states,
 * scaled to length 1. Those of two versions cannot be compared.
 *   out  float[dim]
 *   dim  mneme_dim(m)
 */
int mneme_embed(const struct mneme *m, const char *text, size_t n_bytes,
                float *out, size_t dim, struct mneme_error *error);

#ifdef __cplusplus
}
#endif

#endif

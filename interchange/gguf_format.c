/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounding follows quantize_row_q8_0_ref and quantize_row_q4_0_ref of llama.cpp
 * step by step, in float, so that both programs write the same bytes.
 */
#include "config.h"

#include "interchange/gguf_format.h"

#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/half.h"

#define Q8_0_BYTES (2 + GGUF_BLOCK)
#define Q4_0_BYTES (2 + GGUF_BLOCK / 2)

static const struct {
    enum gguf_type type;
    const char *name;
    size_t block, bytes; /* numbers and bytes of a block */
} types[] = {
    {GGUF_F32, "f32", 1, 4},
    {GGUF_F16, "f16", 1, 2},
    {GGUF_BF16, "bf16", 1, 2},
    {GGUF_Q8_0, "q8_0", GGUF_BLOCK, Q8_0_BYTES},
    {GGUF_Q4_0, "q4_0", GGUF_BLOCK, Q4_0_BYTES},
};

#define N_TYPES (sizeof types / sizeof *types)

static size_t row_of(enum gguf_type type)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].type == type)
            return i;
    BUG("gguf: type %d", (int)type);
}

bool gguf_type_is_known(uint32_t type)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if ((uint32_t)types[i].type == type)
            return true;
    return false;
}

const char *gguf_type_name(enum gguf_type type)
{
    return types[row_of(type)].name;
}

bool gguf_type_find(const char *name, enum gguf_type *type)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (strcmp(types[i].name, name) == 0) {
            *type = types[i].type;
            return true;
        }
    return false;
}

size_t gguf_row_bytes(enum gguf_type type, size_t n)
{
    size_t i = row_of(type);

    return n % types[i].block ? 0 : n / types[i].block * types[i].bytes;
}

/* --- blocks of 32 ------------------------------------------------------- */

/* Writes d as F16. False if it is infinite or NaN. */
static bool put_scale(float d, unsigned char *out)
{
    uint16_t half = half_from_float(d);

    memcpy(out, &half, sizeof half);
    return (half & 0x7c00) != 0x7c00;
}

static float get_scale(const unsigned char *in)
{
    uint16_t half;

    memcpy(&half, in, sizeof half);
    return half_to_float(half);
}

static bool encode_q8_0(const float *x, unsigned char *out)
{
    float most = 0.0f, d, inverse;

    for (int i = 0; i < GGUF_BLOCK; i++) {
        if (!isfinite(x[i]))
            return false;
        most = fmaxf(most, fabsf(x[i]));
    }
    d = most / 127;
    inverse = d != 0 ? 1.0f / d : 0.0f;
    if (!isfinite(inverse)) /* subnormal numbers: F16 has none so small */
        inverse = 0.0f;
    for (int i = 0; i < GGUF_BLOCK; i++) {
        int8_t q = (int8_t)roundf(x[i] * inverse);

        memcpy(out + 2 + i, &q, 1);
    }
    return put_scale(d, out);
}

static void decode_q8_0(const unsigned char *in, float *x)
{
    float d = get_scale(in);

    for (int i = 0; i < GGUF_BLOCK; i++) {
        int8_t q;

        memcpy(&q, in + 2 + i, 1);
        x[i] = d * (float)q;
    }
}

/* x / d is in -8 to 8: rounds it to -8 to 7, and adds 8. */
static unsigned char nibble(float x)
{
    int q = (int)(x + 8.5f);

    return (unsigned char)(q > 15 ? 15 : q);
}

static bool encode_q4_0(const float *x, unsigned char *out)
{
    float size = 0.0f, most = 0.0f, d, inverse;

    for (int i = 0; i < GGUF_BLOCK; i++) {
        if (!isfinite(x[i]))
            return false;
        if (size < fabsf(x[i])) {
            size = fabsf(x[i]);
            most = x[i];
        }
    }
    d = most / -8;
    inverse = d != 0 ? 1.0f / d : 0.0f;
    if (!isfinite(inverse))
        inverse = 0.0f;
    for (int i = 0; i < GGUF_BLOCK / 2; i++)
        out[2 + i] =
            (unsigned char)(nibble(x[i] * inverse) |
                            nibble(x[i + GGUF_BLOCK / 2] * inverse) << 4);
    return put_scale(d, out);
}

static void decode_q4_0(const unsigned char *in, float *x)
{
    float d = get_scale(in);

    for (int i = 0; i < GGUF_BLOCK / 2; i++) {
        x[i] = d * (float)((in[2 + i] & 15) - 8);
        x[i + GGUF_BLOCK / 2] = d * (float)((in[2 + i] >> 4) - 8);
    }
}

/* --- rows --------------------------------------------------------------- */

static bool encode_f32(const float *x, size_t n, unsigned char *out)
{
    bool finite = true;

    for (size_t i = 0; i < n; i++)
        finite &= isfinite(x[i]) != 0;
    memcpy(out, x, n * sizeof *x);
    return finite;
}

static bool encode_f16(const float *x, size_t n, unsigned char *out)
{
    bool finite = true;

    for (size_t i = 0; i < n; i++)
        finite &= put_scale(x[i], out + 2 * i);
    return finite;
}

static bool encode_bf16(const float *x, size_t n, unsigned char *out)
{
    bool finite = true;

    for (size_t i = 0; i < n; i++) {
        uint16_t b = half_bf16_from_float(x[i]);

        memcpy(out + 2 * i, &b, sizeof b);
        finite &= (b & 0x7f80) != 0x7f80;
    }
    return finite;
}

bool gguf_encode(enum gguf_type type, const float *x, size_t n, void *out)
{
    unsigned char *to = out;
    bool finite = true;

    BUG_ON(n > 0 && gguf_row_bytes(type, n) == 0);
    switch (type) {
    case GGUF_F32:
        return encode_f32(x, n, to);
    case GGUF_F16:
        return encode_f16(x, n, to);
    case GGUF_BF16:
        return encode_bf16(x, n, to);
    case GGUF_Q8_0:
        for (size_t i = 0; i < n; i += GGUF_BLOCK, to += Q8_0_BYTES)
            finite &= encode_q8_0(x + i, to);
        return finite;
    case GGUF_Q4_0:
        for (size_t i = 0; i < n; i += GGUF_BLOCK, to += Q4_0_BYTES)
            finite &= encode_q4_0(x + i, to);
        return finite;
    }
    return false;
}

void gguf_decode(enum gguf_type type, const void *in, size_t n, float *x)
{
    const unsigned char *from = in;
    uint16_t bits;

    BUG_ON(n > 0 && gguf_row_bytes(type, n) == 0);
    switch (type) {
    case GGUF_F32:
        memcpy(x, from, n * sizeof *x);
        break;
    case GGUF_F16:
        for (size_t i = 0; i < n; i++)
            x[i] = get_scale(from + 2 * i);
        break;
    case GGUF_BF16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&bits, from + 2 * i, sizeof bits);
            x[i] = half_bf16_to_float(bits);
        }
        break;
    case GGUF_Q8_0:
        for (size_t i = 0; i < n; i += GGUF_BLOCK, from += Q8_0_BYTES)
            decode_q8_0(from, x + i);
        break;
    case GGUF_Q4_0:
        for (size_t i = 0; i < n; i += GGUF_BLOCK, from += Q4_0_BYTES)
            decode_q4_0(from, x + i);
        break;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf_format.h - the constants of GGUF version 3, and its blocks of numbers.
 *
 * A file, all numbers little-endian:
 *
 *     "GGUF"  u32 version  u64 tensors  u64 keys
 *     each key:     string name, u32 type (enum gguf_value), value
 *     each tensor:  string name, u32 dimensions, u64 [dimensions], the fastest
 *                   one first, u32 type (enum gguf_type), u64 offset
 *     zeros up to a multiple of the alignment; offsets count from here
 *     data of the tensors, each at a multiple of the alignment
 *
 * A string is a u64 length and its bytes. The value of GGUF_ARRAY is a u32 type
 * of the elements, their u64 number, and the elements. The key
 * general.alignment (u32) replaces GGUF_ALIGNMENT.
 *
 * The blocks are those of ggml-common.h in llama.cpp. Q8_0 and Q4_0 have blocks
 * of 32 numbers of one row:
 *
 *     Q8_0    F16 d, int8 q[32]      x[i] = d * q[i]
 *     Q4_0    F16 d, u8 q[16]        x[i]      = d * ((q[i] & 15) - 8)
 *                                    x[i + 16] = d * ((q[i] >> 4) - 8)
 *
 * Threads: any
 */
#ifndef MNEME_INTERCHANGE_GGUF_FORMAT_H
#define MNEME_INTERCHANGE_GGUF_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GGUF_MAGIC "GGUF"
#define GGUF_VERSION 3
#define GGUF_ALIGNMENT 32
#define GGUF_MAX_DIMS 4
#define GGUF_BLOCK 32 /* numbers of a block of Q8_0 and Q4_0 */

/* The type of a key's value. */
enum gguf_value {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_FLOAT,
    GGUF_BOOL, /* one byte: 0 or 1 */
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_DOUBLE
};

/* The type of a tensor's numbers; only those that mneme reads and writes. */
enum gguf_type {
    GGUF_F32 = 0,
    GGUF_F16 = 1,
    GGUF_Q4_0 = 2,
    GGUF_Q8_0 = 8,
    GGUF_BF16 = 30
};

/* tokenizer.ggml.token_type */
enum gguf_token {
    GGUF_TOKEN_NORMAL = 1,
    GGUF_TOKEN_UNKNOWN,
    GGUF_TOKEN_CONTROL,
    GGUF_TOKEN_USER_DEFINED,
    GGUF_TOKEN_UNUSED,
    GGUF_TOKEN_BYTE
};

/* True for a type of enum gguf_type. */
bool gguf_type_is_known(uint32_t type);

/* "f32", "f16", "bf16", "q8_0", "q4_0". `type` is known. */
const char *gguf_type_name(enum gguf_type type);

/* False if there is no type of that name. */
bool gguf_type_find(const char *name, enum gguf_type *type);

/* Returns the bytes of a row of n numbers; 0 when n is not a multiple of the
 * type's block. */
size_t gguf_row_bytes(enum gguf_type type, size_t n);

/*
 * Rounds a row to a type, as llama.cpp's reference does.
 *   x        float[n]; n is a multiple of the block
 *   out      gguf_row_bytes(type, n) bytes; needs no alignment
 *   returns  false if a number or a block's d is not finite after rounding
 */
bool gguf_encode(enum gguf_type type, const float *x, size_t n, void *out);

/* Reads a row: the reverse. `in` needs no alignment. */
void gguf_decode(enum gguf_type type, const void *in, size_t n, float *x);

#endif

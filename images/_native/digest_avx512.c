/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-512/256 for AVX-512: eight lanes, with rotations and three-way logic of one instruction; four
 * for the last pieces (digest_avx512_tail.c). */
#if defined(__x86_64__)

#include "digests.h"

#include <immintrin.h>

#ifndef TARGET
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vbmi")))
#endif
#define KERNEL static inline TARGET __attribute__((always_inline))
#define LANES 8

typedef __m512i vector;

/* Macros where an intrinsic wants a constant and the emulation no function's parameter. */
#define v_ror(x, n) _mm512_ror_epi64(x, n)
#define v_shr(x, n) _mm512_srli_epi64(x, n)

KERNEL vector v_load(const uint64_t *p)
{
    return _mm512_loadu_si512(p);
}

KERNEL void v_store(uint64_t *p, vector x)
{
    _mm512_storeu_si512(p, x);
}

KERNEL vector v_set(uint64_t word)
{
    return _mm512_set1_epi64((long long)word);
}

KERNEL vector v_add(vector x, vector y)
{
    return _mm512_add_epi64(x, y);
}

/* The third number of a ternary operation is its result for the bits 000, 001 ... 111. */
KERNEL vector v_xor3(vector x, vector y, vector z)
{
    return _mm512_ternarylogic_epi64(x, y, z, 0x96);
}

KERNEL vector v_choose(vector e, vector f, vector g)
{
    return _mm512_ternarylogic_epi64(e, f, g, 0xca);
}

KERNEL vector v_majority(vector a, vector b, vector c)
{
    return _mm512_ternarylogic_epi64(a, b, c, 0xe8);
}

KERNEL vector picked(vector x, vector y, const vector order)
{
    return _mm512_permutex2var_epi64(x, order, y);
}

/* Transposes twice eight rows of eight words: pairs of rows, fours, all eight. */
KERNEL void v_words(const uint8_t *const p[LANES], vector w[16])
{
    const vector swapped = _mm512_set_epi64(
        0x08090a0b0c0d0e0f, 0x0001020304050607, 0x08090a0b0c0d0e0f, 0x0001020304050607,
        0x08090a0b0c0d0e0f, 0x0001020304050607, 0x08090a0b0c0d0e0f, 0x0001020304050607);
    /* Of two vectors (numbers from 8 on are the second's): the first and third pair of words, the
     * second and fourth pair; the lower and the upper half. */
    const vector pairs_02 = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
    const vector pairs_13 = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
    const vector lower = _mm512_set_epi64(11, 10, 9, 8, 3, 2, 1, 0);
    const vector upper = _mm512_set_epi64(15, 14, 13, 12, 7, 6, 5, 4);
    for (int half = 0; half < 2; half++) {
        vector two[2][4]; /* words 0, 2, 4, 6 of two rows each; words 1, 3, 5, 7 */
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            vector x = _mm512_shuffle_epi8(_mm512_loadu_si512(p[2 * i] + 64 * half), swapped);
            vector y = _mm512_shuffle_epi8(_mm512_loadu_si512(p[2 * i + 1] + 64 * half), swapped);
            two[0][i] = _mm512_unpacklo_epi64(x, y);
            two[1][i] = _mm512_unpackhi_epi64(x, y);
        }
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            vector *to = w + 8 * half + i;
            vector first_04 = picked(two[i][0], two[i][1], pairs_02);
            vector last_04 = picked(two[i][2], two[i][3], pairs_02);
            vector first_26 = picked(two[i][0], two[i][1], pairs_13);
            vector last_26 = picked(two[i][2], two[i][3], pairs_13);
            to[0] = picked(first_04, last_04, lower);
            to[2] = picked(first_26, last_26, lower);
            to[4] = picked(first_04, last_04, upper);
            to[6] = picked(first_26, last_26, upper);
        }
    }
}

#include "digest_rounds.h"

static TARGET void hash_8(uint64_t *state, struct lane *lanes, size_t blocks)
{
    hash_blocks(state, lanes, blocks);
}

TARGET void digest_avx512(const struct piece *pieces, size_t count, uint8_t *digests)
{
    const struct width wide = {8, hash_8}, narrow = {4, hash_avx512_tail};
    digest_lanes(wide, narrow, pieces, count, digests);
}

#endif

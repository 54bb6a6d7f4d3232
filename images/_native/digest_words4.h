/* SPDX-License-Identifier: Apache-2.0 */
/* Loads for four lanes, with AVX2 alone. KERNEL is the includer's. */
#ifndef CAFLIP_DIGEST_WORDS4_H
#define CAFLIP_DIGEST_WORDS4_H

#include <immintrin.h>

#define LANES 4

typedef __m256i vector;

KERNEL vector v_load(const uint64_t *p)
{
    return _mm256_load_si256((const vector *)p);
}

KERNEL void v_store(uint64_t *p, vector x)
{
    _mm256_store_si256((vector *)p, x);
}

KERNEL vector v_set(uint64_t word)
{
    return _mm256_set1_epi64x((long long)word);
}

KERNEL vector v_add(vector x, vector y)
{
    return _mm256_add_epi64(x, y);
}

KERNEL void v_words(const uint8_t *const p[LANES], vector w[16])
{
    const vector swapped = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vector row[LANES];
#pragma GCC unroll 4
        for (int j = 0; j < LANES; j++)
            row[j] = _mm256_shuffle_epi8(
                _mm256_loadu_si256((const vector *)(const void *)(p[j] + 32 * i)), swapped);
        /* Words 0 and 2, then 1 and 3, of two lanes each. */
        vector even_01 = _mm256_unpacklo_epi64(row[0], row[1]);
        vector odd_01 = _mm256_unpackhi_epi64(row[0], row[1]);
        vector even_23 = _mm256_unpacklo_epi64(row[2], row[3]);
        vector odd_23 = _mm256_unpackhi_epi64(row[2], row[3]);
        w[4 * i] = _mm256_permute2x128_si256(even_01, even_23, 0x20);
        w[4 * i + 1] = _mm256_permute2x128_si256(odd_01, odd_23, 0x20);
        w[4 * i + 2] = _mm256_permute2x128_si256(even_01, even_23, 0x31);
        w[4 * i + 3] = _mm256_permute2x128_si256(odd_01, odd_23, 0x31);
    }
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-512/256 for AVX2: four lanes. */
#if defined(__x86_64__)

#include "digests.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define KERNEL static inline TARGET __attribute__((always_inline))
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

KERNEL vector v_xor3(vector x, vector y, vector z)
{
    return _mm256_xor_si256(_mm256_xor_si256(x, y), z);
}

KERNEL vector v_shr(vector x, const int n)
{
    return _mm256_srli_epi64(x, n);
}

KERNEL vector v_ror(vector x, const int n)
{
    const vector by_a_byte = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 11, 12, 13, 14, 15, 8));
    if (n == 8)
        return _mm256_shuffle_epi8(x, by_a_byte);
    return _mm256_xor_si256(_mm256_srli_epi64(x, n), _mm256_slli_epi64(x, 64 - n));
}

KERNEL vector v_choose(vector e, vector f, vector g)
{
    return _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)));
}

KERNEL vector v_majority(vector a, vector b, vector c)
{
    return _mm256_xor_si256(b, _mm256_and_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(b, c)));
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

#include "digest_lanes.h"

TARGET void digest_avx2(const struct piece *pieces, size_t count, uint8_t *digests)
{
    digest_all(pieces, count, digests);
}

#endif

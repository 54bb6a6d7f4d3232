/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-512/256 for AVX2: four lanes. */
#if defined(__x86_64__)

#include "digests.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define KERNEL static inline TARGET __attribute__((always_inline))

#include "digest_words4.h"

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

#include "digest_rounds.h"

static TARGET void hash_4(uint64_t *state, struct lane *lanes, size_t blocks)
{
    hash_blocks(state, lanes, blocks);
}

TARGET void digest_avx2(const struct piece *pieces, size_t count, uint8_t *digests)
{
    digest_lanes((struct width){4, hash_4}, (struct width){0, NULL}, pieces, count, digests);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-512/256 for AVX-512, four lanes. A Zen 4 takes half the time for a vector half as wide, so that
 * the last pieces, which fill no more than four lanes, cost half. */
#if defined(__x86_64__)

#include "digests.h"

#include <immintrin.h>

#ifndef TARGET
#define TARGET __attribute__((target("avx512f,avx512vl")))
#endif
#define KERNEL static inline TARGET __attribute__((always_inline))

#include "digest_words4.h"

/* Macros where an intrinsic wants a constant and the emulation no function's parameter. */
#define v_ror(x, n) _mm256_ror_epi64(x, n)
#define v_shr(x, n) _mm256_srli_epi64(x, n)

/* The third number of a ternary operation is its result for the bits 000, 001 ... 111. */
KERNEL vector v_xor3(vector x, vector y, vector z)
{
    return _mm256_ternarylogic_epi64(x, y, z, 0x96);
}

KERNEL vector v_choose(vector e, vector f, vector g)
{
    return _mm256_ternarylogic_epi64(e, f, g, 0xca);
}

KERNEL vector v_majority(vector a, vector b, vector c)
{
    return _mm256_ternarylogic_epi64(a, b, c, 0xe8);
}

#include "digest_rounds.h"

TARGET void hash_avx512_tail(uint64_t *state, struct lane *lanes, size_t blocks)
{
    hash_blocks(state, lanes, blocks);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for <immintrin.h>: the AVX-512 intrinsics in plain C, by SIMDe, and the two names that
 * its version in Debian 12 lacks. */
#ifndef EMULATED_AVX512_H
#define EMULATED_AVX512_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <string.h>

#define _IMMINTRIN_H_INCLUDED /* the guard of GCC's own header */

typedef simde__mmask64 __mmask64;

/* Shift each 128-bit lane left by `count` bytes. */
static inline simde__m512i _mm512_bslli_epi128(simde__m512i x, int count)
{
    uint8_t from[64], to[64] = {0};
    memcpy(from, &x, sizeof from);
    for (int i = 0; i < 64; i++)
        if (i % 16 >= count)
            to[i] = from[i - count];
    memcpy(&x, to, sizeof to);
    return x;
}

#endif

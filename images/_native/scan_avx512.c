/* SPDX-License-Identifier: Apache-2.0 */
/* The scan for AVX-512 with VBMI: the table stays in 16 registers, four planes of 256 bytes, and
 * 64 bytes are looked up at once.
 *
 * Sixteen bytes make a frame. The word of byte j is rotated right by j, so that those of a frame
 * can be joined by xor alone: a prefix over 16 lanes. WINDOW bytes later the same prefix leaves,
 * rotated by WINDOW, which is 16 modulo 32. What came before the frame is one word, `carry`. Each
 * lane rotated left by j then is the hash. */
#if defined(__x86_64__)

#include "buzhash_table.h"
#include "kernels.h"

#include <immintrin.h>
#include <string.h>

#ifndef TARGET
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vbmi")))
#endif
#define KERNEL static inline TARGET __attribute__((always_inline))
#define FRAMES 4
#define IN_WINDOW (WINDOW / 16)
#define PLANE_0(x) ((x) & 0xff)
#define PLANE_1(x) ((x) >> 8 & 0xff)
#define PLANE_2(x) ((x) >> 16 & 0xff)
#define PLANE_3(x) ((x) >> 24)

static const uint8_t planes[4][256] __attribute__((aligned(64))) = {
    {BUZHASH_TABLE(PLANE_0)},
    {BUZHASH_TABLE(PLANE_1)},
    {BUZHASH_TABLE(PLANE_2)},
    {BUZHASH_TABLE(PLANE_3)},
};

struct kernel {
    __m512i table[4][4];
    __m512i order;              /* of the 64 bytes before they are unpacked, see `words_of` */
    __m512i lanes;              /* 0..15 */
    __m512i leaving[IN_WINDOW]; /* the prefixes of the last three frames, rotated */
    __m512i carry;              /* the hash before the frame, rotated left by 1, in each lane */
    __m512i inverse, add, limit, right;
};

/* Look up 64 bytes; words[i] holds those of bytes 16 i .. 16 i + 15. */
KERNEL void words_of(const struct kernel *k, const uint8_t *p, __m512i words[FRAMES])
{
    __m512i bytes = _mm512_permutexvar_epi8(k->order, _mm512_loadu_si512(p));
    const __mmask64 high = _mm512_movepi8_mask(bytes);
    __m512i plane[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        plane[i] = _mm512_mask_blend_epi8(
            high, _mm512_permutex2var_epi8(k->table[i][0], bytes, k->table[i][1]),
            _mm512_permutex2var_epi8(k->table[i][2], bytes, k->table[i][3]));
    __m512i low_01 = _mm512_unpacklo_epi8(plane[0], plane[1]);
    __m512i low_23 = _mm512_unpacklo_epi8(plane[2], plane[3]);
    __m512i high_01 = _mm512_unpackhi_epi8(plane[0], plane[1]);
    __m512i high_23 = _mm512_unpackhi_epi8(plane[2], plane[3]);
    words[0] = _mm512_unpacklo_epi16(low_01, low_23);
    words[1] = _mm512_unpackhi_epi16(low_01, low_23);
    words[2] = _mm512_unpacklo_epi16(high_01, high_23);
    words[3] = _mm512_unpackhi_epi16(high_01, high_23);
}

KERNEL __m512i prefix_of(const struct kernel *k, __m512i words)
{
    const __m512i third = _mm512_set1_epi32(3), seventh = _mm512_set1_epi32(7);
    __m512i x = _mm512_rorv_epi32(words, k->lanes);
    x = _mm512_xor_si512(x, _mm512_bslli_epi128(x, 4));
    x = _mm512_xor_si512(x, _mm512_bslli_epi128(x, 8));
    /* Lanes 4..7 take lane 3, lanes 12..15 lane 11; then lanes 8..15 take lane 7. */
    __m512i before = _mm512_or_si512(_mm512_and_si512(k->lanes, _mm512_set1_epi32(8)), third);
    x = _mm512_xor_si512(x, _mm512_maskz_permutexvar_epi32(0xf0f0, before, x));
    return _mm512_xor_si512(x, _mm512_maskz_permutexvar_epi32(0xff00, seventh, x));
}

KERNEL void kernel_start(struct kernel *k, const uint8_t *data, const struct divisor *d)
{
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            k->table[i][j] = _mm512_loadu_si512(planes[i] + 64 * j);
    uint8_t order[64];
    for (int i = 0; i < 64; i++) /* bytes 4 g .. 4 g + 3 of 128-bit lane l end in words[g] */
        order[i] = (uint8_t)(i / 4 % 4 * 16 + i / 16 * 4 + i % 4);
    k->order = _mm512_loadu_si512(order);
    k->lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    k->inverse = _mm512_set1_epi32((int)d->inverse);
    k->add = _mm512_set1_epi32((int)((d->shift == 0 ? d->inverse : 0) - d->wrapped));
    k->limit = _mm512_set1_epi32((int)d->limit);
    k->right = _mm512_set1_epi32((int)d->shift);

    uint8_t window[64] = {0};
    memcpy(window + 64 - WINDOW, data - WINDOW, WINDOW);
    __m512i words[FRAMES];
    words_of(k, window, words);
    for (int i = 0; i < IN_WINDOW; i++)
        k->leaving[i] = _mm512_rol_epi32(prefix_of(k, words[FRAMES - IN_WINDOW + i]), WINDOW % 32);
    k->carry = _mm512_set1_epi32((int)rotate_left(window_hash(data - WINDOW), 1));
}

KERNEL uint64_t cuts_of(const struct kernel *k, __m512i hashes, const bool shifted)
{
    if (shifted) {
        hashes = _mm512_add_epi32(hashes, _mm512_set1_epi32(1));
        hashes = _mm512_rorv_epi32(_mm512_mullo_epi32(hashes, k->inverse), k->right);
    } else
        hashes = _mm512_mullo_epi32(hashes, k->inverse);
    return _mm512_cmple_epu32_mask(_mm512_add_epi32(hashes, k->add), k->limit);
}

KERNEL uint64_t kernel_word(struct kernel *k, const uint8_t *p, const bool shifted)
{
    const __m512i last = _mm512_set1_epi32(15);
    __m512i words[FRAMES], out[FRAMES];
    words_of(k, p, words);
    uint64_t word = 0;
#pragma GCC unroll 4
    for (int i = 0; i < FRAMES; i++) {
        __m512i entering = prefix_of(k, words[i]);
        __m512i old = i < IN_WINDOW ? k->leaving[i] : out[i - IN_WINDOW];
        __m512i x = _mm512_xor_si512(_mm512_xor_si512(entering, old), k->carry);
        out[i] = _mm512_rol_epi32(entering, WINDOW % 32);
        k->carry = _mm512_rol_epi32(_mm512_permutexvar_epi32(last, x), 16);
        word |= cuts_of(k, _mm512_rolv_epi32(x, k->lanes), shifted) << (16 * i);
    }
    for (int i = 0; i < IN_WINDOW; i++)
        k->leaving[i] = out[FRAMES - IN_WINDOW + i];
    return word;
}

#include "scan_loop.h"

TARGET void scan_avx512(const uint8_t *data, size_t length, uint64_t *bits,
                        const struct divisor *divisor)
{
    scan_all(data, length, bits, divisor);
}

#endif

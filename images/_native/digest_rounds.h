/* SPDX-License-Identifier: Apache-2.0 */
/* The rounds of SHA-512 (FIPS 180-4, 6.4.2), once for each width of vectors.
 *
 * A kernel's file defines, before it includes this:
 *     KERNEL, LANES, vector,
 *     v_load, v_store (LANES words), v_set(word), v_add, v_xor3(x, y, z),
 *     v_ror(x, n), v_shr(x, n), v_choose(e, f, g), v_majority(a, b, c),
 *     v_words(p, w): the 16 words of each lane's block p[lane], in the CPU's byte order. */
#ifndef CAFLIP_DIGEST_ROUNDS_H
#define CAFLIP_DIGEST_ROUNDS_H

#include "digest_lanes.h"

static const uint64_t constants[80] = { /* FIPS 180-4, 4.2.3 */
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
    0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
    0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
    0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
    0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
    0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
    0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
    0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};

KERNEL vector big_sigma_0(vector x)
{
    return v_xor3(v_ror(x, 28), v_ror(x, 34), v_ror(x, 39));
}

KERNEL vector big_sigma_1(vector x)
{
    return v_xor3(v_ror(x, 14), v_ror(x, 18), v_ror(x, 41));
}

KERNEL vector small_sigma_0(vector x)
{
    return v_xor3(v_ror(x, 1), v_ror(x, 8), v_shr(x, 7));
}

KERNEL vector small_sigma_1(vector x)
{
    return v_xor3(v_ror(x, 19), v_ror(x, 61), v_shr(x, 6));
}

/* One round; the caller's names of the eight words move on by one. */
#define ROUND(a, b, c, d, e, f, g, h, word, constant) \
    do { \
        h = v_add(h, v_add(word, v_set(constant))); \
        h = v_add(h, v_add(big_sigma_1(e), v_choose(e, f, g))); \
        d = v_add(d, h); \
        h = v_add(h, v_add(big_sigma_0(a), v_majority(a, b, c))); \
    } while (0)

#define WORD(i) w[(i) & 15]

KERNEL vector next_word(vector w[16], int i)
{
    WORD(i) = v_add(v_add(WORD(i), WORD(i + 9)),
                    v_add(small_sigma_0(WORD(i + 1)), small_sigma_1(WORD(i + 14))));
    return WORD(i);
}

#define EIGHT_ROUNDS(i, take_word) \
    do { \
        ROUND(a, b, c, d, e, f, g, h, take_word(i), k[i]); \
        ROUND(h, a, b, c, d, e, f, g, take_word((i) + 1), k[(i) + 1]); \
        ROUND(g, h, a, b, c, d, e, f, take_word((i) + 2), k[(i) + 2]); \
        ROUND(f, g, h, a, b, c, d, e, take_word((i) + 3), k[(i) + 3]); \
        ROUND(e, f, g, h, a, b, c, d, take_word((i) + 4), k[(i) + 4]); \
        ROUND(d, e, f, g, h, a, b, c, take_word((i) + 5), k[(i) + 5]); \
        ROUND(c, d, e, f, g, h, a, b, take_word((i) + 6), k[(i) + 6]); \
        ROUND(b, c, d, e, f, g, h, a, take_word((i) + 7), k[(i) + 7]); \
    } while (0)
#define NEXT_WORD(i) next_word(w, i)

KERNEL void hash_blocks(uint64_t *state, struct lane *lanes, size_t blocks)
{
    const uint8_t *p[LANES];
    vector s[8], w[16];
    for (int i = 0; i < LANES; i++)
        p[i] = lanes[i].next;
    for (int i = 0; i < 8; i++)
        s[i] = v_load(state + i * MOST_LANES);
    while (blocks-- > 0) {
        vector a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
        const uint64_t *k = constants;
        v_words(p, w);
        EIGHT_ROUNDS(0, WORD);
        EIGHT_ROUNDS(8, WORD);
        for (int group = 0; group < 4; group++) {
            k += 16;
            EIGHT_ROUNDS(0, NEXT_WORD);
            EIGHT_ROUNDS(8, NEXT_WORD);
        }
        s[0] = v_add(s[0], a), s[1] = v_add(s[1], b), s[2] = v_add(s[2], c);
        s[3] = v_add(s[3], d), s[4] = v_add(s[4], e), s[5] = v_add(s[5], f);
        s[6] = v_add(s[6], g), s[7] = v_add(s[7], h);
        for (int i = 0; i < LANES; i++)
            p[i] += lanes[i].step;
    }
    for (int i = 0; i < LANES; i++)
        lanes[i].next = p[i];
    for (int i = 0; i < 8; i++)
        v_store(state + i * MOST_LANES, s[i]);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The scan for vectors of 32-bit lanes without a look-up of their own: AVX2 and NEON.
 *
 * LANES bytes make a group. What byte j of a group adds to the hashes after byte j, j + 1 ... is
 * T, rol(T, 1) ...; to those before it nothing. That is one unaligned load out of a row:
 *
 *     row of a byte     0 0 0 0 0 0 0 T rol(T,1) rol(T,2) ... rol(T,LANES-1)
 *     for byte 0                    | lane 0 ..                          |
 *     for byte 2          | lane 0 ..                          |
 *
 * The xor of a group's LANES loads is the hash of the group's own bytes, lane by lane. WINDOW
 * bytes later the same vector leaves, rotated by WINDOW, which is 16 modulo 32. What came before
 * the group is one word, the hash there, rotated by lane + 1. So the chain from group to group is
 * one rotation and one xor of a word:
 *
 *     z = entering ^ rol16(leaving);   H = z ^ rol(hash, lane + 1);   hash' = rol(hash, LANES) ^ z[last]
 *
 * A kernel's file defines, before it includes this:
 *     KERNEL, LANES, ROW(x), vector, struct test, test_of(divisor),
 *     v_load, v_store, v_xor, v_and, v_rol16, v_spread(hash) (the word rotated by lane + 1),
 *     v_missed(test, hashes, shifted) (all ones in each lane that is no cut),
 *     v_all(missed), v_cuts(missed) (a bit for each lane). */
#ifndef CAFLIP_SCAN_ROWS_H
#define CAFLIP_SCAN_ROWS_H

#include "buzhash_table.h"
#include "kernels.h"

#include <string.h>

#define GROUPS (64 / LANES)
#define IN_WINDOW (WINDOW / LANES)

/* A row of at most 64 bytes, aligned: a load never crosses a cache line. */
static const uint32_t rows[256][2 * LANES] __attribute__((aligned(64))) = {BUZHASH_TABLE(ROW)};

struct kernel {
    vector leaving[2][GROUPS]; /* of the groups of the step before, and of this step */
    unsigned int newer;
    uint32_t hash;
    struct test test;
};

KERNEL vector group(const uint8_t *p)
{
    vector sum = v_load(rows[p[0]] + LANES - 1);
#pragma GCC unroll 8
    for (int j = 1; j < LANES; j++)
        sum = v_xor(sum, v_load(rows[p[j]] + LANES - 1 - j));
    return sum;
}

KERNEL void kernel_start(struct kernel *k, const uint8_t *data, const struct divisor *divisor)
{
    k->test = test_of(divisor);
    k->hash = window_hash(data - WINDOW);
    k->newer = 0;
    for (int i = 0; i < IN_WINDOW; i++)
        k->leaving[1][GROUPS - IN_WINDOW + i] = v_rol16(group(data - WINDOW + i * LANES));
}

KERNEL uint64_t kernel_word(struct kernel *k, const uint8_t *p, const bool shifted)
{
    vector *newer = k->leaving[k->newer], *older = k->leaving[k->newer ^ 1];
    uint32_t z[64] __attribute__((aligned(32))), before[GROUPS];
#pragma GCC unroll 16
    for (int i = 0; i < GROUPS; i++) {
        vector entering = group(p + i * LANES);
        vector out = i < IN_WINDOW ? older[i + GROUPS - IN_WINDOW] : newer[i - IN_WINDOW];
        v_store(z + i * LANES, v_xor(entering, out));
        newer[i] = v_rol16(entering);
    }
#pragma GCC unroll 16
    for (int i = 0; i < GROUPS; i++) {
        before[i] = k->hash;
        k->hash = rotate_left(k->hash, LANES) ^ z[i * LANES + LANES - 1];
    }
    k->newer ^= 1;
    vector none = v_missed(&k->test, v_xor(v_load(z), v_spread(before[0])), shifted);
#pragma GCC unroll 16
    for (int i = 1; i < GROUPS; i++)
        none = v_and(none, v_missed(&k->test, v_xor(v_load(z + i * LANES), v_spread(before[i])),
                                    shifted));
    if (__builtin_expect(v_all(none), 1))
        return 0;
    uint64_t word = 0;
    for (int i = 0; i < GROUPS; i++)
        word |= v_cuts(v_missed(&k->test, v_xor(v_load(z + i * LANES), v_spread(before[i])),
                                shifted))
                << (i * LANES);
    return word;
}

#include "scan_loop.h"

#endif

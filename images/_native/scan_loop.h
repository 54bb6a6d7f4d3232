/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of every kernel: 64 positions a step, zeros at the speed of memory, the rest.
 *
 * A kernel's file defines, before it includes this:
 *     KERNEL                          how its functions are declared;
 *     struct kernel                   its state and constants;
 *     kernel_start(k, data, divisor)  the state after the WINDOW bytes before `data`;
 *     kernel_word(k, p, shifted)      the marks of p[0..63], and the state after them.
 * `shifted` is a constant in each of the two copies that the compiler makes: whether the
 * discriminator is even. Where window and data are zeros, a step may be left out: the state must
 * depend on nothing but the last WINDOW bytes. */
#ifndef CAFLIP_SCAN_LOOP_H
#define CAFLIP_SCAN_LOOP_H

#include "kernels.h"

#include <string.h>

KERNEL bool zero_bytes(const uint8_t *p, size_t length)
{
    uint64_t any = 0;
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, sizeof word);
        any |= word;
    }
    return any == 0;
}

KERNEL void scan_words(const uint8_t *data, size_t length, uint64_t *bits,
                       const struct divisor *divisor, const bool shifted)
{
    struct kernel k;
    kernel_start(&k, data, divisor);
    const uint64_t of_zeros = divisor->zeros_cut ? UINT64_MAX : 0;
    size_t i = 0;
    for (; i + 64 <= length; i += 64) {
        if (__builtin_expect(zero_bytes(data + i, 8), 0)) {
            bool window = zero_bytes(data + i - WINDOW, WINDOW);
            for (; window && i + 64 <= length && zero_bytes(data + i, 64); i += 64)
                bits[i / 64] = of_zeros;
            if (i + 64 > length)
                break;
        }
        bits[i / 64] = kernel_word(&k, data + i, shifted);
    }
    if (i < length) {
        uint8_t rest[WINDOW + 64] = {0};
        memcpy(rest, data + i - WINDOW, WINDOW + length - i);
        bits[i / 64] = kernel_word(&k, rest + WINDOW, shifted) & (UINT64_MAX >> (64 - length % 64));
    }
}

KERNEL void scan_all(const uint8_t *data, size_t length, uint64_t *bits,
                     const struct divisor *divisor)
{
    if (divisor->shift == 0)
        scan_words(data, length, bits, divisor, false);
    else
        scan_words(data, length, bits, divisor, true);
}

#endif

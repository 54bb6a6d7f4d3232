/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels share: no Python, no memory of their own, only buffers and numbers. */
#ifndef CAFLIP_KERNELS_H
#define CAFLIP_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that decide about a cut, and so the bytes that must stand before the first scanned one. */
#define WINDOW 48

/* The cut test `H mod D == D - 1`, which is `D divides H + 1`, without a division.
 *
 * With D = odd * 2^k and x = rotate_right((H + 1) * inverse(odd) mod 2^32, k), D divides the
 * 32-bit value H + 1 exactly when x <= (2^32 - 1) / D. H = 2^32 - 1 wraps to x = 0, which would
 * pass: its true H + 1 is 2^32, divisible only where D is a power of two. So x is taken less
 * `wrapped` (1 unless D is a power of two; unsigned, 0 becomes the largest number), and compared
 * with `limit` = (2^32 - 1) / D - wrapped. */
struct divisor {
    uint32_t value;    /* D, at least 1 */
    uint32_t inverse;  /* of odd, modulo 2^32 */
    uint32_t shift;    /* k */
    uint32_t wrapped;  /* 0 or 1 */
    uint32_t limit;
    bool zeros_cut;    /* a window of 48 zero bytes passes the test */
};

static inline uint32_t rotate_left(uint32_t x, uint32_t n)
{
    return x << (n & 31) | x >> (-n & 31);
}

static inline uint32_t rotate_right(uint32_t x, uint32_t n)
{
    return x >> (n & 31) | x << (-n & 31);
}

/* `value` is at least 1. */
struct divisor divisor_of(uint32_t value);

uint32_t window_hash(const uint8_t window[WINDOW]);

static inline bool is_cut(const struct divisor *d, uint32_t hash)
{
    uint32_t x = rotate_right(hash * d->inverse + d->inverse, d->shift);
    return x - d->wrapped <= d->limit;
}

/* Sets bit i of `bits` (bit i % 64 of word i / 64) when a cut may follow data[i], for i < length;
 * clears all other bits of the ceil(length / 64) words. The WINDOW bytes before data[0] are read
 * as well. */
typedef void scan_function(const uint8_t *data, size_t length, uint64_t *bits,
                           const struct divisor *divisor);

scan_function scan_portable;
#if defined(__x86_64__)
scan_function scan_avx2;
scan_function scan_avx512;
#elif defined(__aarch64__)
scan_function scan_neon;
#endif

#endif

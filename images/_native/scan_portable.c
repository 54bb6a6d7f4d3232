/* SPDX-License-Identifier: Apache-2.0 */
/* The scan in plain C. Joining two or four bytes a step would shorten the chain from hash to hash,
 * but costs more instructions, and those are what limits it. */
#include "buzhash_table.h"
#include "kernels.h"

#define KERNEL static inline __attribute__((always_inline))
#define ENTERING(x) x
#define LEAVING(x) ROTATED_LEFT(x, WINDOW % 32)

static const uint32_t entering[256] = {BUZHASH_TABLE(ENTERING)};
static const uint32_t leaving[256] = {BUZHASH_TABLE(LEAVING)};

struct kernel {
    uint32_t hash;
    struct divisor divisor;
};

KERNEL void kernel_start(struct kernel *k, const uint8_t *data, const struct divisor *divisor)
{
    k->hash = window_hash(data - WINDOW);
    k->divisor = *divisor;
}

KERNEL uint32_t slide(uint32_t hash, const uint8_t *p)
{
    return rotate_left(hash, 1) ^ entering[*p] ^ leaving[p[-WINDOW]];
}

/* Called for one word in 780 at the default sizes. */
static uint64_t marks(uint32_t hash, const uint8_t *p, const struct divisor *divisor)
{
    uint64_t word = 0;
    for (int j = 0; j < 64; j++) {
        hash = slide(hash, p + j);
        word |= (uint64_t)is_cut(divisor, hash) << j;
    }
    return word;
}

KERNEL uint64_t kernel_word(struct kernel *k, const uint8_t *p, const bool shifted)
{
    struct divisor d = k->divisor;
    if (!shifted)
        d.shift = 0; /* known, so that the rotation goes away */
    uint32_t hash = k->hash;
#pragma GCC unroll 8
    for (int j = 0; j < 64; j++) {
        hash = slide(hash, p + j);
        if (__builtin_expect(is_cut(&d, hash), 0)) {
            uint64_t word = marks(k->hash, p, &k->divisor);
            k->hash = window_hash(p + 64 - WINDOW);
            return word;
        }
    }
    k->hash = hash;
    return 0;
}

#include "scan_loop.h"

void scan_portable(const uint8_t *data, size_t length, uint64_t *bits,
                   const struct divisor *divisor)
{
    scan_all(data, length, bits, divisor);
}

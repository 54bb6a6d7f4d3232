/* SPDX-License-Identifier: Apache-2.0 */
#include "buzhash_table.h"
#include "kernels.h"

#define WORD(x) x
static const uint32_t table[256] = {BUZHASH_TABLE(WORD)};

struct divisor divisor_of(uint32_t value)
{
    struct divisor d = {.value = value};
    uint32_t odd = value;
    while (odd % 2 == 0) {
        odd /= 2;
        d.shift++;
    }
    d.inverse = odd; /* right in the lowest 3 bits; each Newton step doubles them */
    for (int i = 0; i < 4; i++)
        d.inverse *= 2 - odd * d.inverse;
    d.wrapped = odd > 1;
    d.limit = UINT32_MAX / value - d.wrapped;
    static const uint8_t zeros[WINDOW];
    d.zeros_cut = is_cut(&d, window_hash(zeros));
    return d;
}

uint32_t window_hash(const uint8_t window[WINDOW])
{
    uint32_t hash = 0;
    for (int i = 0; i < WINDOW; i++)
        hash = rotate_left(hash, 1) ^ table[window[i]];
    return hash;
}

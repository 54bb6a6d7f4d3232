/* SPDX-License-Identifier: Apache-2.0 */
/* The straightforward chunker, to compare with where casync's source cannot be had: every byte
 * goes through a ring buffer of 48, every position from the minimum on through a 64-bit modulo.
 * Default sizes: 16384, 65536, 262144. */
#include "buzhash_table.h"
#include "kernels.h"

#define WORD(x) x
static const uint32_t table[256] = {BUZHASH_TABLE(WORD)};

size_t count_chunks(const uint8_t *p, size_t length);

size_t count_chunks(const uint8_t *p, size_t length)
{
    volatile size_t not_constant = 49535;
    const size_t discriminator = not_constant;
    uint8_t window[WINDOW] = {0};
    size_t chunks = 0, size = 0, index = 0;
    uint32_t hash = 0;
    for (size_t i = 0; i < length; i++) {
        hash = rotate_left(hash, 1) ^ table[p[i]];
        if (size >= WINDOW)
            hash ^= rotate_left(table[window[index]], WINDOW);
        window[index++] = p[i];
        if (index == WINDOW)
            index = 0;
        size++;
        if (size >= 262144 || (size >= 16384 && hash % discriminator == discriminator - 1)) {
            chunks++;
            size = index = 0;
            hash = 0;
        }
    }
    return chunks + (size > 0);
}

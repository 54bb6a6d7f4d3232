/* SPDX-License-Identifier: Apache-2.0 */
/* Reads pieces from standard input, u64 length in the CPU's byte order and then the bytes each, and
 * writes their digests by one call of the kernel to standard output.
 *
 * Built by the tests with -DDIGEST=digest_avx2 and so on: natively, under sanitizers, under
 * emulation. Every buffer is allocated at its exact length, so that a sanitizer sees one byte too
 * far. */
#include "digests.h"

#include <stdio.h>
#include <stdlib.h>

#define MOST_PIECES 4096

static void *allocate(size_t length)
{
    void *p = malloc(length > 0 ? length : 1);
    if (p == NULL)
        abort();
    return p;
}

int main(void)
{
    static struct piece pieces[MOST_PIECES];
    static uint8_t *memory[MOST_PIECES];
    size_t count = 0;
    uint64_t length;
    while (count < MOST_PIECES && fread(&length, sizeof length, 1, stdin) == 1) {
        memory[count] = allocate((size_t)length);
        if (fread(memory[count], 1, (size_t)length, stdin) != length)
            return 1;
        pieces[count] = (struct piece){memory[count], length};
        count++;
    }
    uint8_t *digests = allocate(count * DIGEST_LENGTH);
    DIGEST(pieces, count, digests);
    size_t written = fwrite(digests, DIGEST_LENGTH, count, stdout);
    for (size_t i = 0; i < count; i++)
        free(memory[i]);
    free(digests);
    return written == count ? 0 : 1;
}

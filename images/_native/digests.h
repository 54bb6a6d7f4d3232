/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-512/256 of several pieces of memory at once, one in each lane of a vector. */
#ifndef CAFLIP_DIGESTS_H
#define CAFLIP_DIGESTS_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_LENGTH 32

struct piece {
    const uint8_t *data; /* any pointer where length is 0 */
    uint64_t length;
};

/* Writes DIGEST_LENGTH bytes for each piece, in their order. */
typedef void digest_function(const struct piece *pieces, size_t count, uint8_t *digests);

#if defined(__x86_64__)
digest_function digest_avx2;
digest_function digest_avx512;
#endif

#endif

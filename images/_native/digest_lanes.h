/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-512/256 (FIPS 180-4) of many pieces, one in each 64-bit lane of a vector.
 *
 * A hash is a chain of rounds that no CPU can shorten, so hashes of several pieces are computed
 * side by side. A lane goes through its piece's whole blocks where they stand, then through one or
 * two blocks of padding, and takes the next piece. Long pieces come first, so that no lane is left
 * alone with one for long. A lane without a piece hashes the same empty block again and again. */
#ifndef CAFLIP_DIGEST_LANES_H
#define CAFLIP_DIGEST_LANES_H

#include "digests.h"

#include <stdbool.h>

#define MOST_LANES 8
#define BLOCK_LENGTH 128

struct lane {
    const uint8_t *next; /* block to hash */
    size_t blocks;       /* whole ones from there on; none: the lane is without a piece */
    size_t step;         /* to the next block, 0 without a piece */
    size_t number;       /* of the piece */
    bool padding;        /* the blocks are those of `tail` */
    uint64_t length;     /* of the piece */
    uint8_t tail[2 * BLOCK_LENGTH];
};

/* Hashes the next `blocks` blocks of each lane, which all have as many or are without a piece.
 * `state` has a row of MOST_LANES for each of the eight words, aligned to it. */
typedef void hash_function(uint64_t *state, struct lane *lanes, size_t blocks);

/* A vector of this many lanes. */
struct width {
    unsigned int lanes;
    hash_function *hash;
};

/* Digests the pieces by the first width; the last few, once no more than the second one's lanes are
 * busy, by that: vectors half as wide are done sooner. It may have no lanes. */
void digest_lanes(struct width wide, struct width narrow, const struct piece *pieces, size_t count,
                  uint8_t *digests);

#if defined(__x86_64__)
hash_function hash_avx512_tail;
#endif

#endif

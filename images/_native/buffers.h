/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions over whole buffers: comparing, finding bits, a table of chunk ids. */
#ifndef CAFLIP_BUFFERS_H
#define CAFLIP_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An index item: u64 end offset, then the 32 bytes of the chunk id. */
#define ITEM_LENGTH 40
#define ID_LENGTH 32

bool is_zero(const uint8_t *data, size_t length);

/* The same for the first bytes alone, which nearly always tells. */
bool head_is_zero(const uint8_t *data, size_t length);

/* The start of the first block, from the one that begins at `start` on, in which two buffers differ
 * (or, with `differs` false, are equal); `length` when there is none. The first block has `lead`
 * bytes, all others `block`, the last one what is left. */
size_t find_block(const uint8_t *old, const uint8_t *new, size_t length, size_t lead, size_t block,
                  size_t start, bool differs);

/* The first set bit in [start, stop), or stop. */
size_t find_bit(const uint64_t *bits, size_t start, size_t stop);

/* The first item that does not end after the one before it, or is longer than `maximum`;
 * `count` when all are in order. */
size_t first_bad_item(const uint8_t *items, size_t count, uint64_t maximum);

/* The first item that ends after `offset`, or `count`; the items are in order. */
size_t item_at(const uint8_t *items, size_t count, uint64_t offset);

#define NO_ITEM UINT32_MAX

/* Open addressing over item numbers; `slots` is a power of two and more than `count`; every slot
 * is written. The two keys are secret, so that an index cannot be made to collide on purpose.
 * Returns the number of distinct ids; of equal ids the first item stands in the table. */
size_t table_fill(const uint8_t *items, size_t count, uint32_t *table, size_t slots,
                  const uint64_t key[2]);
uint32_t table_find(const uint8_t *items, size_t count, const uint32_t *table, size_t slots,
                    const uint64_t key[2], const uint8_t *id);

#endif

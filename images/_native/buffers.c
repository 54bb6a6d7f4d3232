/* SPDX-License-Identifier: Apache-2.0 */
#include "buffers.h"

#include <string.h>

#define HEAD 16

bool head_is_zero(const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length && i < HEAD; i++)
        if (data[i] != 0)
            return false;
    return true;
}

bool is_zero(const uint8_t *data, size_t length)
{
    /* A buffer whose first bytes are zero is zero when it equals itself shifted by them; memcmp
     * is the fastest compare that the C library has for this CPU. */
    if (!head_is_zero(data, length))
        return false;
    return length <= HEAD || memcmp(data, data + HEAD, length - HEAD) == 0;
}

size_t find_block(const uint8_t *old, const uint8_t *new, size_t length, size_t lead, size_t block,
                  size_t start, bool differs)
{
    size_t end = start == 0 ? lead : start + block;
    while (start < length) {
        if (end > length)
            end = length;
        if ((memcmp(old + start, new + start, end - start) != 0) == differs)
            return start;
        start = end;
        end += block;
    }
    return length;
}

size_t find_bit(const uint64_t *bits, size_t start, size_t stop)
{
    if (start >= stop)
        return stop;
    size_t word = start / 64, last = (stop - 1) / 64;
    uint64_t current = bits[word] & (UINT64_MAX << (start % 64));
    while (current == 0) {
        if (word == last)
            return stop;
        word++;
        /* Marks are rare: most words are passed eight at a time. */
        while (word + 8 <= last && (bits[word] | bits[word + 1] | bits[word + 2] | bits[word + 3] |
                                    bits[word + 4] | bits[word + 5] | bits[word + 6] |
                                    bits[word + 7]) == 0)
            word += 8;
        current = bits[word];
    }
    size_t found = word * 64 + (size_t)__builtin_ctzll(current);
    return found < stop ? found : stop;
}

static uint64_t load_le64(const uint8_t *p)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

size_t first_bad_item(const uint8_t *items, size_t count, uint64_t maximum)
{
    uint64_t start = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t end = load_le64(items + i * ITEM_LENGTH);
        if (end <= start || end - start > maximum)
            return i;
        start = end;
    }
    return count;
}

size_t item_at(const uint8_t *items, size_t count, uint64_t offset)
{
    size_t first = 0, stop = count;
    while (first < stop) {
        size_t middle = first + (stop - first) / 2;
        if (load_le64(items + middle * ITEM_LENGTH) > offset)
            stop = middle;
        else
            first = middle + 1;
    }
    return first;
}

static size_t slot_of(const uint8_t *id, const uint64_t key[2], size_t slots)
{
    uint64_t hash = key[0];
    for (int i = 0; i < ID_LENGTH; i += 8) {
        uint64_t word;
        memcpy(&word, id + i, sizeof word);
        hash = (hash ^ word) * (key[1] | 1);
        hash ^= hash >> 32;
    }
    hash *= key[1] | 1; /* else the last word's highest bits would not reach the lowest */
    hash ^= hash >> 32;
    return (size_t)hash & (slots - 1);
}

static const uint8_t *id_of(const uint8_t *items, uint32_t number)
{
    return items + (size_t)number * ITEM_LENGTH + 8;
}

/* The slot that holds `id`, or the free one where it belongs. A number that is no item's counts as
 * free, so that a table of other items leads to no byte outside of these. */
static size_t probe(const uint8_t *items, size_t count, const uint32_t *table, size_t slots,
                    const uint64_t key[2], const uint8_t *id)
{
    size_t slot = slot_of(id, key, slots);
    while (table[slot] < count && memcmp(id_of(items, table[slot]), id, ID_LENGTH) != 0)
        slot = (slot + 1) & (slots - 1);
    return slot;
}

size_t table_fill(const uint8_t *items, size_t count, uint32_t *table, size_t slots,
                  const uint64_t key[2])
{
    size_t distinct = 0;
    memset(table, 0xff, slots * sizeof *table);
    for (size_t i = 0; i < count; i++) {
        size_t slot = probe(items, count, table, slots, key, id_of(items, (uint32_t)i));
        if (table[slot] == NO_ITEM) {
            table[slot] = (uint32_t)i;
            distinct++;
        }
    }
    return distinct;
}

uint32_t table_find(const uint8_t *items, size_t count, const uint32_t *table, size_t slots,
                    const uint64_t key[2], const uint8_t *id)
{
    uint32_t found = table[probe(items, count, table, slots, key, id)];
    return found < count ? found : NO_ITEM;
}

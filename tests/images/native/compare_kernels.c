/* SPDX-License-Identifier: Apache-2.0 */
/* Compares scan kernels with the plain rolling hash and `%`, on random and on adversarial input.
 *
 * Built by the tests with -DKERNELS='X(scan_portable) X(scan_avx2)' and so on: natively, under
 * sanitizers, under emulation. Every buffer is allocated at its exact length, so that a sanitizer
 * sees one byte too far. Ends with status 0 and prints how many scans agreed. */
#include "buffers.h"
#include "buzhash_table.h"
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define X(name) {#name, name},
static const struct {
    const char *name;
    scan_function *scan;
} kernels[] = {KERNELS};
#undef X

#define WORD(x) x
static const uint32_t table[256] = {BUZHASH_TABLE(WORD)};

static const uint32_t divisors[] = {
    1,      2,      3,          4,          5,          7,          8,          48,
    64,     1000,   3075,       12318,      49535,      65535,      65536,      99777,
    886711, 1u << 27, 0x7fffffff, 0x80000000, 0x80000001, 0xc0000000, 0xfffffffe, 0xffffffff,
};
#define DIVISORS (sizeof divisors / sizeof *divisors)
#define USUAL 49535

static uint64_t random_state = 0x9e3779b97f4a7c15;
static unsigned long agreed;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void fill_random(uint8_t *p, size_t length)
{
    for (size_t i = 0; i < length; i++)
        p[i] = (uint8_t)(next_random() >> 40);
}

static void *allocate(size_t length)
{
    void *p = malloc(length > 0 ? length : 1);
    if (p == NULL)
        abort();
    return p;
}

/* `data` has WINDOW + length bytes. */
static void reference(const uint8_t *data, size_t length, uint64_t *bits, uint32_t divisor)
{
    uint32_t hash = 0;
    memset(bits, 0, (length + 63) / 64 * 8);
    for (size_t i = 0; i < WINDOW + length; i++) {
        hash = rotate_left(hash, 1) ^ table[data[i]];
        if (i < WINDOW)
            continue;
        hash ^= rotate_left(table[data[i - WINDOW]], WINDOW);
        if (hash % divisor == divisor - 1)
            bits[(i - WINDOW) / 64] |= UINT64_C(1) << (i - WINDOW) % 64;
    }
}

static void compare_at(const uint8_t *source, size_t length, uint32_t value, size_t misaligned)
{
    size_t words = (length + 63) / 64;
    uint8_t *memory = allocate(misaligned + WINDOW + length);
    uint8_t *data = memory + misaligned;
    uint64_t *expected = allocate(words * 8), *bits = allocate(words * 8);
    struct divisor divisor = divisor_of(value);
    memcpy(data, source, WINDOW + length);
    reference(data, length, expected, value);
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        memset(bits, 0xa5, words * 8);
        kernels[i].scan(data + WINDOW, length, bits, &divisor);
        if (memcmp(bits, expected, words * 8) != 0) {
            fprintf(stderr, "%s differs: length %zu, divisor %u, misaligned by %zu\n",
                    kernels[i].name, length, (unsigned)value, misaligned);
            exit(1);
        }
        agreed++;
    }
    free(memory);
    free(expected);
    free(bits);
}

static void compare(const uint8_t *source, size_t length, uint32_t value)
{
    compare_at(source, length, value, 0);
}

static void all_lengths(void)
{
    uint8_t data[WINDOW + 200];
    fill_random(data, sizeof data);
    for (size_t length = 0; length <= 200; length++) {
        compare_at(data, length, USUAL, length % 64);
        compare_at(data, length, 3, 63 - length % 64);
    }
}

static void all_divisors(void)
{
    uint8_t data[WINDOW + 1500];
    for (size_t i = 0; i < DIVISORS; i++) {
        fill_random(data, sizeof data);
        memset(data + 500, 0, 300);
        compare(data, 1500, divisors[i]);
    }
    for (int i = 0; i < 40; i++) {
        fill_random(data, sizeof data);
        uint32_t value = (uint32_t)next_random() >> next_random() % 32;
        compare(data, 1500, value > 0 ? value : 1);
    }
}

static void all_alignments(void)
{
    uint8_t data[WINDOW + 333];
    fill_random(data, sizeof data);
    for (size_t misaligned = 0; misaligned < 64; misaligned++)
        compare_at(data, 333, 17, misaligned);
}

/* 48 bytes whose hash is `target`: 24 of them out of a table of a million, met by 24 others. */
static void window_with_hash(uint32_t target, uint8_t window[WINDOW])
{
    enum { HALF = WINDOW / 2, SLOTS = 1 << 18 };
    static uint8_t halves[SLOTS][HALF];
    static uint32_t hashes[SLOTS];
    static bool filled;
    uint8_t zeros[WINDOW] = {0};
    const uint32_t rest = window_hash(zeros);
    for (int i = 0; i < SLOTS && !filled; i++) {
        uint8_t candidate[WINDOW] = {0};
        fill_random(candidate, HALF);
        uint32_t hash = window_hash(candidate), slot = hash % SLOTS;
        memcpy(halves[slot], candidate, HALF);
        hashes[slot] = hash;
    }
    filled = true;
    memset(window, 0, WINDOW);
    while (window_hash(window) != target) {
        memset(window, 0, HALF);
        fill_random(window + HALF, HALF);
        uint32_t wanted = target ^ window_hash(window) ^ rest;
        if (hashes[wanted % SLOTS] == wanted)
            memcpy(window, halves[wanted % SLOTS], HALF);
    }
}

/* Hashes at the edges of the test, for every divisor, each at a position of its own. */
static void hashes_at_the_edges(void)
{
    uint8_t data[WINDOW + 300];
    const uint32_t edges[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    uint8_t windows[sizeof edges / sizeof *edges][WINDOW];
    for (size_t e = 0; e < sizeof edges / sizeof *edges; e++)
        window_with_hash(edges[e], windows[e]);
    for (size_t i = 0; i < DIVISORS; i++)
        for (size_t e = 0; e < sizeof edges / sizeof *edges; e++) {
            fill_random(data, sizeof data);
            memcpy(data + next_random() % 250, windows[e], WINDOW);
            compare(data, 300, divisors[i]);
        }
    for (size_t i = 0; i < DIVISORS; i++) {
        uint32_t d = divisors[i], largest = UINT32_MAX / d * d - 1;
        const uint32_t around[] = {d - 2, d - 1, d, largest - 1, largest, largest + 1};
        for (size_t e = 0; e < sizeof around / sizeof *around; e++) {
            uint8_t window[WINDOW];
            window_with_hash(around[e], window);
            fill_random(data, sizeof data);
            memcpy(data + next_random() % 250, window, WINDOW);
            compare(data, 300, d);
        }
    }
}

/* One candidate alone, at each of the 64 bits of a word and in the words around it. */
static void each_bit(void)
{
    uint8_t window[WINDOW], data[WINDOW + 200];
    window_with_hash(USUAL - 1, window);
    for (size_t position = 0; position < 200; position++)
        for (int filler = 0; filler < 3; filler++) {
            memset(data, filler, sizeof data);
            if (filler == 2)
                fill_random(data, sizeof data);
            memcpy(data + position + 1, window, WINDOW);
            compare(data, 200, USUAL);
        }
}

static void zeros_with_one_other_byte(void)
{
    uint8_t data[WINDOW + 64 * 5 + 7] = {0};
    const size_t length = sizeof data - WINDOW;
    for (size_t i = 0; i < DIVISORS; i++)
        compare(data, length, divisors[i]);
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(1 + i % 255);
        compare(data, length, 2);
        compare(data, length, USUAL);
        data[i] = 0;
    }
    for (size_t start = 0; start < 200; start += 3) { /* a run of zeros between other bytes */
        fill_random(data, sizeof data);
        memset(data + start, 0, 170);
        compare(data, length, 3);
        compare(data, length, 8);
    }
    struct divisor nearly = divisor_of(USUAL);
    uint32_t of_zeros = window_hash((const uint8_t[WINDOW]){0});
    for (uint32_t d = 1; d < 3000; d++) /* some divisors cut at every zero */
        if (of_zeros % d == d - 1) {
            memset(data, 0, sizeof data);
            compare(data, length, d);
        }
    if (nearly.zeros_cut)
        abort();
}

static void constant_and_periodic(void)
{
    uint8_t data[WINDOW + 400];
    for (int byte = 0; byte < 256; byte++) {
        memset(data, byte, sizeof data);
        compare(data, 400, 2);
        compare(data, 400, USUAL);
    }
    for (size_t period = 2; period < 130; period++) {
        fill_random(data, period);
        for (size_t i = period; i < sizeof data; i++)
            data[i] = data[i - period];
        compare(data, 400, 5);
    }
}

static void leaf_functions(void)
{
    for (size_t length = 0; length < 80; length++) {
        uint8_t *data = allocate(length);
        memset(data, 0, length);
        if (!is_zero(data, length))
            abort();
        for (size_t i = 0; i < length; i++) {
            data[i] = 1;
            if (is_zero(data, length))
                abort();
            data[i] = 0;
        }
        free(data);
    }
    const size_t words = 27, positions = words * 64;
    uint64_t *bits = allocate(words * 8);
    for (size_t set = 0; set < positions; set += 5) {
        memset(bits, 0, words * 8);
        bits[set / 64] = UINT64_C(1) << set % 64;
        for (size_t start = 0; start <= positions; start += 31)
            for (size_t stop = 0; stop <= positions; stop += 54)
                if (find_bit(bits, start, stop) != (start <= set && set < stop ? set : stop))
                    abort();
    }
    free(bits);
    const size_t count = 100, slots = 128;
    const uint64_t key[2] = {next_random(), next_random()};
    uint8_t *items = allocate(count * ITEM_LENGTH);
    uint32_t *places = allocate(slots * sizeof *places);
    fill_random(items, count * ITEM_LENGTH);
    memcpy(items + 70 * ITEM_LENGTH + 8, items + 7 * ITEM_LENGTH + 8, ID_LENGTH);
    for (size_t i = 0; i < count; i++) {
        memset(items + i * ITEM_LENGTH, 0, 8);
        items[i * ITEM_LENGTH] = (uint8_t)(i + 1);
    }
    if (table_fill(items, count, places, slots, key) != count - 1 ||
        first_bad_item(items, count, 1) != count || first_bad_item(items, count, 0) != 0)
        abort();
    for (size_t i = 0; i < count; i++)
        if (table_find(items, count, places, slots, key, items + i * ITEM_LENGTH + 8) !=
            (i == 70 ? 7 : i))
            abort();
    const uint8_t absent[ID_LENGTH] = {0};
    if (table_find(items, count, places, slots, key, absent) != NO_ITEM)
        abort();
    free(items);
    free(places);
}

int main(void)
{
    all_lengths();
    all_divisors();
    all_alignments();
    hashes_at_the_edges();
    each_bit();
    zeros_with_one_other_byte();
    constant_and_periodic();
    leaf_functions();
    printf("%lu scans agree\n", agreed);
    return 0;
}

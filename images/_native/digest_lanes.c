/* SPDX-License-Identifier: Apache-2.0 */
/* Which piece is in which lane; the lanes' work is a kernel's. */
#include "digest_lanes.h"

#include <string.h>

#define LENGTH_FIELD 16 /* bytes at the end of the last block */

static const uint64_t initial[8] = { /* FIPS 180-4, 5.3.6.2 */
    0x22312194fc2bf72c, 0x9f555fa3c84c64c2, 0x2393b86b6f53b151, 0x963877195940eabd,
    0x96283ee2a88effe3, 0xbe5e1e2553863992, 0x2b0199fc2c85b8aa, 0x0eb72ddc81c52ca2,
};

/* Hands out pieces by their lengths' highest bit, the longest first. */
struct queue {
    const struct piece *pieces;
    size_t count, next;
    unsigned int bit; /* pieces with this highest bit are handed out now; 0 for empty ones */
};

static unsigned int highest_bit(uint64_t length)
{
    return length == 0 ? 0 : 64 - (unsigned int)__builtin_clzll(length);
}

static bool take(struct queue *q, size_t *number)
{
    for (;;) {
        for (; q->next < q->count; q->next++)
            if (highest_bit(q->pieces[q->next].length) == q->bit) {
                *number = q->next++;
                return true;
            }
        if (q->bit == 0)
            return false;
        q->bit--;
        q->next = 0;
    }
}

static void store_be64(uint8_t *p, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(p, &value, sizeof value);
}

/* Lay out what follows the whole blocks: the rest, a one bit, zeros, the length in bits. */
static void pad(struct lane *lane, const uint8_t *rest)
{
    const size_t left = lane->length % BLOCK_LENGTH;
    const size_t blocks = left + 1 + LENGTH_FIELD <= BLOCK_LENGTH ? 1 : 2;
    memset(lane->tail, 0, sizeof lane->tail);
    if (left > 0)
        memcpy(lane->tail, rest, left);
    lane->tail[left] = 0x80;
    store_be64(lane->tail + blocks * BLOCK_LENGTH - 16, lane->length >> 61);
    store_be64(lane->tail + blocks * BLOCK_LENGTH - 8, lane->length << 3);
    lane->next = lane->tail;
    lane->blocks = blocks;
    lane->padding = true;
}

/* Give a lane the next piece, or let it idle; tell which. `state` is a column. */
static bool start(struct lane *lane, struct queue *q, uint64_t *state)
{
    static const uint8_t nothing[BLOCK_LENGTH];
    lane->padding = false;
    lane->next = nothing;
    lane->blocks = lane->step = 0;
    if (!take(q, &lane->number))
        return false;
    const struct piece *piece = &q->pieces[lane->number];
    for (int i = 0; i < 8; i++)
        state[i * MOST_LANES] = initial[i];
    lane->length = piece->length;
    lane->step = BLOCK_LENGTH;
    lane->next = piece->data;
    lane->blocks = (size_t)(piece->length / BLOCK_LENGTH);
    if (lane->blocks == 0)
        pad(lane, piece->data);
    return true;
}

static void finish(const struct lane *lane, const uint64_t *state, uint8_t *digests)
{
    for (int i = 0; i < DIGEST_LENGTH / 8; i++)
        store_be64(digests + lane->number * DIGEST_LENGTH + 8 * i, state[i * MOST_LANES]);
}

/* Put the lanes that have a piece first. */
static void close_up(unsigned int lanes, struct lane *lane, uint64_t *state)
{
    unsigned int to = 0;
    for (unsigned int from = 0; from < lanes; from++) {
        if (lane[from].blocks == 0)
            continue;
        if (from != to) {
            const struct lane moved = lane[from];
            lane[from] = lane[to];
            lane[to] = moved;
            if (moved.padding)
                lane[to].next = lane[to].tail + (moved.next - lane[from].tail);
            for (unsigned int i = 0; i < 8; i++)
                state[i * MOST_LANES + to] = state[i * MOST_LANES + from];
        }
        to++;
    }
}

void digest_lanes(struct width wide, struct width narrow, const struct piece *pieces, size_t count,
                  uint8_t *digests)
{
    uint64_t state[8 * MOST_LANES] __attribute__((aligned(8 * MOST_LANES)));
    struct lane lanes[MOST_LANES];
    struct queue queue = {.pieces = pieces, .count = count, .next = 0, .bit = 64};
    struct width width = wide;
    size_t busy = 0;
    memset(state, 0, sizeof state);
    for (unsigned int i = 0; i < width.lanes; i++)
        busy += start(&lanes[i], &queue, state + i);
    while (busy > 0) {
        if (busy <= narrow.lanes && width.lanes > narrow.lanes) {
            close_up(width.lanes, lanes, state);
            width = narrow;
        }
        size_t blocks = SIZE_MAX;
        for (unsigned int i = 0; i < width.lanes; i++)
            if (lanes[i].blocks > 0 && lanes[i].blocks < blocks)
                blocks = lanes[i].blocks;
        width.hash(state, lanes, blocks);
        for (unsigned int i = 0; i < width.lanes; i++) {
            struct lane *lane = &lanes[i];
            if (lane->blocks == 0)
                continue;
            lane->blocks -= blocks;
            if (lane->blocks > 0)
                continue;
            if (!lane->padding) {
                pad(lane, lane->next);
                continue;
            }
            finish(lane, state + i, digests);
            busy -= !start(lane, &queue, state + i);
        }
    }
}

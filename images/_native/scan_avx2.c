/* SPDX-License-Identifier: Apache-2.0 */
/* The scan for AVX2: eight lanes. Gathers are not used: they are slow on Zen, and on Intel since
 * the fixes for data sampling. */
#if defined(__x86_64__)

#include "kernels.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define KERNEL static inline TARGET __attribute__((always_inline))
#define LANES 8
#define R(x, n) ROTATED_LEFT(x, n)
#define ROW(x) \
    { \
        0, 0, 0, 0, 0, 0, 0, x, R(x, 1), R(x, 2), R(x, 3), R(x, 4), R(x, 5), R(x, 6), R(x, 7), 0 \
    }

typedef __m256i vector;

/* `is_cut` with all that is added or subtracted folded into `add`; the smallest signed number is
 * added on both sides, since AVX2 compares signed only. */
struct test {
    vector inverse, add, limit, right, left;
};

KERNEL struct test test_of(const struct divisor *d)
{
    const uint32_t bias = UINT32_C(1) << 31;
    const uint32_t plus_one = d->shift == 0 ? d->inverse : 0;
    return (struct test){
        .inverse = _mm256_set1_epi32((int)d->inverse),
        .add = _mm256_set1_epi32((int)(plus_one - d->wrapped + bias)),
        .limit = _mm256_set1_epi32((int)(d->limit + bias)),
        .right = _mm256_set1_epi32((int)d->shift),
        .left = _mm256_set1_epi32((int)(32 - d->shift)),
    };
}

KERNEL vector v_load(const uint32_t *p)
{
    return _mm256_loadu_si256((const vector *)p);
}

KERNEL void v_store(uint32_t *p, vector x)
{
    _mm256_storeu_si256((vector *)p, x);
}

KERNEL vector v_xor(vector x, vector y)
{
    return _mm256_xor_si256(x, y);
}

KERNEL vector v_and(vector x, vector y)
{
    return _mm256_and_si256(x, y);
}

KERNEL vector v_rotate(vector x, vector left, vector right)
{
    return _mm256_or_si256(_mm256_sllv_epi32(x, left), _mm256_srlv_epi32(x, right));
}

KERNEL vector v_rol16(vector x)
{
    const vector halves = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    return _mm256_shuffle_epi8(x, halves);
}

KERNEL vector v_spread(uint32_t hash)
{
    return v_rotate(_mm256_set1_epi32((int)hash), _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8),
                    _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
}

KERNEL vector v_missed(const struct test *t, vector hashes, const bool shifted)
{
    if (shifted) {
        hashes = _mm256_sub_epi32(hashes, _mm256_set1_epi32(-1));
        hashes = v_rotate(_mm256_mullo_epi32(hashes, t->inverse), t->left, t->right);
    } else
        hashes = _mm256_mullo_epi32(hashes, t->inverse);
    return _mm256_cmpgt_epi32(_mm256_add_epi32(hashes, t->add), t->limit);
}

KERNEL bool v_all(vector missed)
{
    return _mm256_movemask_epi8(missed) == -1;
}

KERNEL uint64_t v_cuts(vector missed)
{
    return (uint64_t)_mm256_movemask_ps(_mm256_castsi256_ps(missed)) ^ 0xff;
}

#include "scan_rows.h"

TARGET void scan_avx2(const uint8_t *data, size_t length, uint64_t *bits,
                      const struct divisor *divisor)
{
    scan_all(data, length, bits, divisor);
}

#endif

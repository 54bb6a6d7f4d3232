/* SPDX-License-Identifier: Apache-2.0 */
/* The scan for 64-bit ARM, whose every CPU has NEON: four lanes. */
#if defined(__aarch64__)

#include "kernels.h"

#include <arm_neon.h>

#define KERNEL static inline __attribute__((always_inline))
#define LANES 4
#define R(x, n) ROTATED_LEFT(x, n)
#define ROW(x) {0, 0, 0, x, R(x, 1), R(x, 2), R(x, 3), 0}

typedef uint32x4_t vector;

/* `is_cut` with all that is added or subtracted folded into `add`. */
struct test {
    vector inverse, add, limit;
    int32x4_t left; /* how far hashes are rotated left, which is right by the divisor's shift */
};

KERNEL struct test test_of(const struct divisor *d)
{
    const uint32_t plus_one = d->shift == 0 ? d->inverse : 0;
    return (struct test){
        .inverse = vdupq_n_u32(d->inverse),
        .add = vdupq_n_u32(plus_one - d->wrapped),
        .limit = vdupq_n_u32(d->limit),
        .left = vdupq_n_s32((int32_t)(32 - d->shift)),
    };
}

KERNEL vector v_load(const uint32_t *p)
{
    return vld1q_u32(p);
}

KERNEL void v_store(uint32_t *p, vector x)
{
    vst1q_u32(p, x);
}

KERNEL vector v_xor(vector x, vector y)
{
    return veorq_u32(x, y);
}

KERNEL vector v_and(vector x, vector y)
{
    return vandq_u32(x, y);
}

KERNEL vector v_rotate(vector x, int32x4_t left)
{
    return vorrq_u32(vshlq_u32(x, left), vshlq_u32(x, vsubq_s32(left, vdupq_n_s32(32))));
}

KERNEL vector v_rol16(vector x)
{
    return vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(x)));
}

KERNEL vector v_spread(uint32_t hash)
{
    return v_rotate(vdupq_n_u32(hash), (int32x4_t){1, 2, 3, 4});
}

KERNEL vector v_missed(const struct test *t, vector hashes, const bool shifted)
{
    if (shifted) {
        hashes = vaddq_u32(hashes, vdupq_n_u32(1));
        hashes = v_rotate(vmulq_u32(hashes, t->inverse), t->left);
    } else
        hashes = vmulq_u32(hashes, t->inverse);
    return vcgtq_u32(vaddq_u32(hashes, t->add), t->limit);
}

KERNEL bool v_all(vector missed)
{
    return vminvq_u32(missed) != 0;
}

KERNEL uint64_t v_cuts(vector missed)
{
    return vaddvq_u32(vbicq_u32((uint32x4_t){1, 2, 4, 8}, missed));
}

#include "scan_rows.h"

void scan_neon(const uint8_t *data, size_t length, uint64_t *bits, const struct divisor *divisor)
{
    scan_all(data, length, bits, divisor);
}

#endif

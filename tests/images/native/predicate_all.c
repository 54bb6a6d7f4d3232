/* SPDX-License-Identifier: Apache-2.0 */
/* Compares the cut test with `%` for every one of the 2^32 hashes, in two threads. The divisors
 * are the arguments. On a CPU with AVX2 its own form of the test is compared as well. */
#include "kernels.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__x86_64__)
#include "scan_avx2.c"
#endif

struct half {
    uint64_t first, stop;
    struct divisor divisor;
    uint64_t cuts;
    bool with_avx2;
};

#if defined(__x86_64__)
TARGET static uint64_t avx2_cuts(const struct divisor *d, uint32_t first)
{
    const struct test test = test_of(d);
    uint64_t word = 0;
    for (uint32_t i = 0; i < 64; i += LANES) {
        uint32_t hashes[LANES];
        for (uint32_t j = 0; j < LANES; j++)
            hashes[j] = first + i + j;
        word |= v_cuts(v_missed(&test, v_load(hashes), d->shift != 0)) << i;
    }
    return word;
}
#endif

static void *compare(void *argument)
{
    struct half *half = argument;
    const struct divisor d = half->divisor;
    for (uint64_t first = half->first; first < half->stop; first += 64) {
        uint64_t expected = 0, found = 0;
        for (uint32_t i = 0; i < 64; i++) {
            uint32_t hash = (uint32_t)first + i;
            expected |= (uint64_t)(hash % d.value == d.value - 1) << i;
            found |= (uint64_t)is_cut(&d, hash) << i;
        }
        uint64_t by_avx2 = expected;
#if defined(__x86_64__)
        if (half->with_avx2)
            by_avx2 = avx2_cuts(&d, (uint32_t)first);
#endif
        if (found != expected || by_avx2 != expected) {
            fprintf(stderr, "%s differs for divisor %lu near hash %#llx\n",
                    found == expected ? "AVX2" : "portable", (unsigned long)d.value,
                    (unsigned long long)first);
            exit(1);
        }
        half->cuts += (uint64_t)__builtin_popcountll(expected);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct half halves[2];
        pthread_t threads[2];
        for (int t = 0; t < 2; t++) {
            halves[t] = (struct half){
                .first = (uint64_t)t << 31,
                .stop = (uint64_t)(t + 1) << 31,
                .divisor = divisor_of((uint32_t)strtoul(argv[i], NULL, 0)),
            };
#if defined(__x86_64__)
            halves[t].with_avx2 = __builtin_cpu_supports("avx2");
#endif
            if (pthread_create(&threads[t], NULL, compare, &halves[t]) != 0)
                return 2;
        }
        for (int t = 0; t < 2; t++)
            pthread_join(threads[t], NULL);
        printf("%s %llu\n", argv[i], (unsigned long long)(halves[0].cuts + halves[1].cuts));
    }
    return 0;
}

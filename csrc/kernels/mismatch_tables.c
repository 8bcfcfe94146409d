/* mismatch_tables.c - the rows that every table-lookup kernel reads; see kernels.h. */
#include "kernels.h"

#define BIT(x, i) (((x) >> (i)) & 1)
#define ONES(x) (BIT(x, 0) + BIT(x, 1) + BIT(x, 2) + BIT(x, 3))
#define ONE(c, w) ONES((c) ^ (w))
#define TWO(c, w) (2 * ONES(((c) & 15) ^ (w)) + ONES(((c) >> 4) ^ (w)))
#define ROW(F, c)                                                                                                      \
    {F(c, 0), F(c, 1), F(c, 2),  F(c, 3),  F(c, 4),  F(c, 5),  F(c, 6),  F(c, 7),                                      \
     F(c, 8), F(c, 9), F(c, 10), F(c, 11), F(c, 12), F(c, 13), F(c, 14), F(c, 15)}
#define ROWS4(F, c) ROW(F, c), ROW(F, c + 1), ROW(F, c + 2), ROW(F, c + 3)
#define ROWS16(F, c) ROWS4(F, c), ROWS4(F, c + 4), ROWS4(F, c + 8), ROWS4(F, c + 12)
#define ROWS64(F, c) ROWS16(F, c), ROWS16(F, c + 16), ROWS16(F, c + 32), ROWS16(F, c + 48)

const uint8_t kws_mismatch_one[16][16] __attribute__((aligned(64))) = {ROWS16(ONE, 0)};
const uint8_t kws_mismatch_two[256][16]
    __attribute__((aligned(64))) = {ROWS64(TWO, 0), ROWS64(TWO, 64), ROWS64(TWO, 128), ROWS64(TWO, 192)};

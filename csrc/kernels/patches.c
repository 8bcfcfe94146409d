/* patches.c - gathers the patches of a binary convolution. Every instruction set copies alike: nothing is computed. */
#include "kernels.h"

#include <string.h>

/* The family's kernel rows, 5 pixels of 16 channels, are copied by constant sizes: two moves, no call. */
enum { FAMILY_PIECE = 20 };

static inline void copy_piece(uint8_t *to, const uint8_t *from, int32_t bytes)
{
    if (bytes == FAMILY_PIECE) {
        memcpy(to, from, 16);
        memcpy(to + 16, from + 16, FAMILY_PIECE - 16);
    } else {
        memcpy(to, from, (size_t)bytes);
    }
}

void kws_gather_patches(const kws_patches *args, const uint8_t *image, uint8_t *patches)
{
    int32_t used = args->kernel * args->piece_bytes;
    for (int32_t row = 0; row < args->rows; ++row, image += args->y_bytes) {
        const uint8_t *corner = image;
        for (int32_t column = 0; column < args->columns; ++column, corner += args->x_bytes) {
            for (int32_t i = 0; i < args->kernel; ++i) {
                copy_piece(patches + i * args->piece_bytes, corner + i * args->row_bytes, args->piece_bytes);
            }
            memset(patches + used, 0, (size_t)(args->patch_bytes - used));
            patches += args->patch_bytes;
        }
    }
}

/* conv_tiles.h - the walk over output pixels that all first-convolution kernels share.
 *
 * Included by conv_<isa>.c, which defines KWS_CONV_TILE(args, patch, block, columns, y): 16 outputs of `columns` (4 or
 * 1, a constant) neighbouring pixels. Four independent pixels hide the latency of the adds, and a weight loaded once
 * serves all four. Sums of int8 products are integers below 2^24, exact in float whatever the order.
 */
#define KWS_CONV_WALK(args, image, y)                                                                                  \
    do {                                                                                                               \
        for (int32_t row = 0; row < (args)->out_height; ++row) {                                                       \
            for (int32_t column = 0; column < (args)->out_width;) {                                                    \
                const float *patch = (image) + (row * (args)->width + column) * (args)->stride;                        \
                int32_t taken = column + 4 <= (args)->out_width ? 4 : 1;                                               \
                for (int32_t block = 0; block < (args)->outputs; block += KWS_OUTPUT_BLOCK) {                          \
                    if (taken == 4) {                                                                                  \
                        KWS_CONV_TILE(args, patch, block, 4, y);                                                       \
                    } else {                                                                                           \
                        KWS_CONV_TILE(args, patch, block, 1, y);                                                       \
                    }                                                                                                  \
                }                                                                                                      \
                column += taken;                                                                                       \
                (y) += taken * (args)->outputs;                                                                        \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

/* The outputs of a block that exist. */
static inline int32_t outputs_in_block(const kws_conv_args *args, int32_t block)
{
    return args->outputs - block < KWS_OUTPUT_BLOCK ? args->outputs - block : KWS_OUTPUT_BLOCK;
}

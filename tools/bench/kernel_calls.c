/* kernel_calls.c - calls every kernel of the family's network once, at its real shapes, for instructions.py and mca.py.
 *
 * mark(i) goes before each call: QEMU's log shows it, and what follows belongs to CALLS[i]. The names are printed, one a
 * line. Data is random but valid; the front end hears noise.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/exact_math.h"
#include "frontend/frontend.h"
#include "kernels/kernels.h"

enum { WIDTH = 128, HIDDEN = 256, STEPS = 8, CLASSES = 12, CONV1 = 16, CONV2 = 32, PATCH = 400, IMAGE = 36, TAPS = 5 };

static uint8_t bytes[1 << 17];
static int8_t q[1 << 14];
static int16_t words[1 << 14], limits[512], sums[1 << 14];
static float floats[1 << 14], y[1 << 14], scores[CLASSES];
static int32_t wide_sums[CLASSES];
static uint8_t codes[1 << 15];
static const kws_kernels *k;
static kws_frontend frontend;
static kws_online online;

__attribute__((noinline)) void mark(int32_t call) { __asm__ volatile("" ::"r"(call) : "memory"); }

static void bgemm(int32_t rows, int32_t inputs, int32_t outputs)
{
    kws_bgemm_args args = {bytes, inputs, outputs, 2};
    k->bgemm(&args, codes, rows, sums);
}

static void conv(int32_t rows)
{
    kws_conv_args args = {limits, IMAGE, 5, 2, CONV1, rows, 16};
    k->conv(&args, words, sums);
}

static void staircase(int32_t rows, int32_t outputs)
{
    /* Behind the hidden layers' PReLUs, which have negative slopes, the last step tells alone. */
    kws_staircase stairs = {{limits, limits, limits}, {limits, limits, limits}, 2, outputs == HIDDEN};
    k->staircase(&stairs, sums, rows, outputs, codes);
}

static void patches(int32_t rows)
{
    kws_patches args = {rows, 8, 5, 80, 8, 160, 20, 100};
    kws_gather_patches(&args, bytes, codes);
}

static const kws_epilogue epilogue = {floats, floats + 256, floats + 512};
static const kws_quantizer quantizer = {floats + 768, 0.5f, 2};

static void memory(int32_t steps)
{
    for (int32_t t = 0; t < steps; ++t) {
        k->memory(q, q + 1024, TAPS, WIDTH, sums + t * WIDTH);
    }
}

/* One of a stream: a hop's samples complete it. The first frame took what the hop before left. */
static void frame(void)
{
    kws_online_accept_s16(&online, words, 480);
    kws_online_take(&online, y);
    kws_frontend_quantize(&frontend, y, q);
}

/* CALL(name, rows of a window, rows of a step of a causal network, what is called with these rows) */
#define CALLS(CALL)                                                                                                    \
    CALL("frame", 1, 1, frame())                                                                                       \
    CALL("widen 32", 32, 4, for (int32_t i = 0; i < rows; ++i) k->widen(q, 32, words))                                 \
    CALL("conv1 5x5x1x16", 16, 2, conv(rows))                                                                          \
    CALL("staircase 16x16", 16, 2, staircase(16 * rows, CONV1))                                                        \
    CALL("patches 5x5x16", 8, 1, patches(rows))                                                                        \
    CALL("conv2 bgemm 400x32", 8, 1, bgemm(8 * rows, PATCH, CONV2))                                                    \
    CALL("conv2 add 32", 8, 1, k->add(limits, 256 * rows, sums))                                                       \
    CALL("staircase 8x32", 8, 1, staircase(8 * rows, CONV2))                                                           \
    CALL("fc1 bgemm 256x128", 8, 1, bgemm(rows, HIDDEN, WIDTH))                                                        \
    CALL("affine 128", 8, 1, k->affine(&epilogue, sums, NULL, rows, WIDTH, y))                                         \
    CALL("levels 128", 8, 1, k->levels(&quantizer, floats, rows, WIDTH, q))                                            \
    CALL("memory 5x128", 8, 1, memory(rows))                                                                           \
    CALL("affine_codes 128", 8, 1, k->affine_codes(&epilogue, &quantizer, sums, floats, rows, WIDTH, y, codes))        \
    CALL("expand bgemm 128x256", 8, 1, bgemm(rows, WIDTH, HIDDEN))                                                     \
    CALL("staircase 256", 8, 1, staircase(rows, HIDDEN))                                                               \
    CALL("project bgemm 256x128", 8, 1, bgemm(rows, HIDDEN, WIDTH))                                                    \
    CALL("affine_levels 128", 8, 1, k->affine_levels(&epilogue, &quantizer, sums, floats, rows, WIDTH, y, q))          \
    CALL("to_int8 128", 8, 1, k->to_int8(floats, WIDTH *rows, 10.0f, q))                                               \
    CALL("dense 1024x12", 1, 1, k->dense((const int8_t *)bytes, q, STEPS *WIDTH, CLASSES, wide_sums))                  \
    CALL("softmax 12", 1, 1, kws_softmax(floats, CLASSES, scores))

static void fill(void)
{
    srand(1);
    for (size_t i = 0; i < sizeof bytes; ++i) {
        bytes[i] = (uint8_t)rand();
    }
    for (size_t i = 0; i < sizeof codes; ++i) {
        codes[i] = (uint8_t)rand();
    }
    for (size_t i = 0; i < sizeof q; ++i) {
        q[i] = (int8_t)(rand() % 2 ? 1 : -1);
        words[i] = (int16_t)(rand() % 200 - 100);
        floats[i] = (float)(rand() % 2000 - 1000) * 0.001f;
    }
    for (int32_t i = 0; i < 512; ++i) {
        limits[i] = (int16_t)(rand() % 20 - 10);
    }
}

static void start_frontend(void)
{
    kws_frontend_options options = {16000, 1024, 480, 1024, 32, 0, 20.0, 7600.0, 1e-7f, -12.0f, 0.5f};
    kws_frontend_init(&frontend, &options, 0, aligned_alloc(64, (kws_frontend_buffer_size(&options) + 63) / 64 * 64));
    kws_online_init(&online, &frontend, aligned_alloc(64, (kws_online_buffer_size(&frontend) + 63) / 64 * 64));
    kws_online_accept_s16(&online, words, 1024 - 480);
}

int main(int argc, char **argv)
{
    k = kws_select_kernels(argc > 1 ? argv[1] : NULL);
    fill();
    start_frontend();
    int32_t call = 0, rows;
#define RUN(name, window, step, work)                                                                                  \
    printf("%s|window\n%s|step\n", name, name);                                                                        \
    mark(call++);                                                                                                      \
    rows = window;                                                                                                     \
    work;                                                                                                              \
    mark(call++);                                                                                                      \
    rows = step;                                                                                                       \
    work;
    CALLS(RUN)
    mark(call);
    (void)rows;
    return 0;
}

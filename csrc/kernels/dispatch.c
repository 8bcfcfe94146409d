/* dispatch.c - chooses a table of kernels at run time. The list in kernels.h is best first:
 *   avx512  64 inputs x 8 outputs an instruction, a popcount a lane
 *   avx2    8 inputs x 16 outputs x 2 bytes an instruction, by table lookup
 *   neon    8 inputs x 16 outputs an instruction, by popcount for a single row, by table lookup for several
 *   scalar  the same tables, a byte at a time
 */
#include "declare.h"

#include <string.h>

static int32_t supported_scalar(void) { return 1; }

#if defined(__x86_64__)
static int32_t supported_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") != 0;
}

static int32_t supported_avx512(void)
{
#if defined(KWS_SIMDE)
    return 1; /* the emulated build runs these kernels on any x86-64 */
#else
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vpopcntdq") &&
           __builtin_cpu_supports("avx2");
#endif
}
#elif defined(__aarch64__)
static int32_t supported_neon(void) { return 1; } /* part of every aarch64 */
#endif

#define KWS_ENTRY(isa)                                                                                                 \
    {#isa,                                                                                                             \
     supported_##isa,                                                                                                  \
     kws_bgemm_packed_size_##isa,                                                                                      \
     kws_bgemm_pack_##isa,                                                                                             \
     kws_bgemm_##isa,                                                                                                  \
     kws_pack_##isa,                                                                                                   \
     kws_levels_##isa,                                                                                                 \
     kws_staircase_##isa,                                                                                              \
     kws_memory_##isa,                                                                                                 \
     kws_affine_##isa,                                                                                                 \
     kws_affine_levels_##isa,                                                                                          \
     kws_affine_codes_##isa,                                                                                           \
     kws_widen_##isa,                                                                                                  \
     kws_conv_##isa,                                                                                                   \
     kws_to_int8_##isa,                                                                                                \
     kws_add_##isa,                                                                                                    \
     kws_dense_##isa},
static const kws_kernels tables[] = {KWS_ISAS(KWS_ENTRY)};

enum { TABLES = sizeof tables / sizeof tables[0] };

const kws_kernels *kws_select_kernels(const char *name)
{
    for (int32_t i = 0; i < TABLES; ++i) {
        if ((name == NULL || strcmp(name, tables[i].name) == 0) && tables[i].supported()) {
            return &tables[i];
        }
    }
    return NULL;
}

const char *kws_isa_name(int32_t index)
{
    for (int32_t i = 0; i < TABLES; ++i) {
        if (tables[i].supported() && index-- == 0) {
            return tables[i].name;
        }
    }
    return NULL;
}

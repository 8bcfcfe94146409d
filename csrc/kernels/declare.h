/* declare.h - declares kws_<op>_<isa> for every op of kernels.h and every instruction set of this architecture.
 * A table that has nothing better for an op names another's function here. */
#ifndef KWS_DECLARE_H
#define KWS_DECLARE_H

#include "kernels.h"

#define KWS_NAME2(op, isa) kws_##op##_##isa
#define KWS_NAME(op, isa) KWS_NAME2(op, isa)

#define KWS_DECLARE(type, op, arguments) type KWS_NAME(op, KWS_ISA_SUFFIX) arguments;
#define KWS_ISA_SUFFIX scalar
KWS_OPS(KWS_DECLARE)
#undef KWS_ISA_SUFFIX

#if defined(__x86_64__)
#define KWS_ISA_SUFFIX avx2
KWS_OPS(KWS_DECLARE)
#undef KWS_ISA_SUFFIX
#define KWS_ISA_SUFFIX avx512
KWS_OPS(KWS_DECLARE)
#undef KWS_ISA_SUFFIX
/* AVX2 reads the weights in the file's order; 64-byte registers gain nothing on rows of 128 to 256 elements. */
#define kws_bgemm_packed_size_avx2 kws_bgemm_packed_size_scalar
#define kws_bgemm_pack_avx2 kws_bgemm_pack_scalar
#define kws_widen_avx2 kws_widen_scalar
#define kws_pack_avx512 kws_pack_avx2
#define kws_widen_avx512 kws_widen_scalar
#define kws_levels_avx512 kws_levels_avx2
#define kws_staircase_avx512 kws_staircase_avx2
#define kws_memory_avx512 kws_memory_avx2
#define kws_affine_avx512 kws_affine_avx2
#define kws_affine_levels_avx512 kws_affine_levels_avx2
#define kws_affine_codes_avx512 kws_affine_codes_avx2
#define kws_conv_avx512 kws_conv_avx2
#define kws_to_int8_avx512 kws_to_int8_avx2
#define kws_add_avx512 kws_add_avx2
#define kws_dense_avx512 kws_dense_avx2
#elif defined(__aarch64__)
#define KWS_ISA_SUFFIX neon
KWS_OPS(KWS_DECLARE)
#undef KWS_ISA_SUFFIX
#define kws_bgemm_packed_size_neon kws_bgemm_packed_size_scalar
#define kws_bgemm_pack_neon kws_bgemm_pack_scalar
#define kws_widen_neon kws_widen_scalar
#endif

#undef KWS_DECLARE
#endif

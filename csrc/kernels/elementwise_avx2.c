/* elementwise_avx2.c - elementwise.h for AVX2: 8 floats or 16 int16 an instruction. No FMA: it would round once. */
#if defined(__x86_64__)
#include "declare.h"
#include "target.h"

KWS_TARGET_BEGIN("avx2")
#define KWS_ISA_SUFFIX avx2
#include "elementwise.h"
KWS_TARGET_END
#endif

/* vec4.h - four floats at once in portable C (vector extensions of GCC and Clang): SSE2 on x86-64, NEON on aarch64, plain
 * code elsewhere. Every operation is one rounded IEEE operation a lane, so all machines give the same bits. */
#ifndef KWS_VEC4_H
#define KWS_VEC4_H

#include <stdint.h>
#include <string.h>

typedef float kws_vec4 __attribute__((vector_size(16)));
typedef int32_t kws_ivec4 __attribute__((vector_size(16)));

static inline kws_vec4 vec4_load(const float *at)
{
    kws_vec4 v;
    memcpy(&v, at, sizeof v);
    return v;
}

static inline void vec4_store(float *at, kws_vec4 v) { memcpy(at, &v, sizeof v); }

static inline kws_vec4 vec4_splat(float x) { return (kws_vec4){x, x, x, x}; }

/* Lanes of two vectors, 0 to 3 of the first and 4 to 7 of the second, by number. */
#if defined(__clang__) || __GNUC__ >= 12
#define VEC4_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define VEC4_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (kws_ivec4){i, j, k, l})
#endif

static inline kws_vec4 vec4_reverse(kws_vec4 v) { return VEC4_SHUFFLE(v, v, 3, 2, 1, 0); }

#endif

/* target.h - KWS_TARGET_BEGIN("avx2") ... KWS_TARGET_END: functions compiled for more than the baseline. */
#ifndef KWS_TARGET_H
#define KWS_TARGET_H

#define KWS_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define KWS_TARGET_BEGIN(isa) KWS_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define KWS_TARGET_END KWS_PRAGMA(clang attribute pop)
#else
#define KWS_TARGET_BEGIN(isa) KWS_PRAGMA(GCC push_options) KWS_PRAGMA(GCC target(isa))
#define KWS_TARGET_END KWS_PRAGMA(GCC pop_options)
#endif

#endif

/* elementwise_scalar.c - elementwise.h for the baseline of the architecture. */
#include "declare.h"

#define KWS_ISA_SUFFIX scalar
#include "elementwise.h"

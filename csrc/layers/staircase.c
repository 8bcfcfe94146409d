/* staircase.c - finds the sums at which "affine, PReLU, quantise" changes its result.
 *
 * Affine and PReLU have two sides, value >= 0 and value < 0. With a > 0 the first is n >= start, where the distance to
 * the threshold only grows with n; on the other side it grows with n if slope > 0 and falls if slope < 0. With a < 0 the
 * same holds of -n. On each side the sums that pass a step are therefore all those beyond one point, which bisection
 * finds.
 */
#include "layers.h"

/* The same float operations as the kernels', each rounded once. */
static int32_t passes(const kws_stair_numbers *p, float limit, int32_t n)
{
    float value = p->a * (float)n;
    value = value + p->b;
    value = value >= 0 ? value : p->slope * value;
    return value - p->threshold >= limit;
}

/* How far beyond `low`, towards direction * infinity, the first sum lies that passes, where all that follow it pass too;
 * one more than high - low where none does. */
static int32_t first_that_passes(const kws_stair_numbers *p, float limit, int32_t low, int32_t high, int32_t direction)
{
    int32_t least = -1, most = high - low + 1;
    while (most - least > 1) {
        int32_t middle = (least + most) / 2;
        if (passes(p, limit, direction * (low + middle))) {
            most = middle;
        } else {
            least = middle;
        }
    }
    return most;
}

void kws_find_step(const kws_stair_numbers *p, float limit, int32_t largest, int16_t *above, int16_t *below)
{
    int32_t direction = p->a >= 0 ? 1 : -1;
    /* The first n, in that direction, whose value is not negative. A slope of zero makes those before it all alike. */
    const kws_stair_numbers line = {p->a, p->b, 1.0f, 0.0f};
    int32_t start = first_that_passes(&line, 0.0f, -largest, largest, direction) - largest;
    int32_t up = start <= largest ? start + first_that_passes(p, limit, start, largest, direction) : largest + 1;
    if (start > -largest && p->slope > 0 && up == start) {
        up = -largest + first_that_passes(p, limit, -largest, start - 1, direction);
    }
    int32_t down = -largest - 1;
    if (start > -largest && (p->slope < 0 || (p->slope == 0 && passes(p, limit, direction * (start - 1))))) {
        /* From start - 1 away from it, that is towards -largest, the distance only grows. */
        down = -(1 - start + first_that_passes(p, limit, 1 - start, largest, -direction));
    }
    if (down + 1 >= up) { /* every sum passes */
        up = -largest;
        down = -largest - 1;
    }
    if (direction < 0) {
        int32_t upper = -down;
        down = -up;
        up = upper;
    }
    *above = (int16_t)(up - 1);
    *below = (int16_t)(down + 1);
}

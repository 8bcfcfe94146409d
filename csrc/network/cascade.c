/* cascade.c - a decision: one thinning level, or "auto", which begins with the thinnest.
 *
 * A thin level is believed when it is sure that no keyword is heard; a keyword that it hears has to be confirmed by a
 * deeper one. Keywords are rare, so most decisions end at the thinnest level, and few of its false alarms are left.
 */
#include "network.h"

/* How sure it is that no keyword is heard: the scores of the classes that are none, together; where there is no such
 * class, the best score. */
static float clearness(const kws_network *network, const float *scores)
{
    float best = 0.0f, others = 0.0f;
    for (int32_t i = 0; i < network->classes; ++i) {
        best = scores[i] > best ? scores[i] : best;
        if (network->other[i]) {
            others += scores[i];
        }
    }
    return network->has_others ? others : best;
}

int32_t kws_network_decide(const kws_network *network, int32_t level, const int8_t *features, int32_t stride,
                           kws_past *past, const kws_buffers *buffers, float *scores)
{
    network->kind->take(network, features, stride, past, buffers);
    if (level != KWS_AUTO) {
        network->kind->run(network, level, past, buffers, scores);
        return level;
    }
    for (level = network->level_count - 1; level > 0; --level) {
        float clear = network->levels[level].clear;
        if (clear == KWS_LEFT_OUT) {
            continue;
        }
        network->kind->run(network, level, past, buffers, scores);
        if (clearness(network, scores) >= clear) {
            return level;
        }
    }
    network->kind->run(network, 0, past, buffers, scores);
    return 0;
}

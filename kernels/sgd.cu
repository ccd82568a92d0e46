// Stochastic gradient descent over a flat buffer, with (Nesterov) momentum and weight decay.
#include "clip.cuh"

// `velocity`, of float where T is a 16-bit type, is null where there is no momentum; `rate`, if not
// null, is the learning rate in the place of `lr`. One is added to `taken`, if not null. With
// the gradients' squared norm, or those of `count` parameters that end at `ends`, they are scaled down
// to the norm `most` before, and written to `clipped`, which is `g` itself. Where `skip` is not 0,
// nothing else is done.
template <typename T, typename S>
__global__ void sgd_step(T* p, const T* g, S* velocity, int64* taken, uint32* ticket, const uint32* skip,
                         const double* squared, const int64* ends, int64 count, T* clipped, double most,
                         int64 size, const double* rate, double lr, double momentum, double weight_decay,
                         double small, bool nesterov, bool within) {
    bool skips = skip && *skip;
    if (skips && !squared) return;
    Clip<S> clip(squared, ends, count, most);
    S step = S(rate ? *rate : lr), keep = S(momentum), decay = S(weight_decay), least = S(small);
    within = within && velocity;
    S inner = within ? step : S(1), outer = within ? S(1) : step;
    bool packs = aligned(p) && aligned(g) && (!velocity || aligned(velocity));
    elementwise<S>(size, packs, [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        auto x = load<N>(p + i);
        auto gradient = load<N>(g + i);
        if (squared && clip(gradient, i)) store(clipped + i, gradient);
        if (skips) return;
        Pack<N, S> moved;
        if (velocity) moved = load<N>(velocity + i);
        for (int k = 0; k < N; k++) {
            S d = inner * (S(gradient.at[k]) + decay * S(x.at[k]));
            if (velocity) {
                S u = keep * moved.at[k] + d;
                if (fabs(u) < least) u = 0;  // NaN is not less and stays
                moved.at[k] = u;
                d = nesterov ? d + keep * u : u;
            }
            x.at[k] = T(S(x.at[k]) - outer * d);
        }
        store(p + i, x);
        if (velocity) store(velocity + i, moved);
    });
    if (taken && !skips && last_block(ticket) && threadIdx.x == 0) *taken += 1;
}

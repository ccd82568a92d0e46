// Adam and AdamW over a flat buffer, with the step counter on the device: one launch is one step.
#include "clip.cuh"

// S is the type of the running means: float where T is a 16-bit type. `rate`, if not null, is the
// learning rate in the place of `lr`. With the gradients' squared norm, or those of `count` parameters
// that end at `ends`, they are scaled down to the norm `most` before, and written to `clipped`, which
// is `g` itself. Where `skip` is not 0, nothing else is done.
template <typename T, typename S>
__global__ void adam_step(T* p, const T* g, S* m, S* v, int64* taken, uint32* ticket, const uint32* skip,
                          const double* squared, const int64* ends, int64 count, T* clipped, double most,
                          int64 size, const double* rate, double lr, double beta1, double beta2, double eps,
                          double weight_decay, double small, bool decoupled, bool hat, bool advance) {
    bool skips = skip && *skip;
    if (skips && !squared) return;
    __shared__ S rates[3];
    if (rate) lr = *rate;
    if (threadIdx.x == 0) {
        double t = double(*taken + 1);
        rates[0] = S(lr / (1 - pow(beta1, t)));
        rates[1] = S(1 / sqrt(1 - pow(beta2, t)));
        rates[2] = Clip<S>(squared, ends, count, most).factor;
    }
    __syncthreads();
    S step = rates[0];
    S root = rates[1];
    Clip<S> clip(squared, ends, count, most, rates[2]);
    S b1 = S(beta1), c1 = S(1 - beta1), b2 = S(beta2), c2 = S(1 - beta2), e = S(eps) * (hat ? root : S(1));
    S decay = S(decoupled ? 0 : weight_decay);
    S shrink = S(decoupled ? 1 - lr * weight_decay : 1);
    S least = S(small);
    bool packs = aligned(p) && aligned(g) && aligned(m) && aligned(v);
    elementwise<S>(size, packs, [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        auto x = load<N>(p + i);
        auto gradient = load<N>(g + i);
        if (squared && clip(gradient, i)) store(clipped + i, gradient);
        if (skips) return;
        auto means = load<N>(m + i);
        auto squares = load<N>(v + i);
        for (int k = 0; k < N; k++) {
            S d = S(gradient.at[k]) + decay * S(x.at[k]);
            S mean = b1 * means.at[k] + c1 * d;
            S square = b2 * squares.at[k] + c2 * d * d;
            if (fabs(mean) < least) mean = 0;  // NaN is not less and stays
            if (square < least) square = 0;
            means.at[k] = mean;
            squares.at[k] = square;
            x.at[k] = T(S(x.at[k]) * shrink - step * mean / (sqrt(square) * root + e));
        }
        store(p + i, x);
        store(m + i, means);
        store(v + i, squares);
    });
    // Every block has read the counter before the last one moves it.
    if (advance && !skips && last_block(ticket) && threadIdx.x == 0) *taken += 1;
}

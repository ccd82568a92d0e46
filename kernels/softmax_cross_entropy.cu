// Softmax cross-entropy, a group of threads to a row: maximum, sum, loss, gradient and right answers
// in one launch. The last block to finish adds up the losses, in a fixed order, fills the flag of
// bad labels, and empties the counter of right answers.
#include "rows.cuh"

// A gradient, scaled after it has been rounded, as by another kernel.
template <typename T, typename A>
__device__ __forceinline__ T scaled(A gradient, A scale) {
    return T(A(T(gradient)) * scale);
}

// `all`, if not null, has a sum of losses, and of right answers where `count` is 2, to add to.
template <typename A>
__device__ void add_losses(const A* losses, int64 rows, double* total, uint32* ticket,
                           int64* counter, int64* correct, double* all, int count,
                           const int64* labels, int64 classes, int64* flag) {
    if (!last_block(ticket)) return;
    __shared__ double sums[32];
    double sum = 0;
    for (int64 i = threadIdx.x; i < rows; i += blockDim.x) sum += ((const volatile A*)losses)[i];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        sum = 0;
        for (int k = 0; k < blockDim.x / 32; k++) sum += sums[k];
        const int64 right = *(volatile int64*)counter;
        *total = sum;
        *correct = right;
        *counter = 0;
        if (all) {
            all[0] += sum;
            if (count > 1) all[1] += double(right);
        }
        if (labels) fill_flag(flag, labels, classes);
    }
}

template <typename T, int N, int GROUP, int KEPT>
__global__ void __launch_bounds__(block_threads<GROUP>, 1)
    cross_entropy_labels(const T* logits, const int64* labels, int64 rows, int64 classes,
                         double smoothing, double factor, compute<T>* losses, T* grad,
                         int64* correct, double* total, double* sums, int count, uint32* ticket,
                         int64* counter, int64* flag) {
    using A = compute<T>;
    int64 row = group_row<GROUP>();
    if (row < rows) {
        A share = A(smoothing) / A(classes), keep = A(1) - A(smoothing);
        Row<N, KEPT, T> x(logits + row * classes);
        OnlineSoftmax<A> softmax;
        for_packs<N, GROUP, KEPT>(classes, [&](int64 j, int k) {
            auto& values = x.read(j, k);
            for (int n = 0; n < N; n++) softmax.add(A(values.at[n]), j + n);
        });
        softmax.template combine<GROUP>();
        // All logits are taken less the largest, whose size would hide the loss.
        A log_sum = log(softmax.sum), all = 0;
        int64 label = labels[row];
        bool bad = label < 0 || label >= classes;
        A scale = A(1) / softmax.sum;
        T* d = grad + row * classes;
        for_packs<N, GROUP, KEPT>(classes, [&](int64 j, int k) {
            auto values = x.again(j, k);
            for (int n = 0; n < N; n++) {
                A shifted = A(values.at[n]) - softmax.top;
                all += shifted;
                A p = exp(shifted) * scale - share;
                if (j + n == label) p -= keep;
                values.at[n] = scaled<T>(bad ? A(nan("")) : p, A(factor));
            }
            store(d + j, values);
        });
        if (smoothing > 0) all = group_sum<GROUP>(all);
        if (group_rank<GROUP>() == 0) {
            A shifted = A(logits[row * classes + (bad ? 0 : label)]) - softmax.top;
            A loss = keep * (log_sum - shifted);
            if (smoothing > 0) loss += A(smoothing) * log_sum - share * all;
            losses[row] = bad ? A(nan("")) : loss;
            if (softmax.place == label && softmax.sum > A(0))
                atomicAdd((uint64*)counter, (uint64)1);
            if (bad) note_bad(flag, row);
        }
    }
    add_losses(losses, rows, total, ticket, counter, correct, sums, count, labels, classes, flag);
}

template <typename T, int N, int GROUP, int KEPT>
__global__ void __launch_bounds__(block_threads<GROUP>, 1)
    cross_entropy_rows(const T* logits, const T* weights, int64 rows, int64 classes,
                       double smoothing, double factor, compute<T>* losses, T* grad,
                       int64* correct, double* total, double* sums, int count, uint32* ticket,
                       int64* counter) {
    using A = compute<T>;
    int64 row = group_row<GROUP>();
    if (row < rows) {
        A share = A(smoothing) / A(classes), keep = A(1) - A(smoothing);
        Row<N, KEPT, T> x(logits + row * classes), q(weights + row * classes);
        OnlineSoftmax<A> softmax;
        A mass = 0, dot = 0, largest = -infinity<A>();
        int64 label = 0x7fffffffffffffff;
        for_packs<N, GROUP, KEPT>(classes, [&](int64 j, int k) {
            auto& values = x.read(j, k);
            auto& targets = q.read(j, k);
            for (int n = 0; n < N; n++) {
                A target = A(targets.at[n]);
                softmax.add(A(values.at[n]), j + n);
                mass += target * keep + share;
                if (target > largest) {
                    largest = target;
                    label = j + n;
                }
            }
        });
        softmax.template combine<GROUP>();
        mass = group_sum<GROUP>(mass);
        group_max<GROUP>(largest, label);
        A log_sum = log(softmax.sum);
        A scale = mass / softmax.sum;
        T* d = grad + row * classes;
        for_packs<N, GROUP, KEPT>(classes, [&](int64 j, int k) {
            auto values = x.again(j, k);
            auto& targets = q.again(j, k);
            for (int n = 0; n < N; n++) {
                A shifted = A(values.at[n]) - softmax.top;
                A w = A(targets.at[n]) * keep + share;
                // A class without weight adds nothing, even where its logit is minus infinity.
                if (w != A(0)) dot += w * shifted;
                values.at[n] = scaled<T>(exp(shifted) * scale - w, A(factor));
            }
            store(d + j, values);
        });
        dot = group_sum<GROUP>(dot);
        if (group_rank<GROUP>() == 0) {
            losses[row] = mass * log_sum - dot;
            if (softmax.place == label && softmax.sum > A(0))
                atomicAdd((uint64*)counter, (uint64)1);
        }
    }
    add_losses(losses, rows, total, ticket, counter, correct, sums, count, (const int64*)0, classes,
               (int64*)0);
}

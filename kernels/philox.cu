// Philox4x32-10: random words as a function of a key and a counter (Salmon et al. 2011), and the
// numbers made from them. Number i has its own words, so the numbers do not depend on the launch.
// `state`, if not null, is a key and a counter on the device: the key is the one to use, and `offset`
// counts from that counter on.
#include "common.cuh"

struct Words {
    uint32 at[4];
};

__device__ __forceinline__ Words philox(uint64 key, uint64 counter) {
    uint32 c0 = (uint32)counter, c1 = (uint32)(counter >> 32), c2 = 0, c3 = 0;
    uint32 k0 = (uint32)key, k1 = (uint32)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64 a = (uint64)0xD2511F53u * c0;
        uint64 b = (uint64)0xCD9E8D57u * c2;
        c0 = (uint32)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32)b;
        c2 = (uint32)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

__device__ __forceinline__ void locate(const uint64* state, uint64& key, uint64& offset) {
    if (state) {
        key = state[0];
        offset += state[1];
    }
}

// COUNT words from word `first` on, a multiple of COUNT; COUNT is a power of two.
template <int COUNT>
__device__ __forceinline__ void draw(uint64 key, uint64 offset, uint64 first, uint32* out) {
    for (int c = 0; c < (COUNT + 3) / 4; c++) {
        Words words = philox(key, offset + first / 4 + c);
        if constexpr (COUNT >= 4) {
            for (int k = 0; k < 4; k++) out[4 * c + k] = words.at[k];
        } else {
            for (int k = 0; k < COUNT; k++) {
                out[k] = words.at[0];
                for (int w = 1; w < 4; w++)  // registers have no index
                    if (first % 4 + k == w) out[k] = words.at[w];
            }
        }
    }
}

// A number in [0, 1) of 24 bits from a word, or of 53 bits from two.
template <typename A>
__device__ __forceinline__ A unit(const uint32* words) {
    if constexpr (sizeof(A) == 8)
        return A(words[0] >> 6) * A(1.4901161193847656e-08) +
               A(words[1] >> 5) * A(1.1102230246251565e-16);
    return A(words[0] >> 8) * A(5.9604644775390625e-08);
}

// x * y + z in two roundings, as on a CPU; the compiler would fuse them.
__device__ __forceinline__ float scaled(float x, float y, float z) {
    return __fadd_rn(__fmul_rn(x, y), z);
}
__device__ __forceinline__ double scaled(double x, double y, double z) {
    return __dadd_rn(__dmul_rn(x, y), z);
}

extern "C" __global__ void random_bits(uint32* out, int64 size, uint64 key, uint64 offset,
                                       const uint64* state) {
    locate(state, key, offset);
    elementwise<uint32>(size, aligned(out), [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        Pack<N, uint32> words;
        draw<N>(key, offset, i, words.at);
        store(out + i, words);
    });
}

// `below` is the largest number of T below `high`, which rounding might reach.
template <typename T>
__global__ void random_uniform(T* out, int64 size, uint64 key, uint64 offset,
                               const uint64* state, double low, double high, double below) {
    using A = compute<T>;
    locate(state, key, offset);
    constexpr int WORDS = sizeof(A) / 4;
    A span = A(high - low), start = A(low), most = A(below);
    elementwise<T>(size, aligned(out), [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        uint32 words[N * WORDS];
        draw<N * WORDS>(key, offset, i * WORDS, words);
        Pack<N, T> numbers;
        for (int k = 0; k < N; k++) {
            T x = T(scaled(unit<A>(words + k * WORDS), span, start));
            numbers.at[k] = A(x) > most ? T(most) : x;
        }
        store(out + i, numbers);
    });
}

// The transform of Box & Muller (1958): two numbers in [0, 1) give two normal ones.
template <typename T>
__global__ void random_normal(T* out, int64 size, uint64 key, uint64 offset,
                              const uint64* state, double mean, double std) {
    using A = compute<T>;
    locate(state, key, offset);
    constexpr int WORDS = 2 * sizeof(A) / 4;  // of a pair
    elementwise<T>(size, aligned(out), [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        constexpr int PAIRS = (N + 1) / 2;
        uint32 words[PAIRS * WORDS];
        draw<PAIRS * WORDS>(key, offset, i / 2 * WORDS, words);
        Pack<N, T> numbers;
        for (int k = 0; k < PAIRS; k++) {
            A radius = sqrt(A(-2) * log1p(-unit<A>(words + k * WORDS)));
            A turn = A(2) * unit<A>(words + k * WORDS + WORDS / 2);
            A cosine = cospi(turn), sine = sinpi(turn);
            if constexpr (N == 1) {
                numbers.at[0] = T(radius * (i % 2 ? sine : cosine) * A(std) + A(mean));
            } else {
                numbers.at[2 * k] = T(radius * cosine * A(std) + A(mean));
                numbers.at[2 * k + 1] = T(radius * sine * A(std) + A(mean));
            }
        }
        store(out + i, numbers);
    });
}

// out[i] = x[i] * (0 with probability p, else `scale`); word i decides.
template <typename T>
__global__ void dropout(const T* x, T* out, int64 size, uint64 key, uint64 offset,
                        const uint64* state, double p, double scale) {
    using A = compute<T>;
    locate(state, key, offset);
    float threshold = float(p);
    elementwise<T>(size, aligned(x) && aligned(out), [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        uint32 words[N];
        draw<N>(key, offset, i, words);
        auto values = load<N>(x + i);
        for (int k = 0; k < N; k++) {
            A factor = unit<float>(words + k) < threshold ? A(0) : A(scale);
            values.at[k] = T(A(values.at[k]) * factor);
        }
        store(out + i, values);
    });
}

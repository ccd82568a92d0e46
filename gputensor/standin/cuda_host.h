// CUDA C++ on the host: what a kernel needs from the compiler and the device, so that the very
// same .cu file builds with a host C++ compiler and runs, one block after the other.
//
// A thread of a block runs until it has to wait for others, at a barrier or in a warp operation;
// then another one runs. A waiting thread keeps its stack in a fiber. A kernel that never waits
// needs one fiber for all of its threads and costs little more than a loop.
#pragma once

#include <link.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <type_traits>
#include <utility>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

// ---------------------------------------------------------------- words of the language

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__

// Thread-local, because that makes a variable in a function static, in templates too, and puts all
// shared variables of a module, and nothing else, into one segment that can be filled with poison.
#define __shared__ thread_local

#define CUDA_HOST_VECTORS(type, name, align2, align4)                                     \
  struct name##1 { type x; };                                                             \
  struct alignas(align2) name##2 { type x, y; };                                          \
  struct name##3 { type x, y, z; };                                                       \
  struct alignas(align4) name##4 { type x, y, z, w; };                                    \
  inline name##1 make_##name##1(type x) { return {x}; }                                   \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }                        \
  inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }             \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
CUDA_HOST_VECTORS(signed char, char, 2, 4)
CUDA_HOST_VECTORS(unsigned char, uchar, 2, 4)
CUDA_HOST_VECTORS(short, short, 4, 8)
CUDA_HOST_VECTORS(unsigned short, ushort, 4, 8)
CUDA_HOST_VECTORS(int, int, 8, 16)
CUDA_HOST_VECTORS(unsigned, uint, 8, 16)
CUDA_HOST_VECTORS(long long, longlong, 16, 16)
CUDA_HOST_VECTORS(unsigned long long, ulonglong, 16, 16)
CUDA_HOST_VECTORS(float, float, 8, 16)
CUDA_HOST_VECTORS(double, double, 16, 16)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// ---------------------------------------------------------------- threads as fibers

namespace cuda_host {

constexpr int threads_limit = 1024;
constexpr size_t shared_limit = 48 * 1024;
constexpr size_t shared_guard = 4096;
// No power of two: stacks that far apart would compete for the same few cache lines.
constexpr size_t stack_size = 100000;

enum class State { fresh, ready, running, waiting, exited };

struct Fiber {
  jmp_buf context;
  bool started;
};

struct Thread {
  uint3 index;
  State state;
  Fiber* fiber;
  // What it waits for: an operation of the whole block (mask 0) or of the lanes in mask.
  const char* operation;
  const char* file;
  int line;
  unsigned mask;
  int source;  // lane to read from; -1 to get the votes of all
  uint64_t value, result;
};

// Everything about the block that runs. One launch runs at a time: its caller holds a lock.
struct Machine {
  Thread threads[threads_limit];
  int size;                  // threads in the block
  int order[threads_limit];  // in which they get their turn
  int next;                  // first place in order whose thread is fresh
  int current;               // the thread that runs
  int exited;
  Fiber fibers[threads_limit];
  Fiber* idle[threads_limit];
  int fiber_count, idle_count;
  Fiber* fiber;     // the fiber that runs
  jmp_buf home;     // the scheduler
  void (*body)();   // the kernel with its arguments
  void** arguments;
  char error[2000];
};
static Machine machine;

alignas(256) static unsigned char dynamic_shared[shared_limit + shared_guard];
static thread_local volatile char shared_anchor[16];  // for there to be any shared variables

inline void say(const char* format, ...) {
  size_t used = strlen(machine.error);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(machine.error + used, sizeof machine.error - used, format, arguments);
  va_end(arguments);
}

inline void say_block() { say("block (%u, %u, %u)", blockIdx.x, blockIdx.y, blockIdx.z); }

// Ends the launch: what runs on the fibers is dropped.
template <class... A>
[[noreturn]] void fail(const char* format, A... arguments) {
  say_block();
  say(", thread (%u, %u, %u): ", threadIdx.x, threadIdx.y, threadIdx.z);
  say(format, arguments...);
  _longjmp(machine.home, 1);
}

inline const char* base_name(const char* file) {
  const char* slash = strrchr(file, '/');
  return slash ? slash + 1 : file;
}

inline void become(int number) {
  machine.current = number;
  machine.threads[number].state = State::running;
  threadIdx = machine.threads[number].index;
}

// Lets other threads run until somebody has made this one ready.
__attribute__((noinline)) inline void wait() {
  int number = machine.current;
  if (_setjmp(machine.threads[number].fiber->context) == 0) _longjmp(machine.home, 1);
  become(number);
}

inline void fiber_main() {
  Fiber* self = machine.fiber;
  for (;;) {
    while (machine.next < machine.size) {
      become(machine.order[machine.next++]);
      machine.threads[machine.current].fiber = self;
      machine.body();
      machine.threads[machine.current].state = State::exited;
      ++machine.exited;
    }
    machine.idle[machine.idle_count++] = self;
    if (_setjmp(self->context) == 0) _longjmp(machine.home, 1);
  }
}

// Runs a fiber until it waits, is idle, or fails.
__attribute__((noinline)) inline void resume(Fiber* fiber) {
  static char* stacks = static_cast<char*>(
      mmap(nullptr, stack_size * threads_limit, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (stacks == MAP_FAILED) abort();
  machine.fiber = fiber;
  if (_setjmp(machine.home) != 0) return;
  if (fiber->started) _longjmp(fiber->context, 1);
  fiber->started = true;
  static ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = stacks + (fiber - machine.fibers) * stack_size;
  context.uc_stack.ss_size = stack_size;
  context.uc_link = nullptr;
  makecontext(&context, fiber_main, 0);
  setcontext(&context);
}

inline Fiber* idle_fiber() {
  if (machine.idle_count == 0) return &machine.fibers[machine.fiber_count++];
  return machine.idle[--machine.idle_count];
}

// Says what the threads wait for, together where they wait for the same.
inline void say_deadlock() {
  say_block();
  say(": no thread can go on");
  bool said[threads_limit] = {};
  for (int i = 0; i < machine.size; ++i) {
    const Thread& first = machine.threads[i];
    if (first.state != State::waiting || said[i]) continue;
    int count = 0;
    for (int j = i; j < machine.size; ++j) {
      const Thread& t = machine.threads[j];
      bool same = t.state == State::waiting && t.operation == first.operation &&
                  t.mask == first.mask && t.line == first.line;
      said[j] |= same;
      count += same;
    }
    say("; %d wait at %s (%s:%d)", count, first.operation, base_name(first.file), first.line);
    if (first.mask) say(" with mask 0x%08x", first.mask);
    say(", the first is thread (%u, %u, %u)", first.index.x, first.index.y, first.index.z);
  }
  if (machine.exited) say("; %d have exited", machine.exited);
}

// If every thread of the block waits at the same barrier, opens it.
inline bool open_barrier() {
  const Thread& first = machine.threads[0];
  int votes = 0;
  for (int i = 0; i < machine.size; ++i) {
    const Thread& t = machine.threads[i];
    if (t.state != State::waiting || t.mask || t.operation != first.operation ||
        t.line != first.line)
      return false;
    votes += t.value != 0;
  }
  for (int i = 0; i < machine.size; ++i) {
    machine.threads[i].state = State::ready;
    machine.threads[i].result = votes;
  }
  return true;
}

inline void run_block() {
  for (int i = 0; i < machine.size; ++i) machine.threads[i].state = State::fresh;
  machine.next = 0;
  machine.exited = 0;
  while (machine.exited < machine.size) {
    bool ran = false;
    while (machine.next < machine.size && !machine.error[0]) {
      resume(idle_fiber());
      ran = true;
    }
    for (int i = 0; i < machine.size && !machine.error[0]; ++i) {
      Thread& t = machine.threads[machine.order[i]];
      if (t.state != State::ready) continue;
      resume(t.fiber);
      ran = true;
    }
    if (!ran && !open_barrier()) say_deadlock();
    if (machine.error[0]) return;
  }
}

// ---------------------------------------------------------------- barriers and warp operations

inline void announce(const char* operation, unsigned mask, uint64_t value, int line,
                     const char* file) {
  Thread& self = machine.threads[machine.current];
  self.operation = operation;
  self.mask = mask;
  self.value = value;
  self.line = line;
  self.file = file;
  self.state = State::waiting;
}

inline int barrier(const char* operation, int predicate, int line, const char* file) {
  announce(operation, 0, predicate != 0, line, file);
  int number = machine.current;
  wait();
  return static_cast<int>(machine.threads[number].result);
}

inline int lane() { return machine.current % warpSize; }

// Thread of a lane of the current warp, or null past the end of the block.
inline Thread* thread_of(int lane_number) {
  int number = machine.current - lane() + lane_number;
  return number < machine.size ? &machine.threads[number] : nullptr;
}

// The last lane of mask to come hands every lane its result.
inline uint64_t meet(const char* operation, unsigned mask, int source, uint64_t value, int line,
                     const char* file) {
  if (!(mask >> lane() & 1))
    fail("%s (%s:%d) with mask 0x%08x, which lacks the caller's own lane %d", operation,
         base_name(file), line, mask, lane());
  announce(operation, mask, value, line, file);
  int number = machine.current;
  machine.threads[number].source = source;
  uint64_t votes = 0;
  for (int i = 0; i < warpSize; ++i) {
    Thread* t = mask >> i & 1 ? thread_of(i) : nullptr;
    if (!t) continue;
    if (t->state != State::waiting || t->mask != mask || t->operation != operation) {
      wait();
      return machine.threads[number].result;
    }
    votes |= uint64_t{t->value != 0} << i;
  }
  for (int i = 0; i < warpSize; ++i) {
    Thread* t = mask >> i & 1 ? thread_of(i) : nullptr;
    if (!t) continue;
    Thread* from = t->source >= 0 && mask >> t->source & 1 ? thread_of(t->source) : nullptr;
    t->result = t->source < 0 ? votes : from ? from->value : ~uint64_t{0};
    t->state = State::ready;
  }
  machine.threads[number].state = State::running;
  return machine.threads[number].result;
}

template <class T>
T shuffle(const char* operation, unsigned mask, T value, int source, int line, const char* file) {
  static_assert(std::is_arithmetic_v<T>, "shuffles take numbers");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = meet(operation, mask, source, bits, line, file);
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Lanes past the end of the block count neither for nor against.
inline unsigned present(unsigned mask) {
  int left = machine.size - (machine.current - lane());
  return left >= warpSize ? mask : mask & ((1u << left) - 1);
}

}  // namespace cuda_host

// Where an operation stands in the source, for messages.
#define CUDA_HOST_HERE int line = __builtin_LINE(), const char* file = __builtin_FILE()

inline void __syncthreads(CUDA_HOST_HERE) { cuda_host::barrier("__syncthreads", 0, line, file); }
inline int __syncthreads_count(int predicate, CUDA_HOST_HERE) {
  return cuda_host::barrier("__syncthreads_count", predicate, line, file);
}
inline int __syncthreads_or(int predicate, CUDA_HOST_HERE) {
  return cuda_host::barrier("__syncthreads_or", predicate, line, file) != 0;
}
inline int __syncthreads_and(int predicate, CUDA_HOST_HERE) {
  return cuda_host::barrier("__syncthreads_and", !predicate, line, file) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_HOST_HERE) {
  cuda_host::meet("__syncwarp", mask, -1, 0, line, file);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_HOST_HERE) {
  return static_cast<unsigned>(
      cuda_host::meet("__ballot_sync", mask, -1, predicate != 0, line, file));
}
inline int __any_sync(unsigned mask, int predicate, CUDA_HOST_HERE) {
  return cuda_host::meet("__any_sync", mask, -1, predicate != 0, line, file) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_HOST_HERE) {
  return cuda_host::meet("__all_sync", mask, -1, predicate != 0, line, file) ==
         cuda_host::present(mask);
}
// Which lanes run together is the device's choice; here it is every lane that has not exited.
inline unsigned __activemask() {
  unsigned mask = 0;
  for (int i = 0; i < warpSize; ++i) {
    cuda_host::Thread* t = cuda_host::thread_of(i);
    if (t && t->state != cuda_host::State::exited) mask |= 1u << i;
  }
  return mask;
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_HOST_HERE) {
  int first = cuda_host::lane() & -width;
  return cuda_host::shuffle("__shfl_sync", mask, value, first + (source & (width - 1)), line, file);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_HOST_HERE) {
  int lane = cuda_host::lane(), source = lane - static_cast<int>(delta);
  if (source < (lane & -width)) source = lane;
  return cuda_host::shuffle("__shfl_up_sync", mask, value, source, line, file);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_HOST_HERE) {
  int lane = cuda_host::lane(), source = lane + static_cast<int>(delta);
  if (source >= (lane & -width) + width) source = lane;
  return cuda_host::shuffle("__shfl_down_sync", mask, value, source, line, file);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDA_HOST_HERE) {
  int lane = cuda_host::lane(), source = lane ^ bits;
  if (source >= (lane & -width) + width) source = lane;
  return cuda_host::shuffle("__shfl_xor_sync", mask, value, source, line, file);
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
[[noreturn]] inline void __trap(CUDA_HOST_HERE) {
  cuda_host::fail("__trap (%s:%d)", cuda_host::base_name(file), line);
}
#undef assert
#define assert(condition)                                                        \
  ((condition) ? void()                                                          \
               : cuda_host::fail("%s:%d: assertion `%s` failed",                 \
                                 cuda_host::base_name(__FILE__), __LINE__, #condition))

// ---------------------------------------------------------------- atomics

namespace cuda_host {

template <class T>
struct same {
  using type = T;  // keeps a parameter from taking part in deduction
};
template <class T>
using same_t = typename same<T>::type;

// The overloads that CUDA has; it has none for long or, often, long long.
template <class T, class... Allowed>
constexpr bool one_of = (std::is_same_v<T, Allowed> || ...);

}  // namespace cuda_host

#define CUDA_HOST_ATOMIC(name, new_value, ...)                                          \
  template <class T>                                                                    \
  T name(T* address, cuda_host::same_t<T> value) {                                      \
    static_assert(cuda_host::one_of<T, __VA_ARGS__>, #name " has no overload for this"); \
    T old = *address;                                                                   \
    *address = new_value;                                                               \
    return old;                                                                         \
  }
CUDA_HOST_ATOMIC(atomicAdd, old + value, int, unsigned, unsigned long long, float, double)
CUDA_HOST_ATOMIC(atomicSub, old - value, int, unsigned)
CUDA_HOST_ATOMIC(atomicExch, value, int, unsigned, unsigned long long, float)
CUDA_HOST_ATOMIC(atomicMin, value < old ? value : old, int, unsigned, long long, unsigned long long)
CUDA_HOST_ATOMIC(atomicMax, value > old ? value : old, int, unsigned, long long, unsigned long long)
CUDA_HOST_ATOMIC(atomicAnd, old & value, int, unsigned, unsigned long long)
CUDA_HOST_ATOMIC(atomicOr, old | value, int, unsigned, unsigned long long)
CUDA_HOST_ATOMIC(atomicXor, old ^ value, int, unsigned, unsigned long long)
CUDA_HOST_ATOMIC(atomicInc, old >= value ? 0 : old + 1, unsigned)
CUDA_HOST_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1, unsigned)

template <class T>
T atomicCAS(T* address, cuda_host::same_t<T> compare, cuda_host::same_t<T> value) {
  static_assert(cuda_host::one_of<T, int, unsigned, unsigned long long, unsigned short>,
                "atomicCAS has no overload for this");
  T old = *address;
  if (old == compare) *address = value;
  return old;
}

// ---------------------------------------------------------------- memory, bits and arithmetic

template <class T> T __ldg(const T* address) { return *address; }
template <class T> T __ldca(const T* address) { return *address; }
template <class T> T __ldcg(const T* address) { return *address; }
template <class T> T __ldcs(const T* address) { return *address; }
template <class T> void __stcg(T* address, cuda_host::same_t<T> value) { *address = value; }
template <class T> void __stcs(T* address, cuda_host::same_t<T> value) { *address = value; }

namespace cuda_host {

template <class To, class From>
To bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &value, sizeof to);
  return to;
}

}  // namespace cuda_host

inline int __float_as_int(float x) { return cuda_host::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return cuda_host::bits<unsigned>(x); }
inline float __int_as_float(int x) { return cuda_host::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return cuda_host::bits<float>(x); }
inline long long __double_as_longlong(double x) { return cuda_host::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return cuda_host::bits<double>(x); }
inline int __double2hiint(double x) { return static_cast<int>(__double_as_longlong(x) >> 32); }
inline int __double2loint(double x) { return static_cast<int>(__double_as_longlong(x)); }
inline double __hiloint2double(int high, int low) {
  return __longlong_as_double(static_cast<long long>(
      static_cast<unsigned long long>(static_cast<unsigned>(high)) << 32 |
      static_cast<unsigned>(low)));
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>(static_cast<uint64_t>(x) * y >> 32);
}
inline int __mulhi(int x, int y) { return static_cast<int>(static_cast<int64_t>(x) * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}
inline long long __mul64hi(long long x, long long y) {
  return static_cast<long long>(static_cast<__int128>(x) * y >> 64);
}
inline unsigned __umul24(unsigned x, unsigned y) { return (x & 0xffffff) * (y & 0xffffff); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((static_cast<uint64_t>(high) << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}

template <class A, class B>
std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, std::common_type_t<A, B>> min(
    A a, B b) {
  using C = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<C>) return static_cast<C>(fmin(C(a), C(b)));
  return C(b) < C(a) ? C(b) : C(a);
}
template <class A, class B>
std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, std::common_type_t<A, B>> max(
    A a, B b) {
  using C = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<C>) return static_cast<C>(fmax(C(a), C(b)));
  return C(a) < C(b) ? C(b) : C(a);
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline float sinpif(float x) { return static_cast<float>(sin(M_PI * x)); }
inline float cospif(float x) { return static_cast<float>(cos(M_PI * x)); }
inline double sinpi(double x) { return sin(M_PI * x); }
inline double cospi(double x) { return cos(M_PI * x); }
inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }
inline void sincospi(double x, double* s, double* c) { *s = sinpi(x), *c = cospi(x); }
inline float normcdff(float x) { return static_cast<float>(0.5 * erfc(-x * M_SQRT1_2)); }
inline double normcdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
// By Newton's method on erfc of what is left to 1, which is exact in the tails.
inline double erfinv(double x) {
  if (!(fabs(x) < 1)) return fabs(x) == 1 ? copysign(INFINITY, x) : NAN;
  double a = fabs(x), w = -log((1 - a) * (1 + a)), y = sqrt(w) - 0.3 * sqrt(w) / (1 + sqrt(w));
  for (int i = 0; i < 60; ++i) {
    double off = a < 0.5 ? a - erf(y) : erfc(y) - (1 - a);
    y += off * 0.88622692545275801365 * exp(y * y);
  }
  return copysign(y, x);
}
inline float erfinvf(float x) { return static_cast<float>(erfinv(x)); }
inline float __saturatef(float x) { return x > 0.0f ? fminf(x, 1.0f) : 0.0f; }

// The fast ones are exact here; what depends on their error needs a real device.
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline void __sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }

#define CUDA_HOST_ROUNDED(type, prefix)                                         \
  inline type prefix##add_rn(type x, type y) { return x + y; }                  \
  inline type prefix##sub_rn(type x, type y) { return x - y; }                  \
  inline type prefix##mul_rn(type x, type y) { return x * y; }                  \
  inline type prefix##div_rn(type x, type y) { return x / y; }                  \
  inline type prefix##rcp_rn(type x) { return 1 / x; }                          \
  inline type prefix##sqrt_rn(type x) { return static_cast<type>(sqrt(x)); }
CUDA_HOST_ROUNDED(float, __f)
CUDA_HOST_ROUNDED(double, __d)
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

// Conversions saturate, and NaN becomes 0, as on the device.
namespace cuda_host {

template <class To>
To saturated(double x, double low, double high) {
  if (x != x) return 0;
  return static_cast<To>(x <= low ? low : x >= high ? high : x);
}

}  // namespace cuda_host

#define CUDA_HOST_CONVERT_BY(round, suffix, from, from_name, to, to_name, low, high) \
  inline to __##from_name##2##to_name##suffix(from x) {                              \
    return cuda_host::saturated<to>(round(x), low, high);                            \
  }
#define CUDA_HOST_CONVERT(...)                  \
  CUDA_HOST_CONVERT_BY(rint, _rn, __VA_ARGS__)  \
  CUDA_HOST_CONVERT_BY(trunc, _rz, __VA_ARGS__) \
  CUDA_HOST_CONVERT_BY(floor, _rd, __VA_ARGS__) \
  CUDA_HOST_CONVERT_BY(ceil, _ru, __VA_ARGS__)
CUDA_HOST_CONVERT(float, float, int, int, -2147483648.0, 2147483647.0)
CUDA_HOST_CONVERT(float, float, unsigned, uint, 0.0, 4294967295.0)
CUDA_HOST_CONVERT(double, double, int, int, -2147483648.0, 2147483647.0)
CUDA_HOST_CONVERT(double, double, unsigned, uint, 0.0, 4294967295.0)
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline float __ull2float_rn(unsigned long long x) { return static_cast<float>(x); }
inline double __int2double_rn(int x) { return x; }
inline double __uint2double_rn(unsigned x) { return x; }
inline double __ll2double_rn(long long x) { return static_cast<double>(x); }
inline double __ull2double_rn(unsigned long long x) { return static_cast<double>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

// ---------------------------------------------------------------- launching

namespace cuda_host {

// The calling thread's segment of shared variables.
struct Segment {
  char* begin = nullptr;
  size_t size = 0;
};

inline int find_segment(dl_phdr_info* info, size_t, void* found) {
  bool ours = false;
  size_t size = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    uintptr_t offset = reinterpret_cast<uintptr_t>(&machine) - info->dlpi_addr - part.p_vaddr;
    if (part.p_type == PT_LOAD && offset < part.p_memsz) ours = true;
    if (part.p_type == PT_TLS) size = part.p_memsz;
  }
  if (ours) *static_cast<Segment*>(found) = {static_cast<char*>(info->dlpi_tls_data), size};
  return ours;
}

inline void on_signal(int number) {
  fail(number == SIGFPE ? "integer division by zero"
                        : "memory access far outside of every array");
}

// Turns a crash in a kernel into a failed launch.
struct SignalGuard {
  struct sigaction old[3];
  static constexpr int numbers[3] = {SIGSEGV, SIGBUS, SIGFPE};
  SignalGuard() {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_NODEFER;  // the handler leaves by a jump
    for (int i = 0; i < 3; ++i) sigaction(numbers[i], &action, &old[i]);
  }
  ~SignalGuard() {
    for (int i = 0; i < 3; ++i) sigaction(numbers[i], &old[i], nullptr);
  }
};

enum Order { forward, reverse, shuffled };

struct Launch {
  unsigned grid[3], block[3];
  unsigned shared_bytes, order, flush;
};

// For the length of a launch: numbers below the normal ones are 0, read or written.
struct Flushing {
#if defined(__SSE__)
  unsigned before = _mm_getcsr();
  explicit Flushing(bool flush) {
    if (flush) _mm_setcsr(before | 0x8040);
  }
  ~Flushing() { _mm_setcsr(before); }
#else
  explicit Flushing(bool) {}
#endif
};

inline unsigned random_below(uint64_t n) {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<unsigned>((state >> 33) % n);
}

inline void arrange(int* items, size_t count, unsigned order) {
  for (size_t i = 0; i < count; ++i)
    items[i] = static_cast<int>(order == reverse ? count - 1 - i : i);
  for (size_t i = count; order == shuffled && i > 1; --i)
    std::swap(items[i - 1], items[random_below(i)]);
}

inline void run_grid(const Launch& l) {
  gridDim = {l.grid[0], l.grid[1], l.grid[2]};
  blockDim = {l.block[0], l.block[1], l.block[2]};
  machine.size = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  for (unsigned i = 0; i < static_cast<unsigned>(machine.size); ++i)
    machine.threads[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y,
                                i / blockDim.x / blockDim.y};
  size_t block_count = size_t{gridDim.x} * gridDim.y * gridDim.z;
  int* blocks = static_cast<int*>(malloc(block_count * sizeof(int)));
  arrange(blocks, block_count, l.order);
  arrange(machine.order, machine.size, l.order);
  shared_anchor[0] = 1;  // a first touch, for the segment to be there
  Segment shared;
  dl_iterate_phdr(find_segment, &shared);
  SignalGuard signals;
  Flushing flushing(l.flush);
  machine.error[0] = 0;
  for (size_t i = 0; i < block_count && !machine.error[0]; ++i) {
    unsigned b = static_cast<unsigned>(blocks[i]);
    blockIdx = {b % gridDim.x, b / gridDim.x % gridDim.y, b / gridDim.x / gridDim.y};
    if (l.order == shuffled) arrange(machine.order, machine.size, l.order);
    memset(shared.begin, 0xff, shared.size);
    memset(dynamic_shared, 0xff, l.shared_bytes);
    memset(dynamic_shared + l.shared_bytes, 0xa5, shared_guard);
    run_block();
    for (size_t at = l.shared_bytes; at < l.shared_bytes + shared_guard; ++at)
      if (dynamic_shared[at] != 0xa5 && !machine.error[0]) {
        say_block();
        say(": write past the %u bytes of dynamic shared memory, at byte %zu", l.shared_bytes, at);
      }
  }
  free(blocks);
  if (!machine.error[0]) return;
  // Threads may be stuck in the middle of the kernel; their stacks start anew.
  machine.fiber_count = machine.idle_count = 0;
  for (Fiber& fiber : machine.fibers) fiber.started = false;
}

// A parameter's type in NumPy's letters: f4, i8, u1, b1, c1 for char, V16 for a struct of 16
// bytes, V0 for void; a pointer is *f4, and *=f4 if it points to const.
template <class T>
void say_type() {
  if constexpr (std::is_pointer_v<T>) {
    using E = std::remove_pointer_t<T>;
    say(std::is_const_v<E> ? "*=" : "*");
    say_type<std::remove_cv_t<E>>();
  } else if constexpr (std::is_void_v<T>) {
    say("V0");
  } else {
    char kind = std::is_same_v<T, bool>       ? 'b'
                : std::is_same_v<T, char>     ? 'c'
                : std::is_floating_point_v<T> ? 'f'
                : !std::is_integral_v<T>      ? 'V'
                : std::is_signed_v<T>         ? 'i'
                                              : 'u';
    say("%c%zu", kind, sizeof(T));
  }
}

template <auto kernel>
struct Entry;

template <class... P, void (*kernel)(P...)>
struct Entry<kernel> {
  static const char* signature() {
    machine.error[0] = 0;
    ((say_type<std::remove_cv_t<P>>(), say(" ")), ...);
    return machine.error;
  }

  template <size_t... I>
  static void call(std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<P>*>(machine.arguments[I])...);
  }

  // Message of what went wrong, or null; valid until the next call.
  static const char* launch(const Launch* how, void** arguments) {
    machine.body = [] { call(std::index_sequence_for<P...>()); };
    machine.arguments = arguments;
    run_grid(*how);
    return machine.error[0] ? machine.error : nullptr;
  }
};

// What -fsanitize=bounds hands over.
struct OutOfBounds {
  const char* file;
  unsigned line, column;
  const struct {
    unsigned short kind, info;
    char name[1];
  } * array;
};

}  // namespace cuda_host

#define CUDA_HOST_PUBLIC extern "C" __attribute__((visibility("default")))
#define CUDA_HOST_KERNEL(number, ...)                                                         \
  CUDA_HOST_PUBLIC const char* cuda_host_signature_##number() {                               \
    return cuda_host::Entry<&__VA_ARGS__>::signature();                                       \
  }                                                                                           \
  CUDA_HOST_PUBLIC const char* cuda_host_launch_##number(const cuda_host::Launch* how,        \
                                                         void** arguments) {                  \
    return cuda_host::Entry<&__VA_ARGS__>::launch(how, arguments);                            \
  }

// Defined here, so that no sanitizer library is needed; local, so that a loaded one is not used.
extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_out_of_bounds(
    cuda_host::OutOfBounds* what, unsigned long index) {
  cuda_host::fail("index %ld is outside of %s (%s:%u)", static_cast<long>(index),
                  what->array->name, cuda_host::base_name(what->file), what->line);
}

// The run-time compiler for devices knows no standard header, hence none of these.
#undef INFINITY
#undef NAN
#undef HUGE_VAL
#undef HUGE_VALF
#undef M_PI
#undef M_E
#undef M_SQRT2
#undef M_SQRT1_2
#undef M_LN2
#undef INT_MAX
#undef INT_MIN
#undef UINT_MAX
#undef INT32_MAX
#undef INT64_MAX
#undef UINT32_MAX
#undef UINT64_MAX

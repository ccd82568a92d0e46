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
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

// ---------------------------------------------------------------- words of the language

#define __global__
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

enum class State { fresh, ready, running, waiting, exited };

struct Fiber {
  char* stack = nullptr;
  bool started = false;
  jmp_buf context;
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

struct Machine {
  std::vector<Thread> threads;
  std::vector<int> order;  // in which the threads of a block get their turn
  size_t next = 0;         // first place in order whose thread is fresh
  int current = 0;         // the thread that runs
  int exited = 0;
  std::vector<Fiber*> fibers, idle;
  Fiber* fiber = nullptr;  // the fiber that runs
  jmp_buf home;            // the scheduler
  std::function<void()> body;
  std::string error;
};
static Machine machine;

// No power of two: stacks that far apart would compete for the same few cache lines.
constexpr size_t stack_size = 250000;
constexpr size_t shared_limit = 48 * 1024;
constexpr size_t shared_guard = 4096;
alignas(256) static unsigned char dynamic_shared[shared_limit + shared_guard];
static thread_local char shared_anchor[16];  // so that there is a segment of shared variables

inline std::string text(const char* format, ...) {
  char buffer[600];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(buffer, sizeof buffer, format, arguments);
  va_end(arguments);
  return buffer;
}

inline std::string text(uint3 at) { return text("(%u, %u, %u)", at.x, at.y, at.z); }

// Ends the launch: what runs on the fibers is dropped.
[[noreturn]] inline void fail(const std::string& message) {
  machine.error = "block " + text(blockIdx) + ", thread " + text(threadIdx) + ": " + message;
  _longjmp(machine.home, 1);
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
    while (machine.next < machine.order.size()) {
      become(machine.order[machine.next++]);
      machine.threads[machine.current].fiber = self;
      machine.body();
      machine.threads[machine.current].state = State::exited;
      ++machine.exited;
    }
    machine.idle.push_back(self);
    if (_setjmp(self->context) == 0) _longjmp(machine.home, 1);
  }
}

// Runs a fiber until it waits, is idle, or fails.
__attribute__((noinline)) inline void resume(Fiber* fiber) {
  machine.fiber = fiber;
  if (_setjmp(machine.home) != 0) return;
  if (fiber->started) _longjmp(fiber->context, 1);
  static ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber->stack;
  context.uc_stack.ss_size = stack_size;
  context.uc_link = nullptr;
  makecontext(&context, fiber_main, 0);
  fiber->started = true;
  setcontext(&context);
}

inline Fiber* idle_fiber() {
  if (machine.idle.empty()) {
    void* stack = mmap(nullptr, stack_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) abort();
    // Mappings begin on pages; shift the stacks within them against each other.
    size_t shift = machine.fibers.size() % 32 * 144;
    machine.fibers.push_back(new Fiber{static_cast<char*>(stack) + shift - 0});
    machine.idle.push_back(machine.fibers.back());
  }
  Fiber* fiber = machine.idle.back();
  machine.idle.pop_back();
  return fiber;
}

inline const char* base_name(const char* file) {
  const char* slash = strrchr(file, '/');
  return slash ? slash + 1 : file;
}

inline std::string deadlock() {
  std::map<std::string, std::pair<int, uint3>> groups;
  for (const Thread& t : machine.threads) {
    if (t.state != State::waiting) continue;
    std::string what = text("%s (%s:%d)", t.operation, base_name(t.file), t.line);
    if (t.mask) what += text(" with mask 0x%08x", t.mask);
    auto& group = groups.insert({what, {0, t.index}}).first->second;
    ++group.first;
  }
  std::string message = "block " + text(blockIdx) + ": no thread can go on";
  for (auto& [what, group] : groups)
    message += text("; %d wait at %s, one is thread ", group.first, what.c_str()) +
               text(group.second);
  if (machine.exited) message += text("; %d have exited", machine.exited);
  return message;
}

// If every thread of the block waits at the same barrier, opens it.
inline bool open_barrier() {
  const Thread& first = machine.threads[0];
  int votes = 0, size = static_cast<int>(machine.threads.size());
  for (const Thread& t : machine.threads) {
    if (t.state != State::waiting || t.mask || t.operation != first.operation ||
        t.line != first.line)
      return false;
    votes += t.value != 0;
  }
  for (Thread& t : machine.threads) {
    t.state = State::ready;
    t.result = votes;
  }
  (void)size;
  return true;
}

inline void run_block() {
  for (Thread& t : machine.threads) t.state = State::fresh;
  machine.next = 0;
  machine.exited = 0;
  for (;;) {
    bool ran = false;
    while (machine.next < machine.order.size() && machine.error.empty()) {
      resume(idle_fiber());
      ran = true;
    }
    for (int number : machine.order) {
      if (!machine.error.empty()) return;
      if (machine.threads[number].state != State::ready) continue;
      resume(machine.threads[number].fiber);
      ran = true;
    }
    if (!machine.error.empty() || machine.exited == static_cast<int>(machine.threads.size())) return;
    if (!ran && !open_barrier()) {
      machine.error = deadlock();
      return;
    }
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
  size_t number = machine.current - lane() + lane_number;
  return number < machine.threads.size() ? &machine.threads[number] : nullptr;
}

// The last lane of mask to come hands every lane its result.
inline uint64_t meet(const char* operation, unsigned mask, int source, uint64_t value, int line,
                     const char* file) {
  if (!(mask >> lane() & 1))
    fail(text("%s (%s:%d) with mask 0x%08x, which lacks the caller's own lane %d", operation,
              base_name(file), line, mask, lane()));
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
  size_t left = machine.threads.size() - (machine.current - lane());
  return left >= 32 ? mask : mask & ((1u << left) - 1);
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
  cuda_host::fail(cuda_host::text("__trap (%s:%d)", cuda_host::base_name(file), line));
}
#undef assert
#define assert(condition)                                                                   \
  ((condition) ? void()                                                                     \
               : cuda_host::fail(cuda_host::text("%s:%d: assertion `%s` failed",            \
                                                 cuda_host::base_name(__FILE__), __LINE__, \
                                                 #condition)))

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

template <class T>
int clamp_round(T value, double low, double high);

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
#define CUDA_HOST_CONVERT(from, from_name, to, to_name, low, high)                 \
  inline to __##from_name##2##to_name##_rn(from x) { return cuda_host::saturated<to>(rint(x), low, high); } \
  inline to __##from_name##2##to_name##_rz(from x) { return cuda_host::saturated<to>(trunc(x), low, high); } \
  inline to __##from_name##2##to_name##_rd(from x) { return cuda_host::saturated<to>(floor(x), low, high); } \
  inline to __##from_name##2##to_name##_ru(from x) { return cuda_host::saturated<to>(ceil(x), low, high); }
namespace cuda_host {
template <class To>
To saturated(double x, double low, double high) {
  return x != x ? To{0} : x <= low ? static_cast<To>(low) : x >= high ? static_cast<To>(high) : static_cast<To>(x);
}
}  // namespace cuda_host
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


// Complex numbers of CuPy's kernels on the host: Thrust's arithmetic, as CuPy 14.2 has it in
// cupy/complex/, with its special cases. What C99's functions have in common with it comes from
// the host's library.
#pragma once

#include <cmath>
#include <complex>
#include <limits>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

using std::abs;
using std::copysign;
using std::fabs;
using std::floor;
using std::fmod;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

inline int __float_as_int(float x) {
  int bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline long long __double_as_longlong(double x) {
  long long bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

// CuPy compiles with -ftz=true: float32 numbers below the normal ones are 0, read or written.
struct FlushSubnormals {
#if defined(__SSE__)
  unsigned before = _mm_getcsr();
  explicit FlushSubnormals(bool flush) {
    if (flush) _mm_setcsr(before | 0x8040);
  }
  ~FlushSubnormals() { _mm_setcsr(before); }
#else
  explicit FlushSubnormals(bool) {}
#endif
};

template <class T>
struct complex {
  using value_type = T;
  T re = 0, im = 0;
  complex() = default;
  complex(T re, T im = 0) : re(re), im(im) {}
  complex(std::complex<T> z) : re(z.real()), im(z.imag()) {}
  template <class U>
  explicit complex(complex<U> z) : re(T(z.re)), im(T(z.im)) {}
  T real() const { return re; }
  T imag() const { return im; }
  std::complex<T> std() const { return {re, im}; }

  friend complex operator+(complex x, complex y) { return {x.re + y.re, x.im + y.im}; }
  friend complex operator-(complex x, complex y) { return {x.re - y.re, x.im - y.im}; }
  friend complex operator*(complex x, complex y) {
    return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
  }
  friend complex operator*(complex x, T y) { return {x.re * y, x.im * y}; }
  friend complex operator*(T x, complex y) { return y * x; }
  // By no real number separately, and scaled by the sum of the parts: nan of 1 / 0 and 1 / inf.
  friend complex operator/(complex x, complex y) {
    T scale = T(1) / (fabs(y.re) + fabs(y.im));
    complex a{x.re * scale, x.im * scale}, b{y.re * scale, y.im * scale};
    T over = T(1) / (b.re * b.re + b.im * b.im);
    return {(a.re * b.re + a.im * b.im) * over, (a.im * b.re - a.re * b.im) * over};
  }
  friend complex operator/(complex x, T y) { return {x.re / y, x.im / y}; }
  friend complex operator/(T x, complex y) { return complex(x) / y; }
  friend complex operator-(complex x) { return x * T(-1); }
  friend bool operator==(complex x, complex y) { return x.re == y.re && x.im == y.im; }
  friend bool operator!=(complex x, complex y) { return !(x == y); }
};

template <class T> bool isnan(complex<T> z) { return isnan(z.re) || isnan(z.im); }
template <class T> bool isinf(complex<T> z) { return isinf(z.re) || isinf(z.im); }
template <class T> bool isfinite(complex<T> z) { return isfinite(z.re) && isfinite(z.im); }
template <class T> T real(complex<T> z) { return z.re; }
template <class T> T imag(complex<T> z) { return z.im; }
template <class T> T abs(complex<T> z) { return std::hypot(z.re, z.im); }
template <class T> T arg(complex<T> z) { return std::atan2(z.im, z.re); }
template <class T> complex<T> conj(complex<T> z) { return {z.re, -z.im}; }

#define THRUST_AS_C99(name) \
  template <class T> complex<T> name(complex<T> z) { return std::name(z.std()); }
THRUST_AS_C99(sqrt)
THRUST_AS_C99(sin)
THRUST_AS_C99(cos)
THRUST_AS_C99(sinh)
THRUST_AS_C99(cosh)
THRUST_AS_C99(asin)
THRUST_AS_C99(acos)
THRUST_AS_C99(atan)
THRUST_AS_C99(asinh)
THRUST_AS_C99(atanh)
#undef THRUST_AS_C99

template <class T>
complex<T> exp(complex<T> z) {
  if (std::isinf(z.re) && z.re < 0 && !isfinite(z.im)) return {0, 0};
  return std::exp(z.std());
}
template <class T>
complex<T> log(complex<T> z) {
  // Of a NaN by the sum of squares, which an infinite part does not outlive.
  if (isnan(z)) return {std::log(z.re * z.re + z.im * z.im), arg(z)};
  return std::log(z.std());
}
template <class T> complex<T> log10(complex<T> z) { return log(z) / T(2.30258509299404568402); }
template <class T> complex<T> log1p(complex<T> z) { return log(z + complex<T>(1)); }
template <class T> complex<T> log2(complex<T> z) { return log(z) / complex<T>(std::log(T(2))); }
template <class T> complex<T> expm1(complex<T> z) { return exp(z) - complex<T>(1); }
template <class T> complex<T> pow(complex<T> x, complex<T> y) { return exp(log(x) * y); }
template <class T> complex<T> rint(complex<T> z) { return {std::rint(z.re), std::rint(z.im)}; }

template <class T>
complex<T> tanh(complex<T> z) {
  // C99's imaginary infinity and NaN give 0 + nan j where the real part is 0.
  if (isfinite(z.re) && !isfinite(z.im)) return {z.im - z.im, z.im - z.im};
  return std::tanh(z.std());
}
template <class T>
complex<T> tan(complex<T> z) {
  complex<T> turned = tanh(complex<T>(-z.im, z.re));
  return {turned.im, -turned.re};
}
template <class T>
complex<T> acosh(complex<T> z) {
  if (z.re == 0 && isnan(z.im)) return {z.im, z.im};  // C99's imaginary part is pi / 2
  return std::acosh(z.std());
}

// The other one of a NaN, as C's functions of real numbers.
template <class T>
complex<T> max(complex<T> x, complex<T> y) {
  if (isnan(x)) return y;
  if (isnan(y)) return x;
  if (x.re != y.re) return x.re < y.re ? y : x;
  return x.im < y.im ? y : x;
}
template <class T>
complex<T> min(complex<T> x, complex<T> y) {
  if (isnan(x)) return y;
  if (isnan(y)) return x;
  if (x.re != y.re) return x.re < y.re ? x : y;
  return x.im < y.im ? x : y;
}
template <class T> T max(T x, T y) { return std::fmax(x, y); }
template <class T> T min(T x, T y) { return std::fmin(x, y); }

// The run-time compiler for devices knows no standard header, hence none of these.
#undef NAN
#undef INFINITY
#undef M_E
#undef M_LN2
#undef M_LN10
#undef M_PI_2
#undef M_SQRT2

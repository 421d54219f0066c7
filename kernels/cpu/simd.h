// One vector of fp32 lanes, in the widest form that the translation unit was compiled for, and the few operations the
// CPU kernels need. Each lane's arithmetic is fixed (explicit fused multiply-adds, no reassociation), so that a value
// never depends on which lane, tile or loop remainder computed it: that is what makes rows independent of their batch.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace grpo::GRPO_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif

// Values. What lies in memory may lie anywhere and is copied in and out, never pointed at: a type of lesser alignment
// would lose that wherever a template sees it.
typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t IVec __attribute__((vector_size(kLanes * 4)));
typedef uint16_t HVec __attribute__((vector_size(kLanes * 2)));

/// Storage of a bfloat16: the upper half of an fp32.
struct bf16 {
  uint16_t bits;
};

inline Vec zero() { return Vec{}; }
inline Vec splat(float x) {  // (not 0 + x: that addition is real, for it turns −0 into 0)
#if defined(__AVX512F__)
  return (Vec)_mm512_set1_ps(x);
#elif defined(__AVX2__)
  return (Vec)_mm256_set1_ps(x);
#else
  Vec v;
  for (int i = 0; i < kLanes; ++i) v[i] = x;
  return v;
#endif
}

inline Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  Vec r;
  for (int i = 0; i < kLanes; ++i) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return r;
#endif
}

/// Where a or b is NaN, b: a bound comes first, so that a NaN passes it.
inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
inline Vec min(Vec a, Vec b) { return a < b ? a : b; }

inline float widen(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline float widen(float x) { return x; }

inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline HVec load_bits(const bf16* p) {
  HVec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Vec load(const bf16* p) { return (Vec)(__builtin_convertvector(load_bits(p), IVec) << 16); }

/// The first n < kLanes elements; the other lanes are 0.
template <class T>
inline Vec load(const T* p, int n) {
  T padded[kLanes] = {};
  std::memcpy(padded, p, sizeof(T) * n);
  return load(padded);
}

/// Round to nearest, ties to even; a NaN stays a NaN.
inline bf16 narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
inline void store(bf16* p, Vec v) {
  const IVec bits = (IVec)v;
  const IVec nan = (bits & 0x7fffffff) > 0x7f800000;
  const IVec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const IVec chosen = nan ? ((bits >> 16) | 0x40) : rounded;
  const HVec half = __builtin_convertvector(chosen, HVec);
  std::memcpy(p, &half, sizeof half);
}
template <class T>
inline void store(T* p, Vec v, int n) {
  T padded[kLanes];
  store(padded, v);
  std::memcpy(p, padded, sizeof(T) * n);
}
inline void put(float* p, float x) { *p = x; }
inline void put(bf16* p, float x) { *p = narrow(x); }

/// Sums and maxima over the lanes, as a balanced tree. A maximum may miss a NaN.
inline float sum(Vec v) {
  float x[kLanes];
  store(x, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) x[i] += x[i + width];
  return x[0];
}
inline float max_lane(Vec v) {
  float x[kLanes];
  store(x, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) x[i] = x[i] > x[i + width] ? x[i] : x[i + width];
  return x[0];
}

/// e^x to about 1 ulp: x = n·ln 2 + r, a degree-6 polynomial in r, then the exponent bits. 0 below −87.3, e^88.7 above
/// 88.7, NaN of NaN.
inline Vec exp(Vec x) {
  const IVec ordinary = x >= -87.3f;
  x = min(splat(88.7f), max(splat(-87.3f), x));
  const Vec shifted = fma(x, splat(1.44269504f), splat(12582912.0f));  // 1.5·2^23: the integer sits in the low bits
  const Vec n = shifted - 12582912.0f;
  Vec r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  Vec p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p, r * r, r) + 1.0f;
  const IVec exponent = ((IVec)shifted - 0x4b400000) << 23;
  const Vec result = (Vec)((IVec)p + exponent);  // of a NaN any bits
  return ordinary ? result : x - x;
}

inline Vec sigmoid(Vec x) {
  const Vec e = exp(x < 0.0f ? x : -x);  // e^{-|x|}: never overflows
  const Vec s = 1.0f / (1.0f + e);
  return x < 0.0f ? e * s : s;
}

}  // namespace grpo::GRPO_ISA

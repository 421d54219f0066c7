// Integer hashing that makes whatever is drawn on the host a pure function of a key on every platform (the distributions
// of <random> differ between standard libraries). Tokens are drawn otherwise: philox.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

namespace grpo {

/// A short sequence of draws that depends on `key` alone (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
class Draws {
 public:
  explicit Draws(std::initializer_list<std::uint64_t> key);
  std::uint64_t next();
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }       // the bias, bound / 2^64, is nothing here
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  bool with_probability(double p) { return uniform() < p; }
  template <class T>
  const T& one_of(const std::vector<T>& items) {
    return items[below(items.size())];
  }
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::uint64_t state_;
};

/// The place of `position` in a pseudo-random permutation of [0, size) that depends on `key`.
std::uint64_t permuted(std::uint64_t position, std::uint64_t size, std::uint64_t key);

/// FNV-1a.
std::uint64_t hash_of(std::string_view text);

/// A number in [0, 1) that depends on `text` alone.
double uniform_of(std::string_view text);

}  // namespace grpo

#include "base/draws.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace grpo {
namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

Draws::Draws(std::initializer_list<std::uint64_t> key) : state_(0) {
  for (const std::uint64_t part : key) state_ = mix(state_ * kGolden + mix(part + kGolden));
}

std::uint64_t Draws::next() { return mix(state_ += kGolden); }

std::uint64_t permuted(std::uint64_t position, std::uint64_t size, std::uint64_t key) {
  // A Feistel network permutes the numbers of 2 * half bits; walking its cycle until the result is below `size` makes
  // that a permutation of [0, size) (Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).
  const int half = std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2);
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  do {
    std::uint64_t left = position >> half, right = position & mask;
    for (std::uint64_t round = 0; round < 6; ++round)
      left = std::exchange(right, left ^ (mix(key + kGolden * (right * 6 + round + 1)) & mask));
    position = left << half | right;
  } while (position >= size);
  return position;
}

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

double uniform_of(std::string_view text) { return static_cast<double>(mix(hash_of(text)) >> 11) * 0x1p-53; }

}  // namespace grpo

// Counter-based randomness: a draw is a pure function of what it is for, never of when or where it happens.
//
// Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011) turns a 64-bit key
// and a 128-bit counter into 128 random bits. The key is the seed. The counter is the rest of a draw's identity, packed
// side by side without hashing:
//
//     word 0   block 22 bits | position, low 10 bits          position: 26 bits in all
//     word 1   position, high 16 bits | sample 16 bits
//     word 2   index 24 bits | purpose 8 bits
//     word 3   step 32 bits
//
// The packing is injective, and under one key Philox is a bijection of the counter, so two different identities of one
// seed can never read the same 128 bits: streams cannot collide, they need no luck for it.
#pragma once

#include <cstdint>

#include "grpo/error.h"
#include "grpo/sampling.h"

#if defined(__CUDACC__)
#define GRPO_HD __host__ __device__
#else
#define GRPO_HD
#endif

namespace grpo {

/// Whose draw it is. `index` is the place in the step's task list, `sample` the place in the group, `position` the
/// place of the token in its completion.
struct DrawKey {
  uint64_t seed = 0;
  Purpose purpose = Purpose::rollout;
  uint64_t step = 0;                             ///< < 2^32
  uint32_t index = 0, sample = 0, position = 0;  ///< < 2^24, < 2^16, < 2^26
};

/// A key as int64: seed, purpose, step, index, sample, position. Rows of a tensor hold keys so, on a device as well.
constexpr int kKeyColumns = 6, kPositionColumn = 5;
GRPO_HD constexpr DrawKey read_key(const int64_t* row) {
  return {static_cast<uint64_t>(row[0]), static_cast<Purpose>(row[1]),  static_cast<uint64_t>(row[2]),
          static_cast<uint32_t>(row[3]), static_cast<uint32_t>(row[4]), static_cast<uint32_t>(row[5])};
}
constexpr void write_key(const DrawKey& key, int64_t* row) {
  row[0] = static_cast<int64_t>(key.seed), row[1] = static_cast<int64_t>(key.purpose);
  row[2] = static_cast<int64_t>(key.step), row[3] = key.index, row[4] = key.sample, row[5] = key.position;
}

struct PhiloxBlock {
  uint32_t word[4];
};

constexpr uint32_t kPhiloxBlocks = 1u << 22;  ///< blocks that one DrawKey owns, of four 32-bit words each

/// The Philox-4x32-10 bijection.
GRPO_HD constexpr PhiloxBlock philox(PhiloxBlock counter, uint64_t key) {
  uint32_t x0 = counter.word[0], x1 = counter.word[1], x2 = counter.word[2], x3 = counter.word[3];
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * x0, product1 = uint64_t{0xCD9E8D57u} * x2;
    x0 = static_cast<uint32_t>(product1 >> 32) ^ x1 ^ k0;
    x2 = static_cast<uint32_t>(product0 >> 32) ^ x3 ^ k1;
    x1 = static_cast<uint32_t>(product1);
    x3 = static_cast<uint32_t>(product0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{x0, x1, x2, x3}};
}

/// Throws Error when a field of `key` is wider than its place in the counter.
inline void check(const DrawKey& key) {
  if (key.step >> 32 || key.index >> 24 || key.sample >> 16 || key.position >> 26 ||
      static_cast<uint32_t>(key.purpose) >> 8)
    throw Error("philox",
                "expected step < 2^32, index < 2^24, sample < 2^16, position < 2^26 and purpose < 2^8, got step ",
                key.step, ", index ", key.index, ", sample ", key.sample, ", position ", key.position, ", purpose ",
                static_cast<uint32_t>(key.purpose));
}

/// Counter of the key's block number `block` < kPhiloxBlocks, for a key that passes `check`.
GRPO_HD constexpr PhiloxBlock draw_counter(const DrawKey& key, uint32_t block) {
  return {{block | key.position << 22, key.position >> 10 | key.sample << 16,
           key.index | static_cast<uint32_t>(key.purpose) << 24, static_cast<uint32_t>(key.step)}};
}

/// The 32 random bits of vocabulary id `id` < 2^24 (or of the id-th draw, where the purpose has no vocabulary).
/// 64 neighbouring ids are the 64 words of 16 blocks, block by lane and word by row, so that a vector of consecutive
/// ids reads a vector of consecutive counters.
GRPO_HD constexpr uint32_t draw_bits(const DrawKey& key, uint32_t id) {
  return philox(draw_counter(key, id / 64 * 16 + id % 16), key.seed).word[id / 16 % 4];
}

/// Uniform in the open interval (0, 1): 2^32 values, symmetric about ½, exact in double.
GRPO_HD constexpr double uniform(uint32_t bits) { return (bits + 0.5) * 0x1p-32; }

}  // namespace grpo

// XXH64, the 64-bit hash of the xxHash specification (Y. Collet, github.com/Cyan4973/xxHash, doc/xxhash_spec.md), seed
// 0: it tells a damaged file from a whole one at the speed of memory. It is no protection against forgery.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace grpo {

class XxHash64 {
 public:
  void update(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    total_ += size;
    if (held_ > 0) {
      const std::size_t taken = std::min(size, kStripe - held_);
      std::memcpy(rest_.data() + held_, bytes, taken);
      held_ += taken, bytes += taken, size -= taken;
      if (held_ < kStripe) return;
      mix_stripe(rest_.data());
      held_ = 0;
    }
    for (; size >= kStripe; bytes += kStripe, size -= kStripe) mix_stripe(bytes);
    if (size > 0) std::memcpy(rest_.data(), bytes, size);
    held_ = size;
  }

  uint64_t digest() const {
    uint64_t hash = kPrime5;
    if (total_ >= kStripe) {
      hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
      for (const uint64_t lane : lanes_) hash = (hash ^ round(0, lane)) * kPrime1 + kPrime4;
    }
    hash += total_;
    std::size_t i = 0;
    for (; i + 8 <= held_; i += 8) {
      hash = std::rotl(hash ^ round(0, read<uint64_t>(&rest_[i])), 27) * kPrime1 + kPrime4;
    }
    for (; i + 4 <= held_; i += 4) {
      hash = std::rotl(hash ^ (read<uint32_t>(&rest_[i]) * kPrime1), 23) * kPrime2 + kPrime3;
    }
    for (; i < held_; ++i) hash = std::rotl(hash ^ (rest_[i] * kPrime5), 11) * kPrime1;
    hash = (hash ^ (hash >> 33)) * kPrime2;
    hash = (hash ^ (hash >> 29)) * kPrime3;
    return hash ^ (hash >> 32);
  }

  /// 16 lower-case hex digits, most significant first, as `xxhsum` prints them.
  std::string hex() const {
    std::string text;
    for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[(digest() >> shift) & 15];
    return text;
  }

 private:
  static constexpr std::size_t kStripe = 32;
  static constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87, kPrime2 = 0xC2B2AE3D27D4EB4F, kPrime3 = 0x165667B19E3779F9,
                            kPrime4 = 0x85EBCA77C2B2AE63, kPrime5 = 0x27D4EB2F165667C5;

  template <class T>
  static T read(const unsigned char* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }
  static uint64_t round(uint64_t lane, uint64_t input) { return std::rotl(lane + input * kPrime2, 31) * kPrime1; }
  void mix_stripe(const unsigned char* bytes) {
    for (std::size_t i = 0; i < 4; ++i) lanes_[i] = round(lanes_[i], read<uint64_t>(bytes + 8 * i));
  }

  std::array<uint64_t, 4> lanes_{kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
  std::array<unsigned char, kStripe> rest_{};
  std::size_t held_ = 0;
  uint64_t total_ = 0;
};

static_assert(std::endian::native == std::endian::little, "files and hashes are read as little-endian words");

}  // namespace grpo

// CRC-32C (Castagnoli; RFC 3720, section 12.1): the checksum of TFRecord files.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace grpo {

inline uint32_t crc32c(std::string_view data) {
  static constexpr auto kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t remainder = byte;
      for (int bit = 0; bit < 8; ++bit) remainder = (remainder >> 1) ^ (remainder & 1 ? 0x82F63B78u : 0u);
      table[byte] = remainder;
    }
    return table;
  }();
  uint32_t remainder = 0xFFFFFFFFu;
  for (const char c : data) remainder = (remainder >> 8) ^ kTable[(remainder ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~remainder;
}

/// What TFRecord stores: a checksum that stays one when the data itself holds checksums.
inline uint32_t masked_crc32c(std::string_view data) {
  const uint32_t crc = crc32c(data);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

}  // namespace grpo

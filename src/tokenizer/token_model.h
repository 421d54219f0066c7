// What stands behind a Tokenizer: one of the two kinds of vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/tokenizer.h"

namespace grpo::internal {

/// Immutable once made. Decoding is a fold: `decode` is told one token after the other and appends what is then
/// certain; `finish` appends what the text would end with if no more came.
struct TokenModel {
  virtual ~TokenModel() = default;
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;
  virtual void decode(std::int32_t id, DecodeState& state, std::string& text) const = 0;
  virtual void finish(DecodeState state, std::string& text) const = 0;

  std::string serialized;
  std::vector<std::string> pieces;  // [vocab_size]
  std::size_t longest = 0;          // no token stands for more bytes of a text; 0: who knows
  std::int32_t eos = -1, bos = -1, pad = -1;
  std::vector<std::int32_t> ends;  // besides eos
};

}  // namespace grpo::internal

// Hugging Face's tokenizer.json.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "tokenizer/token_model.h"

namespace grpo::internal {

/// The bytes of a tokenizer.json, followed by a line with the special tokens that the files beside it name
/// (tokenizer_config.json, special_tokens_map.json, generation_config.json: the first that names one counts; and all that
/// the last one names as ends).
std::string read_tokenizer_json(const std::filesystem::path& file);

/// Whether `serialized` is a tokenizer.json, to judge by its first character.
bool is_tokenizer_json(std::string_view serialized);

/// The tokenizer that `serialized` (what read_tokenizer_json returns, or a bare tokenizer.json) describes. It encodes
/// and decodes as the `tokenizers` package does (version 0.23.3), without adding or skipping special tokens. Throws
/// Error naming `where` and the key for what is malformed, and for every component or option that is not known here.
std::shared_ptr<const TokenModel> parse_tokenizer_json(std::string_view serialized, const std::string& where);

}  // namespace grpo::internal

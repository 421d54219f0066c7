// Tokens that are found in a text before it is cut.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/tables/unicode_classes.h"
#include "text/utf8.h"
#include "tokenizer/code_point_set.h"
#include "tokenizer/json/component.h"

namespace grpo::tokenizer_json {

struct AddedToken {
  std::int32_t id;
  std::string content;
  bool single_word, left_strip, right_strip, normalized, special;
};

/// Finds added tokens in text: the leftmost, and the longest of those.
class AddedTokenFinder {
 public:
  void add(const AddedToken& token, std::string_view spelled) {
    std::uint32_t node = 0;
    for (const char byte : spelled) {
      const auto [next, fresh] = children_.try_emplace(key(node, byte), static_cast<std::uint32_t>(tokens_.size()));
      if (fresh) tokens_.push_back(nullptr);
      node = next->second;
    }
    tokens_[node] = &token;
    starts_[static_cast<unsigned char>(spelled.front())] = true;
  }

  struct Part {
    std::string_view text;
    std::int32_t id;  // -1: text between added tokens
  };

  /// Parts `text`; white space that an added token takes along is lost.
  void split(std::string_view text, std::vector<Part>& parts) const {
    std::size_t begin = 0;   // of what is not yet in a part
    std::size_t spaces = 0;  // where the white space ends that was last found behind a token
    for (std::size_t at = 0; at < text.size();) {
      const auto [token, size] = longest(text, at);
      if (token == nullptr) {
        ++at;
        continue;
      }
      std::size_t first = at, end = at += size;
      if (token->single_word && (!word_ends_before(text, first) || !word_begins_behind(text, end))) continue;
      // No stretch of white space is walked twice: it may hold as many tokens as it has characters.
      if (token->left_strip && first < begin) first = begin;
      if (token->left_strip) first -= trailing_space(text.substr(begin, first - begin));
      if (token->right_strip) {
        if (end >= spaces) spaces = end + leading_space(text.substr(end));
        end = spaces;
      }
      if (begin < first) parts.push_back({text.substr(begin, first - begin), -1});
      parts.push_back({text.substr(first, end > first ? end - first : 0), token->id});
      begin = end;
    }
    if (begin < text.size()) parts.push_back({text.substr(begin), -1});
  }

 private:
  static std::uint64_t key(std::uint32_t node, char byte) {
    return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
  }
  std::pair<const AddedToken*, std::size_t> longest(std::string_view text, std::size_t at) const {
    std::pair<const AddedToken*, std::size_t> best{nullptr, 0};
    if (!starts_[static_cast<unsigned char>(text[at])]) return best;
    std::uint32_t node = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
      const auto next = children_.find(key(node, text[i]));
      if (next == children_.end()) break;
      node = next->second;
      if (tokens_[node] != nullptr) best = {tokens_[node], i + 1 - at};
    }
    return best;
  }
  static bool is_word(char32_t c) {
    static const CodePointSet word{unicode::kPlainWord};
    return word.contains(c);
  }
  static bool word_ends_before(std::string_view text, std::size_t at) {
    return at == 0 || !is_word(decode_utf8(text, character_before(text, at)).value);
  }
  static bool word_begins_behind(std::string_view text, std::size_t at) {
    return at == text.size() || !is_word(decode_utf8(text, at).value);
  }

  std::unordered_map<std::uint64_t, std::uint32_t> children_;
  std::vector<const AddedToken*> tokens_ = {nullptr};  // of each node; the first is the root
  std::array<bool, 256> starts_{};
};

}  // namespace grpo::tokenizer_json

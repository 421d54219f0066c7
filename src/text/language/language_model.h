// Which of the languages that share a script a word looks like.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "text/tables/characters.h"

namespace grpo {

inline constexpr std::size_t kMaxLanguages = 40;  // of one script; the arrays below stay whole vectors

/// By language of a script: how much likelier a word is in it, in steps of 1/4 nat.
using Evidence = std::array<std::int16_t, kMaxLanguages>;

/// A character model of the order 4 for each language of a script: a word's likelihood is the product of that of its
/// letters, each after the three symbols before it (the edge of the word being a symbol); see
/// scripts/make_language_table.py.
class LanguageModel {
 public:
  /// The model of a script that languages share, or nullptr when words of the script tell their language at once.
  static const LanguageModel* of(Script script);

  std::size_t languages() const { return codes_.size(); }
  std::string_view code(std::size_t language) const { return codes_[language]; }
  static constexpr std::size_t kUnknown = std::numeric_limits<std::size_t>::max();
  std::size_t index(std::string_view code) const;  ///< kUnknown when the model lacks it

  /// Reads a word letter by letter.
  class Reader {
   public:
    explicit Reader(const LanguageModel& model) : model_(&model) {}
    void add(char32_t letter);  ///< a small letter; an apostrophe is an edge
    Evidence finish();          ///< of the word, and begins the next

   private:
    void step(std::uint32_t symbol);

    const LanguageModel* model_;
    std::uint32_t before_ = 0;  // the last three symbols, 8 bits each, the newest lowest
    Evidence evidence_{};
  };

 private:
  struct Slot {
    std::uint32_t gram = 0, row = 0;
  };
  explicit LanguageModel(const struct LanguageRows& rows);
  using Row = std::array<std::uint8_t, kMaxLanguages>;
  const Row* find(std::uint32_t gram) const;
  static std::uint32_t hash(std::uint32_t gram) { return gram * 0x9E3779B1u; }

  std::vector<std::string_view> codes_;
  std::array<std::uint8_t, 0x2000> symbols_{};  // by letter
  std::vector<Slot> slots_;                     // open addressing; gram 0 is empty
  std::array<std::uint64_t, 1024> maybe_{};     // by hash: whether any gram is there; small, since most are not
  int shift_ = 0;
  std::vector<Row> rows_;
};

}  // namespace grpo

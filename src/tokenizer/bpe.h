// Byte-pair encoding: the model of a tokenizer.json.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace grpo {

/// A vocabulary and its merges; immutable. A word becomes tokens by joining, again and again, the neighbours whose
/// merge was learned first (Sennrich et al. 2016, arXiv:1508.07909), in time n log n.
class Bpe {
 public:
  /// What one thread needs to encode words one after the other.
  struct Workspace {
    struct Symbol {
      std::int32_t id;
      std::int32_t previous, next;  // places of the neighbours, -1 at an end
      std::uint32_t rank;           // of the merge with the next, kNoMerge if there is none
      std::int32_t merged;          // what that gives; the symbol is gone when id is -1
    };
    std::vector<Symbol> symbols;
    std::vector<std::uint64_t> queue;  // rank << 32 | place: a heap whose top is the next merge
  };

  /// Reads the object `model`. Throws Error naming `where` and the key for what is malformed or not known.
  Bpe(const nlohmann::json& model, const std::string& where);

  /// Appends the tokens of `word` (valid UTF-8).
  void encode(std::string_view word, Workspace& work, std::vector<std::int32_t>& ids) const;

  /// -1 when the vocabulary has no such piece.
  std::int32_t find(std::string_view piece) const;

  /// The piece of each id; "" for an id that the vocabulary leaves out. [greatest id + 1]
  const std::vector<std::string>& pieces() const { return pieces_; }
  std::size_t size() const { return ids_.size(); }  ///< pieces, without the ids left out

  /// Whether a character without a piece is spelled in bytes, whichever it is: none is lost, or a part of an unknown.
  bool falls_back_to_bytes() const;

 private:
  static constexpr std::uint32_t kNoMerge = 0xFFFFFFFF;
  struct Merge {
    std::uint64_t pair = ~std::uint64_t{0};  // left << 32 | right
    std::uint32_t rank = kNoMerge;
    std::int32_t merged = -1;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  void read_vocabulary(const nlohmann::json& vocabulary, const std::string& where);
  void read_merges(const nlohmann::json& merges, const std::string& where);
  Merge& slot(std::uint64_t pair);
  const Merge& find_merge(std::int32_t left, std::int32_t right) const;
  void append_symbols(std::string_view word, Workspace& work) const;
  void look_up_merge(Workspace& work, std::int32_t place) const;

  std::vector<std::string> pieces_;
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> ids_;
  std::array<std::int32_t, 0x800> characters_;  // the ids of one-character pieces of one or two bytes, or -1
  std::array<std::int32_t, 256> bytes_;         // the ids of "<0x00>" … , or -1
  std::vector<Merge> merges_;                   // open addressing; a power of two, at most half full
  std::int32_t unknown_ = -1;
  bool fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false;
};

}  // namespace grpo

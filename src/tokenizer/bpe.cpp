#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json_reader.h"
#include "grpo/error.h"
#include "text/utf8.h"

namespace grpo {
namespace {

// Ids may leave gaps, but not so wide that a small file asks for a large table.
constexpr std::size_t kGapsPerPiece = 4, kGapsAtLeast = 65536;

}  // namespace

Bpe::Bpe(const nlohmann::json& model, const std::string& where) {
  const JsonReader object(model, where);
  object.expect_keys({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                      "byte_fallback", "ignore_merges", "vocab", "merges"});
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    if (const nlohmann::json& value = object.optional(key); !value.is_null() && value != "") object.refuse(key, "null");
  fuse_unknown_ = object.boolean("fuse_unk", false);
  byte_fallback_ = object.boolean("byte_fallback", false);
  ignore_merges_ = object.boolean("ignore_merges", false);
  read_vocabulary(object.required("vocab"), where + ".vocab");
  read_merges(object.required("merges"), where + ".merges");
  if (const nlohmann::json& token = object.optional("unk_token"); !token.is_null()) {
    unknown_ = find(object.string("unk_token"));
    if (unknown_ < 0) object.refuse("unk_token", "a piece of the vocabulary");
  }

  characters_.fill(-1);
  for (std::uint32_t c = 0; c < characters_.size(); ++c) {
    std::string piece;
    append_utf8(piece, c);
    characters_[c] = find(piece);
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    bytes_[byte] = find(name);
  }
}

void Bpe::read_vocabulary(const nlohmann::json& vocabulary, const std::string& where) {
  if (!vocabulary.is_object())
    throw Error("tokenizer", where, ": expected an object of pieces and their ids, got ", vocabulary.type_name());
  const std::size_t limit = vocabulary.size() * kGapsPerPiece + kGapsAtLeast;
  std::vector<bool> taken;
  ids_.reserve(vocabulary.size());
  for (const auto& [piece, value] : vocabulary.items()) {
    if (!value.is_number_integer() || value < 0 || value >= limit)
      throw Error("tokenizer", where, ".\"", piece.substr(0, 80), "\": expected an id from 0 to ", limit - 1, ", got ",
                  value.dump().substr(0, 80));
    const auto id = value.get<std::size_t>();
    if (id >= pieces_.size()) pieces_.resize(id + 1), taken.resize(id + 1);
    if (taken[id])
      throw Error("tokenizer", where, ": expected an id for each piece, got ", id, " for both \"",
                  pieces_[id].substr(0, 80), "\" and \"", piece.substr(0, 80), '"');
    taken[id] = true;
    pieces_[id] = piece;
    ids_.emplace(piece, static_cast<std::int32_t>(id));
  }
}

void Bpe::read_merges(const nlohmann::json& merges, const std::string& where) {
  if (!merges.is_array()) throw Error("tokenizer", where, ": expected an array of merges, got ", merges.type_name());
  merges_.resize(std::bit_ceil(merges.size() * 2 + 2));
  std::uint32_t rank = 0;
  std::string joined;
  for (const nlohmann::json& merge : merges) {
    const auto refuse = [&](const char* expected) {
      throw Error("tokenizer", where, '[', rank, "]: expected ", expected, ", got ",
                  merge.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(0, 120));
    };
    std::string_view left, right;
    if (merge.is_string()) {
      const std::string_view both = merge.get_ref<const std::string&>();
      const std::size_t space = both.find(' ');
      if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos)
        refuse("two pieces with a space between them");
      left = both.substr(0, space), right = both.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>(), right = merge[1].get_ref<const std::string&>();
    } else {
      refuse("\"left right\" or [\"left\", \"right\"]");
    }
    (joined = left) += right;
    const std::int32_t a = find(left), b = find(right), both = find(joined);
    if (left.empty() || right.empty()) refuse("pieces that are not empty");
    if (a < 0 || b < 0 || both < 0) refuse("pieces of the vocabulary that join to a third");
    const auto pair = static_cast<std::uint64_t>(a) << 32 | static_cast<std::uint32_t>(b);
    slot(pair) = {pair, rank++, both};  // a pair listed twice counts where it was listed last
  }
}

Bpe::Merge& Bpe::slot(std::uint64_t pair) {
  std::uint64_t hash = pair * 0x9E3779B97F4A7C15ULL;
  for (hash ^= hash >> 32;; ++hash) {
    Merge& merge = merges_[hash & (merges_.size() - 1)];
    if (merge.pair == pair || merge.pair == Merge().pair) return merge;
  }
}

const Bpe::Merge& Bpe::find_merge(std::int32_t left, std::int32_t right) const {
  return const_cast<Bpe*>(this)->slot(static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right));
}

std::int32_t Bpe::find(std::string_view piece) const {
  const auto found = ids_.find(piece);
  return found == ids_.end() ? -1 : found->second;
}

bool Bpe::falls_back_to_bytes() const {
  return byte_fallback_ && std::all_of(bytes_.begin(), bytes_.end(), [](std::int32_t id) { return id >= 0; });
}

void Bpe::append_symbols(std::string_view word, Workspace& work) const {
  const auto append = [&](std::int32_t id) { work.symbols.push_back({id, -1, -1, kNoMerge, -1}); };
  bool unknown = false;  // one is held back, as more may join it
  for (std::size_t at = 0; at < word.size();) {
    const CodePoint c = decode_utf8(word, at);
    const std::string_view character = word.substr(at, c.size);
    at += c.size;
    const std::int32_t id = c.value < characters_.size() ? characters_[c.value] : find(character);
    if (id >= 0) {
      if (std::exchange(unknown, false)) append(unknown_);
      append(id);
      continue;
    }
    const auto byte_id = [&](char byte) { return bytes_[static_cast<unsigned char>(byte)]; };
    if (byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char b) { return byte_id(b) >= 0; })) {
      for (const char byte : character) append(byte_id(byte));  // (before what is held back, as the reference has it)
    } else if (unknown_ >= 0) {
      if (unknown && !fuse_unknown_) append(unknown_);
      unknown = true;
    }  // else the character is lost
  }
  if (unknown) append(unknown_);
}

void Bpe::look_up_merge(Workspace& work, std::int32_t place) const {
  Workspace::Symbol& symbol = work.symbols[static_cast<std::size_t>(place)];
  symbol.rank = kNoMerge;
  if (symbol.next < 0) return;
  const Merge& merge = find_merge(symbol.id, work.symbols[static_cast<std::size_t>(symbol.next)].id);
  symbol.rank = merge.rank;
  symbol.merged = merge.merged;
}

void Bpe::encode(std::string_view word, Workspace& work, std::vector<std::int32_t>& ids) const {
  if (ignore_merges_)
    if (const std::int32_t id = find(word); id >= 0) return ids.push_back(id);
  if (word.size() > std::numeric_limits<std::int32_t>::max() / 2)
    throw Error("tokenizer", "expected words below 1 GiB, got one of ", word.size(), " bytes");
  work.symbols.clear();
  work.queue.clear();
  append_symbols(word, work);

  auto& symbols = work.symbols;
  auto& queue = work.queue;
  const auto enqueue = [&](std::int32_t place) {
    const std::uint32_t rank = symbols[static_cast<std::size_t>(place)].rank;
    if (rank != kNoMerge) queue.push_back(static_cast<std::uint64_t>(rank) << 32 | static_cast<std::uint32_t>(place));
    return rank != kNoMerge;
  };
  const auto count = static_cast<std::int32_t>(symbols.size());
  for (std::int32_t i = 0; i < count; ++i) {
    symbols[static_cast<std::size_t>(i)].previous = i - 1;
    symbols[static_cast<std::size_t>(i)].next = i + 1 < count ? i + 1 : -1;
  }
  for (std::int32_t i = 0; i < count; ++i) {
    look_up_merge(work, i);
    enqueue(i);
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  while (!queue.empty()) {
    const std::uint64_t top = queue.front();
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    queue.pop_back();
    const auto place = static_cast<std::int32_t>(top & 0xFFFFFFFF);
    auto& symbol = symbols[static_cast<std::size_t>(place)];
    if (symbol.id < 0 || symbol.rank != top >> 32) continue;  // a neighbour has changed since
    auto& right = symbols[static_cast<std::size_t>(symbol.next)];
    symbol.id = symbol.merged;
    symbol.next = right.next;
    if (right.next >= 0) symbols[static_cast<std::size_t>(right.next)].previous = place;
    right.id = -1;
    for (const std::int32_t changed : {symbol.previous, place}) {
      if (changed < 0) continue;
      look_up_merge(work, changed);
      if (enqueue(changed)) std::push_heap(queue.begin(), queue.end(), std::greater<>());
    }
  }
  for (const auto& symbol : symbols)
    if (symbol.id >= 0) ids.push_back(symbol.id);
}

}  // namespace grpo

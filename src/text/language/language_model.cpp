#include "text/language/language_model.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

#include "text/tables/languages.h"
#include "text/utf8.h"

namespace grpo {
namespace {

constexpr std::uint8_t kUnknownLetter = 1, kWordEdge = 2;  // symbols; the letters of the table follow
constexpr std::uint32_t kThreeSymbols = 0xFFFFFF, kTwoSymbols = 0xFFFF;

}  // namespace

LanguageModel::LanguageModel(const LanguageRows& rows) {
  for (std::size_t at = 0; at < rows.languages.size(); at += codes_.back().size() + 1)
    codes_.push_back(rows.languages.substr(at, rows.languages.find(' ', at) - at));
  const auto count = static_cast<std::size_t>(std::count(rows.rows.begin(), rows.rows.end(), '\n'));
  const int bits = std::bit_width(3 * count / 2);
  slots_.resize(std::size_t{1} << bits);
  shift_ = 32 - bits;
  rows_.reserve(count);
  symbols_.fill(kUnknownLetter);
  symbols_['_'] = kWordEdge;
  std::uint8_t last = kWordEdge;
  for (std::size_t at = 0; at < rows.rows.size(); ++at) {  // at the end of a line, and over it
    std::uint32_t gram = 0;
    while (rows.rows[at] != ' ') {
      const CodePoint c = decode_utf8(rows.rows, at);
      at += c.size;
      std::uint8_t& symbol = symbols_[c.value];
      if (symbol == kUnknownLetter) symbol = ++last;
      assert(last != 255);
      gram = gram << 8 | symbol;
    }
    rows_.emplace_back();
    for (std::size_t language = 0; rows.rows[++at] != '\n'; ++language)
      rows_.back()[language] = static_cast<std::uint8_t>(rows.rows[at] - ']');
    std::size_t slot = hash(gram) >> shift_;
    while (slots_[slot].gram != 0) slot = (slot + 1) & (slots_.size() - 1);
    maybe_[hash(gram) >> 22] |= std::uint64_t{1} << (hash(gram) >> 16 & 63);
    slots_[slot] = {gram, static_cast<std::uint32_t>(rows_.size() - 1)};
  }
}

const LanguageModel* LanguageModel::of(Script script) {
  static const auto models = [] {
    std::vector<std::pair<Script, LanguageModel>> all;
    for (const LanguageRows& rows : kLanguageRows) all.emplace_back(rows.script, LanguageModel(rows));
    return all;
  }();
  for (const auto& [of, model] : models)
    if (of == script) return &model;
  return nullptr;
}

std::size_t LanguageModel::index(std::string_view code) const {
  const auto found = std::find(codes_.begin(), codes_.end(), code);
  return found == codes_.end() ? kUnknown : static_cast<std::size_t>(found - codes_.begin());
}

const LanguageModel::Row* LanguageModel::find(std::uint32_t gram) const {
  const std::uint32_t place = hash(gram);
  if ((maybe_[place >> 22] >> (place >> 16 & 63) & 1) == 0) return nullptr;
  for (std::size_t slot = place >> shift_; slots_[slot].gram != 0; slot = (slot + 1) & (slots_.size() - 1))
    if (slots_[slot].gram == gram) return &rows_[slots_[slot].row];
  return nullptr;
}

void LanguageModel::Reader::step(std::uint32_t symbol) {
  const std::uint32_t whole = before_ << 8 | symbol;
  before_ = whole & kThreeSymbols;
  // The longest context that the table has; the symbols before a word are 0, so shorter ones come of themselves.
  const Row* row = model_->find(whole);
  if (row == nullptr) row = model_->find(whole & kThreeSymbols);
  if (row == nullptr) row = model_->find(whole & kTwoSymbols);
  if (row == nullptr) return;
  const Row scores = *row;  // bytes could alias the sums, which would hinder vector instructions
  for (std::size_t i = 0; i < kMaxLanguages; ++i) evidence_[i] = static_cast<std::int16_t>(evidence_[i] + scores[i]);
}

void LanguageModel::Reader::add(char32_t letter) {
  if (letter == '\'') {
    if (before_ != kWordEdge && before_ != 0) step(kWordEdge);
    before_ = 0;
    return;
  }
  if (before_ == 0) before_ = kWordEdge;
  step(letter < model_->symbols_.size() ? model_->symbols_[letter] : kUnknownLetter);
}

Evidence LanguageModel::Reader::finish() {
  add('\'');
  const Evidence evidence = evidence_;
  evidence_ = {};
  return evidence;
}

}  // namespace grpo

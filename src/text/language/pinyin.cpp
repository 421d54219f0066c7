#include "text/language/pinyin.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grpo {
namespace {

// The initials that each final goes with; 0: none, and Z C S: zh ch sh.
constexpr std::pair<std::string_view, std::string_view> kFinals[] = {
    {"a", "0bpmfdtnlgkhZCSzcsyw"}, {"o", "0bpmfwyl"}, {"e", "0mdtnlgkhZCSrzcsy"}, {"ai", "0bpmdtnlgkhZCSzcsw"},
    {"ei", "0bpmfdnlgkhZSzw"}, {"ao", "0bpmdtnlgkhZCSrzcsy"}, {"ou", "0pmfdtnlgkhZCSrzcsy"},
    {"an", "0bpmfdtnlgkhZCSrzcsyw"}, {"en", "0bpmfdngkhZCSrzcsw"}, {"ang", "0bpmfdtnlgkhZCSrzcsyw"},
    {"eng", "bpmfdtnlgkhZCSrzcsw"}, {"ong", "dtnlgkhZCrzcsy"}, {"er", "0"}, {"i", "bpmdtnljqxZCSrzcsy"},
    {"ia", "dljqx"}, {"ie", "bpmdtnljqx"}, {"iao", "bpmdtnljqx"}, {"iu", "mdnljqx"}, {"ian", "bpmdtnljqx"},
    {"in", "bpmnljqxy"}, {"iang", "nljqx"}, {"ing", "bpmdtnljqxy"}, {"iong", "jqx"}, {"u", "bpmfdtnlgkhZCSrzcsjqxyw"},
    {"ua", "gkhZCSr"}, {"uo", "dtnlgkhZCSrzcs"}, {"uai", "gkhZCS"}, {"ui", "dtgkhZCSrzcs"},
    {"uan", "dtnlgkhZCSrzcsjqxy"}, {"un", "dtnlgkhZCSrzcsjqxy"}, {"uang", "gkhZCS"}, {"ue", "jqxynl"}, {"v", "nl"},
    {"ve", "nl"},
};
constexpr std::size_t kLongest = 6;  // "zhuang"

const std::vector<std::string>& syllables() {
  static const auto all = [] {
    std::vector<std::string> made;
    for (const auto& [final, initials] : kFinals)
      for (const char initial : initials) {
        std::string syllable;
        if (initial >= 'A' && initial <= 'Z') syllable = {static_cast<char>(initial + 32), 'h'};
        if (initial >= 'a') syllable = initial;
        made.push_back(syllable.append(final));
      }
    std::sort(made.begin(), made.end());
    return made;
  }();
  return all;
}

// A letter without its tone, v for ü; 0 for one that pinyin does not have.
char toneless(char32_t c) {
  constexpr std::u32string_view kMarked = U"āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜü";
  if (c >= 'a' && c <= 'z') return static_cast<char>(c);
  const std::size_t place = kMarked.find(c);
  return place == kMarked.npos ? '\0' : "aeiouvv"[place / 4];
}

}  // namespace

bool is_pinyin(std::span<const char32_t> word) {
  std::string letters;
  for (const char32_t c : word)
    if (const char letter = c == '\'' ? '\'' : toneless(c); letter != '\0')
      letters += letter;
    else
      return false;
  std::vector<bool> reached(letters.size() + 1);  // whether the letters up to there are syllables
  reached[0] = letters.size() > 1;
  for (std::size_t at = 0; at < letters.size(); ++at) {
    if (!reached[at]) continue;
    if (letters[at] == '\'') reached[at + 1] = true;
    for (std::size_t size = 1; size <= std::min(kLongest, letters.size() - at); ++size)
      if (std::binary_search(syllables().begin(), syllables().end(), std::string_view(letters).substr(at, size)))
        reached[at + size] = true;
  }
  return reached.back();
}

}  // namespace grpo

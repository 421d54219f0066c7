#include "answers/math/unit.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "answers/math/spellings.h"

namespace grpo::math {
namespace {

/// Each unit in a base one, and what is measured: two units with one `kind` convert.
struct Conversion {
  std::string_view unit, kind;
  const char* factor;
};
constexpr Conversion kConversions[] = {
    {"mm", "length", "1/1000"},
    {"cm", "length", "1/100"},
    {"m", "length", "1"},
    {"km", "length", "1000"},
    {"inch", "length", "127/5000"},
    {"ft", "length", "381/1250"},
    {"yd", "length", "1143/1250"},
    {"mi", "length", "201168/125"},
    {"mg", "mass", "1/1000"},
    {"g", "mass", "1"},
    {"kg", "mass", "1000"},
    {"t", "mass", "1000000"},
    {"lb", "mass", "45359237/100000"},
    {"pound", "mass", "45359237/100000"},
    {"oz", "mass", "45359237/1600000"},
    {"ms", "time", "1/1000"},
    {"s", "time", "1"},
    {"min", "time", "60"},
    {"h", "time", "3600"},
    {"day", "time", "86400"},
    {"week", "time", "604800"},
    {"ml", "volume", "1/1000"},
    {"l", "volume", "1"},
    {"$", "money", "1"},
    {"cent", "money", "1/100"},
};

}  // namespace

std::string_view unit_named(std::string_view word, bool letters) {
  static const std::unordered_map<std::string_view, std::string_view> units = [] {
    std::unordered_map<std::string_view, std::string_view> made;
    for (const auto& [spellings, unit] : kUnits)
      for (std::size_t from = 1, to; (to = spellings.find(' ', from)) != spellings.npos; from = to + 1)
        made.emplace(spellings.substr(from, to - from), unit);
    return made;
  }();
  if (word.size() == 1 && !letters) return {};
  const auto found = units.find(word);
  return found == units.end() ? std::string_view() : found->second;
}

std::optional<std::pair<std::string, mpq_class>> conversion(const std::string& unit) {
  const std::size_t hat = unit.find('^');
  const std::string power = hat == unit.npos ? "1" : unit.substr(hat + 1);
  if (power != "1" && power != "2" && power != "3") return {};
  for (const Conversion& each : kConversions) {
    if (each.unit != unit.substr(0, hat)) continue;
    const mpq_class one(each.factor);
    return std::pair(std::string(each.kind) + power, power == "1"   ? one
                                                     : power == "2" ? mpq_class(one * one)
                                                                    : mpq_class(one * one * one));
  }
  return {};
}

bool is_currency(std::string_view unit) {
  constexpr std::string_view kCurrencies[] = {"$", "€", "£", "¥", "₩", "₹", "pound", "yen", "yuan"};
  return std::ranges::find(kCurrencies, unit) != std::end(kCurrencies);
}

bool is_unit(std::string_view unit) {
  if (unit.find('/') != unit.npos) return true;
  while (!unit.empty()) {
    const std::size_t end = std::min(unit.find('*'), unit.size());
    const std::string_view name = unit.substr(0, std::min(end, unit.find('^')));
    if (!is_currency(name) && (name == "piece" || std::ranges::find(kUnits, name, &Unit::name) == kUnits.end()))
      return false;
    unit.remove_prefix(std::min(end + 1, unit.size()));
  }
  return true;
}

bool same_unit(std::string_view a, std::string_view b) {
  const auto may_be = [&](std::string_view word, std::string_view meaning) {
    return (a == word && b == meaning) || (a == meaning && b == word);
  };
  return a == b || may_be("pound", "lb") || may_be("pound", "£") || may_be("¥", "yen") || may_be("¥", "yuan");
}

}  // namespace grpo::math

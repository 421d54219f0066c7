#include "rewards/worked_out.h"

#include <algorithm>
#include <ranges>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "answers/reading.h"
#include "text/ascii.h"

namespace grpo {
namespace {

// Whether `text` leaves something to be worked out: an operator between two operands. `quotients`: a fraction counts.
bool has_operation(std::string_view text, bool quotients) {
  static constexpr std::string_view kOperators[] = {"+", "-", "−", "*", "×", "·", "\\times", "\\cdot", "^"};
  static constexpr std::string_view kQuotients[] = {"/", "÷", "\\div", "\\frac"};
  constexpr auto is_in = [](char c, std::string_view set) { return is_digit(c) || set.find(c) != set.npos; };
  const auto operates = [&](std::string_view op, std::size_t at) {
    if (!text.substr(at).starts_with(op)) return false;
    if (op == "\\frac") return true;
    const std::size_t before = text.substr(0, at).find_last_not_of(' ');
    const std::size_t behind = text.find_first_not_of(' ', at + op.size());
    return before != text.npos && is_in(text[before], ")]}%") && behind != text.npos && is_in(text[behind], "([{\\+-");
  };
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (std::ranges::any_of(kOperators, [&](auto op) { return operates(op, at); })) return true;
    if (quotients && std::ranges::any_of(kQuotients, [&](auto op) { return operates(op, at); })) return true;
  }
  return false;
}

// The expressions in `text` that leave something to be worked out, each as its numbers and operators in an order of
// their own: however a sum is bracketed, or its parts are swapped, it is the same one.
std::set<std::vector<std::string>> operations_in(std::string_view text) {
  static constexpr std::pair<std::string_view, std::string_view> kSpellings[] = {
      {"−", "-"}, {"×", "*"}, {"·", "*"}, {"⋅", "*"}, {"÷", "/"}, {"\\times", "*"}, {"\\cdot", "*"}, {"\\div", "/"},
      {"\\frac", ""}, {"}{", "/"}};
  std::set<std::vector<std::string>> all;
  std::vector<std::string> parts;
  bool is_open = false;  // the last part is a number that may go on
  const auto end = [&] {
    std::ranges::sort(parts);
    const auto is_number = [](const std::string& part) { return is_digit(part[0]); };
    if (std::ranges::count_if(parts, is_number) > 1 && !std::ranges::all_of(parts, is_number))
      all.insert(std::move(parts));
    parts.clear(), is_open = false;
  };
  for (std::size_t at = 0; at < text.size();) {
    const auto spelling =
        std::ranges::find_if(kSpellings, [&](const auto& each) { return text.substr(at).starts_with(each.first); });
    const bool is_spelled = spelling != std::end(kSpellings);
    const std::string_view sign = is_spelled ? spelling->second : text.substr(at, 1);
    at += is_spelled ? spelling->first.size() : 1;
    if (sign.empty()) continue;
    if (is_digit(sign[0]) || (sign == "." && is_open && at < text.size() && is_digit(text[at]))) {
      if (!is_open && !parts.empty() && is_digit(parts.back()[0])) end();  // two numbers side by side
      if (!is_open) parts.emplace_back();
      parts.back() += sign;
      is_open = true;
    } else if (sign == "," && is_open && at < text.size() && is_digit(text[at])) {  // 1,000
    } else if (std::string_view("+-*/^").find(sign) != std::string_view::npos) {
      parts.emplace_back(sign), is_open = false;
    } else if (std::string_view(" $\\(){}[]").find(sign) != std::string_view::npos) {
      is_open = false;
    } else {
      end();
    }
  }
  end();
  return all;
}

}  // namespace

bool is_worked_out(std::string_view answer, std::string_view reference) {
  if (has_operation(reference, false)) return true;
  const bool quotients = !has_operation(reference, true);
  bool leaves_work = false;
  for (const auto side : std::views::split(unwrap_answer(answer), '=')) {
    const std::string_view text(side.begin(), side.end());
    if (has_operation(text, quotients))
      leaves_work = true;
    else if (std::ranges::any_of(text, is_digit))
      return true;
  }
  return !leaves_work;
}

bool is_echo(std::string_view answer, std::string_view reference, std::string_view question) {
  if (std::ranges::any_of(reference, is_letter)) return false;  // a formula is asked for
  const auto asked = operations_in(question);
  return std::ranges::any_of(operations_in(unwrap_answer(answer)),
                             [&](const auto& each) { return asked.contains(each); });
}

}  // namespace grpo

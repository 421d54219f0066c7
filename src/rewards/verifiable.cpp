#include "grpo/verifiable.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "answers/reading.h"
#include "grpo/error.h"
#include "text/utf8.h"

namespace grpo {
namespace {

constexpr std::size_t kMaxAnswerBytes = 65536;  // of an answer
constexpr int kMaxDepth = 32;             // of parentheses in what an islander says
constexpr std::string_view kSpaces = " \t\r\n";

Error malformed(std::string_view kind, std::string_view example, std::string_view reference) {
  return Error("reward", "expected a ", kind, " reference such as \"", example, "\", got \"", reference.substr(0, 100),
               "\"; mend the task's answer");
}

std::vector<std::string_view> words_of(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> words;
  for (std::size_t at = text.find_first_not_of(separators); at != text.npos;) {
    const std::size_t end = std::min(text.find_first_of(separators, at), text.size());
    words.push_back(text.substr(at, end - at));
    at = text.find_first_not_of(separators, end);
  }
  return words;
}

/// A number from 1 to `most`, or 0.
std::size_t read_count(std::string_view digits, std::size_t most) {
  std::size_t value = 0;
  if (digits.empty() || digits.size() > 6) return 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return 0;
    value = value * 10 + static_cast<std::size_t>(c - '0');
  }
  return value <= most ? value : 0;
}

// ---- Sudoku ---------------------------------------------------------------------------------------------------------

bool check_sudoku(std::string_view answer, std::string_view reference) {
  const auto cells_of = [](std::string_view text, std::string_view between) {
    std::string cells;
    for (const char c : text)
      if (between.find(c) == between.npos) cells += c == '.' ? '0' : c;
    return cells;
  };
  const std::string given = cells_of(reference, kSpaces), cells = cells_of(answer, " \t\r\n,;|-+[]");
  const std::size_t side = given.size() == 16 ? 4 : 9, box = side == 4 ? 2 : 3;
  const char most = static_cast<char>('0' + side);
  if (given.size() != side * side ||
      std::any_of(given.begin(), given.end(), [&](char c) { return c < '0' || c > most; }))
    throw malformed("sudoku", "1.3. ..2. .1.. 4..1", reference);
  if (cells.size() != given.size()) return false;
  std::set<std::pair<std::size_t, char>> seen;  // a digit in a row, a column and a box
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const char c = cells[i];
    if (c < '1' || c > most || (given[i] != '0' && given[i] != c)) return false;
    const std::size_t row = i / side, column = i % side;
    for (const std::size_t unit : {row, side + column, 2 * side + row / box * box + column / box})
      if (!seen.emplace(unit, c).second) return false;
  }
  return true;
}

// ---- Queens ---------------------------------------------------------------------------------------------------------

bool check_n_queens(std::string_view answer, std::string_view reference) {
  const auto refuse = [&] { return malformed("n_queens", "8 1:3 5:2", reference); };
  const std::vector<std::string_view> parts = words_of(reference, kSpaces);
  const std::size_t side = parts.empty() ? 0 : read_count(parts[0], 1000);
  if (side == 0) throw refuse();
  std::vector<std::size_t> columns;
  if (answer.find('Q') != answer.npos) {
    std::string board;
    for (const char c : answer)
      if (std::string_view(" \t\r\n,;|[]").find(c) == std::string_view::npos) board += c;
    if (board.size() + 1 == side * side) board += '.';  // the last square was taken for a full stop
    if (board.size() != side * side) return false;
    for (std::size_t i = 0; i < board.size(); ++i) {
      if (board[i] != 'Q' && board[i] != '.') return false;
      if (board[i] != 'Q') continue;
      if (i / side != columns.size()) return false;  // a row has none or two
      columns.push_back(i % side + 1);
    }
  } else {
    for (const std::string_view word : words_of(answer, " \t\r\n,;[]()")) columns.push_back(read_count(word, side));
  }
  if (columns.size() != side) return false;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::size_t colon = std::min(parts[i].find(':'), parts[i].size() - 1);
    const std::size_t row = read_count(parts[i].substr(0, colon), side);
    const std::size_t column = read_count(parts[i].substr(colon + 1), side);
    if (row == 0 || column == 0) throw refuse();
    if (columns[row - 1] != column) return false;
  }
  std::set<std::size_t> taken, rising, falling;
  for (std::size_t row = 0; row < side; ++row)
    if (columns[row] == 0 || !taken.insert(columns[row]).second || !rising.insert(row + columns[row]).second ||
        !falling.insert(side + row - columns[row]).second)
      return false;
  return true;
}

// ---- Graph colouring ------------------------------------------------------------------------------------------------

bool check_graph_colouring(std::string_view answer, std::string_view reference) {
  const auto refuse = [&] { return malformed("graph_colouring", "3 a-b b-c a-c d", reference); };
  const std::vector<std::string_view> parts = words_of(reference, kSpaces);
  const std::size_t colours = parts.empty() ? 0 : read_count(parts[0], 999'999);
  if (colours == 0 || parts.size() < 2) throw refuse();
  std::vector<std::pair<std::string_view, std::string_view>> edges;  // a vertex alone: with an empty one
  std::set<std::string_view> vertices;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::size_t dash = parts[i].find('-');
    const std::string_view from = parts[i].substr(0, dash);
    const std::string_view to = dash == parts[i].npos ? std::string_view() : parts[i].substr(dash + 1);
    if (from.empty() || from == to || (dash != parts[i].npos && to.empty())) throw refuse();
    vertices.insert(from);
    if (to.empty()) continue;
    vertices.insert(to);
    edges.emplace_back(from, to);
  }
  // A separator of its own between a vertex and its colour: "a: 1" and "a=1" read as "a 1".
  const std::vector<std::string_view> words = words_of(answer, " \t\r\n,;:={}");
  if (words.size() != 2 * vertices.size()) return false;
  std::map<std::string_view, std::size_t> colour_of;
  for (std::size_t i = 0; i < words.size(); i += 2) {
    const std::size_t colour = read_count(words[i + 1], colours);
    if (colour == 0 || !vertices.contains(words[i]) || !colour_of.emplace(words[i], colour).second) return false;
  }
  return std::all_of(edges.begin(), edges.end(),
                     [&](const auto& edge) { return colour_of[edge.first] != colour_of[edge.second]; });
}

// ---- Sorting --------------------------------------------------------------------------------------------------------

bool check_sorting(std::string_view answer, std::string_view reference) {
  const auto numbers_of = [](const std::vector<std::string_view>& words, std::size_t from) {
    std::optional<std::vector<mpq_class>> numbers(std::in_place);
    for (std::size_t i = from; i < words.size(); ++i) {
      const auto number = words[i].size() <= 100 ? read_number(words[i]) : std::nullopt;
      if (!number) return std::optional<std::vector<mpq_class>>();
      numbers->push_back(*number);
    }
    return numbers;
  };
  const std::vector<std::string_view> parts = words_of(reference, kSpaces);
  auto wanted = numbers_of(parts, 1);
  if (parts.size() < 2 || !wanted || (parts[0] != "ascending" && parts[0] != "descending"))
    throw malformed("sorting", "ascending 3 1/2 -7", reference);
  const std::vector<std::string_view> words = words_of(answer, " \t\r\n,;[]()<");
  if (words.size() != wanted->size()) return false;  // before anything is read
  std::sort(wanted->begin(), wanted->end());
  if (parts[0] == "descending") std::reverse(wanted->begin(), wanted->end());
  return numbers_of(words, 0) == wanted;
}

// ---- Knights and knaves ---------------------------------------------------------------------------------------------

/// What an islander says, by who is a knight:  claim = side ["=" side],  side = all {"|" all},  all = one {"&" one},
/// one = "!" one | "(" claim ")" | name. Nothing when it is malformed.
class Claim {
 public:
  Claim(std::string_view text, const std::map<std::string_view, bool>& knights) : text_(text), knights_(knights) {}

  std::optional<bool> value() {
    const auto value = claim(0);
    skip_spaces();
    return at_ == text_.size() ? value : std::nullopt;
  }

 private:
  void skip_spaces() { at_ = std::min(text_.find_first_not_of(kSpaces, at_), text_.size()); }
  bool take(char c) {
    skip_spaces();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::optional<bool> claim(int depth) {
    auto value = side(depth);
    if (!value || !take('=')) return value;
    const auto other = side(depth);
    return other ? std::optional(*value == *other) : std::nullopt;
  }
  std::optional<bool> side(int depth) {
    auto value = all(depth);
    while (value && take('|')) {
      const auto other = all(depth);
      value = other ? std::optional(*value || *other) : std::nullopt;
    }
    return value;
  }
  std::optional<bool> all(int depth) {
    auto value = one(depth);
    while (value && take('&')) {
      const auto other = one(depth);
      value = other ? std::optional(*value && *other) : std::nullopt;
    }
    return value;
  }
  std::optional<bool> one(int depth) {
    if (depth == kMaxDepth) return {};
    if (take('!')) {
      const auto value = one(depth + 1);
      return value ? std::optional(!*value) : std::nullopt;
    }
    if (take('(')) {
      const auto value = claim(depth + 1);
      return take(')') ? value : std::nullopt;
    }
    skip_spaces();
    const std::size_t end = std::min(text_.find_first_of(" \t\r\n!&|=()", at_), text_.size());
    const auto found = knights_.find(text_.substr(at_, end - at_));
    at_ = end;
    return found == knights_.end() ? std::nullopt : std::optional(found->second);
  }

  std::string_view text_;
  const std::map<std::string_view, bool>& knights_;
  std::size_t at_ = 0;
};

bool check_knights_knaves(std::string_view answer, std::string_view reference) {
  const auto refuse = [&] { return malformed("knights_knaves", "A: !B; B: A & C; C: A = B", reference); };
  std::vector<std::pair<std::string_view, std::string_view>> said;
  std::map<std::string_view, bool> knights;
  for (const std::string_view part : words_of(reference, ";")) {
    const std::size_t colon = part.find(':');
    if (colon == part.npos) throw refuse();
    const std::string_view name = trim(part.substr(0, colon));
    if (name.empty() || name.find_first_of(" \t\r\n!&|=()") != name.npos || !knights.emplace(name, false).second)
      throw refuse();
    said.emplace_back(name, part.substr(colon + 1));
  }
  if (said.empty()) throw refuse();
  for (const auto& [name, claim] : said)  // whatever the answer, a malformed puzzle is found
    if (!Claim(claim, knights).value()) throw refuse();

  std::vector<std::string_view> words;  // a name and what it is, in turns
  for (const std::string_view word : words_of(answer, " \t\r\n,;:=."))
    if (word != "is" && word != "a" && word != "and") words.push_back(word);
  if (words.size() != 2 * said.size()) return false;
  std::set<std::string_view> named;
  for (std::size_t i = 0; i < words.size(); i += 2) {
    const bool knight = words[i + 1] == "knight";
    const auto found = knights.find(words[i]);
    if ((!knight && words[i + 1] != "knave") || found == knights.end() || !named.insert(words[i]).second) return false;
    found->second = knight;
  }
  return std::all_of(said.begin(), said.end(),
                     [&](const auto& each) { return Claim(each.second, knights).value() == knights[each.first]; });
}

}  // namespace

std::optional<bool> check_verifiable(std::string_view kind, std::string_view answer, std::string_view reference) {
  constexpr std::pair<std::string_view, bool (*)(std::string_view, std::string_view)> kCheckers[] = {
      {"graph_colouring", check_graph_colouring},
      {"knights_knaves", check_knights_knaves},
      {"n_queens", check_n_queens},
      {"sorting", check_sorting},
      {"sudoku", check_sudoku}};
  for (const auto& [name, check] : kCheckers)
    if (kind == name) return check(answer.size() <= kMaxAnswerBytes ? unwrap_answer(answer) : std::string_view(), reference);
  return {};
}

}  // namespace grpo

#include "base/nearest.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace grpo {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

std::string nearest(std::string_view wanted, const std::vector<std::string>& candidates) {
  const auto leaf = [](std::string_view key) { return key.substr(key.rfind('.') + 1); };
  wanted = wanted.substr(0, 128);  // a hostile key must not cost seconds
  std::string best;
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  for (const std::string& candidate : candidates) {
    const std::size_t edits =
        std::min(edit_distance(wanted, candidate), edit_distance(leaf(wanted), leaf(candidate)) + 1);
    if (edits < fewest) fewest = edits, best = candidate;
  }
  return best;
}

bool is_slip_of(std::string_view name, std::string_view known) {
  if (name == known || name.size() > known.size() + 2 || name.size() + 2 < known.size()) return false;
  std::string small(name);
  for (char& c : small)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return edit_distance(small, known) <= (known.size() < 6 ? 1 : 2);
}

}  // namespace grpo

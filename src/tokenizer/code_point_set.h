// A set of code points.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

namespace grpo {

/// Holds the ends of its runs in ascending order: first, one past the last, first, … A point is inside when an odd
/// number of ends is at or before it.
class CodePointSet {
 public:
  static constexpr std::uint32_t kEnd = 0x110000;

  CodePointSet() = default;
  explicit CodePointSet(std::span<const std::uint32_t> ends) : ends_(ends.begin(), ends.end()) {}
  CodePointSet(std::uint32_t first, std::uint32_t last) : ends_{first, last + 1} {}

  const std::vector<std::uint32_t>& ends() const { return ends_; }
  bool operator==(const CodePointSet&) const = default;

  bool contains(std::uint32_t c) const {
    return (std::upper_bound(ends_.begin(), ends_.end(), c) - ends_.begin()) % 2 == 1;
  }

  CodePointSet complement() const {
    CodePointSet result;
    if (ends_.empty() || ends_.front() != 0) result.ends_.push_back(0);
    for (const std::uint32_t end : ends_)
      if (end != 0 && end != kEnd) result.ends_.push_back(end);
    if (ends_.empty() || ends_.back() != kEnd) result.ends_.push_back(kEnd);
    return result;
  }

  CodePointSet& operator|=(const CodePointSet& other) {
    std::vector<std::pair<std::uint32_t, int>> steps;  // how the count of sets that hold a point changes
    for (const CodePointSet* set : {static_cast<const CodePointSet*>(this), &other})
      for (std::size_t i = 0; i < set->ends_.size(); ++i) steps.emplace_back(set->ends_[i], i % 2 == 0 ? -1 : 1);
    std::sort(steps.begin(), steps.end());  // entering before leaving: runs that touch become one
    ends_.clear();
    int depth = 0;
    for (const auto& [end, change] : steps) {
      if (depth == 0 || depth - change == 0) ends_.push_back(end);
      depth -= change;
    }
    return *this;
  }

 private:
  std::vector<std::uint32_t> ends_;
};

}  // namespace grpo

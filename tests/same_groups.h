// What tests compare sampled groups by.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "grpo/task.h"

namespace grpo {

using Groups = std::vector<Group>;

inline void expect_same(const Completion& a, const Completion& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  const auto same_bits = [](const std::vector<float>& x, const std::vector<float>& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
  };
  EXPECT_TRUE(same_bits(a.logprobs, b.logprobs)) << "a log-probability differs";
  EXPECT_TRUE(same_bits(a.entropies, b.entropies)) << "an entropy differs";
  EXPECT_EQ(a.kept, b.kept);
  EXPECT_EQ(a.finish, b.finish);
  EXPECT_EQ(a.text, b.text);
}

inline void expect_same(const Groups& a, const Groups& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t g = 0; g < a.size(); ++g) {
    ASSERT_EQ(a[g].completions.size(), b[g].completions.size());
    for (size_t i = 0; i < a[g].completions.size(); ++i) {
      SCOPED_TRACE("group " + std::to_string(g) + ", sample " + std::to_string(i));
      expect_same(a[g].completions[i], b[g].completions[i]);
    }
  }
}

inline std::vector<std::vector<int32_t>> tokens_of(const Group& group) {
  std::vector<std::vector<int32_t>> out;
  for (const Completion& completion : group.completions) out.push_back(completion.tokens);
  return out;
}

inline int64_t total_tokens(const Groups& groups) {
  int64_t total = 0;
  for (const Group& group : groups)
    for (const Completion& completion : group.completions) total += static_cast<int64_t>(completion.tokens.size());
  return total;
}

}  // namespace grpo

// What every fuzzer is asked.
#pragma once

#include <cstdint>

#include "grpo/config.h"

namespace grpo {

struct FuzzConfig {
  std::uint64_t seed = 11, first = 0, count = 0;
  double seconds = 5;

  template <class V>
  void visit(V& v) {
    v("seconds", seconds, "how long, where no count is given", above(0).at_most(1e9));
    v("seed", seed, "of the inputs");
    v("first", first, "number of the first input");
    v("count", count, "how many inputs; 0: as many as there is time for");
  }
};

}  // namespace grpo

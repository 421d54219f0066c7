// Wall-clock time, for what is told of a run.
#pragma once

#include <cstdint>

namespace grpo {

/// Seconds since it was made, or since the last lap.
class Stopwatch {
 public:
  Stopwatch();
  double lap();

 private:
  int64_t nanoseconds_;
};

/// Wall-clock parts of a step, in seconds.
struct StepTimes {
  double rollout = 0, reward = 0, train = 0;
  double total() const { return rollout + reward + train; }
};

}  // namespace grpo

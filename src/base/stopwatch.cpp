#include "grpo/stopwatch.h"

#include <chrono>

namespace grpo {
namespace {

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Stopwatch::Stopwatch() : nanoseconds_(now()) {}

double Stopwatch::lap() {
  const int64_t before = nanoseconds_;
  nanoseconds_ = now();
  return static_cast<double>(nanoseconds_ - before) / 1e9;
}

}  // namespace grpo

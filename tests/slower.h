// For tests that bound a time.
#pragma once

namespace grpo {

/// How many times as long as otherwise a test may take: sanitizers watch every access and every allocation.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr double kSlower = 20;
#else
inline constexpr double kSlower = 1;
#endif

}  // namespace grpo

// The one exception type of the library.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace grpo {

/// What the library throws, always: `[where] expected X, got Y`, followed by what to do about it. `where` is the room
/// or the op that refused ("config", "task", "rms_norm"). Library code neither prints nor exits; only a driver's `main`
/// catches.
class Error : public std::runtime_error {
 public:
  /// Streams `parts` one after the other behind `[where] `:  throw Error("task", path, ":", line, ": empty prompt");
  template <class... Parts>
  explicit Error(std::string_view where, const Parts&... parts) : std::runtime_error(join(where, parts...)) {}

 private:
  template <class... Parts>
  static std::string join(std::string_view where, const Parts&... parts) {
    std::ostringstream out;
    out << '[' << where << "] ";
    (out << ... << parts);
    return out.str();
  }
};

/// What an exception says: of an Error without its `[where] `, for messages that it becomes a part of; of a lack of memory
/// a sentence, of LibTorch's what a user can read.
std::string reason_of(const std::exception& error);

/// Prints `error: …` to standard error and returns the exit status 1; what a driver's `main` does with an exception.
int report(const std::exception& error);

}  // namespace grpo

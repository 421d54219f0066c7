// Starting a process and hearing it out, from a program with many threads and much memory.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grpo {

/// A file descriptor that closes itself. All of them close on exec, and none is below 10: a child's own numbers are
/// free.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    reset();
    number_ = std::exchange(other.number_, -1);
    return *this;
  }
  int number() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  void reset();

 private:
  int number_ = -1;
};

struct Pipe {
  Descriptor read, write;
};

/// These throw Error when the system has none left.
Pipe make_pipe();
Descriptor memory_file(std::string_view contents);  ///< sealed, to be read from its start

/// A process in a session of its own, without our descriptors but those of `descriptors` (ours, its), in the folder /.
/// Throws Error when it cannot be started.
pid_t spawn(const std::vector<std::string>& words, const std::vector<std::pair<int, int>>& descriptors);

/// A started process and what is read from it. `output`, `errors` and `status` are pipes.
struct Watched {
  pid_t pid = -1;
  Descriptor output, errors, status;
  std::size_t limit = 0;  // of output and errors, each
  std::string output_text, errors_text, status_text;
  bool output_over = false, errors_over = false;  // more came than the limit
  bool timed_out = false;                         // killed at the deadline
  bool exited = false;                            // waited for
  bool killed = false;                            // by us, and that ended it
  double seconds = 0;                             // until its end
};

/// Reads everything that the processes write until all of them are dead. The first is the lead: with its end the others
/// are killed. A process is killed for more output than its limit, and all are at `wall_seconds` from now. Closing
/// `output` and `errors` must be the last act of a process and of whatever it started; false when some are still open
/// 10 seconds after the kill.
bool watch(std::vector<Watched>& processes, double wall_seconds);

}  // namespace grpo

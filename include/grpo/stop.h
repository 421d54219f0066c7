// Signals that ask the process to end: it finishes what it is at, saves, and says how to go on.
#pragma once

#include <exception>
#include <memory>
#include <string>

namespace grpo {

/// Thrown by StopSignal::check to give up work that can simply be done again. It is no error: whoever began that work
/// catches it.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted by a signal"; }
};

/// Thrown by what writes for a reader that has gone, as that of `| head -1`. It is no error either: `report` says
/// nothing and gives the status that shells give a process which such a write ended.
class ReaderGone : public std::exception {
 public:
  const char* what() const noexcept override { return "nobody reads the output any more"; }
};

/// While it lives, the first SIGINT, SIGTERM or SIGHUP only raises a flag, so that work can be finished and saved; the
/// next one ends the process at once. One within a fifth of a second is the same request: timeout, srun and mpirun
/// signal a process and then its group. A SIGHUP that was ignored before (nohup) still is. SIGPIPE ends nothing: a
/// write to a pipe that nobody reads fails with EPIPE. One at a time.
class StopSignal {
 public:
  /// `asked` is written to standard error when the first signal comes, `ended` before the next one ends the process:
  /// whole lines, or nothing.
  explicit StopSignal(std::string asked = "", std::string ended = "");
  ~StopSignal();  ///< puts the handlers back that were there before
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool requested() const;
  int exit_status() const;  ///< 128 + the signal that came first, which shells give a process that one ended
  /// Throws Interrupted once a signal has come.
  void check() const;

 private:
  struct Previous;
  std::unique_ptr<Previous> previous_;
};

}  // namespace grpo

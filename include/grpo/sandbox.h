// Runs programs that nobody trusts: what a model writes while it is trained looks for whatever pays, and some of it
// would pay by harm. Programs run under bubblewrap (https://github.com/containers/bubblewrap) or not at all.
//
// What holds them:
//   - namespaces of their own for users, processes, network (nothing but loopback), IPC, host name and, where the
//     kernel has it, cgroups; an unprivileged user without capabilities, and no way to gain any (no_new_privs)
//   - a file system of /usr read-only, four devices, and a /tmp of bounded size; no /proc, no /sys, no /etc, no home
//   - a system call filter (seccomp): no ptrace, mounts, keys, BPF, perf, io_uring, userfaultfd, new namespaces, kernel
//     modules, memory files, System V IPC, nor sockets other than Unix ones
//   - limits on processor time, address space, file size, files, processes and stack (setrlimit), on output and on wall
//     time, kept from outside; whatever is left when a program ends or overruns dies with its process namespace
// Control groups are not used. Processor time and memory are bounded for each process and the number of processes for
// all, so a program can take at most `processes` times the memory limit; where the machine has less, the kernel ends
// the program first (oom_score_adj).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/config.h"

namespace grpo {

/// What one run may take.
struct Limits {
  int cpu_seconds = 6;
  double wall_seconds = 15;
  std::int64_t memory_bytes = 512 << 20;
  int processes = 16;
  std::int64_t file_bytes = 16 << 20;
  std::int64_t output_bytes = 1 << 20;

  template <class V>
  void visit(V& v) {
    v("cpu_seconds", cpu_seconds, "processor time of each process", at_least(1).at_most(86400));
    v("wall_seconds", wall_seconds, "time from start to end; the sandbox's own start counts", above(0).at_most(86400));
    v("memory_bytes", memory_bytes, "address space of each process", at_least(64 << 20));
    v("processes", processes, "processes and threads at once; two of them are the sandbox's",
      at_least(4).at_most(1 << 16));
    v("file_bytes", file_bytes, "everything in /tmp together, and each file", at_least(1));
    v("output_bytes", output_bytes, "standard output; more ends the run. As much of standard error is kept",
      at_least(1));
  }
};

enum class Language { python, cpp };
template <>
struct EnumNames<Language> {
  static constexpr std::array<std::pair<Language, std::string_view>, 2> values{
      {{Language::python, "python"}, {Language::cpp, "cpp"}}};
};

struct Program {
  Language language = Language::python;
  std::string source;
};

/// How a run ended. `memory` is told from what the program said or from its being killed, which it can fake: it is a
/// label like runtime_error. `infrastructure` alone is never the program's doing: the sandbox could not be set up.
enum class Outcome {
  ok,             ///< exit status 0; for the peer of a pair also that it was killed at the lead's end
  wrong_output,   ///< ran well, but not to the expected end; never from a Sandbox, see code.h
  runtime_error,  ///< any other exit status, or a signal
  timeout,
  memory,
  output_limit,
  compile_error,  ///< also a compiler that overran its limits
  infrastructure
};
template <>
struct EnumNames<Outcome> {
  static constexpr std::array<std::pair<Outcome, std::string_view>, 8> values{
      {{Outcome::ok, "ok"},
       {Outcome::wrong_output, "wrong_output"},
       {Outcome::runtime_error, "runtime_error"},
       {Outcome::timeout, "timeout"},
       {Outcome::memory, "memory"},
       {Outcome::output_limit, "output_limit"},
       {Outcome::compile_error, "compile_error"},
       {Outcome::infrastructure, "infrastructure"}}};
};

struct RunResult {
  Outcome outcome = Outcome::infrastructure;
  int exit_code = -1;          ///< 128 + signal for a signal; -1 when it was stopped or never ran
  std::string output, errors;  ///< standard output and standard error, up to Limits::output_bytes of each
  bool truncated = false;      ///< more was written than is kept
  double seconds = 0;          ///< wall time, the sandbox's start included
};

/// What runs: Python source, or a compiled program.
struct Executable {
  Language language = Language::python;
  std::string bytes;
};

struct Build {
  RunResult result;  ///< ok, compile_error (`errors` says why) or infrastructure
  Executable executable;
};

struct SandboxConfig {
  std::string bwrap = "/usr/bin/bwrap";
  std::string python = "/usr/bin/python3";
  std::string compiler = "/usr/bin/g++";
  std::string compiler_flags = "-O2 -std=c++20";
  int root_drops_to = 65534;
  Limits compile{.cpu_seconds = 20,
                 .wall_seconds = 40,
                 .memory_bytes = std::int64_t{2} << 30,
                 .processes = 16,
                 .file_bytes = 64 << 20,
                 .output_bytes = 32 << 20};

  template <class V>
  void visit(V& v) {
    v("bwrap", bwrap, "bubblewrap, 0.8 or newer");
    v("python", python, "the interpreter, under /usr");
    v("compiler", compiler, "the C++ compiler, under /usr");
    v("compiler_flags", compiler_flags, "separated by single spaces");
    v("root_drops_to", root_drops_to, "user and group id that programs run as when root starts them", at_least(1));
    v("compile", compile, "limits of one compilation");
  }
  /// Throws Error for a path that is not below /usr/ and a flag that is empty.
  void validate() const;
};

/// Runs programs, each in a sandbox of its own. Members may be called from any number of threads at once; each run
/// starts processes and gives back only when all of them are dead. The calling process need not be root; as root it
/// gives its programs another user id first, because the kernel exempts root from the limit on processes.
class Sandbox {
 public:
  /// Throws Error where `why_unavailable` has something to say: there is no way to run a program unconfined.
  explicit Sandbox(SandboxConfig config = {});

  /// Why no sandbox can be set up here and what would change that; "" when one can (an empty one was just tried).
  static std::string why_unavailable(const SandboxConfig& config = {});

  /// Compiles a C++ program, inside a sandbox; a Python program is its own executable.
  Build build(const Program& program) const;

  /// Runs with `input` as standard input, a file. Python runs with hash seed 0 and no user's packages.
  RunResult run(const Executable& executable, std::string_view input, const Limits& limits) const;

  /// build, then run.
  RunResult run(const Program& program, std::string_view input, const Limits& limits) const;

  struct Pair {
    RunResult lead, peer;
  };
  /// Two programs in two sandboxes with nothing between them but two pipes: what `lead` writes to its descriptor 3 is
  /// `peer`'s standard input, and `peer`'s standard output is what it reads from its descriptor 4. Ends with `lead`;
  /// `peer` is then killed, unless the closing of its pipes ends it first. Each has `limits` to itself; wall time is
  /// one.
  Pair run_pair(const Executable& lead, std::string_view lead_input, const Executable& peer,
                const Limits& limits) const;

 private:
  struct Job;
  std::vector<RunResult> run_jobs(const std::vector<Job>& jobs, double wall_seconds) const;
  std::vector<std::string> command_of(const Executable& executable) const;

  SandboxConfig config_;
  std::string filter_;  // the system call filter, as BPF
};

}  // namespace grpo

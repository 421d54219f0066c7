#include "rewards/code/sandbox_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "grpo/error.h"

namespace grpo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFirstOwn = 10;  // children are given the numbers below
constexpr std::size_t kStatusBytes = 1 << 16;
constexpr double kGrace = 10;  // seconds that the kernel has to end what was killed

/// `descriptor` under a number that no child needs.
Descriptor raised(Descriptor descriptor) {
  if (descriptor.number() >= kFirstOwn) return descriptor;
  const int moved = ::fcntl(descriptor.number(), F_DUPFD_CLOEXEC, kFirstOwn);
  if (moved < 0) throw Error("sandbox", "expected a free file descriptor, got ", std::strerror(errno));
  return Descriptor(moved);
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Reads what is there; closes `from` at its end.
void drain(Descriptor& from, std::string& text, std::size_t limit, bool& over) {
  char buffer[1 << 13];
  const ssize_t size = ::read(from.number(), buffer, sizeof buffer);
  if (size < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (size <= 0) return from.reset();
  const std::size_t kept = std::min(static_cast<std::size_t>(size), limit - text.size());
  text.append(buffer, kept);
  over |= kept < static_cast<std::size_t>(size);
}

/// With its group: what it started a moment ago may not know yet that it is to die with it.
void kill(const Watched& process) {
  if (!process.exited) ::kill(-process.pid, SIGKILL);
}

bool wait(Watched& process, int options) {
  if (process.exited) return true;
  int status = 0;
  const pid_t waited = ::waitpid(process.pid, &status, options);
  process.exited = waited == process.pid || (waited < 0 && errno == ECHILD);
  process.killed = waited == process.pid && WIFSIGNALED(status);
  return process.exited;
}

}  // namespace

void Descriptor::reset() {
  if (number_ >= 0) ::close(number_);
  number_ = -1;
}

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error("sandbox", "expected a pipe, got ", std::strerror(errno));
  Descriptor read(ends[0]), write(ends[1]);
  return {raised(std::move(read)), raised(std::move(write))};
}

Descriptor memory_file(std::string_view contents) {
  Descriptor file(::memfd_create("grpo", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) throw Error("sandbox", "expected a memory file, got ", std::strerror(errno));
  while (!contents.empty()) {
    const ssize_t written = ::write(file.number(), contents.data(), contents.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw Error("sandbox", "expected room in a memory file, got ", std::strerror(errno));
    contents.remove_prefix(static_cast<std::size_t>(written));
  }
  ::lseek(file.number(), 0, SEEK_SET);
  ::fcntl(file.number(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
  return raised(std::move(file));
}

pid_t spawn(const std::vector<std::string>& words, const std::vector<std::pair<int, int>>& descriptors) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  int highest = 2;
  for (const auto& [ours, its] : descriptors) {
    ::posix_spawn_file_actions_adddup2(&actions, ours, its);
    highest = std::max(highest, its);
  }
  for (int number = 3; number < highest; ++number)
    if (std::none_of(descriptors.begin(), descriptors.end(), [&](const auto& each) { return each.second == number; }))
      ::posix_spawn_file_actions_addclose(&actions, number);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, highest + 1);
  ::posix_spawn_file_actions_addchdir_np(&actions, "/");
  // A session of its own: Ctrl-C at the terminal is for us to act upon. No signal is blocked or ignored in it.
  sigset_t all, none;
  ::sigfillset(&all);
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);

  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const char* const environment[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/tmp", "PYTHONHASHSEED=0", nullptr};
  pid_t pid = -1;
  const int failed =
      ::posix_spawn(&pid, arguments[0], &actions, &attributes, arguments.data(), const_cast<char* const*>(environment));
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0) throw Error("sandbox", "expected ", words[0], " to start, got ", std::strerror(failed));
  return pid;
}

bool watch(std::vector<Watched>& processes, double wall_seconds) {
  const Clock::time_point start = Clock::now();
  double deadline = wall_seconds;
  bool killed = false;  // all of them
  const auto kill_all = [&] {
    for (const Watched& each : processes) kill(each);
    killed = true;
    deadline = seconds_since(start) + kGrace;
  };
  while (true) {
    std::vector<pollfd> polled;
    std::vector<std::pair<Watched*, Descriptor Watched::*>> sources;
    for (Watched& each : processes)
      for (Descriptor Watched::*from : {&Watched::output, &Watched::errors, &Watched::status})
        if (each.*from) {
          polled.push_back({(each.*from).number(), POLLIN, 0});
          sources.emplace_back(&each, from);
        }
    if (polled.empty()) break;
    const double left = deadline - seconds_since(start);
    if (left <= 0) {
      if (killed) break;
      for (Watched& each : processes) each.timed_out = !each.exited;
      kill_all();
      continue;
    }
    if (::poll(polled.data(), polled.size(), static_cast<int>(std::min(left, 3600.0) * 1000) + 1) <= 0) continue;
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      auto& [process, from] = sources[i];
      if (from == &Watched::output) {
        const bool was_over = process->output_over;
        drain(process->output, process->output_text, process->limit, process->output_over);
        if (process->output_over && !was_over) kill(*process);
      } else if (from == &Watched::errors) {
        drain(process->errors, process->errors_text, process->limit, process->errors_over);
      } else {
        bool over = false;
        drain(process->status, process->status_text, kStatusBytes, over);
      }
      if (!process->output && !process->errors && !process->exited) {
        process->seconds = seconds_since(start);
        wait(*process, 0);
        if (process == &processes.front() && !killed) kill_all();
      }
    }
  }
  bool all = true;
  for (Watched& each : processes) {
    all &= !each.output && !each.errors;
    if (!each.exited) each.seconds = seconds_since(start);
    wait(each, WNOHANG);
  }
  return all;
}

}  // namespace grpo

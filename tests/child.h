// A program that a test runs, watches and kills.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace grpo {

/// One program at a time, killed with its owner.
class Child {
 public:
  Child() = default;
  ~Child() {
    if (pid_ > 0) kill(SIGKILL), wait();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Runs words[0] with the others as arguments; what it prints is appended to `output`.
  void start(std::vector<std::string> words, const std::filesystem::path& output, int threads = 1) {
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const std::string count = std::to_string(threads);
    pid_ = ::fork();
    ASSERT_GE(pid_, 0);
    if (pid_ > 0) return;
    const int descriptor = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(descriptor, 1), ::dup2(descriptor, 2);
    ::setenv("OMP_NUM_THREADS", count.c_str(), 1);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }

  void kill(int signal) { ::kill(pid_, signal); }

  /// Its exit status; the negative signal where one ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  /// Polls until `done` or the end of the process; false for the latter.
  bool wait_until(const std::function<bool()>& done) {
    for (siginfo_t info{}; !done(); std::this_thread::sleep_for(std::chrono::milliseconds(1))) {
      ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
      if (info.si_pid == pid_) return false;
    }
    return true;
  }

 private:
  pid_t pid_ = -1;
};

}  // namespace grpo

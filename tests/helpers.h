// What tests of every room need: the message of an error, files, a folder that goes away, a child process.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "grpo/error.h"

namespace grpo {

/// The message of what `f` throws.
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "(no error)";
}

/// The bytes of a file; "" where there is none.
inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<nlohmann::ordered_json> lines_of(const std::filesystem::path& jsonl) {
  std::vector<nlohmann::ordered_json> lines;
  std::istringstream in(read_file(jsonl));
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::ordered_json::parse(line));
  return lines;
}

/// The lines of a metrics.jsonl, but for what a clock says.
inline std::vector<nlohmann::ordered_json> metrics_without_timings(const std::filesystem::path& run) {
  std::vector<nlohmann::ordered_json> lines;
  for (const auto& line : lines_of(run / "metrics.jsonl")) {
    auto kept = nlohmann::ordered_json::object();
    for (const auto& [key, value] : line.items())
      if (!key.starts_with("seconds/") && key != "tokens_per_second") kept[key] = value;
    lines.push_back(kept);
  }
  return lines;
}

/// A fresh folder, gone with its owner.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "grpo-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  operator const std::filesystem::path&() const { return path_; }  // NOLINT: it is one

 private:
  std::filesystem::path path_;
};

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

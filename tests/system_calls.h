// What a program asks the system for when it writes files: recorded, and cut off or refused where a test says so. For
// one file of a program to include; its definitions come before those of the C library.
#pragma once

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

namespace grpo {

struct SystemCalls {
  std::vector<std::string> seen;  ///< "fsync NAME", "rename NAME NAME", "exchange NAME NAME"
  bool knows_exchange = true;     ///< of the file system
  int die_before = -1;            ///< the process ends in place of this one of them, counted from 0

  void note(std::string call) {
    if (static_cast<int>(seen.size()) == die_before) ::_exit(9);
    seen.push_back(std::move(call));
  }
};
inline SystemCalls system_calls;

inline std::string name_of(const std::filesystem::path& path) { return path.filename().string(); }

}  // namespace grpo

extern "C" int fsync(int descriptor) {
  std::error_code ignored;
  const auto file = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor), ignored);
  grpo::system_calls.note("fsync " + grpo::name_of(file));
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

extern "C" int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  if (exchange && !grpo::system_calls.knows_exchange) {
    errno = EINVAL;
    return -1;
  }
  grpo::system_calls.note((exchange ? "exchange " : "rename ") + grpo::name_of(from) + ' ' + grpo::name_of(to));
  return static_cast<int>(::syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

extern "C" int rename(const char* from, const char* to) noexcept {
  return ::renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

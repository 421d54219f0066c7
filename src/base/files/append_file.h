// A file that only grows, record by record. Its writer remembers how far it got, so that a resumed run can cut off what
// its checkpoint does not know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace grpo {

class AppendFile {
 public:
  /// Opens or creates the file and stands at byte `offset` of it, without changing anything yet. Throws Error (in the
  /// room "metrics", like every member) when that cannot be done or the file is shorter.
  AppendFile(std::filesystem::path path, uint64_t offset);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// Fills `data` from byte `at` on; all of it has to be there.
  void read(uint64_t at, void* data, std::size_t size) const;

  /// Cuts off what lies behind offset(): called once the writer has seen that a record ends there.
  void cut();

  /// Hands a whole record to the system, in one call unless that is interrupted.
  void write(std::string_view record);

  /// Flushes to the disk.
  void sync();

  uint64_t offset() const { return offset_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  [[noreturn]] void fail(const char* action) const;

  std::filesystem::path path_;
  uint64_t offset_;
  int descriptor_;
};

}  // namespace grpo

// Writing a file so that it survives a crash: every byte is counted and hashed on its way, and then flushed to the
// disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "xxhash64.h"

namespace grpo {

struct FileDigest {
  uint64_t size = 0;  ///< bytes
  std::string hash;   ///< XXH64, hex
  bool operator==(const FileDigest&) const = default;
};

/// A new file (an old one of the name is emptied). Errors carry `room` and the path.
class DurableFile {
 public:
  DurableFile(std::string room, std::filesystem::path path);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  void write(const void* data, std::size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }

  /// Flushes to the disk and closes; without it the file is not to be relied on.
  FileDigest finish();

 private:
  [[noreturn]] void fail(const char* action) const;

  std::string room_;
  std::filesystem::path path_;
  int descriptor_;
  uint64_t size_ = 0;
  XxHash64 hash_;
};

/// Reads the whole file once. Throws Error when it cannot.
FileDigest digest_file(std::string_view room, const std::filesystem::path& path);

/// Makes the entries of a folder (new files, renames) durable.
void sync_folder(std::string_view room, const std::filesystem::path& folder);

}  // namespace grpo

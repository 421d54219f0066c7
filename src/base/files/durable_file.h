// Writing files so that they survive a crash and a power cut, the one way in which this project writes files that are
// not logs (append_file.h): what has a name is whole and on the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/files/xxhash64.h"

namespace grpo {

struct FileDigest {
  uint64_t size = 0;  ///< bytes
  std::string hash;   ///< XXH64, hex
  bool operator==(const FileDigest&) const = default;
};

/// A new file (an old one of the name is emptied), every byte of which is counted and hashed on its way. Errors carry
/// `room` and the path.
class DurableFile {
 public:
  DurableFile(std::string room, std::filesystem::path path);
  ~DurableFile();  ///< removes what is not finished: a full disk has its space back
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  void write(const void* data, std::size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }

  /// Flushes to the disk and closes.
  FileDigest finish();

 private:
  [[noreturn]] void fail(const char* action) const;

  std::string room_;
  std::filesystem::path path_;
  int descriptor_;
  uint64_t size_ = 0;
  XxHash64 hash_;
};

/// Writes a file, its folders included: whoever reads it finds the old contents or the new, whatever happens meanwhile.
void write_file(std::string_view room, const std::filesystem::path& path, std::string_view bytes);

/// The same with the contents of another file.
void copy_file(std::string_view room, const std::filesystem::path& from, const std::filesystem::path& to);

/// Gives a file or folder that is on the disk another name, in place of a file that has it.
void rename_durably(std::string_view room, const std::filesystem::path& from, const std::filesystem::path& to);

/// The first of `place`.1, `place`.2, … that nothing has.
std::filesystem::path free_name(const std::filesystem::path& place);

/// Lets two names of one folder change places in one step; false where the file system does not know how to.
bool exchange_durably(std::string_view room, const std::filesystem::path& a, const std::filesystem::path& b);

/// Reads the whole file once. Throws Error when it cannot.
FileDigest digest_file(std::string_view room, const std::filesystem::path& path);

/// Makes the entries of a folder (new files, renames) durable.
void sync_folder(std::string_view room, const std::filesystem::path& folder);

}  // namespace grpo

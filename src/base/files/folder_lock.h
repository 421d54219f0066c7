// One process at a time works on a folder.
#pragma once

#include <filesystem>
#include <string>

namespace grpo {

/// Held from its construction to its destruction, or to the end of the process, however that comes. Readers do not ask
/// for it. The lock lies on the file `.lock` in the folder, whose text says who holds it and outlives the lock.
class FolderLock {
 public:
  /// Throws Error, naming process, host and time, where another process holds it, and where the file cannot be made.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  /// Why the folder could not be locked: its file system knows no locks. "" where it is.
  const std::string& missing() const { return missing_; }

 private:
  int descriptor_ = -1;
  std::string missing_;
};

}  // namespace grpo

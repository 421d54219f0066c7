#include "base/files/durable_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "base/files/input_file.h"
#include "grpo/error.h"

namespace grpo {

DurableFile::DurableFile(std::string room, std::filesystem::path path)
    : room_(std::move(room)),
      path_(std::move(path)),
      descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) fail("create");
}

DurableFile::~DurableFile() {
  if (descriptor_ < 0) return;
  struct stat status {};
  const bool is_file = ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);  // and no device
  ::close(descriptor_);
  if (is_file) ::unlink(path_.c_str());
}

void DurableFile::fail(const char* action) const {
  const int code = errno;
  throw Error(room_, path_.string(), ": cannot ", action, " this file: ", std::strerror(code));
}

void DurableFile::write(const void* data, std::size_t size) {
  hash_.update(data, size);
  size_ += size;
  for (const char* at = static_cast<const char*>(data); size > 0;) {
    const ssize_t written = ::write(descriptor_, at, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
    at += written, size -= static_cast<std::size_t>(written);
  }
}

FileDigest DurableFile::finish() {
  if (::fsync(descriptor_) != 0) fail("flush");
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("close");
  return {size_, hash_.hex()};
}

void write_file(std::string_view room, const std::filesystem::path& path, std::string_view bytes) {
  std::error_code ignored;  // a failure shows when the file is made
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), ignored);
  const std::filesystem::path unfinished = path.parent_path() / (".tmp-" + path.filename().string());
  try {
    DurableFile file(std::string(room), unfinished);
    file.write(bytes);
    file.finish();
    rename_durably(room, unfinished, path);
  } catch (...) {
    std::filesystem::remove(unfinished, ignored);  // give a full disk its space back
    throw;
  }
}

void copy_file(std::string_view room, const std::filesystem::path& from, const std::filesystem::path& to) {
  write_file(room, to, read_input(room, from));
}

namespace {

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

void rename_durably(std::string_view room, const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    throw Error(room, "cannot give ", from.string(), " the name ", to.string(), ": ", std::strerror(errno));
  sync_folder(room, folder_of(to));
}

bool exchange_durably(std::string_view room, const std::filesystem::path& a, const std::filesystem::path& b) {
  if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) != 0) {
    if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) return false;
    throw Error(room, "cannot exchange ", a.string(), " and ", b.string(), ": ", std::strerror(errno));
  }
  sync_folder(room, folder_of(b));
  return true;
}

FileDigest digest_file(std::string_view room, const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw Error(room, path.string(), ": cannot open this file: ", std::strerror(errno));
  std::vector<char> block(1 << 20);
  XxHash64 hash;
  uint64_t size = 0;
  for (;;) {
    const ssize_t got = ::read(descriptor, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    const int code = errno;
    if (got <= 0) ::close(descriptor);
    if (got < 0) throw Error(room, path.string(), ": cannot read this file: ", std::strerror(code));
    if (got == 0) return {size, hash.hex()};
    hash.update(block.data(), static_cast<std::size_t>(got));
    size += static_cast<uint64_t>(got);
  }
}

void sync_folder(std::string_view room, const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw Error(room, folder.string(), ": cannot open this folder: ", std::strerror(errno));
  const int status = ::fsync(descriptor);
  const int code = errno;
  ::close(descriptor);
  if (status != 0) throw Error(room, folder.string(), ": cannot flush this folder: ", std::strerror(code));
}

std::filesystem::path free_name(const std::filesystem::path& place) {
  for (int i = 1;; ++i)
    if (std::filesystem::path free = place.string() + "." + std::to_string(i); !std::filesystem::exists(free))
      return free;
}

}  // namespace grpo

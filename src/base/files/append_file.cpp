#include "base/files/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "grpo/error.h"

namespace grpo {

AppendFile::AppendFile(std::filesystem::path path, uint64_t offset)
    : path_(std::move(path)),
      offset_(offset),
      descriptor_(::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) fail("open");
  try {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail("examine");
    if (static_cast<uint64_t>(status.st_size) < offset_) {
      throw Error("metrics", path_.string(), ": expected at least the ", offset_,
                  " bytes that the checkpoint knows, got ", status.st_size);
    }
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

AppendFile::~AppendFile() { ::close(descriptor_); }

void AppendFile::fail(const char* action) const {
  const int code = errno;
  throw Error("metrics", path_.string(), ": cannot ", action, " this file: ", std::strerror(code));
}

void AppendFile::read(uint64_t at, void* data, std::size_t size) const {
  for (char* to = static_cast<char*>(data); size > 0;) {
    const ssize_t got = ::pread(descriptor_, to, size, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read");
    if (got == 0)
      throw Error("metrics", path_.string(), ": expected ", size, " more bytes at byte ", at, ", got its end");
    to += got, at += static_cast<uint64_t>(got), size -= static_cast<std::size_t>(got);
  }
}

void AppendFile::cut() {
  if (::ftruncate(descriptor_, static_cast<off_t>(offset_)) != 0) fail("cut");
}

void AppendFile::write(std::string_view record) {
  while (!record.empty()) {
    const ssize_t written = ::write(descriptor_, record.data(), record.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
    record.remove_prefix(static_cast<std::size_t>(written));
    offset_ += static_cast<uint64_t>(written);
  }
}

void AppendFile::sync() {
  if (::fsync(descriptor_) != 0) fail("flush");
}

}  // namespace grpo

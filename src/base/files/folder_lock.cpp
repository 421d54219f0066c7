#include "base/files/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "grpo/error.h"

namespace grpo {
namespace {

std::string holder() {
  char host[256] = "", time[64] = "";
  ::gethostname(host, sizeof host - 1);
  const std::time_t now = std::time(nullptr);
  struct tm local {};
  ::localtime_r(&now, &local);
  std::strftime(time, sizeof time, "%Y-%m-%d %H:%M:%S", &local);
  return "process " + std::to_string(::getpid()) + " on " + host + ", since " + time;
}

std::string text_of(int descriptor) {
  char text[512];
  const ssize_t size = ::pread(descriptor, text, sizeof text, 0);
  std::string line(text, size > 0 ? static_cast<std::size_t>(size) : 0);
  return line.substr(0, line.find('\n'));
}

}  // namespace

FolderLock::FolderLock(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / ".lock";
  for (;;) {
    descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) throw Error("run", file.string(), ": cannot make this file: ", std::strerror(errno));
    int status = 0;
    do status = ::flock(descriptor_, LOCK_EX | LOCK_NB);
    while (status != 0 && errno == EINTR);
    if (status != 0 && errno == EWOULDBLOCK) {
      const std::string other = text_of(descriptor_);
      ::close(descriptor_);
      throw Error("run", folder.string(), ": expected a folder that no other process works on, got that of ",
                  other.empty() ? "another one" : other, "; wait for its end, stop it, or name another --out");
    }
    if (status != 0) {  // a network file system without locks
      missing_ = std::strerror(errno);
      return;
    }
    // Its holder may have moved the folder aside while it was opened here: then it is the lock of another place.
    struct stat here {}, named {};
    if (::fstat(descriptor_, &here) == 0 && ::stat(file.c_str(), &named) == 0 && here.st_dev == named.st_dev &&
        here.st_ino == named.st_ino)
      break;
    ::close(descriptor_);
  }
  const std::string line = holder() + "\n";
  if (::ftruncate(descriptor_, 0) != 0 || ::pwrite(descriptor_, line.data(), line.size(), 0) < 0) {
    // A full disk: the lock holds all the same, without a name.
  }
}

FolderLock::~FolderLock() { ::close(descriptor_); }

}  // namespace grpo

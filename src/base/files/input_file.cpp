#include "base/files/input_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "grpo/error.h"

namespace grpo {

std::string read_input(std::string_view room, const std::filesystem::path& file) {
  const auto refuse = [&](std::string_view got) {
    throw Error(room, file.string(), ": expected a file that can be read, got ", got, "; check the path");
  };
  struct Descriptor {
    int number;
    ~Descriptor() {
      if (number >= 0) ::close(number);
    }
  };
  const bool standard = file == "-";
  // (to open a pipe that nobody writes to would wait for a writer)
  const Descriptor descriptor{standard ? ::fcntl(0, F_DUPFD_CLOEXEC, 3)
                                       : ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (descriptor.number < 0) refuse(errno == ENOENT ? "no such file" : std::strerror(errno));
  struct stat status {};
  if (::fstat(descriptor.number, &status) != 0) refuse(std::strerror(errno));
  const bool pipe = S_ISFIFO(status.st_mode);
  if (S_ISDIR(status.st_mode)) refuse("a folder");
  if (!standard && !pipe && !S_ISREG(status.st_mode)) refuse("a device or socket");

  std::string bytes;
  bytes.resize(!S_ISREG(status.st_mode) ? 0 : static_cast<std::size_t>(status.st_size));
  for (std::size_t size = 0;;) {
    // (a file may grow, and those of /proc have no size)
    if (size == bytes.size()) bytes.resize(size + (std::size_t{64} << 10));
    const ssize_t got = ::read(descriptor.number, bytes.data() + size, bytes.size() - size);
    if (got > 0) {
      size += static_cast<std::size_t>(got);
    } else if (got == 0) {
      if (pipe && size == 0) refuse("a pipe that nothing was written to");
      bytes.resize(size);
      return bytes;
    } else if (errno == EAGAIN) {
      pollfd waiting{descriptor.number, POLLIN, 0};
      ::poll(&waiting, 1, -1);
    } else if (errno != EINTR) {
      refuse(std::strerror(errno));
    }
  }
}

bool is_there(const std::filesystem::path& place) {
  std::error_code code;
  return std::filesystem::exists(place, code);
}

}  // namespace grpo

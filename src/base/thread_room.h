// Threads get the stack that `ulimit -s` says, which may be too little to score a completion in.
#pragma once

#include <pthread.h>

#include <cstddef>

namespace grpo {

/// Threads that are made from now on, by anyone in the process, have 2 MiB of stack, or more where that was the default.
inline void give_threads_room() {
  constexpr std::size_t kRoom = std::size_t{2} << 20;
  pthread_attr_t attributes;
  std::size_t size = 0;
  if (::pthread_getattr_default_np(&attributes) != 0) return;
  if (::pthread_attr_getstacksize(&attributes, &size) == 0 && size < kRoom &&
      ::pthread_attr_setstacksize(&attributes, kRoom) == 0)
    ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
}

}  // namespace grpo

// What an error says.
#pragma once

#include <string>

#include "grpo/error.h"

namespace grpo {

/// The message of what `f` throws.
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "(no error)";
}

}  // namespace grpo

// Which system calls a sandboxed program may make.
#pragma once

#include <string>

namespace grpo {

/// A seccomp filter as BPF, for `bwrap --seccomp`: what a program has no business with fails with EPERM. Calls of
/// another architecture than the machine's own kill the caller. Throws Error when libseccomp cannot build it.
std::string system_call_filter();

}  // namespace grpo

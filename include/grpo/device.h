// Where tensors lie and ops run.
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace grpo {

/// "cpu", "cuda" or "cuda:N". Loads libtorch_cuda where it is a CUDA device. Throws Error when the device cannot be used.
at::Device open_device(const std::string& name);

}  // namespace grpo

// Where tensors lie and ops run.
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace grpo {

/// "cpu", "cuda" or "cuda:N". For a CUDA device libtorch_cuda is loaded, and our kernels, libgrpo_cuda.so: from where
/// GRPO_CUDA_LIBRARY says, beside the program, in ../lib, or where it was built. Without them LibTorch's own operations
/// compute; Policy::describe says why. Throws Error when the device cannot be used.
at::Device open_device(const std::string& name);

}  // namespace grpo

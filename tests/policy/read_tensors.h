// The tensors of a safetensors file, by name.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "grpo/safetensors.h"

namespace grpo {

inline std::map<std::string, at::Tensor> read_tensors(const std::filesystem::path& file) {
  const NamedTensors all = load_safetensors(file);
  return {all.begin(), all.end()};
}

}  // namespace grpo

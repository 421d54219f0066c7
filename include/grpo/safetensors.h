// Named tensors in a file: the safetensors format (https://huggingface.co/docs/safetensors), own reader and writer.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace grpo {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;  ///< order is kept

/// The free string-to-string map that the format keeps under `__metadata__`.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// Writes `tensors` (any device, any strides; F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL) to `path` and flushes them to
/// the disk. The file is laid out by falling element size, so that each tensor is aligned for its dtype. Throws Error
/// on a repeated name, an unsupported dtype, or a failed write (the file is then incomplete).
void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      const SafetensorsMetadata& metadata = {});

/// Reads every tensor of `path` into fresh CPU memory, in the order of the header. The header is checked before a byte
/// of data is read: known dtypes, sizes that match the shapes, and offsets that cover the data once, without overlap or
/// hole. Throws Error that names the file and the tensor.
NamedTensors load_safetensors(const std::filesystem::path& path, SafetensorsMetadata* metadata = nullptr);

}  // namespace grpo

// Named tensors in a file: the safetensors format (https://huggingface.co/docs/safetensors), own reader and writer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace grpo {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;  ///< order is kept

/// The free string-to-string map that the format keeps under `__metadata__`.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// Writes `tensors` (any device, any strides; F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL) to `path` and flushes them to
/// the disk. The file is laid out by falling element size, so that each tensor is aligned for its dtype. Throws Error
/// on a repeated name, an unsupported dtype, or a failed write (there is then no file).
void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      const SafetensorsMetadata& metadata = {});

/// An open file, of which tensors are read one by one. The header is checked before a byte of data is read: known
/// dtypes, sizes that match the shapes, and offsets that cover the data once, without overlap or hole.
class SafetensorsFile {
 public:
  struct Entry {
    std::string name;
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    uint64_t begin, end;  ///< bytes, of the data part
  };

  /// Throws Error that names the file and the tensor.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  const std::vector<Entry>& entries() const;  ///< in the order of the header
  const SafetensorsMetadata& metadata() const;

  /// Copies a tensor into `out`, of the same shape and of any dtype, device and strides. Of the file no more than that
  /// tensor stays in memory.
  void read(const Entry& entry, const at::Tensor& out) const;

 private:
  struct Mapping;
  std::shared_ptr<const Mapping> mapping_;
};

/// Reads every tensor of `path` into fresh CPU memory, in the order of the header. Throws Error as SafetensorsFile
/// does.
NamedTensors load_safetensors(const std::filesystem::path& path, SafetensorsMetadata* metadata = nullptr);

}  // namespace grpo

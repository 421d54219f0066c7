// save_safetensors, for a caller that wants to know what was written.
#pragma once

#include "base/files/durable_file.h"
#include "grpo/safetensors.h"

namespace grpo {

FileDigest save_safetensors_digest(const std::filesystem::path& path, const NamedTensors& tensors,
                                   const SafetensorsMetadata& metadata);

}  // namespace grpo

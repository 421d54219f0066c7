#include "grpo/safetensors.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>

#include "base/files/durable_file.h"
#include "base/files/safetensors_header.h"
#include "grpo/error.h"
#include "policy/safetensors_digest.h"

namespace grpo {
namespace {

using OrderedJson = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::string_view kRoom = "safetensors";

// In the order of kSafetensorsDtypes.
constexpr std::array kTypes{at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
                            at::kInt,    at::kShort, at::kChar, at::kByte,     at::kBool};
static_assert(kTypes.size() == std::size(kSafetensorsDtypes));

std::string_view dtype_name(const fs::path& path, const std::string& tensor, at::ScalarType type) {
  for (std::size_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i] == type) return kSafetensorsDtypes[i].name;
  throw Error(kRoom, path.string(), ": ", tensor, ": expected a dtype that safetensors has, got ", toString(type));
}

at::ScalarType type_of(std::string_view dtype) {
  std::size_t i = 0;
  while (kSafetensorsDtypes[i].name != dtype) ++i;
  return kTypes[i];
}

using Entry = SafetensorsFile::Entry;

}  // namespace

FileDigest save_safetensors_digest(const fs::path& path, const NamedTensors& tensors,
                                   const SafetensorsMetadata& metadata) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return tensors[a].second.element_size() > tensors[b].second.element_size();
  });
  std::vector<uint64_t> begins(tensors.size());
  uint64_t offset = 0;
  for (const std::size_t i : order) {
    begins[i] = offset;
    offset += tensors[i].second.nbytes();
  }

  OrderedJson header = OrderedJson::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, tensor] = tensors[i];
    if (name == "__metadata__" || header.contains(name)) {
      throw Error(kRoom, path.string(), ": expected distinct names other than __metadata__, got ", name);
    }
    header[name] = {{"dtype", dtype_name(path, name, tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {begins[i], begins[i] + tensor.nbytes()}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');

  DurableFile file(std::string(kRoom), path);
  const uint64_t length = text.size();
  file.write(&length, sizeof length);
  file.write(text);
  for (const std::size_t i : order) {
    const at::Tensor bytes = tensors[i].second.detach().to(at::kCPU).contiguous();
    file.write(bytes.const_data_ptr(), bytes.nbytes());
  }
  return file.finish();
}

void save_safetensors(const fs::path& path, const NamedTensors& tensors, const SafetensorsMetadata& metadata) {
  save_safetensors_digest(path, tensors, metadata);
}

// The whole file in the address space; pages come in as they are read.
struct SafetensorsFile::Mapping {
  explicit Mapping(const fs::path& file) : path(file) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // (a pipe may have no writer)
    struct stat status {};
    const bool is_file = descriptor >= 0 && ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    if (is_file) size = static_cast<uint64_t>(status.st_size);
    if (is_file && size > 0) {
      // Private and writable: whoever writes to a tensor that lies here would change a copy, never the file.
      void* place = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
      if (place != MAP_FAILED) bytes = static_cast<char*>(place);
    }
    if (descriptor >= 0) ::close(descriptor);
    if (!is_file || (size > 0 && bytes == nullptr))
      throw Error(kRoom, path.string(), ": expected a regular file that can be read, got none");
  }
  ~Mapping() {
    if (bytes != nullptr) ::munmap(bytes, size);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  fs::path path;
  char* bytes = nullptr;
  uint64_t size = 0, data_begin = 0;
  std::vector<Entry> entries;
  SafetensorsMetadata metadata;
};

SafetensorsFile::SafetensorsFile(const fs::path& path) {
  auto mapping = std::make_shared<Mapping>(path);
  SafetensorsHeader header = read_safetensors_header({mapping->bytes, mapping->size}, path.string());
  mapping->data_begin = header.data_begin;
  mapping->metadata = std::move(header.metadata);
  for (auto& entry : header.entries)
    mapping->entries.push_back(
        {std::move(entry.name), type_of(entry.dtype.name), std::move(entry.shape), entry.begin, entry.end});
  mapping_ = std::move(mapping);
}

const fs::path& SafetensorsFile::path() const { return mapping_->path; }
const std::vector<Entry>& SafetensorsFile::entries() const { return mapping_->entries; }
const SafetensorsMetadata& SafetensorsFile::metadata() const { return mapping_->metadata; }

void SafetensorsFile::read(const Entry& entry, const at::Tensor& out) const {
  if (entry.shape != out.sizes().vec())
    throw Error(kRoom, mapping_->path.string(), ": ", entry.name, ": expected shape ", out.sizes(), ", got ",
                at::IntArrayRef(entry.shape));
  if (entry.begin == entry.end) return;
  char* const bytes = mapping_->bytes + mapping_->data_begin + entry.begin;
  at::NoGradGuard guard;
  if (out.scalar_type() == entry.dtype && out.is_cpu() && out.is_contiguous()) {
    std::memcpy(out.mutable_data_ptr(), bytes, entry.end - entry.begin);
  } else {
    const auto options = at::TensorOptions().dtype(entry.dtype);
    at::Tensor here;
    if (reinterpret_cast<uintptr_t>(bytes) % at::elementSize(entry.dtype) == 0) {
      here = at::from_blob(bytes, entry.shape, options);
    } else {  // other writers do not align
      here = at::empty(entry.shape, options);
      std::memcpy(here.mutable_data_ptr(), bytes, entry.end - entry.begin);
    }
    out.data().copy_(here);
  }
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(bytes) / page * page;
  ::madvise(reinterpret_cast<void*>(first), reinterpret_cast<uintptr_t>(bytes) + (entry.end - entry.begin) - first,
            MADV_DONTNEED);
}

NamedTensors load_safetensors(const fs::path& path, SafetensorsMetadata* metadata) {
  const SafetensorsFile file(path);
  if (metadata != nullptr) *metadata = file.metadata();
  NamedTensors tensors;
  for (const Entry& entry : file.entries()) {
    at::Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(entry.dtype));
    file.read(entry, tensor);
    tensors.emplace_back(entry.name, std::move(tensor));
  }
  return tensors;
}

}  // namespace grpo

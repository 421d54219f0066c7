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
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <string_view>

#include "durable_file.h"
#include "grpo/error.h"
#include "safetensors_digest.h"

namespace grpo {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::string_view kRoom = "safetensors";
constexpr uint64_t kMaxHeader = 100'000'000;  // bytes, the limit of the format

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 10> kDtypes{{{"F64", at::kDouble},
                                                                               {"F32", at::kFloat},
                                                                               {"F16", at::kHalf},
                                                                               {"BF16", at::kBFloat16},
                                                                               {"I64", at::kLong},
                                                                               {"I32", at::kInt},
                                                                               {"I16", at::kShort},
                                                                               {"I8", at::kChar},
                                                                               {"U8", at::kByte},
                                                                               {"BOOL", at::kBool}}};

std::string_view dtype_name(const fs::path& path, const std::string& tensor, at::ScalarType type) {
  for (const auto& [name, each] : kDtypes)
    if (each == type) return name;
  throw Error(kRoom, path.string(), ": ", tensor, ": expected a dtype that safetensors has, got ", toString(type));
}

using Entry = SafetensorsFile::Entry;

class HeaderReader {
 public:
  HeaderReader(const fs::path& path, uint64_t data_size) : path_(path), data_size_(data_size) {}

  std::vector<Entry> read(const std::string& text, SafetensorsMetadata* metadata) const {
    const Json header = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!header.is_object()) refuse("header", "expected a JSON object, got something else");
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        read_metadata(value, metadata);
      } else {
        entries.push_back(read_entry(name, value));
      }
    }
    check_cover(entries);
    return entries;
  }

 private:
  template <class... Parts>
  [[noreturn]] void refuse(const std::string& what, const Parts&... parts) const {
    throw Error(kRoom, path_.string(), ": ", what, ": ", parts..., "; the file is damaged or not safetensors");
  }

  void read_metadata(const Json& value, SafetensorsMetadata* metadata) const {
    if (!value.is_object()) refuse("__metadata__", "expected an object of strings, got ", value.type_name());
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) refuse("__metadata__", "expected strings, got ", text.type_name(), " for ", key);
      if (metadata != nullptr) (*metadata)[key] = text.get<std::string>();
    }
  }

  Entry read_entry(const std::string& name, const Json& value) const {
    if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets")) {
      refuse(name, "expected an object with dtype, shape and data_offsets");
    }
    Entry entry{name, at::kByte, {}, 0, 0};
    const Json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
    const auto known = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& each) {
      return dtype.is_string() && dtype.get_ref<const std::string&>() == each.first;
    });
    if (known == kDtypes.end()) {
      throw Error(kRoom, path_.string(), ": ", name,
                  ": expected dtype F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL, got ", dtype.dump());
    }
    entry.dtype = known->second;

    const auto is_count = [](const Json& number) { return number.is_number_unsigned(); };
    if (!shape.is_array() || !std::all_of(shape.begin(), shape.end(), is_count)) {
      refuse(name, "expected a shape of numbers >= 0, got ", shape.dump());
    }
    if (!offsets.is_array() || offsets.size() != 2 || !is_count(offsets[0]) || !is_count(offsets[1])) {
      refuse(name, "expected two data_offsets >= 0, got ", offsets.dump());
    }
    entry.begin = offsets[0], entry.end = offsets[1];
    if (entry.begin > entry.end || entry.end > data_size_) {
      refuse(name, "expected data_offsets that rise within ", data_size_, " bytes of data, got ", offsets.dump());
    }
    constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    uint64_t bytes = at::elementSize(entry.dtype),
             extent = bytes;  // `extent` counts a length of 0 as 1: strides must fit
    for (const Json& each : shape) {
      const auto length = each.get<uint64_t>();
      if (length > kMost / extent) refuse(name, "expected a shape that fits 63 bits, got ", shape.dump());
      bytes *= length;
      extent *= std::max<uint64_t>(length, 1);
      entry.shape.push_back(static_cast<int64_t>(length));
    }
    if (bytes != entry.end - entry.begin) {
      refuse(name, "expected ", bytes, " bytes for ", dtype.get<std::string>(), " ", shape.dump(),
             ", got data_offsets ", offsets.dump());
    }
    return entry;
  }

  // The format asks that every byte of the data belongs to exactly one tensor.
  void check_cover(const std::vector<Entry>& entries) const {
    std::vector<const Entry*> by_place;
    std::set<std::string_view> names;
    for (const Entry& entry : entries) {
      by_place.push_back(&entry);
      if (!names.insert(entry.name).second) refuse(entry.name, "expected each tensor once, got it twice");
    }
    std::sort(by_place.begin(), by_place.end(),
              [](const Entry* a, const Entry* b) { return std::pair(a->begin, a->end) < std::pair(b->begin, b->end); });
    uint64_t reached = 0;
    for (const Entry* entry : by_place) {
      if (entry->begin != reached) {
        refuse(entry->name, entry->begin < reached ? "overlaps another tensor" : "leaves a hole",
               "; expected to begin at byte ", reached, ", got ", entry->begin);
      }
      reached = entry->end;
    }
    if (reached != data_size_) refuse("data", "expected ", reached, " bytes, got ", data_size_);
  }

  const fs::path& path_;
  uint64_t data_size_;
};

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

  Json header = Json::object();
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
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
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
      throw Error(kRoom, path.string(), ": expected a safetensors file, got none that can be read");
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
  uint64_t length = 0;
  if (mapping->size < sizeof length)
    throw Error(kRoom, path.string(), ": expected 8 bytes of header length, got ", mapping->size,
                "; the file was cut short");
  std::memcpy(&length, mapping->bytes, sizeof length);
  const uint64_t most = std::min(mapping->size - sizeof length, kMaxHeader);
  if (length > most)
    throw Error(kRoom, path.string(), ": expected a header of at most ", most, " bytes, got ", length,
                "; the file was cut short or is not safetensors");
  mapping->data_begin = sizeof length + length;
  mapping->entries = HeaderReader(path, mapping->size - mapping->data_begin)
                         .read(std::string(mapping->bytes + sizeof length, length), &mapping->metadata);
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

// The header of a safetensors file: what lies where. It is all that must be believed of a stranger's weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace grpo {

struct SafetensorsHeader {
  struct Dtype {
    std::string_view name;
    std::size_t size;  ///< bytes of an element
  };
  struct Entry {
    std::string name;
    Dtype dtype;  ///< one of kSafetensorsDtypes
    std::vector<std::int64_t> shape;
    std::uint64_t begin, end;  ///< bytes, of the data part
  };
  std::vector<Entry> entries;  ///< in the order of the header
  std::map<std::string, std::string> metadata;
  std::uint64_t data_begin = 0;  ///< bytes before the data part
};

inline constexpr SafetensorsHeader::Dtype kSafetensorsDtypes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2},
                                                                  {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1},
                                                                  {"U8", 1},  {"BOOL", 1}};

/// Checks the header of a whole file, whose data part is not looked at: strict JSON in which no key comes twice,
/// known dtypes, shapes of up to 64 lengths whose strides fit 63 bits, sizes that match the shapes, and offsets that
/// cover the data once, without overlap or hole. In time and memory in proportion to the header. Throws Error that
/// names `where` and the tensor.
SafetensorsHeader read_safetensors_header(std::string_view file, const std::string& where);

}  // namespace grpo

#include "base/files/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "grpo/error.h"
#include "grpo/json.h"

namespace grpo {
namespace {

using Entry = SafetensorsHeader::Entry;
using Json = nlohmann::json;

constexpr std::string_view kRoom = "safetensors";
constexpr std::uint64_t kMaxHeader = 100'000'000;  // bytes, the limit of the format
constexpr std::size_t kMaxDimensions = 64;         // LibTorch's

std::string shown(const std::vector<std::int64_t>& shape) { return Json(shape).dump(); }

/// Takes the header from nlohmann's parser event by event. No tree of it is ever built: that would be many times as
/// large, and deep where the header is.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(const std::string& where, std::uint64_t data_size) : where_(where), data_size_(data_size) {}

  void read(std::string_view text) {
    // A mark of the byte order and a zero would be white space and an end to the parser.
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos || text[first] != '{')
      refuse("header", "expected a JSON object, got ", first == std::string_view::npos ? "nothing" : "something else");
    if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos)
      refuse("header", "expected JSON, got a zero at byte ", zero);
    Json::sax_parse(text, this);
    check_cover();
  }

  SafetensorsHeader header;

  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("a boolean"); }
  bool number_integer(number_integer_t) override { return value("a number below 0"); }
  bool number_unsigned(number_unsigned_t number) override { return value("a number", nullptr, number); }
  bool number_float(number_float_t, const string_t&) override { return value("a number that is not whole"); }
  bool string(string_t& text) override { return value("a string", &text); }
  bool binary(binary_t&) override { return false; }  // JSON has none

  bool start_object(std::size_t) override {
    if (place_ == Place::skipped || is_unknown_field()) return skip();
    if (place_ == Place::outside) {
      place_ = Place::header;
    } else if (place_ == Place::header && key_ == "__metadata__") {
      place_ = Place::metadata;
      seen_.clear();
    } else if (place_ == Place::header) {
      place_ = Place::tensor;
      entry_ = Entry{key_, {}, {}, 0, 0};
      offsets_.clear();
      seen_.clear();
    } else {
      value("an object");
    }
    return true;
  }
  bool end_object() override {
    if (place_ == Place::skipped) return unskip();
    if (place_ == Place::tensor) finish_tensor();
    place_ = place_ == Place::header ? Place::outside : Place::header;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ == Place::skipped || is_unknown_field()) return skip();
    if (place_ == Place::tensor && field_ == "shape")
      place_ = Place::shape;
    else if (place_ == Place::tensor && field_ == "data_offsets")
      place_ = Place::offsets;
    else
      value("an array");
    return true;
  }
  bool end_array() override {
    if (place_ == Place::skipped) return unskip();
    place_ = Place::tensor;
    return true;
  }
  bool key(string_t& name) override {
    if (place_ == Place::skipped) return true;
    const bool in_header = place_ == Place::header;
    auto& known = in_header ? names_ : seen_;
    (in_header ? key_ : field_) = name;
    if (!known.insert(name).second)
      refuse(in_header ? key_ : key_ + "." + field_, "expected each ", in_header ? "tensor" : "key",
             " once, got it twice");
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) override {
    refuse("header", "expected a JSON object, got at byte ", position, ": ", json_problem(error.what()));
  }

 private:
  enum class Place { outside, header, metadata, tensor, shape, offsets, skipped };

  template <class... Parts>
  [[noreturn]] void refuse(const std::string& what, const Parts&... parts) const {
    throw Error(kRoom, where_, ": ", what.substr(0, 200), ": ", parts..., "; the file is damaged or not safetensors");
  }

  // Fields of a tensor that are not known may hold anything.
  bool is_unknown_field() const {
    return place_ == Place::tensor && field_ != "dtype" && field_ != "shape" && field_ != "data_offsets";
  }
  bool skip() {
    place_ = Place::skipped;
    ++skipped_;
    return true;
  }
  bool unskip() {
    if (--skipped_ == 0) place_ = Place::tensor;
    return true;
  }

  bool value(const char* kind, const std::string* text = nullptr, std::optional<std::uint64_t> number = {}) {
    switch (place_) {
      case Place::outside:
        refuse("header", "expected a JSON object, got ", kind);
      case Place::header:
        refuse(key_, "expected an object ",
               key_ == "__metadata__" ? "of strings" : "with dtype, shape and data_offsets", ", got ", kind);
      case Place::metadata:
        if (text == nullptr) refuse("__metadata__", "expected strings, got ", kind, " for ", field_.substr(0, 200));
        header.metadata[field_] = *text;
        break;
      case Place::tensor:
        if (field_ == "dtype") read_dtype(text != nullptr ? *text : kind);
        if (field_ == "shape") refuse(key_, "expected a shape of numbers >= 0, got ", kind);
        if (field_ == "data_offsets") refuse(key_, "expected two data_offsets >= 0, got ", kind);
        break;
      case Place::shape: {
        constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
        if (!number) refuse(key_, "expected a shape of numbers >= 0, got ", kind);
        if (*number > kMost) refuse(key_, "expected a shape that fits 63 bits, got ", *number);
        if (entry_.shape.size() == kMaxDimensions) refuse(key_, "expected a shape of up to 64 lengths, got more");
        entry_.shape.push_back(static_cast<std::int64_t>(*number));
        break;
      }
      case Place::offsets:
        if (!number || offsets_.size() == 2)
          refuse(key_, "expected two data_offsets >= 0, got ", number ? "more" : kind);
        offsets_.push_back(*number);
        break;
      case Place::skipped:
        break;
    }
    return true;
  }

  void read_dtype(const std::string& name) {
    std::string known;
    for (const auto& dtype : kSafetensorsDtypes) {
      if (name == dtype.name) return void(entry_.dtype = dtype);
      known += (known.empty() ? "" : ", ") + std::string(dtype.name);
    }
    throw Error(kRoom, where_, ": ", key_.substr(0, 200), ": expected a dtype of ", known, ", got ",
                name.substr(0, 40));
  }

  void finish_tensor() {
    if (!seen_.contains("dtype") || !seen_.contains("shape") || !seen_.contains("data_offsets"))
      refuse(key_, "expected an object with dtype, shape and data_offsets");
    if (offsets_.size() != 2) refuse(key_, "expected two data_offsets >= 0, got ", offsets_.size());
    entry_.begin = offsets_[0], entry_.end = offsets_[1];
    if (entry_.begin > entry_.end || entry_.end > data_size_)
      refuse(key_, "expected data_offsets that rise within ", data_size_, " bytes of data, got [", entry_.begin, ',',
             entry_.end, ']');
    // `extent` counts a length of 0 as 1: strides must fit.
    std::uint64_t bytes = entry_.dtype.size, extent = bytes;
    for (const std::int64_t length : entry_.shape) {
      const std::uint64_t at_least_1 = std::max<std::int64_t>(length, 1);
      if (at_least_1 > std::numeric_limits<std::int64_t>::max() / extent)
        refuse(key_, "expected a shape that fits 63 bits, got ", shown(entry_.shape));
      bytes *= static_cast<std::uint64_t>(length), extent *= at_least_1;
    }
    if (bytes != entry_.end - entry_.begin)
      refuse(key_, "expected ", bytes, " bytes for ", entry_.dtype.name, ' ', shown(entry_.shape),
             ", got data_offsets [", entry_.begin, ',', entry_.end, ']');
    header.entries.push_back(std::move(entry_));
  }

  // The format asks that every byte of the data belongs to exactly one tensor.
  void check_cover() const {
    std::vector<const Entry*> by_place;
    for (const Entry& entry : header.entries) by_place.push_back(&entry);
    std::sort(by_place.begin(), by_place.end(),
              [](const Entry* a, const Entry* b) { return std::pair(a->begin, a->end) < std::pair(b->begin, b->end); });
    std::uint64_t reached = 0;
    for (const Entry* entry : by_place) {
      if (entry->begin != reached)
        refuse(entry->name, entry->begin < reached ? "overlaps another tensor" : "leaves a hole",
               "; expected to begin at byte ", reached, ", got ", entry->begin);
      reached = entry->end;
    }
    if (reached != data_size_) refuse("data", "expected ", reached, " bytes, got ", data_size_);
  }

  const std::string& where_;
  std::uint64_t data_size_;
  Place place_ = Place::outside;
  int skipped_ = 0;                     // open arrays and objects of an unknown field
  std::string key_, field_;             // of the header; of a tensor or the metadata
  std::set<std::string> names_, seen_;  // (a hash could be made to collide)
  Entry entry_{};
  std::vector<std::uint64_t> offsets_;
};

}  // namespace

SafetensorsHeader read_safetensors_header(std::string_view file, const std::string& where) {
  std::uint64_t length = 0;
  if (file.size() < sizeof length)
    throw Error(kRoom, where, ": expected 8 bytes of header length, got ", file.size(), "; the file was cut short");
  std::memcpy(&length, file.data(), sizeof length);
  const std::uint64_t most = std::min<std::uint64_t>(file.size() - sizeof length, kMaxHeader);
  if (length > most)
    throw Error(kRoom, where, ": expected a header of at most ", most, " bytes, got ", length,
                "; the file was cut short or is not safetensors");
  HeaderReader reader(where, file.size() - sizeof length - length);
  reader.read(file.substr(sizeof length, length));
  reader.header.data_begin = sizeof length + length;
  return std::move(reader.header);
}

}  // namespace grpo

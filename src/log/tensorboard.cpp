#include "grpo/tensorboard.h"

#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/files/append_file.h"
#include "grpo/error.h"
#include "log/crc32c.h"
#include "text/utf8.h"

namespace grpo {
namespace {

// --- protobuf: a field is a key, (number << 3 | wire type), and its value ------------------------------------------

void put_fixed(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

enum class Wire : uint64_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

void put_key(std::string& out, uint64_t number, Wire wire) {
  put_varint(out, number << 3 | static_cast<uint64_t>(wire));
}

void put_bytes(std::string& out, uint64_t number, std::string_view value) {
  put_key(out, number, Wire::bytes);
  put_varint(out, value.size());
  out += value;
}

// message Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
std::string begin_event(double wall_time) {
  std::string event;
  put_key(event, 1, Wire::fixed64);
  put_fixed(event, std::bit_cast<uint64_t>(wall_time), 8);
  return event;
}

// message Summary { message Value { string tag = 1; float simple_value = 2; }  repeated Value value = 1; }
void put_scalar(std::string& summary, std::string_view tag, float value) {
  std::string message;
  put_bytes(message, 1, tag);
  put_key(message, 2, Wire::fixed32);
  put_fixed(message, std::bit_cast<uint32_t>(value), 4);
  put_bytes(summary, 1, message);
}

// A protobuf string has to be UTF-8: readers give up on the whole file otherwise.
std::string mend_utf8(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = decode_utf8(text, at);
    out += point.value == kBrokenUtf8 ? "\uFFFD" : text.substr(at, point.size);
    at += point.size;
  }
  return out;
}

// --- TFRecord: length, its checksum, the data, its checksum ---------------------------------------------------------

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

constexpr std::size_t kHead = 12, kTail = 4;

std::string record(std::string_view data) {
  std::string out;
  put_fixed(out, data.size(), 8);
  put_fixed(out, masked_crc32c(out), 4);
  out += data;
  put_fixed(out, masked_crc32c(data), 4);
  return out;
}

// Steps from record to record: is one of them the last before the offset?
bool ends_record(const AppendFile& file) {
  uint64_t at = 0;
  while (file.offset() - at >= kHead + kTail) {
    std::string head(kHead, '\0');
    file.read(at, head.data(), kHead);
    uint64_t size = 0;
    for (int i = 7; i >= 0; --i) size = size << 8 | static_cast<unsigned char>(head[i]);
    std::string expected;
    put_fixed(expected, masked_crc32c(std::string_view(head).substr(0, 8)), 4);
    if (!head.ends_with(expected) || size > file.offset() - at - kHead - kTail) return false;
    at += kHead + size + kTail;
  }
  return at == file.offset();
}

}  // namespace

EventWriter::EventWriter(std::filesystem::path path, std::optional<uint64_t> resume_offset)
    : file_(std::make_unique<AppendFile>(std::move(path), resume_offset.value_or(0))) {
  if (!ends_record(*file_)) {
    throw Error("metrics", file_->path().string(), ": expected a record to end at byte ", offset(),
                ", got none; the file is not the one that the checkpoint knows");
  }
  file_->cut();
  if (offset() > 0) return;
  std::string event = begin_event(now());
  put_bytes(event, 3, "brain.Event:2");
  file_->write(record(event));
}

EventWriter::~EventWriter() = default;

void EventWriter::write(int64_t step, double wall_time, const std::vector<std::pair<std::string, double>>& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    if (std::fabs(value) <= std::numeric_limits<float>::max())
      put_scalar(summary, mend_utf8(tag), static_cast<float>(value));
  }
  if (summary.empty()) return;
  std::string event = begin_event(wall_time);
  put_key(event, 2, Wire::varint);
  put_varint(event, static_cast<uint64_t>(step));
  put_bytes(event, 5, summary);
  file_->write(record(event));
}

void EventWriter::write(const nlohmann::ordered_json& line) {
  std::vector<std::pair<std::string, double>> scalars;
  for (const auto& [name, value] : line.items())
    if (value.is_number() && name != "step") scalars.emplace_back(name, value.get<double>());
  write(line.at("step").get<int64_t>(), now(), scalars);
}

uint64_t EventWriter::offset() const { return file_->offset(); }

void EventWriter::sync() { file_->sync(); }

}  // namespace grpo

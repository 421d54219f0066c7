#include "grpo/metrics.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/files/append_file.h"
#include "grpo/error.h"

namespace grpo {
namespace {

std::string fixed(double value, int decimals) {
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

// Two decimals for rates and rewards, one for lengths, none for what is large; scientific for what would show as 0.
std::string format_value(double value) {
  if (!std::isfinite(value)) return "–";
  const double size = std::fabs(value);
  if (size > 0.0 && size < 0.005) {
    char text[32];
    if (size >= 0.0005)
      std::snprintf(text, sizeof text, "%.3f", value);
    else
      std::snprintf(text, sizeof text, "%.0e", value);
    return text;
  }
  if (size >= 1e9) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2e", value);
    return text;
  }
  return fixed(value, size < 9.995 ? 2 : size < 999.95 ? 1 : 0);
}

// Columns on a terminal of text whose characters are one column wide: its code points.
std::size_t width(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::string pad_left(const std::string& text, std::size_t columns) {
  return std::string(columns - std::min(columns, width(text)), ' ') + text;
}

std::string pad_right(const std::string& text, std::size_t columns) {
  return text + std::string(columns - std::min(columns, width(text)), ' ');
}

std::string count_of(const StepLine& line) {
  const std::string total = std::to_string(line.total);
  return pad_left(std::to_string(line.step), total.size()) + "/" + total;
}

}  // namespace

JsonlWriter::JsonlWriter(std::filesystem::path path, std::optional<uint64_t> resume_offset)
    : file_(std::make_unique<AppendFile>(std::move(path), resume_offset.value_or(0))) {
  char last = '\n';
  if (offset() > 0) file_->read(offset() - 1, &last, 1);
  if (last != '\n') {
    throw Error("metrics", file_->path().string(), ": expected a line to end at byte ", offset(),
                ", got the middle of one; the file is not the one that the checkpoint knows");
  }
  file_->cut();
}

JsonlWriter::~JsonlWriter() = default;

void JsonlWriter::write(const nlohmann::ordered_json& object) {
  file_->write(object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

uint64_t JsonlWriter::offset() const { return file_->offset(); }

void JsonlWriter::sync() { file_->sync(); }

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0.0) return "–";
  const auto whole = static_cast<long long>(std::llround(std::min(seconds, 1e15)));
  char text[64];
  if (whole < 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  }
  return text;
}

std::string format_line(const StepLine& line) {
  std::string text = line.label + " " + count_of(line);
  for (const auto& [name, value] : line.values) text += "  " + name + " " + format_value(value);
  if (line.seconds) {
    text += "  │ " + fixed(*line.seconds, 1) + " s";
    for (std::size_t i = 0; i < line.phases.size(); ++i) {
      text += (i == 0 ? " (" : " ") + line.phases[i].first + " " + fixed(line.phases[i].second, 1);
    }
    if (!line.phases.empty()) text += ")";
  }
  if (line.eta) text += "  eta " + format_duration(*line.eta);
  return text;
}

std::string format_bar(const StepLine& line, std::size_t columns) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  constexpr std::size_t kCells = 20;
  const bool is_full = line.step >= line.total;
  const double share = is_full ? 1.0 : static_cast<double>(line.step) / static_cast<double>(line.total);
  const auto eighths = static_cast<std::size_t>(std::max(share, 0.0) * kCells * 8);
  std::string bar;
  for (std::size_t i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kEighths[eighths % 8];

  std::string text = pad_right(line.label, 7) + "  " + pad_right(bar, kCells) + " " + count_of(line);
  std::string end;
  if (is_full) {
    end = "  " + format_duration(line.elapsed);
  } else if (line.eta) {
    end = "  eta " + format_duration(*line.eta);
  }
  for (const auto& [name, value] : line.values) {
    const std::string next = "  " + name + " " + format_value(value);
    if (width(text) + width(next) + width(end) > columns) break;
    text += next;
  }
  if (width(text) + width(end) <= columns) return text + end;
  std::string cut;  // a terminal too narrow for even that: keep whole characters
  for (const char c : text) {
    const bool begins_character = (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    if (begins_character && width(cut) == columns) break;
    cut += c;
  }
  return cut;
}

void Eta::add(double step_seconds) {
  constexpr double kKeep = 0.9;  // about the last ten steps
  weighted_sum_ = kKeep * weighted_sum_ + (1.0 - kKeep) * step_seconds;
  weight_ = kKeep * weight_ + (1.0 - kKeep);
}

std::optional<double> Eta::remaining(int64_t steps) const {
  if (weight_ == 0.0) return std::nullopt;
  return weighted_sum_ / weight_ * static_cast<double>(steps);
}

std::string format_table(const Table& table) {
  std::size_t name_width = width(table.title);
  for (const Table::Row& row : table.rows) name_width = std::max(name_width, width(row.name));
  std::vector<std::size_t> widths;
  for (const std::string& column : table.columns) widths.push_back(std::max<std::size_t>(width(column), 7));

  std::string text = pad_right(table.title, name_width);
  for (std::size_t i = 0; i < widths.size(); ++i) text += " " + pad_left(table.columns[i], widths[i]);
  for (const Table::Row& row : table.rows) {
    text += "\n" + pad_right(row.name, name_width);
    for (std::size_t i = 0; i < widths.size() && i < row.values.size(); ++i) {
      text += " " + pad_left(std::isfinite(row.values[i]) ? fixed(row.values[i], 3) : "–", widths[i]);
    }
    if (!row.note.empty()) text += "     ← " + row.note;
  }
  return text;
}

double peak_rss_bytes() {
  // VmHWM rather than getrusage: the latter begins with the peak of the process that started this one.
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtod(line.c_str() + 6, nullptr) * 1024.0;
  }
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0;
}

}  // namespace grpo

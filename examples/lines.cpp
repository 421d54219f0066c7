#include "lines.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <limits>
#include <system_error>
#include <utility>

#include "grpo/json.h"
#include "grpo/stop.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

// The beginning of a text that may be long, for messages.
std::string cut(std::string_view text) {
  std::size_t end = std::min<std::size_t>(text.size(), 80);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end));
}

struct stat status_of(const fs::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) status.st_mode = 0;
  return status;
}

bool is_standard(const std::string& file) { return file == "-"; }

}  // namespace

void Line::refuse(const char* key, std::string_view expected) const {
  throw grpo::Error("line", where, ": expected \"", key, "\" to be ", expected, ", got ",
                    has(key) ? cut(json.at(key).dump(-1, ' ', false, Json::error_handler_t::replace)) : "none");
}

std::vector<int32_t> Line::ids(const char* key) const {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  std::vector<int32_t> ids;
  if (!has(key) || !json.at(key).is_array()) refuse(key, "a list of token ids");
  for (const Json& each : json.at(key)) {
    if (!each.is_number_integer() || (each.is_number_unsigned() && each.get<uint64_t>() > uint64_t{kMost}) ||
        each.get<int64_t>() < -kMost)
      refuse(key, "a list of token ids");
    ids.push_back(each.get<int32_t>());
  }
  return ids;
}

std::vector<int32_t> Line::tokens(const std::string& key,
                                  const std::function<const grpo::Tokenizer&()>& tokenizer) const {
  if (has((key + "_ids").c_str())) return get<std::vector<int32_t>>((key + "_ids").c_str());
  return tokenizer().encode(get<std::string>(key.c_str()));
}

std::string Line::with(const Json& members, std::initializer_list<std::string_view> without) const {
  std::vector<std::string_view> names(without);
  for (const auto& [name, value] : members.items()) names.push_back(name);
  const std::string written = members.dump(-1, ' ', false, Json::error_handler_t::replace);
  return with_written(std::string_view(written).substr(1, written.size() - 2), names);
}

std::string Line::with_written(std::string_view members, std::span<const std::string_view> without) const {
  const auto goes = [&](const auto& name) { return std::find(without.begin(), without.end(), name) != without.end(); };
  const std::size_t begin = text.find('{') + 1;  // an object, which was parsed
  const bool stays =  // all of it, as of most lines
      std::none_of(without.begin(), without.end(), [&](const auto& name) { return json.contains(name); });
  std::string line = stays && !json.empty() ? text.substr(0, text.rfind('}')) : text.substr(0, begin);
  // Else it goes over the members, from one comma of the outermost level to the next.
  bool in_string = false, in_value = false;
  int depth = 0;
  std::string_view key;
  for (std::size_t at = begin, first = begin, quote = 0; !stays && depth >= 0; ++at) {
    const char c = text[at];
    if (in_string) {
      at += c == '\\';
      in_string = c != '"';
      if (c == '"' && !in_value) key = std::string_view(text).substr(quote, at + 1 - quote);
      continue;
    }
    in_string = c == '"';
    if (in_string) quote = at;
    in_value |= c == ':';
    depth += c == '{' || c == '[';
    depth -= c == '}' || c == ']';
    if (depth > 0 || (c != ',' && depth == 0)) continue;
    if (!key.empty() && !goes(Json::parse(key).get<std::string>()))
      line.append(line.size() > begin ? "," : "").append(text, first, at - first);
    first = at + 1, in_value = false, key = {};
  }
  if (!members.empty()) line.append(line.size() > begin ? "," : "").append(members);
  return line += "}\n";
}

Line parse_line(std::string_view text, const std::string& where) {
  grpo::JsonFault fault;
  Json json = grpo::read_json<Json>(text, grpo::LongNumbers::as_text, &fault);
  if (json.is_discarded()) throw grpo::Error("line", where, ": expected a JSON object, got ", fault.problem);
  if (!json.is_object()) throw grpo::Error("line", where, ": expected a JSON object, got ", cut(text));
  return {std::move(json), where, std::string(text)};
}

LineReader::LineReader(const std::string& file) : file_(file), in_(is_standard(file) ? std::cin : opened_) {
  if (is_standard(file)) {
    std::ios::sync_with_stdio(false);  // so that it has a buffer of its own
    return;
  }
  if (S_ISDIR(status_of(file).st_mode)) throw grpo::Error("line", file, ": expected a JSONL file, got a folder");
  opened_.open(file, std::ios::binary);
  if (!opened_)
    throw grpo::Error("line", file, ": expected a JSONL file, got ",
                      errno == ENOENT ? "no such file; check the path" : std::strerror(errno));
}

bool LineReader::next(std::string& text, std::string& where) {
  while (std::getline(in_, text)) {
    ++number_;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    where = file_ + ':' + std::to_string(number_);
    is_empty_ = false;
    return true;
  }
  if (in_.bad()) throw grpo::Error("line", file_, ": could not read on behind line ", number_);
  if (is_empty_) throw grpo::Error("line", file_, ": expected at least one line, got an empty file");
  return false;
}

std::vector<Line> read_lines(const std::string& file, grpo::LeftOut* left_out) {
  LineReader reader(file);
  std::vector<Line> lines;
  for (std::string text, where; reader.next(text, where);) try {
      if (left_out) ++left_out->of;
      lines.push_back(parse_line(text, where));
    } catch (const grpo::Error& error) {
      if (!left_out) throw;
      left_out->add(error);
    }
  if (lines.empty())
    throw grpo::Error("line", "expected at least one JSON object, got none; ", left_out->text("lines"));
  return lines;
}

LineWriter::LineWriter(const std::string& name, std::initializer_list<std::string> inputs, std::string_view part)
    : file_(is_standard(name) ? "/dev/stdout" : name) {
  const std::string file = file_;
  const struct stat there = status_of(file_);
  if (S_ISDIR(there.st_mode))
    throw grpo::Error("line", file, ": expected a file to write to, got a folder; name a file in it");
  const auto is_there = [&](const fs::path& input, const fs::path& output) {
    const struct stat in = status_of(input), out = status_of(output);
    return S_ISREG(in.st_mode) && S_ISREG(out.st_mode) && in.st_dev == out.st_dev && in.st_ino == out.st_ino;
  };
  // A descriptor of this process goes on where it stands, be it a file: `>>` appends.
  const bool inherited = file.starts_with("/dev/fd/") || file.starts_with("/proc/") || file == "/dev/stdout" ||
                         file == "/dev/stderr";
  if (!inherited && (there.st_mode == 0 || S_ISREG(there.st_mode))) {
    if (there.st_mode != 0) file_ = fs::canonical(file_);  // a link stays one
    part_ = file_.string().append(part);
  }
  for (const std::string& input : inputs)
    for (const fs::path& output : {file_, part_})
      if (is_there(is_standard(input) ? "/dev/stdin" : input, output))
        throw grpo::Error("line", "expected an output that is none of the inputs, got ", output.string(),
                          ", which is also ", input, "; name another file");
  if (file == "/dev/stdout" || file == "/dev/stderr")
    descriptor_ = ::fcntl(file == "/dev/stdout" ? 1 : 2, F_DUPFD_CLOEXEC, 3);
  else
    descriptor_ = ::open(part_.empty() ? file_.c_str() : part_.c_str(),
                         O_WRONLY | O_CREAT | O_CLOEXEC | (part_.empty() ? O_APPEND : O_TRUNC), 0666);
  if (descriptor_ < 0) fail("create");
  if (!part_.empty() && there.st_mode != 0) (void)::fchmod(descriptor_, there.st_mode & 07777);
}

LineWriter::~LineWriter() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (part_.empty()) return;
  std::error_code ignored;
  if (bytes_ == 0)
    fs::remove(part_, ignored);
  else
    std::cerr << "\nwhat was written until then is in " << part_.string() << std::endl;
}

void LineWriter::fail(const char* action) const {
  const int code = errno;
  throw grpo::Error("line", file_.string(), ": cannot ", action,
                    " this file: ", code == ENOENT ? "its folder is not there" : std::strerror(code));
}

void LineWriter::write_lines(std::string_view lines) {
  while (!lines.empty()) {
    const ssize_t written = ::write(descriptor_, lines.data(), lines.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EPIPE) throw grpo::ReaderGone();
    if (written < 0) fail("write");
    lines.remove_prefix(static_cast<std::size_t>(written));
    bytes_ += static_cast<std::size_t>(written);
  }
}

void LineWriter::write(const Json& line) {
  write_lines(line.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n');
}

void LineWriter::finish() {
  if (!part_.empty() && ::fsync(descriptor_) != 0) fail("flush");
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("close");
  if (part_.empty()) return;
  std::error_code error;
  fs::rename(part_, file_, error);
  if (error)
    throw grpo::Error("line", file_.string(), ": could not give ", part_.string(), " this name: ", error.message());
}

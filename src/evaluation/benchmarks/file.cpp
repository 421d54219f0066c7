#include "evaluation/benchmarks/file.h"

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "grpo/error.h"
#include "grpo/json.h"
#include "text/ascii.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == line.npos; }

/// The lines of a file that may be packed: zlib hands on what is not as it is.
class Lines {
 public:
  explicit Lines(const fs::path& path) : path_(path), file_(open(path), ::gzclose) {
    if (!file_)
      throw Error("benchmark", path.string(), ": expected a file of JSON, JSONL, CSV or TSV, got ",
                  fs::exists(path) ? "something else than a file" : "no such file");
    ::gzbuffer(file_.get(), 1 << 18);
  }

  /// The next line without its end; false behind the last.
  bool next(std::string& line) {
    line.clear();
    while (true) {
      const auto end = std::find(at_, end_, '\n');
      line.append(at_, end);
      const bool whole = end != end_;
      at_ = whole ? end + 1 : end;
      if (whole || !fill()) {
        if (!whole && line.empty()) return false;
        if (number_++ == 0 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);  // a byte order mark
        return true;
      }
    }
  }
  std::size_t number() const { return number_; }  ///< of the line that next() gave last, counted from 1
  std::string where() const { return path_.string() + ":" + std::to_string(number_); }
  const fs::path& path() const { return path_; }

 private:
  static gzFile open(const fs::path& path) {  // (a pipe may have no writer)
    return fs::is_regular_file(path) ? ::gzopen(path.c_str(), "rb") : nullptr;
  }

  bool fill() {
    const int count = ::gzread(file_.get(), buffer_.data(), static_cast<unsigned>(buffer_.size()));
    int code = Z_OK;
    const char* problem = ::gzerror(file_.get(), &code);
    if (count < 0 || code == Z_BUF_ERROR)  // the latter: it ends in the middle of what was packed
      throw Error("benchmark", path_.string(), ": expected a whole file, got ", problem, " behind line ", number_);
    at_ = buffer_.data();
    end_ = at_ + count;
    return count > 0;
  }

  fs::path path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
  std::vector<char> buffer_ = std::vector<char>(1 << 16);
  const char *at_ = nullptr, *end_ = nullptr;
  std::size_t number_ = 0;
};

// ---- Tables ---------------------------------------------------------------------------------------------------------

/// The fields of the next row, which may go on over line ends in quotes; nothing behind the last.
std::optional<std::vector<std::string>> next_row(Lines& lines, char separator, std::string& where) {
  std::string line;
  do {
    if (!lines.next(line)) return {};
  } while (is_blank(line));
  where = lines.where();
  std::vector<std::string> fields(1);
  bool quoted = false, closed = false;  // the field began with a quote, whose other one came, too
  for (std::size_t at = 0;; ++at) {
    if (at == line.size()) {
      if (!quoted || closed) break;
      if (!lines.next(line))
        throw Error("benchmark", where, ": expected a closing quote, got the end of the file in field ", fields.size(),
                    " of the row that begins here");
      fields.back() += '\n';
      at = static_cast<std::size_t>(-1);
      continue;
    }
    const char c = line[at];
    if (quoted && !closed) {
      if (c != '"')
        fields.back() += c;
      else if (at + 1 < line.size() && line[at + 1] == '"')
        fields.back() += line[++at];
      else
        closed = true;
    } else if (c == separator) {
      fields.emplace_back();
      quoted = closed = false;
    } else if (c == '"' && fields.back().empty() && !quoted) {
      quoted = true;
    } else if (c == '\r' && at + 1 == line.size()) {
      break;
    } else if (closed) {
      throw Error("benchmark", lines.where(), ": expected a separator behind the closing quote of field ",
                  fields.size(), ", got ", line.substr(at, 20));
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

/// Whether a file's first line has the names of its columns, where they may be missing.
bool has_names(const std::vector<std::string>& first, std::span<const std::string_view> columns) {
  const auto same = [](std::string_view a, std::string_view b) { return lowered(a) == lowered(b); };
  return first.size() != columns.size() || std::is_permutation(first.begin(), first.end(), columns.begin(), same);
}

void read_table(Lines& lines, char separator, std::span<const std::string_view> columns, const OnRecord& take) {
  std::string where;
  auto fields = next_row(lines, separator, where);
  if (!fields) return;
  const bool named = has_names(*fields, columns);
  const auto names = named ? std::exchange(fields, next_row(lines, separator, where))
                           : std::optional(std::vector<std::string>(columns.begin(), columns.end()));
  for (; fields; fields = next_row(lines, separator, where)) {
    if (fields->size() != names->size())
      throw Error("benchmark", where, ": expected ", names->size(), " fields as in the first line, got ",
                  fields->size());
    Json record = Json::object();
    for (std::size_t i = 0; i < names->size(); ++i)
      if (!(*names)[i].empty()) record[(*names)[i]] = std::move((*fields)[i]);
    take(record, where);
  }
}

// ---- JSON -----------------------------------------------------------------------------------------------------------

[[noreturn]] void refuse_json(const std::string& where, const JsonFault& fault) {
  throw Error("benchmark", where, ": expected JSON, got ", fault.problem);
}

void take_members(Json& list, const fs::path& path, const OnRecord& take) {
  for (std::size_t i = 0; i < list.size(); ++i) take(list[i], path.string() + "[" + std::to_string(i) + "]");
}

/// One value over all lines, of which `line` is the first that is not blank and no value itself.
void read_value(Lines& lines, const std::string& line, const OnRecord& take) {
  const std::size_t first = lines.number();
  const std::string where = lines.where();
  std::string text = line;
  for (std::string more; lines.next(more);) (text += '\n') += more;
  JsonFault fault;
  Json value = read_json<Json>(text, LongNumbers::as_text, &fault);
  if (value.is_discarded()) {
    // Was it one value, or a broken line? A line of JSONL that breaks off has more than a brace.
    const bool one = line.find_first_not_of(" \t\r{") == line.npos || line.find_first_not_of(" \t") == line.find('[');
    if (JsonFault of_line; !one && read_json<Json>(line, LongNumbers::as_text, &of_line).is_discarded())
      refuse_json(where, of_line);
    const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(fault.byte, text.size()));
    const auto below = static_cast<std::size_t>(std::count(text.begin(), end, '\n'));
    refuse_json(lines.path().string() + ":" + std::to_string(first + below), fault);
  }
  if (value.is_array()) return take_members(value, lines.path(), take);
  take(value, where);
}

void read_lines(Lines& lines, const OnRecord& take) {
  std::string line;
  for (bool first = true; lines.next(line);) {
    if (is_blank(line)) continue;
    const std::string where = lines.where();
    JsonFault fault;
    Json value = read_json<Json>(line, LongNumbers::as_text, &fault);
    if (first && value.is_discarded()) return read_value(lines, line, take);
    if (value.is_discarded()) refuse_json(where, fault);
    if (first && value.is_array()) {
      while (lines.next(line))
        if (!is_blank(line))
          throw Error("benchmark", where, ": expected an object on each line, or one list alone, got a list and more");
      return take_members(value, lines.path(), take);
    }
    first = false;
    take(value, where);
  }
}

/// The ending that tells the form, ".gz" aside.
std::string form_of(const fs::path& path) {
  return (path.extension() == ".gz" ? path.stem() : path).extension().string();
}

/// Forms that owners publish beside those that are read here.
bool is_packed(std::string_view form) {
  return form == ".parquet" || form == ".arrow" || form == ".zip" || form == ".tar" || form == ".tgz";
}

[[noreturn]] void refuse_packed(const fs::path& path) {
  const std::string form = form_of(path);
  const bool table = form == ".parquet" || form == ".arrow";
  throw Error("benchmark", path.string(), ": expected JSON, JSONL, CSV or TSV, got ", form, "; ",
              table ? "write it as JSONL, as Python does with pandas.read_parquet(FILE).to_json(\"NAME.jsonl\", "
                      "orient=\"records\", lines=True)"
                    : "unpack it, into a folder if it holds several files");
}

// ---- Packed texts ---------------------------------------------------------------------------------------------------

std::string decode_base64(std::string_view text, const std::string& where) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == kDigits.npos) throw Error("benchmark", where, ": expected JSON or base64, got something else");
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if ((held += 6) >= 8) bytes += static_cast<char>(bits >> (held -= 8) & 0xFF);
  }
  return bytes;
}

std::string inflate(const std::string& packed, const std::string& where) {
  constexpr std::size_t kMost = std::size_t{1} << 30;
  z_stream stream{};
  if (::inflateInit(&stream) != Z_OK) throw Error("benchmark", where, ": zlib cannot begin");
  const std::unique_ptr<z_stream, int (*)(z_streamp)> end(&stream, ::inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string text;
  std::vector<char> part(1 << 16);
  for (int code = Z_OK; code != Z_STREAM_END;) {
    stream.next_out = reinterpret_cast<Bytef*>(part.data());
    stream.avail_out = static_cast<uInt>(part.size());
    code = ::inflate(&stream, Z_NO_FLUSH);
    if ((code != Z_OK && code != Z_STREAM_END) || text.size() > kMost)
      throw Error("benchmark", where, ": expected data packed by zlib, up to 1 GiB of it, got ",
                  text.size() > kMost ? "more"
                  : stream.msg        ? stream.msg
                                      : "what ends too soon");
    text.append(part.data(), part.size() - stream.avail_out);
  }
  return text;
}

/// The text in a pickle that makes one str and nothing else, of protocol 2 or later. The names of its operations are
/// those of CPython's pickletools.
std::string unpickle_text(std::string_view pickle, const std::string& where) {
  const auto refuse = [&](std::string_view got) {
    throw Error("benchmark", where, ": expected a pickle of one text, which is all that is read of one, got ", got);
  };
  std::size_t at = 0;
  const auto take = [&](std::size_t count) {
    if (pickle.size() - at < count) refuse("what ends too soon");
    at += count;
    return pickle.substr(at - count, count);
  };
  const auto number = [&](std::size_t bytes) {  // little-endian
    std::size_t value = 0, place = 0;
    for (const char c : take(bytes)) value |= std::size_t{static_cast<unsigned char>(c)} << (8 * place++);
    return value;
  };
  std::optional<std::string> text;
  const auto set = [&](std::size_t size) {
    if (text) refuse("several values");
    text = take(size);
  };
  while (true) {
    switch (static_cast<unsigned char>(take(1)[0])) {
      // PROTO and BINPUT, LONG_BINPUT, FRAME, MEMOIZE: nothing of theirs matters here.
      case 0x80:
      case 'q':
        take(1);
        break;
      case 'r':
        take(4);
        break;
      case 0x95:
        take(8);
        break;
      case 0x94:
        break;
      // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8: a text behind its size.
      case 0x8C:
        set(number(1));
        break;
      case 'X':
        set(number(4));
        break;
      case 0x8D:
        set(number(8));
        break;
      case '.':  // STOP
        if (!text) refuse("nothing");
        return *text;
      default:
        refuse("something else");
    }
  }
}

}  // namespace

void read_records(const fs::path& path, const OnRecord& take, std::span<const std::string_view> columns) {
  if (fs::is_directory(path)) {
    std::vector<fs::path> files;
    std::optional<fs::path> packed;
    for (const auto& each : fs::recursive_directory_iterator(path)) {
      const std::string form = form_of(each.path());
      if (each.is_regular_file() && (form == ".jsonl" || form == ".json" || form == ".csv" || form == ".tsv"))
        files.push_back(each.path());
      if (is_packed(form)) packed = each.path();
    }
    if (files.empty() && packed) refuse_packed(*packed);
    std::sort(files.begin(), files.end());
    for (const fs::path& each : files) read_records(each, take, columns);
    return;
  }
  const std::string form = form_of(path);
  if (is_packed(form) && fs::exists(path)) refuse_packed(path);
  Lines lines(path);
  if (form == ".csv" || form == ".tsv") return read_table(lines, form == ".csv" ? ',' : '\t', columns, take);
  read_lines(lines, take);
}

std::vector<Json> read_records(const fs::path& path) {
  std::vector<Json> records;
  read_records(path, [&](Json& record, const std::string&) { records.push_back(std::move(record)); });
  return records;
}

std::string unpack_text(std::string_view base64, const std::string& where) {
  return unpickle_text(inflate(decode_base64(base64, where), where), where);
}

}  // namespace grpo

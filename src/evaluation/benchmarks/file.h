// The files of benchmarks, in the forms that their owners publish them in.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grpo {

/// Told of each record and of where it stands: "FILE:LINE" or, in a JSON list, "FILE[PLACE]".
using OnRecord = std::function<void(nlohmann::json& record, const std::string& where)>;

/// The records of a file, in their order:
///   .csv, .tsv   rows under a line of names (RFC 4180: quotes, "" in them, line ends in them); fields are texts, and a
///                column without a name is left out. `columns` are the names in files that their owner gives no such
///                line: then a first line of as many fields, but of other words in whatever order and case, is a record
///   others       JSON values, one a line; or one JSON value over several lines, of which a list is its members. A list
///                that is alone on the only line is its members, too
/// Each may be packed by gzip, its name then ending in .gz. A folder is all such files in it and below, by name. Throws
/// Error "[benchmark] FILE:LINE: expected …, got …" for what is none of these, and "[benchmark] FILE" for no such file.
void read_records(const std::filesystem::path& path, const OnRecord& take,
                  std::span<const std::string_view> columns = {});

/// All of them.
std::vector<nlohmann::json> read_records(const std::filesystem::path& path);

/// LiveCodeBench's way to pack a text: base64 of zlib of Python's pickle of one str. The pickle is read, never run: one
/// that holds anything but one text is refused. Throws Error naming `where`.
std::string unpack_text(std::string_view base64, const std::string& where);

}  // namespace grpo

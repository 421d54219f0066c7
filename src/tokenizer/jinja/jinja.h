// The part of Jinja2 that chat templates are written in, as transformers sets it up: a sandbox in which nothing can be
// changed but namespaces; a block takes the white space before it on its line and the line feed behind it along;
// break and continue; `generation` blocks, raise_exception, strftime_now, and tojson without escapes for HTML.
//
// What Jinja2 or Python has beyond what chat templates use (inheritance, includes, recursive loops, varargs, escape and
// other filters for HTML, many methods, integers past 64 bits) is refused by name and line, as far as possible when the
// template is parsed. Rendering is bounded in time, memory and stack whatever the template. Texts are UTF-8; bytes that
// are not are carried along one by one.
//
// Where Python has generators (map, select and their kind) all is done at once, so that an error in an item shows even
// when nobody reads it, and going through one twice is refused: Python would find nothing the second time.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace grpo {

namespace jinja {
struct Statement;
}

/// A parsed template. Copies share it, and it may be rendered from several threads.
class Jinja {
 public:
  /// Throws Error with `where` (a file's name, say), the line, and what was not understood.
  explicit Jinja(std::string_view source, std::string where = "template");

  /// `variables` is an object. Throws Error, also with the message that the template gives raise_exception.
  std::string render(const nlohmann::ordered_json& variables) const;

 private:
  std::shared_ptr<const std::vector<jinja::Statement>> source_;
  std::string where_;
};

}  // namespace grpo

#include "tokenizer/json/normalizer.h"

#include <utility>

namespace grpo::tokenizer_json {

std::vector<Normalizer> read_normalizers(const Json& json, const std::string& where) {
  std::vector<Normalizer> result;
  for_each_component(json, where, "normalizers", [&](const JsonReader& reader) {
    const std::string& type = reader.string("type");
    constexpr std::pair<const char*, UnicodeForm> kForms[] = {
        {"NFC", UnicodeForm::nfc}, {"NFD", UnicodeForm::nfd}, {"NFKC", UnicodeForm::nfkc}, {"NFKD", UnicodeForm::nfkd}};
    for (const auto& [name, form] : kForms)
      if (type == name) return reader.expect_keys({"type"}), result.emplace_back(form), void();
    if (type == "Prepend") {
      reader.expect_keys({"type", "prepend"});
      result.emplace_back(Prepend{reader.string("prepend")});
    } else if (type == "Replace") {
      reader.expect_keys({"type", "pattern", "content"});
      result.emplace_back(Replace{read_pattern(reader), reader.string("content")});
    } else if (type == "Strip") {
      reader.expect_keys({"type", "strip_left", "strip_right"});
      result.emplace_back(StripSpace{reader.boolean("strip_left"), reader.boolean("strip_right")});
    } else {
      refuse_component(reader.where(), "normalizer", type);
    }
  });
  return result;
}

Stretch normalized(const std::vector<Normalizer>& normalizers, Stretch stretch, std::string& storage) {
  const std::size_t most = most_bytes(stretch.text.size());
  for (const Normalizer& normalizer : normalizers) {
    expect_at_most(stretch.text.size(), most);
    std::visit(Overloaded{
                   [&](UnicodeForm form) { storage = normalize(form, stretch.text), stretch.text = storage; },
                   [&](const Prepend& prepend) {
                     if (stretch.text.empty()) return;
                     storage = prepend.text + std::string(stretch.text);
                     stretch.text = storage;
                   },
                   [&](const Replace& replace) {
                     storage = replaced(stretch.text, replace.pattern, replace.content, most);
                     stretch.text = storage;
                   },
                   [&](const StripSpace& strip) {
                     const std::size_t left = strip.left ? leading_space(stretch.text) : 0;
                     stretch.text.remove_prefix(left);
                     if (left > 0) stretch.at_start = false;
                     if (strip.right) stretch.text.remove_suffix(trailing_space(stretch.text));
                     storage = std::string(stretch.text);
                     stretch.text = storage;
                   },
               },
               normalizer);
  }
  return stretch;
}

}  // namespace grpo::tokenizer_json

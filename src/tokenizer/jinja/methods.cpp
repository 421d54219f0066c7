// The methods of Python's str and dict, and the functions that every template has.
#include <algorithm>
#include <ctime>

#include "text/letter_case.h"
#include "text/python_text.h"
#include "tokenizer/jinja/builtins.h"

namespace grpo::jinja {
using namespace python;

// ---- str ----

Value replaced(Runtime& runtime, std::string_view text, const Bound& arguments) {
  const std::string& old = text_argument(runtime, arguments[0], "what to replace");
  const std::string& with = text_argument(runtime, arguments[1], "what to put in its place");
  std::int64_t count = arguments.says(2) ? integer_argument(runtime, arguments[2], "the count of replace") : -1;
  if (old.empty()) runtime.fail("replace: expected a text to replace that is not empty, got \"\"");
  Builder out(runtime);
  std::size_t at = 0;
  while (count-- != 0) {
    const std::size_t found = find_text(text, old, at);
    if (found == std::string_view::npos) break;
    out += text.substr(at, found - at);
    out += with;
    at = found + old.size();
    runtime.step(1 + old.size() / 64);
  }
  out += text.substr(at);
  return out.value();
}

Value stripped(Runtime& runtime, std::string_view text, const Bound& arguments, bool left, bool right) {
  const auto side = static_cast<Side>((left ? 1 : 0) + (right ? 2 : 0));
  if (!arguments.says(0)) return runtime.text(strip(text, side));
  const std::string& set = text_argument(runtime, arguments[0], "the characters to strip");
  constexpr std::size_t kMost = 1000;
  if (set.size() > kMost) runtime.fail("strip: expected at most ", kMost, " bytes to strip, got ", set.size());
  runtime.step(text.size() / 64 * (1 + set.size() / 8));
  return runtime.text(strip(text, side, set));
}

Value joined(Runtime& runtime, std::string_view separator, const std::vector<Value>& items) {
  Builder out(runtime);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i) out += separator;
    out += str(runtime, items[i]);
  }
  return out.value();
}

namespace {

Value texts(Runtime& runtime, const std::vector<std::string_view>& parts) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(runtime.text(part));
  return runtime.sequence(Kind::list, std::move(items));
}

Value split_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::int64_t most = arguments.has(1) ? integer_argument(runtime, arguments[1], "the maxsplit of split") : -1;
  runtime.check_room(self.text().size() * sizeof(std::string_view));
  if (!arguments.says(0)) return texts(runtime, split_words(self.text(), most));
  const std::string& separator = text_argument(runtime, arguments[0], "a separator");
  if (separator.empty()) runtime.fail("split: expected a separator that is not empty, got \"\"");
  return texts(runtime, split(self.text(), separator, most));
}

template <bool prefix>
Value has_affix(Runtime& runtime, const Value& self, const Bound& arguments) {
  const auto fits = [&](const Value& affix) {
    const std::string& wanted = text_argument(runtime, affix, "the beginning or end of a str");
    return prefix ? self.text().starts_with(wanted) : self.text().ends_with(wanted);
  };
  if (!arguments[0].is(Kind::tuple)) return Value::boolean(fits(arguments[0]));
  bool some = false;
  for (const Value& affix : arguments[0].items()) some = some || fits(affix);
  return Value::boolean(some);
}

template <bool left, bool right>
Value strip_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  return stripped(runtime, self.text(), arguments, left, right);
}

template <std::string (*change)(std::string_view)>
Value changed_method(Runtime& runtime, const Value& self, const Bound&) {
  return runtime.text(change(self.text()));
}

// Where the text that a method looks for is, by bytes; npos if it is nowhere.
std::size_t place_in(Runtime& runtime, const std::string& text, const Value& wanted, bool last) {
  const std::string& needle = text_argument(runtime, wanted, "what to look for");
  if (!last) return find_text(text, needle);
  // The linear search goes forwards.
  runtime.check_room(text.size() + needle.size());
  const std::string backwards(text.rbegin(), text.rend());
  const std::size_t found = find_text(backwards, std::string(needle.rbegin(), needle.rend()));
  return found == std::string::npos ? found : text.size() - needle.size() - found;
}

template <bool last, bool needed>
Value find_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  // Positions are those of characters: what is left of a slice is searched.
  const auto bound = [&](std::size_t i) { return arguments.says(i) ? arguments[i] : Value::none(); };
  const Value part = slice_of(runtime, self, bound(1), bound(2), Value::none());
  std::int64_t start = arguments.says(1) ? integer_argument(runtime, arguments[1], "where to begin") : 0;
  const auto length = static_cast<std::int64_t>(character_count(self.text()));
  if (start < 0) start = std::max<std::int64_t>(0, start + length);
  const std::size_t found = start > length ? std::string::npos : place_in(runtime, part.text(), arguments[0], last);
  if (found != std::string::npos)
    return Value::integer(start + static_cast<std::int64_t>(character_count(part.text().substr(0, found))));
  if (needed)
    runtime.fail("expected a str with ", repr(runtime, arguments[0]).substr(0, 80), " in it, got one without");
  return Value::integer(-1);
}

Value count_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::string& needle = text_argument(runtime, arguments[0], "what to count");
  if (needle.empty()) return Value::integer(static_cast<std::int64_t>(character_count(self.text())) + 1);
  std::int64_t count = 0;
  for (std::size_t at = 0; (at = find_text(self.text(), needle, at)) != std::string::npos; at += needle.size()) {
    runtime.step(1 + needle.size() / 64);
    ++count;
  }
  return Value::integer(count);
}

template <bool last>
Value partition_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::string_view text = self.text();
  const std::size_t found = place_in(runtime, self.text(), arguments[0], last);
  const std::size_t size = arguments[0].text().size();
  if (size == 0) runtime.fail("partition: expected a separator that is not empty, got \"\"");
  const auto three = [&](std::string_view a, std::string_view b, std::string_view c) {
    return runtime.sequence(Kind::tuple, {runtime.text(a), runtime.text(b), runtime.text(c)});
  };
  if (found == std::string::npos) return last ? three("", "", text) : three(text, "", "");
  return three(text.substr(0, found), text.substr(found, size), text.substr(found + size));
}

Value rsplit_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::int64_t most = arguments.has(1) ? integer_argument(runtime, arguments[1], "the maxsplit of rsplit") : -1;
  if (most < 0) return split_method(runtime, self, arguments);
  if (!arguments.says(0)) runtime.fail("rsplit: expected a separator beside maxsplit, got none");
  const std::string& separator = text_argument(runtime, arguments[0], "a separator");
  if (separator.empty()) runtime.fail("rsplit: expected a separator that is not empty, got \"\"");
  runtime.check_room(self.text().size() * (sizeof(std::string_view) + 1));
  const auto backwards = [](std::string_view text) { return std::string(text.rbegin(), text.rend()); };
  const std::string turned = backwards(self.text());
  std::vector<Value> parts;
  for (const std::string_view part : split(turned, backwards(separator), most))
    parts.push_back(runtime.text(backwards(part)));
  std::reverse(parts.begin(), parts.end());
  return runtime.sequence(Kind::list, std::move(parts));
}

Value splitlines_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  runtime.check_room(self.text().size() * sizeof(std::string_view));
  std::vector<std::string_view> lines = split_lines(self.text());
  if (arguments.flag(0))  // each up to where the next begins
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const char* end = i + 1 < lines.size() ? lines[i + 1].data() : self.text().data() + self.text().size();
      lines[i] = std::string_view(lines[i].data(), static_cast<std::size_t>(end - lines[i].data()));
    }
  return texts(runtime, lines);
}

template <bool prefix>
Value without_affix(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::string& affix = text_argument(runtime, arguments[0], "the beginning or end of a str");
  std::string_view text = self.text();
  if (prefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!prefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return runtime.text(text);
}

Value join_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::vector<Value> items = items_of(runtime, arguments[0]);
  for (const Value& item : items) text_argument(runtime, item, "an item of join");
  return joined(runtime, self.text(), items);
}

constexpr Builtin kTextMethods[] = {
    {"capitalize", "", changed_method<to_capitalized>},
    {"count", "sub", count_method},
    {"endswith", "suffix", has_affix<false>},
    {"find", "sub | start end", find_method<false, false>},
    {"index", "sub | start end", find_method<false, true>},
    {"join", "iterable", join_method},
    {"lower", "", changed_method<to_lower>},
    {"lstrip", "| chars", strip_method<true, false>},
    {"partition", "sep", partition_method<false>},
    {"removeprefix", "prefix", without_affix<true>},
    {"removesuffix", "suffix", without_affix<false>},
    {"replace", "old new | count",
     [](Runtime& runtime, const Value& self, const Bound& a) { return replaced(runtime, self.text(), a); }},
    {"rfind", "sub | start end", find_method<true, false>},
    {"rindex", "sub | start end", find_method<true, true>},
    {"rpartition", "sep", partition_method<true>},
    {"rsplit", "| sep maxsplit", rsplit_method},
    {"rstrip", "| chars", strip_method<false, true>},
    {"split", "| sep maxsplit", split_method},
    {"splitlines", "| keepends", splitlines_method},
    {"startswith", "prefix", has_affix<true>},
    {"strip", "| chars", strip_method<true, true>},
    {"title", "", changed_method<title>},
    {"upper", "", changed_method<to_upper>},
};

// ---- list and tuple ----

constexpr Builtin kListMethods[] = {
    {"count", "value",
     [](Runtime& runtime, const Value& self, const Bound& arguments) {
       const auto same = [&](const Value& each) { return equal(runtime, each, arguments[0]); };
       return Value::integer(std::count_if(self.items().begin(), self.items().end(), same));
     }},
    {"index", "value",
     [](Runtime& runtime, const Value& self, const Bound& arguments) {
       for (std::size_t i = 0; i < self.items().size(); ++i)
         if (equal(runtime, self.items()[i], arguments[0])) return Value::integer(static_cast<std::int64_t>(i));
       runtime.fail("index: expected a value that the list has, got another");
     }},
};

// ---- loop ----

constexpr Builtin kLoopMethods[] = {
    {"cycle", "*",
     [](Runtime& runtime, const Value& self, const Bound& arguments) {
       const std::vector<Value>& all = arguments.raw().positional;
       if (all.empty()) runtime.fail("cycle: expected something to go through, got nothing");
       return all[self.as<Loop>().index0 % all.size()];
     }},
};

// ---- dict ----

enum class Part { keys, values, items };

template <Part part>
Value view_of(Runtime& runtime, const Value& self, const Bound&) {
  std::vector<Value> items;
  for (const auto& [key, value] : self.as<Dict>().entries)
    items.push_back(part == Part::keys     ? key
                    : part == Part::values ? value
                                           : runtime.sequence(Kind::tuple, {key, value}));
  return runtime.sequence(Kind::view, std::move(items));
}

constexpr Builtin kDictMethods[] = {
    {"copy", "", [](Runtime&, const Value& self, const Bound&) { return self; }},  // nothing can change either
    {"get", "key | default",
     [](Runtime& runtime, const Value& self, const Bound& arguments) {
       const Value* found = self.as<Dict>().find(runtime, arguments[0]);
       return found ? *found : arguments.has(1) ? arguments[1] : Value::none();
     }},
    {"items", "", view_of<Part::items>},
    {"keys", "", view_of<Part::keys>},
    {"values", "", view_of<Part::values>},
};

// ---- Functions ----

Value namespace_function(Runtime& runtime, const Value&, const Bound& arguments) {
  if (!arguments.raw().positional.empty()) runtime.fail("namespace: expected arguments with names, got one without");
  const Value made = runtime.space();
  for (const auto& [name, value] : arguments.raw().named) made.as<Space>().attributes.emplace_back(name, value);
  return made;
}

Value dict_function(Runtime& runtime, const Value&, const Bound& arguments) {
  if (!arguments.raw().positional.empty()) runtime.fail("dict: expected arguments with names, got one without");
  auto made = std::make_shared<Dict>();
  for (const auto& [name, value] : arguments.raw().named) made->set(runtime, runtime.text(name), value);
  return runtime.dict(std::move(made));
}

Value raise_function(Runtime& runtime, const Value&, const Bound& arguments) {
  runtime.fail("the template refuses these messages: ", str(runtime, arguments[0]));
}

Value range_function(Runtime& runtime, const Value&, const Bound& arguments) {
  const auto number = [&](std::size_t i) { return integer_argument(runtime, arguments[i], "a number of range"); };
  if (!arguments.has(1)) return runtime.range(0, number(0), 1);
  return runtime.range(number(0), number(1), arguments.has(2) ? number(2) : 1);
}

Value strftime_function(Runtime& runtime, const Value&, const Bound& arguments) {
  const std::string& format = text_argument(runtime, arguments[0], "the format of strftime_now");
  constexpr std::size_t kLongest = 1024;
  if (format.size() > kLongest) runtime.fail("strftime_now: expected a format of at most ", kLongest, " bytes");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  // With a character behind it, so that an empty result differs from one that has no room.
  std::string out(64 * (format.size() + 2), '\0');
  const std::size_t size = std::strftime(out.data(), out.size(), (format + "|").c_str(), &local);
  if (size == 0) runtime.fail("strftime_now: expected a shorter date, got one without room");
  return runtime.text(std::string_view(out).substr(0, size - 1));
}

constexpr Builtin kFunctions[] = {
    {"dict", "*", dict_function},
    {"namespace", "*", namespace_function},
    {"raise_exception", "message", raise_function},
    {"range", "first | second step", range_function},
    {"strftime_now", "format", strftime_function},
};

}  // namespace

std::span<const Builtin> functions() { return kFunctions; }

std::span<const Builtin> methods(Kind kind) {
  if (kind == Kind::text) return kTextMethods;
  if (kind == Kind::dict) return kDictMethods;
  if (kind == Kind::list || kind == Kind::tuple) return kListMethods;
  if (kind == Kind::loop) return kLoopMethods;
  return {};
}

}  // namespace grpo::jinja

#include "jinja_value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "utf8.h"

namespace grpo::jinja {

Object::~Object() {
  if (owner) owner->give_back(bytes);
}

// ---- Objects ----

namespace {
constexpr std::size_t kFewEntries = 8;  // up to here a dict is searched in order
}

std::size_t Dict::locate(Runtime& runtime, const Value& key) const {
  if (entries.size() <= kFewEntries) {
    hash(runtime, key);  // refuses what cannot be a key
    for (std::size_t i = 0; i < entries.size(); ++i)
      if (equal(runtime, entries[i].first, key)) return i;
    return entries.size();
  }
  const auto [begin, end] = places_.equal_range(hash(runtime, key));
  for (auto it = begin; it != end; ++it)
    if (equal(runtime, entries[it->second].first, key)) return it->second;
  return entries.size();
}

const Value* Dict::find(Runtime& runtime, const Value& key) const {
  const std::size_t place = locate(runtime, key);
  return place < entries.size() ? &entries[place].second : nullptr;
}

void Dict::set(Runtime& runtime, Value key, Value value) {
  const std::size_t place = locate(runtime, key);
  if (place < entries.size()) {
    entries[place].second = std::move(value);
    return;
  }
  entries.emplace_back(std::move(key), std::move(value));
  if (entries.size() <= kFewEntries) return;
  for (std::size_t i = places_.size(); i < entries.size(); ++i) places_.emplace(hash(runtime, entries[i].first), i);
}

std::optional<Value> Iterator::next() {
  if (at >= items->size()) return std::nullopt;
  return (*items)[at++];
}

const std::optional<Value>& Loop::peek() {
  while (!after && source) {
    after = source->next();
    if (!after) break;
    if (wanted && !wanted(*after)) after.reset();
  }
  return after;
}

bool Loop::advance() {
  peek();
  if (!after) return false;
  ++index0;
  before = std::move(current);
  current = std::move(after);
  after.reset();
  return true;
}

std::int64_t Loop::length() {
  if (known_length >= 0) return known_length;
  if (!source) return known_length = index0 + 1;
  const auto left = static_cast<std::int64_t>(source->items->size() - source->at);
  if (!wanted) return known_length = left + index0 + 1 + (after ? 1 : 0);
  // Whoever asks for the length has the rest of the condition's answers taken now.
  std::vector<Value> rest;
  const std::optional<Value> first = peek();
  while (peek()) {
    rest.push_back(std::move(*after));
    after.reset();
  }
  known_length = index0 + 1 + static_cast<std::int64_t>(rest.size());
  source = std::make_shared<Iterator>(std::move(rest));
  wanted = nullptr;
  return known_length;
}

// ---- The books ----

Runtime::~Runtime() {
  for (const auto& space : spaces_) space->attributes.clear();
}

void Runtime::too_long() const {
  fail("expected a template that ends within ", kMaxSteps, " steps, got one that goes on; it may loop without need");
}

void Runtime::too_large() const {
  fail("expected a template that needs at most ", kMaxMemory >> 20, " MiB, got one that asks for more");
}

void Runtime::adopt(Object& object, std::size_t bytes, std::size_t depth_inside) {
  if (depth_inside >= kMaxDepth)
    fail("expected values nested at most ", kMaxDepth, " deep, got a deeper one; nest less in messages and tools");
  bytes += 64;  // about what the object itself takes
  step(1 + bytes / 64);
  take(bytes);
  object.owner = this;
  object.bytes = bytes;
  object.depth = depth_inside + 1;
}

Value Runtime::text(std::string content) {
  if (content.size() > kMaxText)
    fail("expected texts of at most ", kMaxText >> 20, " MiB, got one of ", content.size(), " bytes");
  const std::size_t bytes = content.size();
  return {Kind::text, own(std::make_shared<Text>(std::move(content)), bytes)};
}

Value Runtime::undefined(std::string message) {
  const std::size_t bytes = message.size();
  return {Kind::undefined, own(std::make_shared<Absence>(std::move(message)), bytes)};
}

Value Runtime::sequence(Kind kind, std::vector<Value> items, std::string name) {
  std::size_t depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  const std::size_t bytes = items.size() * sizeof(Value);
  auto made = own(std::make_shared<Sequence>(std::move(items)), bytes, depth);
  made->name = std::move(name);
  return {kind, std::move(made)};
}

Value Runtime::range(std::int64_t start, std::int64_t stop, std::int64_t step) {
  if (step == 0) fail("expected a range whose step is not 0, got 0");
  // In unsigned arithmetic, which holds the distance of any two.
  const auto span = [](std::int64_t low, std::int64_t high) {
    return low < high ? static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) : 0;
  };
  const std::uint64_t distance = step > 0 ? span(start, stop) : span(stop, start);
  const std::uint64_t stride = step > 0 ? static_cast<std::uint64_t>(step) : -static_cast<std::uint64_t>(step);
  const std::uint64_t count = distance / stride + (distance % stride != 0);
  if (count > kMaxRange) fail("expected a range of at most ", kMaxRange, " items, got ", count);
  std::vector<Value> items;
  items.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i)
    items.push_back(Value::integer(
        static_cast<std::int64_t>(static_cast<std::uint64_t>(start) + i * static_cast<std::uint64_t>(step))));
  Value made = sequence(Kind::range, std::move(items));
  auto& range = made.as<Sequence>();
  range.start = start;
  range.stop = stop;
  range.step = step;
  return made;
}

Value Runtime::iterator(std::vector<Value> items) {
  std::size_t depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  const std::size_t bytes = items.size() * sizeof(Value);
  return {Kind::iterator, own(std::make_shared<Iterator>(std::move(items)), bytes, depth)};
}

Value Runtime::dict(std::shared_ptr<Dict> made) {
  std::size_t depth = 0;
  for (const auto& [key, value] : made->entries) depth = std::max({depth, key.depth(), value.depth()});
  const std::size_t bytes = made->entries.size() * (2 * sizeof(Value) + 48);
  return {Kind::dict, own(std::move(made), bytes, depth)};
}

Value Runtime::space() {
  spaces_.push_back(std::make_unique<Space>());
  adopt(*spaces_.back(), 256, 0);
  return {Kind::space, std::shared_ptr<Object>(std::shared_ptr<void>(), spaces_.back().get())};
}

Value Runtime::from_json(const nlohmann::ordered_json& json) {
  using Json = nlohmann::ordered_json;
  if (json_depth_ > kMaxDepth)
    fail("expected values nested at most ", kMaxDepth, " deep, got a deeper one; nest less in messages and tools");
  switch (json.type()) {
    case Json::value_t::null:
      return Value::none();
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        fail("expected whole numbers below 2^63, got ", number);
      return Value::integer(static_cast<std::int64_t>(number));
    }
    case Json::value_t::number_float:
      return Value::real(json.get<double>());
    case Json::value_t::string:
      return text(json.get<std::string>());
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      ++json_depth_;
      for (const Json& item : json) items.push_back(from_json(item));
      --json_depth_;
      return list(std::move(items));
    }
    case Json::value_t::object: {
      auto made = std::make_shared<Dict>();
      ++json_depth_;
      for (const auto& [key, value] : json.items()) made->set(*this, text(key), from_json(value));
      --json_depth_;
      return dict(std::move(made));
    }
    default:
      fail("expected JSON, got a value of type ", json.type_name());
  }
}

std::optional<Value> Runtime::from_json(const nlohmann::ordered_json& object, const std::string& name) {
  if (!object.is_object()) fail("expected an object of variables, got ", object.type_name());
  const auto found = object.find(name);
  return found == object.end() ? std::nullopt : std::optional<Value>(from_json(*found));
}

Builder& Builder::operator+=(std::string_view piece) {
  if (piece.size() > kMaxText - text_.size())
    runtime_.fail("expected texts of at most ", kMaxText >> 20, " MiB, got a longer one");
  runtime_.take(piece.size());
  counted_ += piece.size();
  runtime_.step(piece.size() / 64);
  text_ += piece;
  return *this;
}

void Builder::repeat(std::string_view piece, std::int64_t times) {
  if (times <= 0 || piece.empty()) return;
  if (static_cast<std::uint64_t>(times) > kMaxText / piece.size())
    runtime_.fail("expected texts of at most ", kMaxText >> 20, " MiB, got ", piece.size(), " bytes ", times, " times");
  for (std::int64_t i = 0; i < times; ++i) *this += piece;
}

std::string Builder::take() {
  runtime_.give_back(counted_);
  counted_ = 0;
  return std::exchange(text_, {});
}

// ---- Characters ----

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = decode_utf8(text, at).size;
    result.push_back(text.substr(at, size));
    at += size;
  }
  return result;
}

std::size_t character_count(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += decode_utf8(text, at).size) ++count;
  return count;
}

namespace {
constexpr std::size_t kShort = 16;  // plain search for so few bytes costs at most as many looks at each
}

std::size_t find_last_text(std::string_view text, std::string_view needle) {
  if (needle.size() <= kShort) return text.rfind(needle);
  // From the right is from the left with both turned around.
  const std::string turned(text.rbegin(), text.rend()), wanted(needle.rbegin(), needle.rend());
  const std::size_t found = find_text(turned, wanted);
  return found == std::string::npos ? found : text.size() - found - needle.size();
}

std::size_t find_text(std::string_view text, std::string_view needle, std::size_t from) {
  if (needle.size() <= kShort || from > text.size()) return text.find(needle, from);
  // Knuth, Morris and Pratt: how long a beginning of the needle ends at each of its bytes.
  std::vector<std::size_t> border(needle.size(), 0);
  for (std::size_t i = 1, k = 0; i < needle.size(); ++i) {
    while (k > 0 && needle[i] != needle[k]) k = border[k - 1];
    if (needle[i] == needle[k]) ++k;
    border[i] = k;
  }
  for (std::size_t i = from, k = 0; i < text.size(); ++i) {
    while (k > 0 && text[i] != needle[k]) k = border[k - 1];
    if (text[i] == needle[k]) ++k;
    if (k == needle.size()) return i + 1 - k;
  }
  return std::string_view::npos;
}

bool is_python_space(char32_t c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view strip_left(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const CodePoint c = decode_utf8(text, at);
    if (!is_python_space(c.value)) break;
    at += c.size;
  }
  return text.substr(at);
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    const CodePoint c = decode_utf8(text, start);
    if (!is_python_space(c.value) || start + c.size != text.size()) break;
    text = text.substr(0, start);
  }
  return text;
}

// ---- Python's behaviour ----

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "None";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::text:
      return "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::range:
      return "range";
    case Kind::view:
      return value.as<Sequence>().name;
    case Kind::dict:
      return "dict";
    case Kind::space:
      return "namespace";
    case Kind::iterator:
      return "iterator";
    case Kind::loop:
      return "loop";
    case Kind::callable:
      return "callable";
  }
  return "";
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.as_integer() != 0;
    case Kind::real:
      return value.as_real() != 0;
    case Kind::text:
      return !value.text().empty();
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      return !value.as<Sequence>().items.empty();
    case Kind::dict:
      return !value.as<Dict>().entries.empty();
    case Kind::loop:
      return value.as<Loop>().length() != 0;
    case Kind::space:
    case Kind::iterator:
    case Kind::callable:
      return true;
  }
  return false;
}

namespace {

// Exactly, as Python does: a double against a 64-bit integer without rounding either.
std::optional<int> compare_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral())
    return a.as_integer() < b.as_integer() ? -1 : a.as_integer() > b.as_integer() ? 1 : 0;
  if (a.is(Kind::real) && b.is(Kind::real)) {
    const double x = a.as_real(), y = b.as_real();
    if (std::isnan(x) || std::isnan(y)) return std::nullopt;
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (b.is(Kind::real)) {
    const auto turned = compare_numbers(b, a);
    return turned ? std::optional<int>(-*turned) : std::nullopt;
  }
  const double x = a.as_real();
  if (std::isnan(x)) return std::nullopt;
  if (x >= 0x1p63) return 1;
  if (x < -0x1p63) return -1;
  const double whole = std::trunc(x);
  const auto integer = static_cast<std::int64_t>(whole);
  if (integer != b.as_integer()) return integer < b.as_integer() ? -1 : 1;
  return x > whole ? 1 : x < whole ? -1 : 0;
}

bool same_items(Runtime& runtime, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!equal(runtime, a[i], b[i])) return false;
  return true;
}

}  // namespace

bool equal(Runtime& runtime, const Value& a, const Value& b) {
  runtime.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::text:
      if (a.text().size() != b.text().size()) return false;
      runtime.step(a.text().size() / 64);
      return a.text() == b.text();
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      return a.object() == b.object() || same_items(runtime, a.as<Sequence>().items, b.as<Sequence>().items);
    case Kind::dict: {
      const auto &left = a.as<Dict>(), &right = b.as<Dict>();
      if (&left == &right) return true;
      if (left.entries.size() != right.entries.size()) return false;
      for (const auto& [key, value] : left.entries) {
        const Value* other = right.find(runtime, key);
        if (!other || !equal(runtime, value, *other)) return false;
      }
      return true;
    }
    case Kind::callable: {
      const auto &left = a.as<Callable>(), &right = b.as<Callable>();
      return &left == &right ||
             (left.method && left.method == right.method && left.self.object() == right.self.object());
    }
    default:
      return a.object() == b.object();
  }
}

std::optional<int> compare(Runtime& runtime, const Value& a, const Value& b) {
  runtime.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.is(Kind::text) && b.is(Kind::text)) {
    runtime.step(std::min(a.text().size(), b.text().size()) / 64);
    const int order = a.text().compare(b.text());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (a.kind() == b.kind() && (a.is(Kind::list) || a.is(Kind::tuple))) {
    const auto &left = a.as<Sequence>().items, &right = b.as<Sequence>().items;
    for (std::size_t i = 0; i < left.size() && i < right.size(); ++i)
      if (!equal(runtime, left[i], right[i])) return compare(runtime, left[i], right[i]);
    return left.size() < right.size() ? -1 : left.size() > right.size() ? 1 : 0;
  }
  for (const Value& side : {a, b})
    if (side.is_undefined() && side.object()) runtime.fail(side.as<Absence>().message);
  runtime.fail("expected two values that have an order, got ", type_name(a), " and ", type_name(b));
}

std::size_t hash(Runtime& runtime, const Value& value) {
  runtime.step();
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return static_cast<std::size_t>(value.kind());
    case Kind::boolean:
    case Kind::integer:
    case Kind::real:
      return std::hash<double>()(value.as_real());
    case Kind::text:
      runtime.step(value.text().size() / 64);
      return std::hash<std::string>()(value.text());
    case Kind::tuple:
    case Kind::range: {
      std::size_t mixed = 17;
      for (const Value& item : value.as<Sequence>().items) mixed = mixed * 1'000'003 ^ hash(runtime, item);
      return mixed;
    }
    case Kind::space:
    case Kind::iterator:
    case Kind::loop:
    case Kind::callable:
      return std::hash<const void*>()(value.object().get());
    default:
      runtime.fail("expected a key, got a ", type_name(value), ", which cannot be one");
  }
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::text:
      if (!item.is(Kind::text)) runtime.fail("expected a str to look for in a str, got ", type_name(item));
      runtime.read(container);
      return find_text(container.text(), item.text()) != std::string::npos;
    case Kind::dict:
      return container.as<Dict>().find(runtime, item) != nullptr;
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      for (const Value& each : container.as<Sequence>().items)
        if (equal(runtime, each, item)) return true;
      return false;
    default: {
      const auto iterator = iterate(runtime, container);
      while (const auto each = iterator->next())
        if (equal(runtime, *each, item)) return true;
      return false;
    }
  }
}

std::optional<std::int64_t> length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::text:
      return static_cast<std::int64_t>(character_count(value.text()));
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      return static_cast<std::int64_t>(value.as<Sequence>().items.size());
    case Kind::dict:
      return static_cast<std::int64_t>(value.as<Dict>().entries.size());
    case Kind::loop:
      return value.as<Loop>().length();
    default:
      return std::nullopt;
  }
}

std::shared_ptr<Iterator> iterate(Runtime& runtime, const Value& value) {
  const auto fresh = [&](std::vector<Value> items) {
    return std::static_pointer_cast<Iterator>(runtime.iterator(std::move(items)).object());
  };
  switch (value.kind()) {
    case Kind::undefined:
      return fresh({});
    case Kind::iterator:
      return std::static_pointer_cast<Iterator>(value.object());
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      return runtime.own(std::make_shared<Iterator>(value.object(), value.as<Sequence>().items), 0, value.depth());
    case Kind::text: {
      std::vector<Value> items;
      for (const std::string_view each : characters(value.text())) items.push_back(runtime.text(std::string(each)));
      return fresh(std::move(items));
    }
    case Kind::dict: {
      std::vector<Value> items;
      for (const auto& entry : value.as<Dict>().entries) items.push_back(entry.first);
      return fresh(std::move(items));
    }
    default:
      runtime.fail("expected something to go through item by item, got ", type_name(value));
  }
}

std::vector<Value> items_of(Runtime& runtime, const Value& value) {
  const auto iterator = iterate(runtime, value);
  std::vector<Value> items(iterator->items->begin() + static_cast<std::ptrdiff_t>(iterator->at),
                           iterator->items->end());
  iterator->at = iterator->items->size();
  runtime.step(items.size());
  return items;
}

// ---- As text ----

std::string number_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::scientific);
  std::string_view scientific(buffer.data(), static_cast<std::size_t>(end.ptr - buffer.data()));
  std::string text;
  if (scientific.starts_with('-')) {
    text = "-";
    scientific.remove_prefix(1);
  }
  const std::size_t e = scientific.find('e');
  std::string digits(scientific.substr(0, 1));
  if (e > 2) digits += scientific.substr(2, e - 2);
  int exponent = 0;
  std::string_view power = scientific.substr(e + 1);
  if (power.starts_with('+')) power.remove_prefix(1);
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    text += digits[0];
    if (count > 1) text += "." + digits.substr(1);
    const std::string size = std::to_string(std::abs(exponent));
    return text + (exponent < 0 ? "e-" : "e+") + (size.size() < 2 ? "0" : "") + size;
  }
  if (exponent < 0) return text + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (exponent + 1 >= count)
    return text + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  return text + digits.substr(0, static_cast<std::size_t>(exponent + 1)) + "." +
         digits.substr(static_cast<std::size_t>(exponent + 1));
}

namespace {

// Those that Python writes as escapes in repr; of the unassigned ones only the planes that are empty.
bool is_unprintable(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD || (c >= 0x600 && c <= 0x605) || c == 0x61C || c == 0x6DD ||
         c == 0x70F || c == 0x890 || c == 0x891 || c == 0x8E2 || c == 0x1680 || c == 0x180E ||
         (c >= 0x2000 && c <= 0x200F) || (c >= 0x2028 && c <= 0x202F) || (c >= 0x205F && c <= 0x206F) || c == 0x3000 ||
         (c >= 0xE000 && c <= 0xF8FF) || c == 0xFEFF || (c >= 0xFFF0 && c <= 0xFFFB) || c == 0xFFFE || c == 0xFFFF ||
         c == 0x110BD || c == 0x110CD || (c >= 0x1BCA0 && c <= 0x1BCA3) || (c >= 0x1D173 && c <= 0x1D17A) ||
         (c >= 0xE0000 && c <= 0xE00FF) || c >= 0xE01F0;
}

std::string hexadecimal(char32_t c, std::size_t digits) {
  std::string text(digits, '0');
  for (std::size_t i = digits; i-- > 0; c >>= 4) text[i] = "0123456789abcdef"[c & 0xF];
  return text;
}

void append_repr(Builder& out, std::string_view text) {
  const char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
  out += quote;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\')
      (out += '\\') += static_cast<char>(c.value);
    else if (c.value == '\n')
      out += "\\n";
    else if (c.value == '\r')
      out += "\\r";
    else if (c.value == '\t')
      out += "\\t";
    else if (c.value == kBrokenUtf8)
      (out += "\\x") += hexadecimal(static_cast<unsigned char>(text[at]), 2);
    else if (!is_unprintable(c.value))
      out += text.substr(at, c.size);
    else if (c.value < 0x100)
      (out += "\\x") += hexadecimal(c.value, 2);
    else if (c.value < 0x10000)
      (out += "\\u") += hexadecimal(c.value, 4);
    else
      (out += "\\U") += hexadecimal(c.value, 8);
    at += c.size;
  }
  out += quote;
}

class Printer {
 public:
  Printer(Runtime& runtime, Builder& out) : runtime_(runtime), out_(out) {}

  void print(const Value& value) {
    runtime_.step();
    if (depth_ > 2 * kMaxDepth) runtime_.fail("expected a value that can be printed, got one that contains itself");
    switch (value.kind()) {
      case Kind::undefined:
        out_ += "Undefined";
        break;
      case Kind::none:
        out_ += "None";
        break;
      case Kind::boolean:
        out_ += value.as_integer() ? "True" : "False";
        break;
      case Kind::integer:
        out_ += std::to_string(value.as_integer());
        break;
      case Kind::real:
        out_ += number_text(value.as_real());
        break;
      case Kind::text:
        append_repr(out_, value.text());
        break;
      case Kind::list:
        items(value, "[", "]");
        break;
      case Kind::tuple:
        items(value, "(", value.as<Sequence>().items.size() == 1 ? ",)" : ")");
        break;
      case Kind::view:
        (out_ += value.as<Sequence>().name) += "(";
        items(value, "[", "]");
        out_ += ")";
        break;
      case Kind::range: {
        const auto& range = value.as<Sequence>();
        out_ += "range(" + std::to_string(range.start) + ", " + std::to_string(range.stop);
        if (range.step != 1) out_ += ", " + std::to_string(range.step);
        out_ += ")";
        break;
      }
      case Kind::dict:
        ++depth_;
        out_ += "{";
        for (const auto& [key, each] : value.as<Dict>().entries) {
          if (&key != &value.as<Dict>().entries.front().first) out_ += ", ";
          print(key);
          out_ += ": ";
          print(each);
        }
        out_ += "}";
        --depth_;
        break;
      case Kind::space:
        ++depth_;
        out_ += "<Namespace {";
        for (const auto& [name, each] : value.as<Space>().attributes) {
          if (&name != &value.as<Space>().attributes.front().first) out_ += ", ";
          append_repr(out_, name);
          out_ += ": ";
          print(each);
        }
        out_ += "}>";
        --depth_;
        break;
      case Kind::loop: {
        auto& loop = value.as<Loop>();
        out_ += "<LoopContext " + std::to_string(loop.index0 + 1) + "/" + std::to_string(loop.length()) + ">";
        break;
      }
      case Kind::iterator:
      case Kind::callable:
        runtime_.fail("expected a value that can be printed, got ", type_name(value),
                      value.is(Kind::iterator) ? "; pass it through list or join" : "; call it");
    }
  }

 private:
  void items(const Value& value, std::string_view open, std::string_view close) {
    ++depth_;
    out_ += open;
    const auto& items = value.as<Sequence>().items;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i) out_ += ", ";
      print(items[i]);
    }
    out_ += close;
    --depth_;
  }

  Runtime& runtime_;
  Builder& out_;
  std::size_t depth_ = 0;
};

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style, Builder& out) : runtime_(runtime), style_(style), out_(out) {}

  void write(const Value& value) {
    runtime_.step();
    switch (value.kind()) {
      case Kind::none:
        out_ += "null";
        break;
      case Kind::boolean:
        out_ += value.as_integer() ? "true" : "false";
        break;
      case Kind::integer:
        out_ += std::to_string(value.as_integer());
        break;
      case Kind::real:
        out_ += number(value.as_real());
        break;
      case Kind::text:
        string(value.text());
        break;
      case Kind::list:
      case Kind::tuple: {
        const auto& items = value.as<Sequence>().items;
        if (items.empty()) {
          out_ += "[]";
          break;
        }
        out_ += "[";
        ++level_;
        for (std::size_t i = 0; i < items.size(); ++i) {
          if (i) out_ += style_.item;
          line_break();
          write(items[i]);
        }
        --level_;
        line_break();
        out_ += "]";
        break;
      }
      case Kind::dict: {
        const auto& dict = value.as<Dict>();
        if (dict.entries.empty()) {
          out_ += "{}";
          break;
        }
        std::vector<const std::pair<Value, Value>*> entries;
        for (const auto& entry : dict.entries) entries.push_back(&entry);
        if (style_.sorted)
          std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
            return compare(runtime_, a->first, b->first).value_or(0) < 0;
          });
        out_ += "{";
        ++level_;
        for (std::size_t i = 0; i < entries.size(); ++i) {
          if (i) out_ += style_.item;
          line_break();
          key(entries[i]->first);
          out_ += style_.key;
          write(entries[i]->second);
        }
        --level_;
        line_break();
        out_ += "}";
        break;
      }
      default:
        runtime_.fail("tojson: expected a value that JSON has, got ", describe(value));
    }
  }

 private:
  static std::string describe(const Value& value) {
    if (value.is_undefined() && value.object()) return "an undefined one: " + value.as<Absence>().message;
    return type_name(value);
  }

  static std::string number(double number) {
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return number_text(number);
  }

  void key(const Value& key) {
    switch (key.kind()) {
      case Kind::text:
        string(key.text());
        break;
      case Kind::none:
        out_ += "\"null\"";
        break;
      case Kind::boolean:
        out_ += key.as_integer() ? "\"true\"" : "\"false\"";
        break;
      case Kind::integer:
        out_ += "\"" + std::to_string(key.as_integer()) + "\"";
        break;
      case Kind::real:
        out_ += "\"" + number(key.as_real()) + "\"";
        break;
      default:
        runtime_.fail("tojson: expected a key that JSON has, got ", type_name(key));
    }
  }

  void string(std::string_view text) {
    out_ += '"';
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = decode_utf8(text, at);
      if (c.value == '"' || c.value == '\\')
        (out_ += '\\') += static_cast<char>(c.value);
      else if (c.value == '\n')
        out_ += "\\n";
      else if (c.value == '\r')
        out_ += "\\r";
      else if (c.value == '\t')
        out_ += "\\t";
      else if (c.value == '\f')
        out_ += "\\f";
      else if (c.value == '\b')
        out_ += "\\b";
      else if (c.value < 0x20)
        (out_ += "\\u") += hexadecimal(c.value, 4);
      else if (style_.ascii && c.value >= 0x80)
        escaped(c.value == kBrokenUtf8 ? 0xFFFD : c.value);
      else
        out_ += text.substr(at, c.size);
      at += c.size;
    }
    out_ += '"';
  }

  void escaped(char32_t c) {
    if (c >= 0x10000) {
      (out_ += "\\u") += hexadecimal(0xD800 + ((c - 0x10000) >> 10), 4);
      c = 0xDC00 + ((c - 0x10000) & 0x3FF);
    }
    (out_ += "\\u") += hexadecimal(c, 4);
  }

  void line_break() {
    if (!style_.indent) return;
    out_ += '\n';
    out_.repeat(*style_.indent, level_);
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  Builder& out_;
  std::int64_t level_ = 0;
};

}  // namespace

std::string repr(Runtime& runtime, const Value& value) {
  Builder out(runtime);
  Printer(runtime, out).print(value);
  return out.take();
}

std::string str(Runtime& runtime, const Value& value) {
  if (value.is(Kind::text)) return value.text();
  if (value.is_undefined()) return "";
  return repr(runtime, value);
}

std::string json_text(Runtime& runtime, const Value& value, const JsonStyle& style) {
  Builder out(runtime);
  JsonWriter(runtime, style, out).write(value);
  return out.take();
}

}  // namespace grpo::jinja

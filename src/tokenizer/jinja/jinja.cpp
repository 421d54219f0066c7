#include "tokenizer/jinja/jinja.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "grpo/error.h"
#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/syntax.h"
#include "tokenizer/jinja/value.h"

namespace grpo {
namespace jinja {

/// The names that one body has set, in front of those around it.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> outer) : outer(std::move(outer)) {}

  Value* find(std::string_view name) {
    for (auto& [each, value] : values)
      if (each == name) return &value;
    return nullptr;
  }
  void set(std::string_view name, Value value) {
    if (Value* found = find(name))
      *found = std::move(value);
    else
      values.emplace_back(name, std::move(value));
  }

  std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::string, Value>> values;
};

namespace {

using ScopePtr = std::shared_ptr<Scope>;

enum class Flow { on, break_, continue_ };

// Calls of macros within calls. One costs a few kilobytes of the stack for each level of nesting in its body.
constexpr int kMaxFrames = 400;

class Renderer {
 public:
  Renderer(const std::string& where, const nlohmann::ordered_json& variables)
      : runtime_(where), given_(variables), globals_(std::make_shared<Scope>(nullptr)) {
    if (!given_.is_object()) runtime_.fail("expected an object of variables, got ", given_.type_name());
  }
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  std::string run(const Block& source) {
    Builder out(runtime_);
    block(source, inner(globals_), out);
    return out.str();
  }

 private:
  // ---- Statements ----

  // One level of recursion, as deep as the stack allows.
  Level deeper() {
    if (frames_ >= kMaxFrames)
      runtime_.fail("expected blocks, expressions and macros nested at most ", kMaxFrames,
                    " deep, got deeper ones; a macro may call itself without end");
    return Level(frames_);
  }

  ScopePtr inner(const ScopePtr& outer) { return std::make_shared<Scope>(outer); }

  Flow block(const Block& statements, const ScopePtr& scope, Builder& out) {
    const Level level = deeper();
    for (const Statement& each : statements) {
      const Flow flow = statement(each, scope, out);
      if (flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  Flow statement(const Statement& node, const ScopePtr& scope, Builder& out) {
    runtime_.step();
    runtime_.line = node.line;
    switch (node.tag) {
      case Tag::text:
        out += node.text;
        return Flow::on;
      case Tag::print:
        print(*node.expressions[0], scope, out);
        return Flow::on;
      case Tag::set:
        assign(*node.target, evaluate(*node.expressions[0], scope), scope);
        return Flow::on;
      case Tag::set_block: {
        Builder body(runtime_);
        const Flow flow = block(node.blocks[0], inner(scope), body);
        if (flow == Flow::on)
          assign(*node.target, node.expressions.empty() ? body.value() : filtered(node, body, scope), scope);
        return flow;
      }
      case Tag::if_:
        for (std::size_t i = 0; i < node.expressions.size(); ++i)
          if (truthy(evaluate(*node.expressions[i], scope))) return block(node.blocks[i], scope, out);
        return node.blocks.size() > node.expressions.size() ? block(node.blocks.back(), scope, out) : Flow::on;
      case Tag::for_:
        return loop(node, scope, out);
      case Tag::macro:
        scope->set(node.text, macro_value(node, scope));
        return Flow::on;
      case Tag::call: {
        const Value caller = macro_value(node, scope);
        out += str(runtime_, call(*node.target, scope, &caller));
        return Flow::on;
      }
      case Tag::break_:
        return Flow::break_;
      case Tag::continue_:
        return Flow::continue_;
      case Tag::generation:
        block(node.blocks[0], inner(scope), out);
        return Flow::on;
      case Tag::with: {
        const ScopePtr body = inner(scope);
        for (std::size_t i = 0; i < node.parameters.size(); ++i)  // none sees another
          body->set(node.parameters[i], evaluate(*node.expressions[i], scope));
        return block(node.blocks[0], body, out);
      }
      case Tag::filter: {
        Builder body(runtime_);
        block(node.blocks[0], inner(scope), body);
        out += str(runtime_, filtered(node, body, scope));
        return Flow::on;
      }
    }
    return Flow::on;
  }

  // What the filters of a block make of its text.
  Value filtered(const Statement& node, const Builder& body, const ScopePtr& scope) {
    const ScopePtr with_text = inner(scope);
    with_text->set(kBlockText, body.value());
    return evaluate(*node.expressions[0], with_text);
  }

  void print(const Expression& node, const ScopePtr& scope, Builder& out) {
    const Value value = evaluate(node, scope);
    runtime_.line = node.line;
    if (value.is(Kind::text))
      out += value.text();  // without a copy
    else
      out += str(runtime_, value);
  }

  Flow loop(const Statement& node, const ScopePtr& scope, Builder& out) {
    const Value over = evaluate(*node.expressions[0], scope);
    runtime_.line = node.line;
    auto state = std::make_shared<Loop>();
    state->items = items_of(runtime_, over);
    state = runtime_.own(state, state->items.size() * sizeof(Value), over.depth());
    if (node.condition) {
      state->wanted = [&](const Value& item) {
        const ScopePtr asked = inner(scope);
        assign(*node.target, item, asked);
        return truthy(evaluate(*node.condition, asked));
      };
    }
    for (std::size_t i = 0; state->has(i); ++i) {
      state->index0 = i;
      runtime_.line = node.line;
      runtime_.step();
      const ScopePtr body = inner(scope);
      body->set("loop", Value(Kind::loop, state));
      assign(*node.target, state->items[i], body);
      if (block(node.blocks[0], body, out) == Flow::break_) break;
    }
    // What the template has kept of the loop cannot ask the condition any more.
    state->unasked = state->items.size();
    // Without an iteration there was no break either, so that one here is the outer loop's.
    if (state->kept == 0 && node.blocks.size() > 1) return block(node.blocks[1], inner(scope), out);
    return Flow::on;
  }

  void assign(const Expression& target, Value value, const ScopePtr& scope) {
    runtime_.line = target.line;
    switch (target.op) {
      case Op::name:
        scope->set(target.text, std::move(value));
        break;
      case Op::space_attribute: {
        const Value space = lookup(target.parts[0]->text, scope);
        if (!space.is(Kind::space))
          runtime_.fail("expected a namespace to set \"", target.text, "\" of, got ", type_name(space), "; make \"",
                        target.parts[0]->text, "\" one with namespace()");
        auto& attributes = space.as<Space>().attributes;
        for (auto& [name, each] : attributes) {
          if (name != target.text) continue;
          each = std::move(value);
          return;
        }
        attributes.emplace_back(target.text, std::move(value));
        break;
      }
      default: {
        const std::vector<Value> items = items_of(runtime_, value);
        if (items.size() != target.parts.size())
          runtime_.fail("expected ", target.parts.size(), " values to unpack, got ", items.size());
        for (std::size_t i = 0; i < items.size(); ++i) assign(*target.parts[i], items[i], scope);
      }
    }
  }

  // ---- Names ----

  Value lookup(const std::string& name, const ScopePtr& scope) {
    for (Scope* each = scope.get(); each; each = each->outer.get())
      if (const Value* found = each->find(name)) return *found;
    if (const auto found = given_.find(name); found != given_.end()) {
      globals_->set(name, runtime_.from_json(*found));
      return *globals_->find(name);
    }
    const Builtin* function = find_builtin(Role::function, name);
    if (!function) return runtime_.undefined("\"" + name + "\" was not given or set");
    auto made = std::make_shared<Callable>();
    made->builtin = function;
    return {Kind::callable, runtime_.own(std::move(made), sizeof(Callable))};
  }

  Value macro_value(const Statement& macro, const ScopePtr& scope) {
    auto made = std::make_shared<Callable>();
    made->macro = &macro;
    made->scope = scope;
    return {Kind::callable, runtime_.own(std::move(made), sizeof(Callable))};
  }

  // ---- Expressions ----

  Value evaluate(const Expression& node, const ScopePtr& scope) {
    const Level level = deeper();
    runtime_.step();
    runtime_.line = node.line;
    switch (node.op) {
      case Op::constant:
        return node.value;
      case Op::name:
        return lookup(node.text, scope);
      case Op::list:
      case Op::tuple:
        return sequence(node, scope);
      case Op::dict:
        return dict(node, scope);
      case Op::attribute: {
        const Value object = evaluate(*node.parts[0], scope);
        runtime_.line = node.line;
        return attribute_of(runtime_, object, node.text);
      }
      case Op::item: {
        const Value object = evaluate(*node.parts[0], scope), key = evaluate(*node.parts[1], scope);
        runtime_.line = node.line;
        return item_of(runtime_, object, key);
      }
      case Op::slice: {
        Value parts[4];
        for (std::size_t i = 0; i < 4; ++i) parts[i] = node.parts[i] ? evaluate(*node.parts[i], scope) : Value::none();
        runtime_.line = node.line;
        return slice_of(runtime_, parts[0], parts[1], parts[2], parts[3]);
      }
      case Op::call:
        return call(node, scope);
      case Op::filter: {
        const Value value = evaluate(*node.parts[0], scope);
        const Arguments given = arguments(node, scope);
        runtime_.line = node.line;
        if (!node.builtin) runtime_.fail(node.text);
        return (*node.builtin)(runtime_, value, given);
      }
      case Op::conditional:
        if (truthy(evaluate(*node.parts[0], scope))) return evaluate(*node.parts[1], scope);
        if (node.parts[2]) return evaluate(*node.parts[2], scope);
        return runtime_.undefined("an if without else, in line " + std::to_string(node.line));
      case Op::logical_or:
      case Op::logical_and: {
        Value left = evaluate(*node.parts[0], scope);
        return truthy(left) == (node.op == Op::logical_or) ? left : evaluate(*node.parts[1], scope);
      }
      case Op::logical_not:
        return Value::boolean(!truthy(evaluate(*node.parts[0], scope)));
      case Op::compare: {
        const Value left = evaluate(*node.parts[0], scope), right = evaluate(*node.parts[1], scope);
        runtime_.line = node.line;
        return Value::boolean(holds(runtime_, node.comparison, left, right));
      }
      case Op::chain:
        return Value::boolean(chain_holds(node, scope));
      case Op::concat: {
        Builder out(runtime_);
        for (const ExpressionPtr& part : node.parts) print(*part, scope, out);
        runtime_.line = node.line;
        return out.value();
      }
      case Op::negative:
      case Op::positive:
        return signed_number(node, scope);
      case Op::space_attribute:
        break;
      default: {
        const Value left = evaluate(*node.parts[0], scope), right = evaluate(*node.parts[1], scope);
        runtime_.line = node.line;
        return arithmetic(node.op, left, right);
      }
    }
    runtime_.fail("expected an expression, got a part of one");
  }

  Value sequence(const Expression& node, const ScopePtr& scope) {
    std::vector<Value> items;
    items.reserve(node.parts.size());
    for (const ExpressionPtr& part : node.parts) items.push_back(evaluate(*part, scope));
    runtime_.line = node.line;
    return runtime_.sequence(node.op == Op::list ? Kind::list : Kind::tuple, std::move(items));
  }

  Value dict(const Expression& node, const ScopePtr& scope) {
    auto made = std::make_shared<Dict>();
    for (std::size_t i = 0; i < node.parts.size(); i += 2) {
      Value key = evaluate(*node.parts[i], scope);
      Value value = evaluate(*node.parts[i + 1], scope);
      runtime_.line = node.line;
      made->set(runtime_, std::move(key), std::move(value));
    }
    return runtime_.dict(std::move(made));
  }

  // Up to the first comparison that does not hold; what stands between two is asked once.
  bool chain_holds(const Expression& node, const ScopePtr& scope) {
    Value left = evaluate(*node.parts[0]->parts[0], scope);
    for (const ExpressionPtr& each : node.parts) {
      Value right = evaluate(*each->parts.back(), scope);
      runtime_.line = each->line;
      if (!holds(runtime_, each->comparison, left, right)) return false;
      left = std::move(right);
    }
    return true;
  }

  Value signed_number(const Expression& node, const ScopePtr& scope) {
    const Value value = evaluate(*node.parts[0], scope);
    runtime_.line = node.line;
    runtime_.need(value);
    if (!value.is_number()) runtime_.fail("expected a number behind the sign, got ", type_name(value));
    if (node.op == Op::positive) return value.is(Kind::real) ? value : Value::integer(value.as_integer());
    if (value.is(Kind::real)) return Value::real(-value.as_real());
    return whole_numbers(Op::subtract, 0, value.as_integer());
  }

  // ---- Calls ----

  // The arguments of a call, a filter or a test: all parts but the first.
  Arguments arguments(const Expression& node, const ScopePtr& scope) {
    Arguments result;
    for (std::size_t i = 1; i < node.parts.size(); ++i) result.positional.push_back(evaluate(*node.parts[i], scope));
    for (const auto& [name, value] : node.keywords) result.named.emplace_back(name, evaluate(*value, scope));
    if (node.star)
      for (Value& item : items_of(runtime_, evaluate(*node.star, scope))) result.positional.push_back(std::move(item));
    return result;
  }

  Value call(const Expression& node, const ScopePtr& scope, const Value* caller = nullptr) {
    const Value called = evaluate(*node.parts[0], scope);
    const Arguments given = arguments(node, scope);
    runtime_.line = node.line;
    runtime_.need(called);
    if (!called.is(Kind::callable)) runtime_.fail("expected a function to call, got ", type_name(called));
    const auto& callable = called.as<Callable>();
    return callable.macro ? run_macro(*callable.macro, callable.scope.lock(), given, caller)
                          : (*callable.builtin)(runtime_, callable.self, given);
  }

  Value run_macro(const Statement& macro, const ScopePtr& around, const Arguments& given, const Value* caller) {
    const Level level = deeper();
    const int line = runtime_.line;
    if (!around) runtime_.fail("expected a macro to be called within the block that defines it");
    const ScopePtr body = inner(around);
    const std::size_t count = macro.parameters.size(), without_default = count - macro.expressions.size();
    if (given.positional.size() > count)
      runtime_.fail("expected at most ", count, " arguments of the macro \"", macro.text, "\", got ",
                    given.positional.size());
    std::vector<std::optional<Value>> values(given.positional.begin(), given.positional.end());
    values.resize(count);
    for (const auto& [name, value] : given.named) {
      const auto& names = macro.parameters;
      const auto place = static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
      if (place == count || values[place])
        runtime_.fail("expected arguments that the macro \"", macro.text, "\" has, each once, got one named \"", name,
                      "\"");
      values[place] = value;
    }
    // A default sees the parameters before it; those behind it, and its own, are not there yet.
    for (std::size_t i = 0; i < count; ++i)
      body->set(
          macro.parameters[i],
          values[i] ? *values[i] : runtime_.undefined("the argument \"" + macro.parameters[i] + "\" was not given"));
    for (std::size_t i = without_default; i < count; ++i)
      if (!values[i]) body->set(macro.parameters[i], evaluate(*macro.expressions[i - without_default], body));
    if (caller) body->set("caller", *caller);
    Builder out(runtime_);
    block(macro.blocks[0], body, out);
    runtime_.line = line;
    return out.value();
  }

  // ---- Arithmetic ----

  // For HTML.
  static void escape(std::string_view text, Builder& out) {
    static constexpr std::pair<char, std::string_view> kNames[] = {
        {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
    for (const char c : text) {
      const auto found =
          std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& each) { return each.first == c; });
      found == std::end(kNames) ? out += c : out += found->second;
    }
  }

  // A text or list `times` times.
  Value repeated(const Value& value, std::int64_t times) {
    if (value.is(Kind::text)) {
      Builder out(runtime_);
      out.repeat(value.text(), times);
      return out.value();
    }
    const auto& items = value.items();
    std::vector<Value> result;
    for (std::int64_t i = 0; i < times && !items.empty(); ++i) {
      runtime_.check_room((result.size() + items.size()) * sizeof(Value));
      runtime_.step(items.size());
      result.insert(result.end(), items.begin(), items.end());
    }
    return runtime_.sequence(value.kind(), std::move(result));
  }

  Value arithmetic(Op op, const Value& a, const Value& b) {
    runtime_.need(a);
    if (op == Op::modulo && a.is(Kind::text)) return percent_format(runtime_, a.text(), b);
    runtime_.need(b);
    const auto repeats = [](const Value& value) {
      return value.is(Kind::text) || value.is(Kind::list) || value.is(Kind::tuple);
    };
    if (op == Op::multiply && repeats(a) && b.is_integral()) return repeated(a, b.as_integer());
    if (op == Op::multiply && repeats(b) && a.is_integral()) return repeated(b, a.as_integer());
    if (op == Op::add && a.kind() == b.kind() && a.is(Kind::text)) {
      const bool safe = a.as<Text>().safe || b.as<Text>().safe;
      Builder out(runtime_);
      for (const Value* each : {&a, &b})
        safe && !each->as<Text>().safe ? escape(each->text(), out) : void(out += each->text());
      Value sum = out.value();
      sum.as<Text>().safe = safe;
      return sum;
    }
    if (op == Op::add && a.kind() == b.kind() && repeats(a)) {
      runtime_.step(a.items().size() + b.items().size());
      std::vector<Value> items = a.items();
      items.insert(items.end(), b.items().begin(), b.items().end());
      return runtime_.sequence(a.kind(), std::move(items));
    }
    static constexpr std::string_view kSigns[] = {"+", "-", "*", "%", "/", "//", "**"};
    if (!a.is_number() || !b.is_number())
      runtime_.fail("expected values that ", kSigns[static_cast<int>(op) - static_cast<int>(Op::add)],
                    " can join, got ", type_name(a), " and ", type_name(b));
    if ((op == Op::modulo || op == Op::divide || op == Op::floor_divide) && b.as_real() == 0)
      runtime_.fail("expected a divisor that is not 0, got 0");
    const bool whole = a.is_integral() && b.is_integral() && op != Op::divide &&
                       (op != Op::power || b.as_integer() >= 0);  // 2 ** -1 is no whole number
    return whole ? whole_numbers(op, a.as_integer(), b.as_integer()) : real_numbers(op, a.as_real(), b.as_real());
  }

  // A remainder has the sign of the divisor, as Python's has.
  Value whole_numbers(Op op, std::int64_t a, std::int64_t b) {
    if (op == Op::modulo) {
      const std::int64_t rest = b == -1 ? 0 : a % b;
      return Value::integer(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    }
    std::int64_t result = 0;
    bool overflow = false;
    if (op == Op::add) {
      overflow = __builtin_add_overflow(a, b, &result);
    } else if (op == Op::subtract) {
      overflow = __builtin_sub_overflow(a, b, &result);
    } else if (op == Op::multiply) {
      overflow = __builtin_mul_overflow(a, b, &result);
    } else if (op == Op::floor_divide) {
      overflow = __builtin_mul_overflow(a, b == -1 ? -1 : 1, &result);  // the one quotient that has no room
      if (!overflow && b != -1) result = a / b - (a % b != 0 && (a % b < 0) != (b < 0));
    } else {  // a power; beyond 64 factors only 0, 1 and -1 have room
      result = 1;
      const bool small = a >= -1 && a <= 1;
      for (std::int64_t i = small ? b % 2 + (b > 1 && b % 2 == 0 ? 2 : 0) : b; i > 0 && !overflow; --i)
        overflow = __builtin_mul_overflow(result, a, &result);
    }
    if (overflow) runtime_.fail("expected a result within 64 bits, got a larger one");
    return Value::integer(result);
  }

  Value real_numbers(Op op, double a, double b) {
    if (op == Op::add) return Value::real(a + b);
    if (op == Op::subtract) return Value::real(a - b);
    if (op == Op::multiply) return Value::real(a * b);
    if (op == Op::divide) return Value::real(a / b);
    if (op == Op::power) {
      if (a == 0 && b < 0) runtime_.fail("expected a power of another number, got one of 0 with a negative exponent");
      if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b))
        runtime_.fail("expected a power that is a real number, got one of a negative number with a fraction");
      const double power = std::pow(a, b);
      if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) runtime_.fail("expected a power that has room");
      return Value::real(power);
    }
    double rest = std::fmod(a, b);
    if (op == Op::floor_divide) {  // as Python rounds it
      double quotient = (a - rest) / b;
      if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
      if (quotient == 0) return Value::real(std::copysign(0.0, a / b));
      const double floor = std::floor(quotient);
      return Value::real(quotient - floor > 0.5 ? floor + 1 : floor);
    }
    if (rest == 0) return Value::real(std::copysign(0.0, b));
    return Value::real((rest < 0) != (b < 0) ? rest + b : rest);
  }

  Runtime runtime_;  // first to come and last to go: everything below counts on it
  const nlohmann::ordered_json& given_;
  ScopePtr globals_;  // of what was given, the values that were asked for
  int frames_ = 0;
};

}  // namespace
}  // namespace jinja

Jinja::Jinja(std::string_view source, std::string where)
    : source_(std::make_shared<std::vector<jinja::Statement>>(jinja::parse(source, where))), where_(std::move(where)) {}

std::string Jinja::render(const nlohmann::ordered_json& variables) const {
  return jinja::Renderer(where_, variables).run(*source_);
}

}  // namespace grpo

#include "jinja.h"

#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "grpo/error.h"
#include "jinja_builtins.h"
#include "jinja_syntax.h"
#include "jinja_value.h"

namespace grpo {
namespace jinja {

/// The names that one body has set, in front of those around it.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> outer) : outer(std::move(outer)) {}

  Value* find(std::size_t name) {
    for (auto& [each, value] : values)
      if (each == name) return &value;
    return nullptr;
  }
  void set(std::size_t name, Value value) {
    if (Value* found = find(name))
      *found = std::move(value);
    else
      values.emplace_back(name, std::move(value));
  }

  std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::size_t, Value>> values;
  bool kept = false;  // a macro refers to it
};

namespace {

using ScopePtr = std::shared_ptr<Scope>;

enum class Flow { on, break_, continue_ };

// Calls of macros within calls. One costs a few kilobytes of the stack for each level of nesting in its body.
constexpr int kMaxFrames = 400;

class Renderer {
 public:
  Renderer(const Template& source, const std::string& where, const nlohmann::ordered_json& variables)
      : template_(source), runtime_(where), top_(std::make_shared<Scope>(nullptr)) {
    variables_.reserve(source.names.size());
    for (const std::string& name : source.names) variables_.push_back(runtime_.from_json(variables, name));
  }

  ~Renderer() {
    // Macros refer to scopes and scopes hold macros.
    for (const ScopePtr& scope : kept_) scope->values.clear();
  }
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  std::string run() {
    Builder out(runtime_);
    block(template_.body, top_, out);
    return out.take();
  }

 private:
  // ---- Statements ----

  // One level of recursion, as deep as the stack allows.
  class Frame {
   public:
    explicit Frame(Renderer& renderer) : renderer_(renderer) {
      if (++renderer_.frames_ > kMaxFrames)
        renderer_.runtime_.fail("expected blocks, expressions and macros nested at most ", kMaxFrames,
                                " deep, got deeper ones; a macro may call itself without end");
    }
    ~Frame() { --renderer_.frames_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Renderer& renderer_;
  };

  ScopePtr inner(const ScopePtr& outer) { return std::make_shared<Scope>(outer); }

  Flow block(const Block& statements, const ScopePtr& scope, Builder& out) {
    const Frame frame(*this);
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
      case Tag::set_block:
      case Tag::filter:
        return captured(node, scope, out);
      case Tag::if_:
        for (std::size_t i = 0; i < node.expressions.size(); ++i)
          if (truthy(evaluate(*node.expressions[i], scope))) return block(node.blocks[i], scope, out);
        return node.has_else ? block(node.blocks.back(), scope, out) : Flow::on;
      case Tag::for_:
        return loop(node, scope, out);
      case Tag::macro:
        scope->set(node.name, macro_value(*node.macro, scope));
        return Flow::on;
      case Tag::call: {
        const Value caller = macro_value(*node.macro, scope);
        out += str(runtime_, call(*node.expressions[0], scope, &caller));
        return Flow::on;
      }
      case Tag::with: {
        const ScopePtr body = inner(scope);
        for (std::size_t i = 0; i < node.targets.size(); ++i)
          assign(*node.targets[i], evaluate(*node.expressions[i], scope), body);
        return block(node.blocks[0], body, out);
      }
      case Tag::break_:
        return Flow::break_;
      case Tag::continue_:
        return Flow::continue_;
      case Tag::generation:
        block(node.macro->body, inner(scope), out);
        return Flow::on;
    }
    return Flow::on;
  }

  void print(const Expression& node, const ScopePtr& scope, Builder& out) {
    const Value value = evaluate(node, scope);
    runtime_.line = node.line;
    if (value.is(Kind::text))
      out += value.text();
    else
      out += str(runtime_, value);
  }

  // {% set x %}…{% endset %} and {% filter f %}…{% endfilter %}.
  Flow captured(const Statement& node, const ScopePtr& scope, Builder& out) {
    Builder body(runtime_);
    const Flow flow = block(node.blocks[0], inner(scope), body);
    if (flow != Flow::on) return flow;
    Value value = runtime_.text(body.take());
    if (node.expressions[0]) value = filter(*node.expressions[0], scope, &value);
    runtime_.line = node.line;
    if (node.tag == Tag::filter)
      out += str(runtime_, value);
    else
      assign(*node.target, std::move(value), scope);
    return Flow::on;
  }

  // Ends a loop whichever way its body is left: what the template has kept of it holds nothing from then on.
  class LoopEnd {
   public:
    explicit LoopEnd(Loop& loop) : loop_(loop) {}
    ~LoopEnd() {
      loop_.ended = true;
      loop_.last_changed.reset();
      loop_.wanted = nullptr;
      loop_.source.reset();
    }
    LoopEnd(const LoopEnd&) = delete;
    LoopEnd& operator=(const LoopEnd&) = delete;

   private:
    Loop& loop_;
  };

  Flow loop(const Statement& node, const ScopePtr& scope, Builder& out) {
    const Value over = evaluate(*node.expressions[0], scope);
    runtime_.line = node.line;
    const auto state = runtime_.own(std::make_shared<Loop>(), sizeof(Loop), over.depth());
    const LoopEnd end(*state);
    state->source = iterate(runtime_, over);
    if (node.condition) {
      state->wanted = [&](const Value& item) {
        const ScopePtr asked = inner(scope);
        assign(*node.target, item, asked);
        return truthy(evaluate(*node.condition, asked));
      };
    }
    const Value variable(Kind::loop, state);
    while (true) {
      runtime_.line = node.line;
      runtime_.step();
      if (!state->advance()) break;
      const ScopePtr body = inner(scope);
      body->set(kLoopName, variable);
      assign(*node.target, *state->current, body);
      if (block(node.blocks[0], body, out) == Flow::break_) break;
    }
    // Without an iteration there was no break either, so that one here is the outer loop's.
    if (state->index0 < 0 && node.has_else) return block(node.blocks[1], inner(scope), out);
    return Flow::on;
  }

  void assign(const Expression& target, Value value, const ScopePtr& scope) {
    runtime_.line = target.line;
    switch (target.op) {
      case Op::name:
        scope->set(target.name, std::move(value));
        break;
      case Op::space_attribute: {
        const Value space = lookup(target.name, scope);
        if (!space.is(Kind::space))
          runtime_.fail("expected a namespace to set \"", target.text, "\" of, got ", type_name(space), "; make \"",
                        template_.names[target.name], "\" one with namespace()");
        if (target.text.starts_with('_'))
          runtime_.fail("expected names without an underscore in front, got \"", target.text, "\"");
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

  Value lookup(std::size_t name, const ScopePtr& scope) {
    for (Scope* each = scope.get(); each; each = each->outer.get())
      if (const Value* found = each->find(name)) return *found;
    if (variables_[name]) return *variables_[name];
    const std::string& text = template_.names[name];
    if (const Method* global = find_global(text)) {
      auto made = std::make_shared<Callable>();
      made->method = global;
      return {Kind::callable, runtime_.own(std::move(made), sizeof(Callable))};
    }
    if (is_missing_global(text)) runtime_.fail("expected a function that this library knows, got \"", text, "\"");
    return runtime_.undefined("expected a value, got an undefined one: \"" + text + "\" was not given or set");
  }

  Value macro_value(const Macro& macro, const ScopePtr& scope) {
    for (ScopePtr each = scope; each && !each->kept; each = each->outer) {
      each->kept = true;
      kept_.push_back(each);
      runtime_.take(sizeof(Scope) + 64);
    }
    auto made = std::make_shared<Callable>();
    made->macro = &macro;
    made->scope = scope.get();
    return {Kind::callable, runtime_.own(std::move(made), sizeof(Callable))};
  }

  // ---- Expressions ----

  Value evaluate(const Expression& node, const ScopePtr& scope) {
    const Frame frame(*this);
    runtime_.step();
    runtime_.line = node.line;
    switch (node.op) {
      case Op::constant:
        return node.value;
      case Op::name:
        return lookup(node.name, scope);
      case Op::list:
      case Op::tuple: {
        std::vector<Value> items;
        items.reserve(node.parts.size());
        for (const ExpressionPtr& part : node.parts) items.push_back(evaluate(*part, scope));
        runtime_.line = node.line;
        return runtime_.sequence(node.op == Op::list ? Kind::list : Kind::tuple, std::move(items));
      }
      case Op::dict: {
        auto made = std::make_shared<Dict>();
        for (std::size_t i = 0; i < node.parts.size(); i += 2) {
          Value key = evaluate(*node.parts[i], scope);
          Value value = evaluate(*node.parts[i + 1], scope);
          runtime_.line = node.line;
          made->set(runtime_, std::move(key), std::move(value));
        }
        return runtime_.dict(std::move(made));
      }
      case Op::attribute: {
        const Value object = evaluate(*node.parts[0], scope);
        runtime_.line = node.line;
        return attribute_of(runtime_, object, node.text);
      }
      case Op::item:
        return item(node, scope);
      case Op::call:
        return call(node, scope, nullptr);
      case Op::filter:
        return filter(node, scope, nullptr);
      case Op::test: {
        const Value value = evaluate(*node.parts[0], scope);
        const Arguments given = arguments(node, scope);
        runtime_.line = node.line;
        runtime_.read(value);
        return Value::boolean(
            node.test->apply(runtime_, value, Bound(runtime_, node.text, node.test->parameters, given)));
      }
      case Op::conditional:
        if (truthy(evaluate(*node.parts[0], scope))) return evaluate(*node.parts[1], scope);
        if (node.parts[2]) return evaluate(*node.parts[2], scope);
        return runtime_.undefined("expected a value, got an undefined one: an if without else, in line " +
                                  std::to_string(node.line));
      case Op::logical_or:
      case Op::logical_and: {
        Value value;
        for (const ExpressionPtr& part : node.parts) {
          value = evaluate(*part, scope);
          if (truthy(value) == (node.op == Op::logical_or)) break;
        }
        return value;
      }
      case Op::logical_not:
        return Value::boolean(!truthy(evaluate(*node.parts[0], scope)));
      case Op::compare:
        return Value::boolean(comparison(node, scope));
      case Op::concat: {
        Builder out(runtime_);
        for (const ExpressionPtr& part : node.parts) print(*part, scope, out);
        runtime_.line = node.line;
        return runtime_.text(out.take());
      }
      case Op::negative:
      case Op::positive: {
        const Value value = evaluate(*node.parts[0], scope);
        runtime_.line = node.line;
        defined(value);
        if (!value.is_number()) runtime_.fail("expected a number behind the sign, got ", type_name(value));
        const bool negative = node.op == Op::negative;
        if (value.is(Kind::real)) return Value::real(negative ? -value.as_real() : value.as_real());
        return Value::integer(negative ? whole_numbers(Op::subtract, 0, value.as_integer()).as_integer()
                                       : value.as_integer());
      }
      case Op::add:
        if (node.parts.size() > 2) return sum(node, scope);
        [[fallthrough]];
      case Op::subtract:
      case Op::multiply:
      case Op::divide:
      case Op::floor_divide:
      case Op::modulo:
      case Op::power: {
        Value value = evaluate(*node.parts[0], scope);
        for (std::size_t i = 1; i < node.parts.size(); ++i) {
          const Value right = evaluate(*node.parts[i], scope);
          runtime_.line = node.line;
          value = arithmetic(node.op, value, right);
        }
        return value;
      }
      case Op::slice:
      case Op::space_attribute:
        break;
    }
    runtime_.fail("expected an expression, got a part of one");
  }

  // A long sum of texts, without copying what came before each.
  Value sum(const Expression& node, const ScopePtr& scope) {
    Value value = evaluate(*node.parts[0], scope);
    std::optional<Builder> text;
    for (std::size_t i = 1; i < node.parts.size(); ++i) {
      const Value right = evaluate(*node.parts[i], scope);
      runtime_.line = node.line;
      if (right.is(Kind::text) && (text || value.is(Kind::text))) {
        if (!text) text.emplace(runtime_) += value.text();
        *text += right.text();
        continue;
      }
      if (text) {
        value = runtime_.text(text->take());
        text.reset();
      }
      value = arithmetic(Op::add, value, right);
    }
    return text ? runtime_.text(text->take()) : value;
  }

  Value item(const Expression& node, const ScopePtr& scope) {
    const Value object = evaluate(*node.parts[0], scope);
    const Expression& key = *node.parts[1];
    if (key.op != Op::slice) {
      const Value place = evaluate(key, scope);
      runtime_.line = node.line;
      return item_of(runtime_, object, place);
    }
    Value parts[3];
    for (std::size_t i = 0; i < 3; ++i) parts[i] = key.parts[i] ? evaluate(*key.parts[i], scope) : Value::none();
    runtime_.line = node.line;
    return slice_of(runtime_, object, parts[0], parts[1], parts[2]);
  }

  bool comparison(const Expression& node, const ScopePtr& scope) {
    Value left = evaluate(*node.parts[0], scope);
    for (std::size_t i = 0; i < node.comparisons.size(); ++i) {
      Value right = evaluate(*node.parts[i + 1], scope);
      runtime_.line = node.line;
      if (!holds(node.comparisons[i], left, right)) return false;
      left = std::move(right);
    }
    return true;
  }

  bool holds(Comparison comparison, const Value& left, const Value& right) {
    switch (comparison) {
      case Comparison::equal:
        return equal(runtime_, left, right);
      case Comparison::not_equal:
        return !equal(runtime_, left, right);
      case Comparison::in:
        return contains(runtime_, right, left);
      case Comparison::not_in:
        return !contains(runtime_, right, left);
      default:
        break;
    }
    const auto order = compare(runtime_, left, right);
    if (!order) return false;
    switch (comparison) {
      case Comparison::less:
        return *order < 0;
      case Comparison::less_equal:
        return *order <= 0;
      case Comparison::greater:
        return *order > 0;
      default:
        return *order >= 0;
    }
  }

  // ---- Calls ----

  // The arguments of a call, a filter or a test: all parts but the first.
  Arguments arguments(const Expression& node, const ScopePtr& scope) {
    Arguments result;
    for (std::size_t i = 1; i < node.parts.size(); ++i) result.positional.push_back(evaluate(*node.parts[i], scope));
    for (const auto& [name, value] : node.keywords) result.named.emplace_back(name, evaluate(*value, scope));
    if (node.star)
      for (Value& item : items_of(runtime_, evaluate(*node.star, scope))) result.positional.push_back(std::move(item));
    if (node.double_star) {
      const Value rest = evaluate(*node.double_star, scope);
      runtime_.line = node.line;
      if (!rest.is(Kind::dict)) runtime_.fail("expected a dict behind **, got ", type_name(rest));
      for (const auto& [name, value] : rest.as<Dict>().entries) {
        if (!name.is(Kind::text)) runtime_.fail("expected names as the keys of **, got ", type_name(name));
        for (const auto& [other, _] : result.named)
          if (other == name.text()) runtime_.fail("expected the argument \"", other, "\" once, got it twice");
        result.named.emplace_back(name.text(), value);
      }
    }
    return result;
  }

  Value filter(const Expression& node, const ScopePtr& scope, const Value* head) {
    // At the head of a filter block there is no expression but the block's text.
    Value value;
    if (!node.parts[0])
      value = *head;
    else if (head)
      value = filter(*node.parts[0], scope, head);
    else
      value = evaluate(*node.parts[0], scope);
    const Arguments given = arguments(node, scope);
    runtime_.line = node.line;
    runtime_.read(value);
    return node.filter->apply(runtime_, value, Bound(runtime_, node.text, node.filter->parameters, given));
  }

  Value call(const Expression& node, const ScopePtr& scope, const Value* caller) {
    const Value called = evaluate(*node.parts[0], scope);
    Arguments given = arguments(node, scope);
    runtime_.line = node.line;
    if (caller) given.named.emplace_back(template_.names[kCallerName], *caller);
    defined(called);
    if (!called.is(Kind::callable)) runtime_.fail("expected a function to call, got ", type_name(called));
    const auto& callable = called.as<Callable>();
    if (callable.macro) return run_macro(*callable.macro, callable.scope, given);
    runtime_.read(callable.self);
    return callable.method->apply(runtime_, callable.self,
                                  Bound(runtime_, callable.method->name, callable.method->parameters, given));
  }

  Value run_macro(const Macro& macro, Scope* around, Arguments& given) {
    const Frame frame(*this);
    const int line = runtime_.line;
    const std::size_t count = macro.parameters.size();
    // The scopes that a macro refers to live as long as the rendering.
    const ScopePtr body = inner(ScopePtr(ScopePtr(), around));
    const auto take_named = [&](std::string_view name) -> std::optional<Value> {
      for (auto it = given.named.begin(); it != given.named.end(); ++it) {
        if (it->first != name) continue;
        Value value = std::move(it->second);
        given.named.erase(it);
        return value;
      }
      return std::nullopt;
    };
    std::vector<bool> filled(count, false);
    for (std::size_t i = 0; i < count; ++i) {
      std::optional<Value> value;
      if (i < given.positional.size())
        value = given.positional[i];
      else
        value = take_named(macro.parameter_names[i]);
      if (!value) continue;
      body->set(macro.parameters[i], std::move(*value));
      filled[i] = true;
    }
    if (macro.uses_caller) {
      auto caller = take_named("caller");
      body->set(kCallerName, caller ? std::move(*caller) : runtime_.undefined("expected a caller, got none"));
    }
    if (macro.uses_kwargs) {
      auto rest = std::make_shared<Dict>();
      for (auto& [name, value] : given.named) rest->set(runtime_, runtime_.text(name), std::move(value));
      given.named.clear();
      body->set(kKwargsName, runtime_.dict(std::move(rest)));
    }
    if (!given.named.empty())
      runtime_.fail("expected arguments that the macro \"", macro.name, "\" has, got one named \"",
                    given.named.front().first, "\"");
    if (macro.uses_varargs) {
      std::vector<Value> rest;
      for (std::size_t i = count; i < given.positional.size(); ++i) rest.push_back(given.positional[i]);
      body->set(kVarargsName, runtime_.tuple(std::move(rest)));
    } else if (given.positional.size() > count) {
      runtime_.fail("expected at most ", count, " arguments of the macro \"", macro.name, "\", got ",
                    given.positional.size());
    }
    // A default sees the parameters before it; those behind it, and its own, are not there yet.
    for (std::size_t i = 0; i < count; ++i)
      if (!filled[i])
        body->set(macro.parameters[i], runtime_.undefined("expected a value, got an undefined one: the argument \"" +
                                                          macro.parameter_names[i] + "\" was not given"));
    const std::size_t without_default = count - macro.defaults.size();
    for (std::size_t i = without_default; i < count; ++i)
      if (!filled[i]) body->set(macro.parameters[i], evaluate(*macro.defaults[i - without_default], body));
    Builder out(runtime_);
    block(macro.body, body, out);
    runtime_.line = line;
    return runtime_.text(out.take());
  }

  // ---- Arithmetic ----

  void defined(const Value& value) const {
    if (!value.is_undefined()) return;
    if (value.object()) runtime_.fail(value.as<Absence>().message);
    runtime_.fail("expected a value, got an undefined one");
  }

  template <class Overflow>
  std::int64_t whole(const Overflow& operation, std::int64_t a, std::int64_t b) const {
    std::int64_t result = 0;
    if (operation(a, b, &result)) runtime_.fail("expected a result within 64 bits, got a larger one");
    return result;
  }

  Value repeated(const Value& value, std::int64_t times) {
    if (value.is(Kind::text)) {
      Builder out(runtime_);
      out.repeat(value.text(), times);
      return runtime_.text(out.take());
    }
    const auto& items = value.as<Sequence>().items;
    if (!items.empty() && times > static_cast<std::int64_t>(kMaxMemory / sizeof(Value) / items.size()))
      runtime_.fail("expected a shorter list, got one of ", items.size(), " items ", times, " times");
    std::vector<Value> result;
    for (std::int64_t i = 0; i < times && !items.empty(); ++i) {
      runtime_.step(items.size());
      result.insert(result.end(), items.begin(), items.end());
    }
    return runtime_.sequence(value.kind(), std::move(result));
  }

  Value arithmetic(Op op, const Value& a, const Value& b) {
    defined(a);
    if (op == Op::modulo && a.is(Kind::text)) return percent_format(runtime_, a.text(), b);
    defined(b);
    const auto repeats = [](const Value& value) {
      return value.is(Kind::text) || value.is(Kind::list) || value.is(Kind::tuple);
    };
    if (op == Op::multiply && repeats(a) && b.is_integral()) return repeated(a, b.as_integer());
    if (op == Op::multiply && repeats(b) && a.is_integral()) return repeated(b, a.as_integer());
    if (op == Op::add && a.kind() == b.kind() && repeats(a)) {
      if (a.is(Kind::text)) {
        Builder out(runtime_);
        out += a.text();
        out += b.text();
        return runtime_.text(out.take());
      }
      std::vector<Value> items = a.as<Sequence>().items;
      const auto& more = b.as<Sequence>().items;
      items.insert(items.end(), more.begin(), more.end());
      runtime_.step(items.size());
      return runtime_.sequence(a.kind(), std::move(items));
    }
    static constexpr std::string_view kSigns[] = {"+", "-", "*", "/", "//", "%", "**"};
    if (!a.is_number() || !b.is_number())
      runtime_.fail("expected values that ", kSigns[static_cast<int>(op) - static_cast<int>(Op::add)],
                    " can join, got ", type_name(a), " and ", type_name(b));
    if ((op == Op::divide || op == Op::floor_divide || op == Op::modulo) && b.as_real() == 0)
      runtime_.fail("expected a divisor that is not 0, got 0");
    return a.is_integral() && b.is_integral() ? whole_numbers(op, a.as_integer(), b.as_integer())
                                              : real_numbers(op, a.as_real(), b.as_real());
  }

  Value whole_numbers(Op op, std::int64_t a, std::int64_t b) {
    const auto add = [](auto x, auto y, auto* sum) { return __builtin_add_overflow(x, y, sum); };
    const auto subtract = [](auto x, auto y, auto* rest) { return __builtin_sub_overflow(x, y, rest); };
    const auto multiply = [](auto x, auto y, auto* product) { return __builtin_mul_overflow(x, y, product); };
    switch (op) {
      case Op::add:
        return Value::integer(whole(add, a, b));
      case Op::subtract:
        return Value::integer(whole(subtract, a, b));
      case Op::multiply:
        return Value::integer(whole(multiply, a, b));
      case Op::divide:
        return Value::real(static_cast<double>(a) / static_cast<double>(b));
      case Op::floor_divide:
        if (b == -1) return Value::integer(whole(subtract, 0, a));
        return Value::integer(a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0));
      case Op::modulo: {
        if (b == -1) return Value::integer(0);
        const std::int64_t rest = a % b;
        return Value::integer(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
      }
      default: {
        if (b < 0) return real_numbers(op, static_cast<double>(a), static_cast<double>(b));
        std::int64_t result = 1;
        if (b > 64 && (a > 1 || a < -1)) runtime_.fail("expected a result within 64 bits, got a larger one");
        if (b > 64) return Value::integer(a == -1 && b % 2 == 0 ? 1 : a);
        for (std::int64_t i = 0; i < b; ++i) result = whole(multiply, result, a);
        return Value::integer(result);
      }
    }
  }

  Value real_numbers(Op op, double a, double b) {
    const auto rest_of = [&] {
      double rest = std::fmod(a, b);
      if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
      return rest == 0 ? std::copysign(0.0, b) : rest;
    };
    switch (op) {
      case Op::add:
        return Value::real(a + b);
      case Op::subtract:
        return Value::real(a - b);
      case Op::multiply:
        return Value::real(a * b);
      case Op::divide:
        return Value::real(a / b);
      case Op::floor_divide: {
        const double quotient = (a - rest_of()) / b;
        if (quotient == 0) return Value::real(std::copysign(0.0, a / b));
        const double floored = std::floor(quotient);
        return Value::real(quotient - floored > 0.5 ? floored + 1 : floored);
      }
      case Op::modulo:
        return Value::real(rest_of());
      default: {
        if (a == 0 && b < 0) runtime_.fail("expected a power of 0 that is not negative, got ", number_text(b));
        if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b))
          runtime_.fail("expected a whole power of a negative number, got ", number_text(b));
        const double result = std::pow(a, b);
        if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
          runtime_.fail("expected a power that a float can hold, got a larger one");
        return Value::real(result);
      }
    }
  }

  const Template& template_;
  Runtime runtime_;  // first to come and last to go: everything below counts on it
  std::vector<std::optional<Value>> variables_;
  std::vector<ScopePtr> kept_;
  ScopePtr top_;
  int frames_ = 0;
};

}  // namespace
}  // namespace jinja

Jinja::Jinja(std::string_view source, std::string where)
    : template_(std::make_shared<jinja::Template>(jinja::parse(source, where))), where_(std::move(where)) {}

std::string Jinja::render(const nlohmann::ordered_json& variables) const {
  return jinja::Renderer(*template_, where_, variables).run();
}

}  // namespace grpo

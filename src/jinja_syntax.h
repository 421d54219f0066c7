// A chat template as a tree: what the parser makes of the source, once.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja_value.h"

namespace grpo::jinja {

struct Filter;  // jinja_builtins.h
struct Test;

// How deep a template may nest; parsing, rendering and taking down the tree all recurse this far at most.
inline constexpr int kMaxNesting = 200;

enum class Op {
  constant,
  name,
  list,
  tuple,
  dict,  // parts: key, value, key, value, …
  attribute,
  item,
  slice,   // parts: start, stop, step; each may be missing. Only as the second part of an item
  call,    // parts: what is called, then the arguments
  filter,  // parts: the value, then the arguments; the value is missing at the head of a filter block
  test,
  conditional,  // parts: condition, value, other value (may be missing)
  logical_or,   // of two or more
  logical_and,
  logical_not,
  compare,  // parts: the first operand and one more for each of `comparisons`
  concat,
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  negative,
  positive,
  space_attribute,  // ns.x as the target of a set
};

enum class Comparison { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  Expression(Op op, int line) : op(op), line(line) {}

  Op op;
  int line;
  int depth = 1;     // of the tree from here down
  std::string text;  // a name; that of an attribute, a filter or a test
  std::size_t name = 0;
  Value value;
  std::vector<ExpressionPtr> parts;
  std::vector<std::pair<std::string, ExpressionPtr>> keywords;
  ExpressionPtr star, double_star;  // *rest and **rest of a call
  std::vector<Comparison> comparisons;
  const Filter* filter = nullptr;
  const Test* test = nullptr;
};

enum class Tag { text, print, set, set_block, if_, for_, macro, call, filter, with, break_, continue_, generation };

struct Statement;
using Block = std::vector<Statement>;

struct Macro {
  std::string name;
  std::vector<std::size_t> parameters;
  std::vector<std::string> parameter_names;
  std::vector<ExpressionPtr> defaults;  // of the last parameters
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
  std::vector<Statement> body;
};

struct Statement {
  Statement(Tag tag, int line) : tag(tag), line(line) {}

  Tag tag;
  int line;
  std::string text;
  ExpressionPtr target;                    // set, for
  std::vector<ExpressionPtr> expressions;  // what is printed, set, tested, iterated, called
  std::vector<ExpressionPtr> targets;      // with
  ExpressionPtr condition;                 // for … if
  std::vector<Block> blocks;     // the body; of an if, one for each condition, and the else; of a for, its else
  std::unique_ptr<Macro> macro;  // macro, call
  std::size_t name = 0;          // macro
  bool has_else = false;
};

struct Template {
  Block body;
  std::vector<std::string> names;  // every name in it; Expression::name is an index into these
};

/// The places in Template::names of the names that the language itself gives a meaning.
inline constexpr std::size_t kLoopName = 0, kCallerName = 1, kVarargsName = 2, kKwargsName = 3;

/// Throws Error that names `where`, the line, and what was not understood: a tag, a filter, a test, a method or the
/// syntax.
Template parse(std::string_view source, const std::string& where);

}  // namespace grpo::jinja

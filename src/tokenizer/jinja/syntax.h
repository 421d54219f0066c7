// A chat template as a tree: what the parser makes of the source, once.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/error.h"
#include "tokenizer/jinja/value.h"

namespace grpo::jinja {

// How deep a template may nest; parsing, rendering and taking down the tree all recurse this far at most.
inline constexpr int kMaxNesting = 200;
inline constexpr std::size_t kMaxSource = std::size_t{1} << 20;  // bytes of a template; long ones have 20,000

/// How reading a template fails.
struct Reporter {
  std::string where;
  template <class... Parts>
  [[noreturn]] void fail(int line, const Parts&... parts) const {
    throw Error("chat template", where, ":", line, ": ", parts...);
  }
};

/// Counts one level of recursion for as long as it lives.
class Level {
 public:
  explicit Level(int& depth) : depth_(++depth) {}
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  int& depth_;
};

// ---- Tokens (lexer.cpp) ----

enum class TokenKind { text, block_begin, block_end, print_begin, print_end, name, string, integer, real, sign, end };

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;
  int line = 1;
};

/// Also drops the comments, and the white space that tags take along.
std::vector<Token> tokens_of(std::string_view source, const Reporter& reporter);

// ---- The tree (parser.cpp) ----

enum class Op {
  constant,
  name,
  list,
  tuple,
  dict,  // parts: key, value, key, value, …
  attribute,
  item,
  slice,        // parts: what it is of, start, stop, step; each of the last three may be missing
  call,         // parts: what is called, then the arguments
  filter,       // parts: the value, then the arguments; also of a test
  conditional,  // parts: condition, value, other value (may be missing)
  chain,        // parts: comparisons of neighbours, such as of 1 < x < 3; each but the first lacks its left side
  logical_or,
  logical_and,
  logical_not,
  compare,
  concat,
  add,
  subtract,
  multiply,
  modulo,
  divide,
  floor_divide,
  power,
  negative,
  positive,
  space_attribute,  // ns.x as the target of a set; parts: ns
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  Expression(Op op, int line) : op(op), line(line) {}

  Op op;
  int line;
  int depth = 1;     // of the tree from here down
  std::string text;  // a name; that of an attribute; of a filter that is not known, what an error says
  Value value;
  std::vector<ExpressionPtr> parts;
  std::vector<std::pair<std::string, ExpressionPtr>> keywords;
  ExpressionPtr star;  // *rest of a call
  Comparison comparison = Comparison::equal;
  const Builtin* builtin = nullptr;
};

enum class Tag { text, print, set, set_block, if_, for_, macro, call, break_, continue_, generation, with, filter };

/// Where a filter over a block's text finds it: a name that no template can spell.
inline constexpr const char* kBlockText = " ";

struct Statement;
using Block = std::vector<Statement>;

struct Statement {
  Statement(Tag tag, int line) : tag(tag), line(line) {}

  Tag tag;
  int line;
  std::string text;                        // a macro's name
  ExpressionPtr target;                    // of set and for; the call of a call block
  std::vector<ExpressionPtr> expressions;  // what is printed, set, tested, iterated; a macro's defaults, of its last;
                                           // a block's filters, of kBlockText
  std::vector<std::string> parameters;     // of a macro; the names of a with
  ExpressionPtr condition;                 // for … if
  std::vector<Block> blocks;  // the body; of an if, one for each condition, and the else; of a for, its else
};

/// Throws Error that names `where`, the line, and what was not understood: a tag, a filter, a test, a method or the
/// syntax.
Block parse(std::string_view source, const std::string& where);

}  // namespace grpo::jinja

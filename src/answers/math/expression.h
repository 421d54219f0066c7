// What a mathematical answer is once it has been read: a tree of few kinds of nodes, in one arena.
#pragma once

#include <gmpxx.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory_resource>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grpo::math {

enum class Kind : std::uint8_t {
  number,  // value; `digits` behind a decimal point (-1: written without one); `base` other than 10
  symbol,  // name
  pi,
  e,
  i,
  infinity,
  sum,       // children
  product,   // children
  quotient,  // numerator, denominator
  ratio,     // a : b
  power,     // base, exponent
  negate,
  plus_minus,  // ± child (unary), or a ± b
  minus_plus,
  function,  // `function` of the children
  call,      // an unknown function `name` of the children
  percent,
  degree,
  quantity,  // child, with the unit `name`
  tuple,     // ( … ) of two or more, in order; also ⟨ … ⟩
  bracket,   // [a, b], [a, b), (a, b]: an interval, or with square brackets a vector; `open`, `close`
  set,       // { … }
  list,      // bare values side by side: a, b or c
  matrix,    // rows × columns children, by rows
  unite,
  intersect,
  without,
  relation,  // the members of a chain; `relations` between them
  fold,      // Σ or Π: index, lower, upper, body; `function`
  text       // name
};

enum class Function : std::uint8_t {
  none,
  sin,
  cos,
  tan,
  cot,
  sec,
  csc,
  arcsin,
  arccos,
  arctan,
  sinh,
  cosh,
  tanh,
  ln,
  log,
  exp,
  root,
  absolute,
  floor,
  ceiling,
  factorial,
  double_factorial,
  binomial,
  gcd,
  lcm,
  minimum,
  maximum,
  real_part,
  imaginary_part,
  modulo,
  sum,
  product,
  opaque
};

enum class Relation : char {
  equal = '=',
  unequal = '#',
  less = '<',
  greater = '>',
  at_most = 'l',
  at_least = 'g',
  about = '~',
  in = 'e'
};

using NodeId = std::uint32_t;

struct Node {
  explicit Node(Kind kind) : kind(kind) {}
  Node(Node&&) = default;  // a copy would share its children: Tree::add_like makes one that does not

  Kind kind;
  Function function = Function::none;
  bool called = false;  // a product written as a(b): maybe a function; a quantity whose unit may be a variable: 5 m
  bool open = false, close = false;  // of a bracket: whether the end is left out
  std::int16_t base = 10;
  std::int32_t digits = -1;
  std::uint32_t columns = 0;
  std::uint32_t depth = 0;           // of what is below
  std::optional<mpq_class> value{};  // of a number
  std::string name{};                // also the signs of a relation, & or | of a list that "and" or "or" joins
  std::span<NodeId> children{};      // in the tree's memory
};

/// A tree and all its nodes. Children are made before their parents.
class Tree {
 public:
  static constexpr std::size_t kMaxNodes = 2048;
  static constexpr std::uint32_t kMaxDepth = 512;  // a long product leans to one side, and readers of trees recurse

  Tree() = default;
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  NodeId add(Node node, std::span<const NodeId> children = {}) {
    if (!children.empty()) {
      auto* const own = static_cast<NodeId*>(memory_.allocate(children.size_bytes(), alignof(NodeId)));
      std::ranges::copy(children, own);
      node.children = {own, children.size()};
    }
    for (const NodeId child : children) node.depth = std::max(node.depth, nodes_[child].depth + 1);
    deepest_ = std::max(deepest_, node.depth);
    nodes_.push_back(std::move(node));
    return static_cast<NodeId>(nodes_.size() - 1);
  }
  NodeId add(Kind kind, std::span<const NodeId> children, Function function = Function::none) {
    Node node(kind);
    node.function = function;
    return add(std::move(node), children);
  }
  NodeId add(Kind kind, std::initializer_list<NodeId> children, Function function = Function::none) {
    return add(kind, std::span(children), function);
  }
  /// A node like `id` but for its children.
  NodeId add_like(NodeId id, std::span<const NodeId> children) {
    const Node& like = nodes_[id];
    Node node(like.kind);
    node.function = like.function;
    node.called = like.called;
    node.open = like.open, node.close = like.close;
    node.base = like.base;
    node.digits = like.digits;
    node.columns = like.columns;
    node.value = like.value;
    node.name = like.name;
    return add(std::move(node), children);
  }
  NodeId add_number(mpq_class value) {
    Node node(Kind::number);
    node.value = std::move(value);
    return add(std::move(node));
  }
  bool full() const { return nodes_.size() >= kMaxNodes || deepest_ >= kMaxDepth; }
  const Node& operator[](NodeId id) const { return nodes_[id]; }
  Node& operator[](NodeId id) { return nodes_[id]; }
  std::size_t size() const { return nodes_.size(); }

 private:
  alignas(std::max_align_t) std::array<std::byte, 4096> first_;  // enough for nearly all answers
  std::pmr::monotonic_buffer_resource memory_{first_.data(), first_.size()};
  std::pmr::deque<Node> nodes_{&memory_};  // references to nodes last
  std::uint32_t deepest_ = 0;
};

enum class ReadStatus { read, unreadable, over_budget };

struct ReadOptions {
  bool decimal_comma = false;   // 1.000,5 is 1000.5
  bool comma_is_point = false;  // the other reading of "1,22"
};

/// Reads a whole answer (LaTeX, plain text or a mix; wrappings removed) into `tree`. Linear in the text; nesting, nodes
/// and digits are bounded.
ReadStatus read_expression(std::string_view text, const ReadOptions& options, Tree& tree, NodeId& root);

enum class Truth { no, yes, over_budget };

struct CompareOptions {
  double tolerance = 0;
  int precision = -1;
  bool convert_units = false;
  std::uint64_t seed = 0;         // of the sample points
  std::int64_t budget = 300'000;  // what is left of it: all that is asked with these options pays from it
};

/// Whether two answers in one tree are the same; see check_answer for the rules. May add nodes to the tree.
Truth same_answer(Tree& tree, NodeId answer, NodeId reference, CompareOptions& options);

/// Whether a reference means something: 1/0 does not.
Truth is_defined(Tree& tree, NodeId reference, CompareOptions& options);

}  // namespace grpo::math

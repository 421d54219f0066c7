// Attention in its training form and out of pages, and the two beside each other.
#include <algorithm>
#include <cmath>
#include <random>

#include "op_test.h"

namespace grpo {
namespace {

struct Shape {
  std::vector<int32_t> starts{0}, parents;
  Shape(const std::vector<std::pair<int32_t, int32_t>>& length_and_parent) {
    for (const auto& [length, parent] : length_and_parent) {
      starts.push_back(starts.back() + length);
      parents.push_back(parent);
    }
  }
  int32_t length(size_t s) const { return starts[s + 1] - starts[s]; }
  /// Of tokens that do not matter, `inert` of them behind the last segment.
  Pass pass(int64_t inert = 0) const {
    PassBuilder builder;
    for (size_t s = 0; s < parents.size(); ++s) builder.add(std::vector<int32_t>(length(s)), 0, parents[s]);
    builder.tokens.resize(builder.tokens.size() + inert), builder.positions.resize(builder.tokens.size());
    return builder.build();
  }
};

/// A prompt whose rows are shared, and one child.
Pass child_pass(int32_t prompt, int32_t child) {
  PassBuilder builder;
  builder.add_shared(prompt);
  builder.add(std::vector<int32_t>(child), prompt, 0);
  return builder.build();
}

// Prompts with several children, single segments, empty ones, lengths about the edges of the 16-key blocks.
const Shape kShapes[] = {
    Shape({{1, -1}}),
    Shape({{0, -1}, {5, 0}, {3, -1}}),
    Shape({{7, -1}, {1, 0}, {0, 0}, {4, 0}}),
    Shape({{16, -1}, {15, 0}, {16, 0}, {17, 0}}),
    Shape({{15, -1}, {17, 0}, {2, 0}, {33, -1}, {31, 3}, {32, 3}, {16, -1}, {0, 6}}),
};
// The last ones have latent values; 19 query heads are more than one task takes.
const HeadLayout kLayouts[] = {{1, 1, 8},   {2, 1, 16},     {4, 1, 24},
                               {4, 2, 32},  {2, 2, 64},     {2, 1, 80},
                               {3, 3, 6},   {3, 1, 26, 18}, {19, 1, 40, 34, 6, 0.3},
                               {4, 2, 8, 8}};

class AttentionTest : public OpTest {};
INSTANTIATE_FOR_TYPES(AttentionTest);

Op run_attention(const Shape& shape, const HeadLayout& layout) {
  return [=](const Tensors& t) { return Tensors{attention(t[0], shape.pass(), layout)}; };
}

TEST_P(AttentionTest, matches_its_reference_forward_and_backward) {
  for (const HeadLayout& layout : kLayouts)
    for (const Shape& shape : kShapes) {
      SCOPED_TRACE(::testing::Message() << layout.heads << "/" << layout.kv_heads << " heads of " << layout.head_dim
                                        << ", starts " << ::testing::PrintToString(shape.starts));
      // In bf16 the backward's D = dO·O is of rounded outputs.
      check_op(
          run_attention(shape, layout),
          [&](const Tensors& t) { return Tensors{reference::attention(t[0], shape.pass(), layout)}; },
          {randn({shape.starts.back(), layout.width()})}, {narrow() ? 1e-4 : 1e-5, narrow() ? 4e-3 : 2e-5});
    }
}

TEST(Attention, of_one_segment_is_softmax_attention) {
  const HeadLayout layout{1, 1, 8};
  const Tensor qkv = at::randn({21, 24});
  const Tensor q = qkv.narrow(1, 0, 8), k = qkv.narrow(1, 8, 8), v = qkv.narrow(1, 16, 8);
  const Tensor future = at::ones({21, 21}, at::kBool).triu(1);
  const Tensor p = at::softmax((at::matmul(q, k.t()) / std::sqrt(8.0)).masked_fill(future, -INFINITY), -1);
  EXPECT_TRUE(at::allclose(attention(qkv, Shape({{21, -1}}).pass(), layout), at::matmul(p, v), 1e-5, 1e-5));
}

TEST(Attention, of_a_child_is_that_of_prompt_and_child_in_one_segment) {
  const HeadLayout layout{2, 1, 8};
  const Tensor qkv = at::randn({30, layout.width()});
  const Tensor split = attention(qkv, Shape({{13, -1}, {17, 0}}).pass(), layout), whole = attention(qkv, Shape({{30, -1}}).pass(), layout);
  EXPECT_TRUE(at::allclose(split, whole, 1e-5, 1e-5));
}

TEST(Attention, survives_scores_beyond_what_exp_can_hold) {
  const HeadLayout layout{1, 1, 8};
  const Tensor qkv = at::randn({19, 24}) * 100;
  const Tensor expected = reference::attention(qkv, Shape({{19, -1}}).pass(), layout);
  EXPECT_TRUE(at::allclose(attention(qkv, Shape({{19, -1}}).pass(), layout), expected, 1e-4, 1e-3));
}

TEST_P(AttentionTest, a_family_has_the_same_bits_alone_and_in_any_batch) {
  for (const HeadLayout& layout : {HeadLayout{4, 2, 24}, HeadLayout{3, 3, 8}, HeadLayout{18, 1, 20, 12}}) {
    const Shape& shape = kShapes[4];
    const Tensor qkv = randn({shape.starts.back(), layout.width()});
    set_num_threads(1);
    const Tensor all = attention(qkv, shape.pass(), layout);
    for (const int threads : {1, 2, 3}) {
      set_num_threads(threads);
      EXPECT_TRUE(same_bits(attention(qkv, shape.pass(), layout), all));
      for (size_t s = 0; s < shape.parents.size(); ++s) {
        SCOPED_TRACE(::testing::Message() << "segment " << s << ", " << threads << " threads");
        const auto rows = [&](const Tensor& t, size_t segment) {
          return t.narrow(0, shape.starts[segment], shape.length(segment));
        };
        if (shape.parents[s] < 0) {
          EXPECT_TRUE(same_bits(attention(rows(qkv, s), Shape({{shape.length(s), -1}}).pass(), layout), rows(all, s)));
          continue;
        }
        const size_t parent = shape.parents[s];
        const int32_t prompt = shape.length(parent);
        const Tensor alone = attention(at::cat({rows(qkv, parent), rows(qkv, s)}),
                                       Shape({{prompt, -1}, {shape.length(s), 0}}).pass(), layout);
        EXPECT_TRUE(same_bits(alone.slice(0, prompt), rows(all, s)));
        EXPECT_TRUE(same_bits(alone.slice(0, 0, prompt), rows(all, parent)));
      }
    }
  }
}

// The first family of the batch in one pass, and in several: its prompt alone, then one child after the other.
TEST_P(AttentionTest, a_prompt_and_its_children_have_the_same_bits_in_passes_of_their_own) {
  for (const HeadLayout& layout : kLayouts)
    for (const bool reference : {false, true})
      for (const Shape& shape : {kShapes[2], kShapes[3]}) {
        SCOPED_TRACE(::testing::Message() << layout.heads << "/" << layout.kv_heads << " heads of " << layout.head_dim
                                          << (reference ? ", reference" : ""));
        const auto attend = reference ? reference::attention : attention;
        const Tensor qkv = randn({shape.starts.back(), layout.width()}),
                     dout = randn({shape.starts.back(), layout.heads * layout.value_dim()});
        const auto rows = [&](const Tensor& t, size_t s) { return t.narrow(0, shape.starts[s], shape.length(s)); };
        const auto leaf = [](const Tensor& t) { return t.clone().requires_grad_(true); };
        const Tensor whole = leaf(qkv), expected = attend(whole, shape.pass(), layout, {});
        expected.backward(dout);

        const int32_t prompt = shape.length(0);
        const Tensor first = leaf(rows(qkv, 0)), sum = at::zeros({prompt, layout.width()});
        const Tensor own = attend(first, Shape({{prompt, -1}}).pass(), layout, {Tensor(), sum});
        // The reference pads to the longest segment of a pass, and adds up gradients in their own type.
        const auto expect_alike = [&](const Tensor& got, const Tensor& want, bool exact, size_t segment) {
          const double difference = (got - want).to(at::kDouble).norm().item<double>(),
                       size = want.to(at::kDouble).norm().item<double>();
          EXPECT_TRUE(exact ? same_bits(got, want) : difference <= (narrow() ? 1e-2 : 1e-6) * size)
              << "segment " << segment << ": off by " << difference << " of " << size;
        };
        expect_alike(own, rows(expected, 0), !reference, 0);
        std::vector<Tensor> gradients{Tensor()};
        for (size_t s = 1; s < shape.parents.size(); ++s) {
          const Tensor child = leaf(rows(qkv, s));
          const Tensor out = attend(child, child_pass(prompt, shape.length(s)), layout, {rows(qkv, 0), sum});
          expect_alike(out, rows(expected, s), !reference, s);
          out.backward(rows(dout, s));
          gradients.push_back(child.grad());
        }
        own.backward(rows(dout, 0));
        gradients[0] = first.grad();
        for (size_t s = 0; s < gradients.size(); ++s)
          expect_alike(gradients[s], rows(whole.grad(), s), !reference && layout.latent == 0, s);
      }
}

TEST_P(AttentionTest, what_is_not_finite_reaches_the_rows_that_see_it_and_no_others) {
  const Shape shape({{18, -1}, {5, 0}, {3, 0}, {2, -1}});
  for (const HeadLayout& layout : {HeadLayout{4, 2, 18}, HeadLayout{5, 1, 18, 10}}) {
    const int64_t d = layout.head_dim, rows = shape.starts.back(), value_dim = layout.value_dim();
    const Tensor qkv = randn({rows, layout.width()});
    const Tensor healthy = attention(qkv, shape.pass(), layout);
    const auto segment_of = [&](int64_t row) {
      return std::upper_bound(shape.starts.begin(), shape.starts.end(), row) - shape.starts.begin() - 1;
    };
    // One place and one value a column: each value meets each of the places in one column or another.
    constexpr int64_t kPlaces[] = {0, 3, 16, 17, 18, 21, 24};
    constexpr double kBad[] = {NAN, INFINITY, -INFINITY};
    for (int64_t column = 0; column < layout.width(); ++column) {
      const int64_t row = kPlaces[column % 7];
      const double bad = kBad[column / 7 % 3];
      const Tensor broken = qkv.clone();
      broken[row][column] = bad;
      const Tensor leaf = broken.clone().requires_grad_(true);
      const Tensor out = attention(leaf, shape.pass(), layout);
      const int64_t head = column / d, group = layout.heads / layout.kv_heads;
      const bool query = head < layout.heads, key = !query && head < layout.heads + layout.kv_heads;
      const bool value = layout.latent > 0 ? key && column % d < value_dim : !query && !key;
      const int64_t kv_head = (head - layout.heads) % layout.kv_heads;
      Tensor touched = at::zeros({rows, layout.heads, value_dim}, at::kBool);  // may differ
      for (int64_t other = 0; other < rows; ++other) {
        const auto own = segment_of(row), its = segment_of(other);
        if (query ? other != row : own == its ? other < row : shape.parents[its] != own) continue;
        Tensor heads = query ? touched[other].narrow(0, head, 1) : touched[other].narrow(0, kv_head * group, group);
        (value && !key ? heads.narrow(1, column % d, 1) : heads).fill_(true);
      }
      touched = touched.view_as(out);
      const Tensor same = out.eq(healthy);
      EXPECT_TRUE((same | touched).all().item<bool>()) << bad << " at " << row << ", " << column;
      if (std::isnan(bad)) {
        EXPECT_TRUE((out.isnan() | touched.logical_not()).all().item<bool>()) << row << ", " << column;
        out.sum().backward();
        EXPECT_TRUE(leaf.grad()[row].isnan().any().item<bool>()) << row << ", " << column;
      }
    }
  }
}

TEST_P(AttentionTest, threads_change_no_gradient) {
  for (const HeadLayout& layout : {HeadLayout{4, 2, 24}, HeadLayout{18, 1, 20, 12}})
    expect_threads_change_nothing(run_attention(kShapes[4], layout),
                                  {randn({kShapes[4].starts.back(), layout.width()})});
}

TEST(AttentionGradient, agrees_with_finite_differences) {
  const Shape shape({{3, -1}, {2, 0}, {0, 0}, {18, 0}, {2, -1}});
  for (const HeadLayout& layout : {HeadLayout{2, 1, 4}, HeadLayout{3, 1, 6, 4, 2, 0.4}})
    check_finite_differences(run_attention(shape, layout), {at::randn({25, layout.width()})});
}

TEST(AttentionRefuses, what_does_not_fit) {
  const HeadLayout layout{2, 1, 4};
  const Tensor qkv = at::randn({6, 16});
  const Pass six = Shape({{6, -1}}).pass();
  EXPECT_ERROR(attention(at::randn({6, 15}), six, layout), "[attention] expected qkv [tokens, 16], got [6, 15]");
  EXPECT_ERROR(attention(at::randn({6, 28}), six, {3, 2, 4}),
               "[attention] expected heads to be a multiple of kv_heads, got 3 and 2");
  EXPECT_ERROR(attention(at::randn({6, 12}), six, {2, 1, 4, 5}),
               "[attention] expected a latent of at most head_dim = 4, got 5");
  EXPECT_ERROR(attention(qkv.to(at::kDouble), six, layout), "[attention] expected float32 or bfloat16, got Double");
  EXPECT_ERROR(attention(qkv, Shape({{7, -1}}).pass(), layout),
               "[attention] expected qkv of the 7 rows of the pass, got 6");
  PassBuilder slots;
  slots.add_to_slot(std::vector<int32_t>(6), 0, 0);
  EXPECT_ERROR(attention(qkv, slots.build(), layout), "[attention] expected a pass without slots");
  const Tensor prompt = at::randn({4, 16}), sum = at::zeros({4, 16});
  EXPECT_NO_THROW(attention(qkv, child_pass(4, 6), layout, {prompt, sum}));
  EXPECT_ERROR(attention(qkv, child_pass(3, 6), layout, {prompt, sum}), "[attention] expected 3 shared rows, got 4");
  EXPECT_ERROR(attention(qkv, child_pass(4, 6), layout), "[attention] expected 4 shared rows, got 0");
  EXPECT_ERROR(attention(qkv, child_pass(4, 6), layout, {prompt.to(at::kBFloat16), sum}),
               "[attention] expected the shared rows to be Float");
  for (const Tensor& bad : {at::zeros({3, 16}), at::zeros({4, 15}), sum.to(at::kBFloat16), sum.t()})
    EXPECT_ERROR(attention(qkv, child_pass(4, 6), layout, {prompt, bad}),
                 "[attention] expected a Float gradient [4, 16] of segment 0");
}

TEST(PassRefuses, segments_that_do_not_fit_together) {
  const std::vector<int32_t> two(2);
  const auto family = [&](const std::vector<int32_t>& parents) {
    PassBuilder builder;
    for (const int32_t parent : parents) builder.add(two, 0, parent);
    return builder;
  };
  EXPECT_NO_THROW(family({-1, 0, 0, -1, 3}).build());
  for (const std::vector<int32_t>& parents :
       std::vector<std::vector<int32_t>>{{0}, {1, -1}, {-1, 1}, {-1, 0, 1}, {-1, -1, 0}, {-2, 3}})
    EXPECT_ERROR(family(parents).build(), "expected the family of the last segment without parent");
  PassBuilder mixed = family({-1});
  mixed.add_to_slot(two, 0, 3);
  EXPECT_ERROR(mixed.build(), "[pass] expected a slot for each of 2 segments, got 1");
  EXPECT_ERROR(mixed.add_shared(4), "[pass] expected shared rows as the first segment, got 2 before them");
}

TEST_P(AttentionTest, rows_behind_the_last_segment_are_inert) {
  for (const HeadLayout& layout : {HeadLayout{4, 2, 24}, HeadLayout{18, 1, 20, 12}})
    for (const bool reference : {false, true}) {
      const auto attend = reference ? reference::attention : attention;
      const Shape& shape = kShapes[4];
      const int64_t rows = shape.starts.back();
      Tensor qkv = randn({rows + 5, layout.width()});
      qkv.slice(0, rows).fill_(NAN);
      const Tensor whole = qkv.clone().requires_grad_(true), live = qkv.slice(0, 0, rows).clone().requires_grad_(true);
      const Tensor out = attend(whole, shape.pass(5), layout, {}), expected = attend(live, shape.pass(), layout, {});
      EXPECT_TRUE(same_bits(out.slice(0, 0, rows), expected));
      EXPECT_TRUE(out.slice(0, rows).eq(0).all().item<bool>());
      out.slice(0, 0, rows).square().sum().backward();
      expected.square().sum().backward();
      EXPECT_TRUE(same_bits(whole.grad().slice(0, 0, rows), live.grad()));
      EXPECT_TRUE(whole.grad().slice(0, rows).eq(0).all().item<bool>());
    }
}

// -------------------------------------------------------------------------------------------------------------- pages

LayerPages empty_pages(int64_t count, int64_t page_size, const HeadLayout& layout, at::ScalarType type) {
  LayerPages pages = make_pages(layout, count, page_size, at::TensorOptions(type));
  for (Tensor* t : {&pages.keys, &pages.values})
    if (t->defined()) t->fill_(NAN);  // a read of a slot that nobody wrote cannot go unseen
  return pages;
}

/// Feeds the segments of a batch through paged_attention piece by piece, from pages handed out in random order.
class PagedFeeder {
 public:
  PagedFeeder(const Tensor& qkv, const Shape& shape, const HeadLayout& layout, int64_t page_size, uint32_t seed)
      : qkv_(qkv),
        shape_(shape),
        layout_(layout),
        page_size_(page_size),
        random_(seed),
        tables_(shape.parents.size()),
        done_(shape.parents.size(), 0) {
    int32_t pages = 3;  // and some that stay unused
    for (size_t s = 0; s < tables_.size(); ++s) pages += pages_of(shape.length(s));
    std::vector<int32_t> free(pages);
    std::iota(free.begin(), free.end(), 0);
    std::shuffle(free.begin(), free.end(), random_);
    for (size_t s = 0; s < tables_.size(); ++s)
      for (int32_t page = 0; page < pages_of(shape.length(s)); ++page)
        tables_[s].push_back(free.back()), free.pop_back();
    pages_ = empty_pages(pages, page_size, layout, qkv.scalar_type());
    out = at::zeros({qkv.size(0), layout.heads * layout.value_dim()}, qkv.options());
  }

  /// One call with the next tokens, at most `most` each, of some of the segments that can go on. False: all are done.
  bool feed(int32_t most, bool everyone) {
    PassBuilder builder;
    std::vector<int64_t> rows;
    std::vector<size_t> ready;
    for (size_t s = 0; s < tables_.size(); ++s)
      if (done_[s] < shape_.length(s) &&
          (shape_.parents[s] < 0 || done_[shape_.parents[s]] == shape_.length(shape_.parents[s])))
        ready.push_back(s);
    if (ready.empty()) return false;
    std::shuffle(ready.begin(), ready.end(), random_);
    if (!everyone) ready.resize(1 + random_() % ready.size());
    const PageTable table = page_table();
    for (const size_t s : ready) {
      const int32_t count = std::min<int32_t>(shape_.length(s) - done_[s], 1 + random_() % most);
      for (int32_t i = 0; i < count; ++i) rows.push_back(shape_.starts[s] + done_[s] + i);
      builder.add_to_slot(std::vector<int32_t>(count), done_[s], static_cast<int32_t>(s));
      done_[s] += count;
    }
    // A segment of no slot, and rows of no segment: both are inert.
    builder.add_to_slot(std::vector<int32_t>(2), 0, -1);
    builder.tokens.resize(builder.tokens.size() + 3), builder.positions.resize(builder.tokens.size());
    const Pass pass = builder.build();
    const Tensor index = at::tensor(rows, at::kLong),
                 input = at::cat({qkv_.index_select(0, index), at::full({5, qkv_.size(1)}, NAN, qkv_.options())});
    const bool latent = layout_.latent > 0;
    LayerPages copy{latent ? Tensor() : pages_.keys.clone(), pages_.values.clone(), page_size_};
    const Tensor result = paged_attention(input, pages_, pass, table, layout_);
    EXPECT_TRUE(result.slice(0, std::ssize(rows)).eq(0).all().item<bool>());
    out.index_copy_(0, index, result.slice(0, 0, std::ssize(rows)));
    if (check_reference) {
      const double tolerance = qkv_.scalar_type() == at::kFloat ? 1e-5 : 0x1p-7;
      EXPECT_TRUE(at::allclose(result, reference::paged_attention(input, copy, pass, table, layout_), tolerance, tolerance));
      EXPECT_TRUE((latent || same_bits(copy.keys, pages_.keys)) && same_bits(copy.values, pages_.values));
    }
    return true;
  }

  Tensor out;
  bool check_reference = false;

 private:
  PageTable page_table() const {
    size_t most = 1;
    for (const auto& pages : tables_) most = std::max(most, pages.size());
    const auto slots = std::ssize(tables_);
    PageTable table{page_size_, at::full({slots, static_cast<int64_t>(most)}, -1, at::kInt), at::tensor(done_, at::kInt),
                    at::tensor(shape_.parents, at::kInt)};
    for (int64_t s = 0; s < slots; ++s)
      for (int64_t i = 0; i < std::ssize(tables_[s]); ++i) table.pages[s][i] = tables_[s][i];
    return table;
  }
  int32_t pages_of(int32_t tokens) const { return static_cast<int32_t>((tokens + page_size_ - 1) / page_size_); }

  const Tensor qkv_;
  const Shape shape_;
  const HeadLayout layout_;
  const int64_t page_size_;
  std::mt19937 random_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<int32_t> done_;
  LayerPages pages_;
};

class PagedAttentionTest : public OpTest {};
INSTANTIATE_FOR_TYPES(PagedAttentionTest);

TEST_P(PagedAttentionTest, has_the_bits_of_the_training_form_however_the_tokens_arrive) {
  for (const HeadLayout& layout : kLayouts)
    for (const Shape& shape : kShapes) {
      const Tensor qkv = randn({shape.starts.back(), layout.width()});
      const Tensor expected = attention(qkv, shape.pass(), layout);
      for (const int64_t page_size : {16, 32, 64})
        for (const int32_t most : {1, 3, 16, 40}) {
          set_num_threads(1 + most % 2);
          PagedFeeder feeder(qkv, shape, layout, page_size, static_cast<uint32_t>(page_size + most));
          while (feeder.feed(most, most == 1)) {
          }
          EXPECT_TRUE(same_bits(feeder.out, expected))
              << layout.heads << "/" << layout.kv_heads << " heads of " << layout.head_dim << ", starts "
              << ::testing::PrintToString(shape.starts) << ", pages of " << page_size << ", pieces up to " << most;
        }
    }
}

TEST_P(PagedAttentionTest, matches_its_reference_in_output_and_pages) {
  for (const HeadLayout& layout : {HeadLayout{4, 2, 24}, HeadLayout{2, 1, 16}, HeadLayout{5, 1, 24, 20}})
    for (const int64_t page_size : {16, 32}) {
      PagedFeeder feeder(randn({kShapes[4].starts.back(), layout.width()}), kShapes[4], layout, page_size, 5);
      feeder.check_reference = true;
      while (feeder.feed(20, false)) {
      }
    }
}

TEST(PagedAttentionRefuses, what_does_not_fit) {
  const HeadLayout layout{2, 1, 4};
  const Tensor qkv = at::randn({2, 16});
  const LayerPages pages = empty_pages(2, 16, layout, at::kFloat);
  const auto table_of = [](int64_t page_size) {
    return PageTable{page_size, at::ones({1, 1}, at::kInt), at::zeros({1}, at::kInt), at::full({1}, -1, at::kInt)};
  };
  const auto pass_of = [](int32_t tokens) {
    PassBuilder builder;
    builder.add_to_slot(std::vector<int32_t>(tokens), 0, 0);
    return builder.build();
  };
  EXPECT_NO_THROW(paged_attention(qkv, pages, pass_of(2), table_of(16), layout));
  EXPECT_ERROR(paged_attention(at::randn({2, 15}), pages, pass_of(2), table_of(16), layout),
               "[paged_attention] expected qkv [tokens, 16]");
  EXPECT_ERROR(paged_attention(qkv, pages, pass_of(3), table_of(16), layout),
               "[paged_attention] expected a pass with slots and qkv of its 3 rows, got 2");
  EXPECT_ERROR(paged_attention(qkv, pages, Shape({{2, -1}}).pass(), table_of(16), layout),
               "[paged_attention] expected a pass with slots");
  for (const int64_t size : {0, 8, 24})
    EXPECT_ERROR(paged_attention(qkv, pages, pass_of(2), table_of(size), layout),
                 "[paged_attention] expected a table of the pages' page_size, 16, got ");
  for (const int64_t size : {0, 8, 24})
    EXPECT_ERROR(make_pages(layout, 2, size, at::kFloat), "expected a page_size that is a multiple of 16");
  EXPECT_ERROR(paged_attention(qkv, empty_pages(2, 16, layout, at::kBFloat16), pass_of(2), table_of(16), layout),
               "[paged_attention] expected the pages to be Float");
  EXPECT_ERROR(paged_attention(qkv.to(at::kHalf), empty_pages(2, 16, layout, at::kHalf), pass_of(2), table_of(16), layout),
               "[paged_attention] expected float32 or bfloat16");
}

}  // namespace
}  // namespace grpo

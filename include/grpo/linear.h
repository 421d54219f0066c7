// A projection, and the low-rank adapter that may lie beside its weight.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace grpo {

using at::Tensor;

/// A change of low rank that is trained in place of the weight W (LoRA: Hu et al., arXiv:2106.09685): the projection is
/// W + scale·B·A. It is merged into W neither when sampling nor when training, so that both round alike. Projections
/// that are fused into one (queries, keys and values; gate and up) have an A each, and their own rows of B, as if they
/// lay apart.
struct Adapter {
  /// A projection in a fused one, or all of it.
  struct Part {
    std::string name;     ///< as in model folders: "q_proj"
    int64_t rows = 0;     ///< of the weight
    bool adapted = true;  ///< else it stays as it is
  };
  Tensor a;  ///< [adapted parts·rank, in], of experts [experts, adapted parts·rank, in]; undefined: no adapter
  Tensor b;  ///< [rows of the adapted parts, rank], of experts [experts, rows, rank]
  double scale = 0;
  std::vector<Part> parts;

  bool defined() const { return a.defined(); }
  int64_t rank() const { return b.size(-1); }
  /// A and B of one part, as views; undefined where it is not adapted.
  std::pair<Tensor, Tensor> factors(std::size_t part) const;
};

/// weight [out, in], bias [out] or undefined; of experts weight [experts, out, in].
struct Linear {
  Tensor weight, bias;
  Adapter adapter;
};

/// x·weightᵀ + bias + scale·(x·Aᵀ)·Bᵀ.  x [tokens, in]; returns [tokens, out]. Row by row as ops.h promises.
Tensor linear(const Tensor& x, const Linear& projection);

/// The same of experts, rows offsets[e] … offsets[e + 1] of x to each (ops.h).
Tensor grouped_linear(const Tensor& x, const Linear& projection, const Tensor& offsets);

/// weight + scale·b·a in fp32: what a part of a projection comes to.
Tensor merged(const Tensor& weight, const Tensor& a, const Tensor& b, double scale);

}  // namespace grpo

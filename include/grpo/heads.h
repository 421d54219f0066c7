// How attention divides a row into heads.
#pragma once

#include <cstdint>

namespace grpo {

/// The columns of a fused projection: queries, keys, values, heads side by side, head_dim columns each.
struct HeadLayout {
  int64_t heads, kv_heads, head_dim;
  /// Not 0: there are no columns for values; a key's first `latent` columns are its value (multi-head latent attention
  /// in its absorbed form: DeepSeek-V2, arXiv:2405.04434, section 2.1).
  int64_t latent = 0;
  int64_t rotary = 0;  ///< trailing columns of a query or key that rope turns; 0: all
  double scale = 0.0;  ///< factor on scores; 0: head_dim^−½

  constexpr int64_t width() const { return (heads + (latent > 0 ? 1 : 2) * kv_heads) * head_dim; }
  constexpr int64_t value_dim() const { return latent > 0 ? latent : head_dim; }
  constexpr int64_t rotary_dim() const { return rotary > 0 ? rotary : head_dim; }
  /// Where the columns of a key head, and of its values, begin.
  constexpr int64_t key_column(int64_t kv_head) const { return (heads + kv_head) * head_dim; }
  constexpr int64_t value_column(int64_t kv_head) const {
    return key_column(kv_head) + (latent > 0 ? 0 : kv_heads * head_dim);
  }
};

}  // namespace grpo

// The emulator of CUDA's execution model, which the kernels' tests without a card rest on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include "op_test.h"
#include "kernels/cuda/device.h"

namespace grpo::cuda {
namespace {

TEST(Emulator, runs_every_thread_of_every_block_once_and_in_no_order_of_its_own) {
  std::vector<unsigned> order;
  emulator::run(dim3(3, 2, 2), 40, 0, [&] { order.push_back((blockIdx.x + 3 * (blockIdx.y + 2 * blockIdx.z)) * 40 + threadIdx.x); });
  EXPECT_EQ(std::set<unsigned>(order.begin(), order.end()).size(), 12 * 40u);
  EXPECT_EQ(order.size(), 12 * 40u);
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
}

TEST(Emulator, barriers_order_what_threads_do) {
  std::vector<int> sums(3);
  emulator::run(dim3(3), 96, 0, [&] {
    __shared__ int values[96];
    values[threadIdx.x] = static_cast<int>(threadIdx.x);
    __syncthreads();
    if (threadIdx.x == 0) sums[blockIdx.x] = std::accumulate(values, values + 96, 0);
    __syncthreads();
    values[threadIdx.x] = -1;
  });
  EXPECT_THAT(sums, testing::Each(95 * 96 / 2));
}

TEST(Emulator, refuses_threads_that_wait_at_different_places) {
  EXPECT_ERROR(emulator::run(dim3(1), 64, 0, [] { if (threadIdx.x == 5) __syncwarp(); else __syncthreads(); }),
               "waits for threads that wait elsewhere");
}

TEST(Emulator, warps_exchange_and_reduce) {
  std::vector<float> sums(64), blocks(2);
  emulator::run(dim3(2), 64, 0, [&] {
    __shared__ float shared[2];
    const float x = static_cast<float>(threadIdx.x);
    sums[threadIdx.x] = warp_sum(x);
    blocks[blockIdx.x] = block_sum(x, shared);
  });
  for (int i = 0; i < 64; ++i) EXPECT_EQ(sums[i], i < 32 ? 496 : 496 + 32 * 32);
  EXPECT_THAT(blocks, testing::Each(2016));
}

TEST(Emulator, mma_is_a_product_of_tiles) {
  float a[16][16], b[16][8], c[16][8], got[16][8];
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) a[i][j] = static_cast<float>(i * 3 - j);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j) b[i][j] = static_cast<float>(i % 5 - 2 * j), c[i][j] = static_cast<float>(i + j);
  emulator::run(dim3(1), 32, 0, [&] {
    const int group = threadIdx.x / 4, quad = threadIdx.x % 4;
    const auto pair_a = [&](int row, int column) { return narrow2(a[row][column], a[row][column + 1]); };
    const auto pair_b = [&](int row) { return narrow2(b[row][group], b[row + 1][group]); };
    const uint32_t fragment[4] = {pair_a(group, 2 * quad), pair_a(group + 8, 2 * quad), pair_a(group, 2 * quad + 8),
                                  pair_a(group + 8, 2 * quad + 8)};
    float sum[4];
    for (int i = 0; i < 4; ++i) sum[i] = c[group + 8 * (i / 2)][2 * quad + i % 2];
    mma(sum, fragment, pair_b(2 * quad), pair_b(2 * quad + 8));
    for (int i = 0; i < 4; ++i) got[group + 8 * (i / 2)][2 * quad + i % 2] = sum[i];
  });
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j) {
      float expected = c[i][j];
      for (int k = 0; k < 16; ++k) expected += a[i][k] * b[k][j];
      EXPECT_EQ(got[i][j], expected) << i << ", " << j;
    }
}

}  // namespace
}  // namespace grpo::cuda

#include "kernels/cuda/device.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "grpo/error.h"

// Leaves one stack for another: what a function must keep is pushed, then the stack pointer stored and the other taken.
// (swapcontext does as much with two calls of the kernel, which are half of a test's time.) x86-64.
extern "C" void grpo_switch_stack(void** from, void* to);
asm(R"(
.text
.globl grpo_switch_stack
.type grpo_switch_stack, @function
grpo_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size grpo_switch_stack, .-grpo_switch_stack
)");

namespace grpo::emulator {

thread_local Place place;

namespace {

constexpr int kWarp = 32;
constexpr size_t kStack = 128 << 10;

enum class State { runs, waits_for_warp, waits_for_block, done };

struct Fiber {
  std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(kStack);
  void* top;  // of its stack, while it does not run
  State state = State::done;
};

struct Warp {
  uint32_t words[2][kWarp][8];  // of two gathers in turn: the second's barrier ends the first's reading
  int turn[kWarp];
};

// One block at a time on this thread.
struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<char> shared;
  void* scheduler;  // its stack, while a fiber runs
  int now = 0;
  const std::function<void()>* kernel = nullptr;
  std::exception_ptr failed;
};
thread_local Block block;

void begin() {
  try {
    (*block.kernel)();
  } catch (...) {
    block.failed = std::current_exception();
  }
  block.fibers[block.now].state = State::done;
  grpo_switch_stack(&block.fibers[block.now].top, block.scheduler);
}

void wait(State state) {
  Fiber& fiber = block.fibers[block.now];
  fiber.state = state;
  grpo_switch_stack(&fiber.top, block.scheduler);
}

// Releases the threads first … end if all that are not done wait for this.
bool release(int first, int end, State waited) {
  bool any = false;
  for (int i = first; i < end; ++i) {
    const State state = block.fibers[i].state;
    if (state != waited && state != State::done) return false;
    any |= state == waited;
  }
  for (int i = first; any && i < end; ++i)
    if (block.fibers[i].state == waited) block.fibers[i].state = State::runs;
  return any;
}

void run_block(int threads, std::mt19937& random) {
  std::vector<int> order(threads);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = block.fibers[i];
    // As if it had been left at its beginning: six registers, and where to return to. A function begins with its return
    // address on a stack that is aligned to 16 bytes below that.
    auto* end = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(fiber.stack.get() + kStack) & ~uintptr_t{15});
    *--end = nullptr;
    *--end = reinterpret_cast<void*>(&begin);
    fiber.top = end - 6;
    fiber.state = State::runs;
  }
  for (bool moved = true; moved;) {
    moved = false;
    for (const int i : order) {
      if (block.fibers[i].state != State::runs) continue;
      block.now = i;
      place.thread = dim3(i, 0, 0);
      grpo_switch_stack(&block.scheduler, block.fibers[i].top);
      if (block.failed) std::rethrow_exception(std::exchange(block.failed, nullptr));
      moved = true;
    }
    for (int first = 0; first < threads; first += kWarp)
      moved |= release(first, std::min(first + kWarp, threads), State::waits_for_warp);
    moved |= release(0, threads, State::waits_for_block);
  }
  for (int i = 0; i < threads; ++i)
    if (block.fibers[i].state != State::done)
      throw Error("emulator", "thread ", i, " of block ", place.block.x, ", ", place.block.y, ", ", place.block.z,
                  " waits for threads that wait elsewhere");
}

}  // namespace

void sync_block() { wait(State::waits_for_block); }
void sync_warp() { wait(State::waits_for_warp); }
void* shared_memory() { return block.shared.data(); }

const uint32_t (*gather(const uint32_t* words, int count))[8] {
  Warp& warp = block.warps[block.now / kWarp];
  const int lane = block.now % kWarp, turn = warp.turn[lane] ^= 1;
  std::copy_n(words, count, warp.words[turn][lane]);
  sync_warp();
  return warp.words[turn];
}

void run(dim3 grid, int threads, size_t shared, const std::function<void()>& kernel) {
  if (threads < 1 || threads > 1024) throw Error("emulator", "expected 1 to 1024 threads, got ", threads);
  if (shared > 227 << 10) throw Error("emulator", "expected shared memory up to 227 KiB, got ", shared, " bytes");
  block.fibers.resize(std::max<size_t>(block.fibers.size(), threads));
  block.warps.assign((threads + kWarp - 1) / kWarp, Warp());
  block.kernel = &kernel;
  place.grid = grid, place.block_size = dim3(threads);
  std::vector<uint64_t> order(static_cast<uint64_t>(grid.x) * grid.y * grid.z);
  std::iota(order.begin(), order.end(), 0);
  static thread_local std::mt19937 random(1);
  std::shuffle(order.begin(), order.end(), random);
  for (const uint64_t number : order) {
    place.block = dim3(number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y);
    block.shared.assign(shared, static_cast<char>(0xff));  // NaN
    run_block(threads, random);
  }
}

}  // namespace grpo::emulator

namespace grpo::cuda {

void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const uint32_t(*all)[8] = emulator::gather(mine, 6);
  const auto half = [](uint32_t word, int which) {
    return widen(bf16{static_cast<uint16_t>(which ? word >> 16 : word)});
  };
  const int row = lane() / 4, column = lane() % 4 * 2;
  for (int i = 0; i < 4; ++i) {
    float sum = 0.0f;
    for (int k = 0; k < 16; ++k) {
      const int from = k % 8 / 2, word = i / 2 + k / 8 * 2;
      sum += half(all[row * 4 + from][word], k % 2) * half(all[(column + i % 2) * 4 + from][4 + k / 8], k % 2);
    }
    c[i] += sum;
  }
}

}  // namespace grpo::cuda

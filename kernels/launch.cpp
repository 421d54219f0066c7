#include <c10/core/impl/VirtualGuardImpl.h>

#include "kernels/cpu/cpu.h"
#include "kernels/op.h"

namespace grpo {

// Without linking what a CPU-only process never loads: whoever has tensors on a device has loaded its part of LibTorch.
kernel::Stream current_stream(at::Device device) {
  if (device.is_cpu()) return {};
  return {c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle()};
}

namespace {

const kernel::Table* for_cpu = nullptr;  // in place of its own

}  // namespace

void use_for_cpu(const kernel::Table* table) { for_cpu = table; }

const kernel::Table* kernels_of(at::Device device, at::ScalarType type) {
  if (type != at::kFloat && type != at::kBFloat16) return nullptr;
  if (device.is_cpu()) return for_cpu ? for_cpu : &cpu::table();
  return device.is_cuda() && cuda_backend() ? cuda_backend()->table : nullptr;
}

bool attends(const kernel::Table* table, kernel::Type type, const HeadLayout& layout) {
  return table && table->attention[static_cast<int>(type)] && (!table->attends || table->attends(layout));
}

std::unique_ptr<kernel::Graph> record(at::Device device, const std::function<void()>& work) {
  struct Again : kernel::Graph {
    explicit Again(std::function<void()> work_) : work(std::move(work_)) {}
    void replay() override { work(); }
    std::function<void()> work;
  };
  if (device.is_cpu()) return std::make_unique<Again>(work);
  const c10::OptionalDeviceGuard current(device);
  return cuda_backend()->record(work);
}

int64_t page_block(at::Device device, at::ScalarType type, const HeadLayout& layout) {
  const kernel::Table* kernels = kernels_of(device, type);
  const bool own = attends(kernels, type == at::kBFloat16 ? kernel::Type::bf16 : kernel::Type::f32, layout);
  return own ? kernels->page_block : cpu::kKeyBlock;  // the reference's is the CPU's
}

Launch::Launch(const Tensor& x, const char* op)
    : table_(kernels_of(x.device(), x.scalar_type())),
      type_(x.scalar_type() == at::kBFloat16 ? kernel::Type::bf16 : kernel::Type::f32) {
  require(table_ || !x.is_cpu(), op, "expected float32 or bfloat16, got ", x.scalar_type());
  if (!table_ || x.is_cpu()) return;
  current_.reset_device(x.device());
  stream_ = current_stream(x.device());
}

}  // namespace grpo

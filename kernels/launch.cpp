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
  if (!device.is_cpu() || (type != at::kFloat && type != at::kBFloat16)) return nullptr;
  return for_cpu ? for_cpu : &cpu::table();
}

Launch::Launch(const Tensor& x, const char* op)
    : table_(kernels_of(x.device(), x.scalar_type())),
      type_(x.scalar_type() == at::kBFloat16 ? kernel::Type::bf16 : kernel::Type::f32),
      stream_(table_ ? current_stream(x.device()) : kernel::Stream()) {
  require(table_ || !x.is_cpu(), op, "expected float32 or bfloat16, got ", x.scalar_type());
}

}  // namespace grpo

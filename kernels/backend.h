// What the kernels of a device come as: a library of their own, which is loaded when such a device is opened. A process
// without one never sees it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "kernels/kernels.h"

namespace grpo {
namespace kernel {

/// Work on a device, recorded once: what it reads and writes keeps its place for as long as this lives.
class Graph {
 public:
  virtual ~Graph() = default;
  /// Queues it on LibTorch's current stream.
  virtual void replay() = 0;
};

struct Backend {
  size_t interface;      ///< kInterface of what it was built with: another program's tables look different
  const Table* table;
  /// Why its kernels do not run on a device; "" where they do.
  const char* (*refusal)(int device);
  /// Runs `work` on the current device, recorded and not carried out. It may not wait for the device.
  std::unique_ptr<Graph> (*record)(const std::function<void()>& work);
};

constexpr size_t kInterface = sizeof(Table) * 1000003 + sizeof(Slots) * 1009 + sizeof(PagedAttention) * 31 + sizeof(Draws);

}  // namespace kernel

/// The kernels for CUDA devices, or null: none has been opened yet, or there are none for it.
const kernel::Backend* cuda_backend();
/// Why there are none, of the last device that was opened; "" where there are.
const std::string& no_cuda_kernels();

}  // namespace grpo

#include "grpo/device.h"

#include <ATen/Context.h>
#include <dlfcn.h>

#include <exception>

#include "grpo/error.h"

namespace grpo {

at::Device open_device(const std::string& name) {
  at::Device device(at::kCPU);
  try {
    device = at::Device(name);
  } catch (const std::exception&) {
    throw Error("config", "device: expected \"cpu\", \"cuda\" or \"cuda:N\", got \"", name, '"');
  }
  if (device.is_cuda()) {
    // Loaded only on demand, and only where there is a driver: it costs seconds and hundreds of megabytes.
    if (!dlopen("libcuda.so.1", RTLD_LAZY))
      throw Error("config", "device: expected a CUDA device, found no driver for one; use --device cpu");
    if (!dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL))
      throw Error("config", "device: cannot load libtorch_cuda.so: ", dlerror(), "; scripts/setup.sh installs what it ",
                  "needs on a machine with a GPU, and with GPU=1 on any");
    if (!at::hasCUDA()) throw Error("config", "device: expected a CUDA device, found none; use --device cpu");
  } else if (!device.is_cpu() || device.has_index()) {
    throw Error("config", "device: expected \"cpu\", \"cuda\" or \"cuda:N\", got \"", name, '"');
  }
  return device;
}

}  // namespace grpo

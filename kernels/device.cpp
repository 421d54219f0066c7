#include "grpo/device.h"

#include <ATen/Context.h>
#include <dlfcn.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "grpo/error.h"
#include "kernels/backend.h"

namespace grpo {
namespace {

const kernel::Backend* loaded = nullptr;
const kernel::Backend* cuda = nullptr;  // the same, if its kernels run on the device that was opened last
std::string missing = "no CUDA device has been opened";

// Where libgrpo_cuda.so may lie: named by the environment, beside the program, where programs are installed or built.
std::vector<std::string> cuda_libraries() {
  if (const char* named = ::secure_getenv("GRPO_CUDA_LIBRARY")) return {named};
  std::vector<std::string> places;
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const char* beside : {".", "../lib", "../" GRPO_LIBDIR}) places.push_back(program / beside / "libgrpo_cuda.so");
  places.push_back(GRPO_CUDA_PLACE);
  return places;
}

// Loads the kernels for CUDA devices; "" or why there are none.
std::string load_cuda_backend() {
  std::string why = "this build has none";
  for (const std::string& place : cuda_libraries()) {
    std::error_code ignored;
    if (!std::filesystem::exists(place, ignored)) {
      if (::secure_getenv("GRPO_CUDA_LIBRARY")) why = "GRPO_CUDA_LIBRARY: there is no " + place;
      continue;
    }
    void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* entry = library ? dlsym(library, "grpo_cuda_backend") : nullptr;
    if (!entry) {
      why = dlerror();
      continue;
    }
    const kernel::Backend* found = reinterpret_cast<const kernel::Backend* (*)()>(entry)();
    if (found->interface == kernel::kInterface) return loaded = found, "";
    why = place + " is of another version";
  }
  return why;
}

}  // namespace

const kernel::Backend* cuda_backend() { return cuda; }
const std::string& no_cuda_kernels() { return missing; }

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
    missing = loaded ? "" : load_cuda_backend();
    if (loaded) missing = loaded->refusal(device.has_index() ? device.index() : 0);
    cuda = missing.empty() ? loaded : nullptr;
  } else if (!device.is_cpu() || device.has_index()) {
    throw Error("config", "device: expected \"cpu\", \"cuda\" or \"cuda:N\", got \"", name, '"');
  }
  return device;
}

}  // namespace grpo

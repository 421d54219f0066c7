#include "kernels/cpu/cpu.h"

#include <cstdlib>
#include <string_view>

namespace grpo {

namespace isa_portable {
extern const kernel::Table table;
}
#if defined(__x86_64__)
namespace isa_avx2 {
extern const kernel::Table table;
}
namespace isa_avx512 {
extern const kernel::Table table;
}
namespace isa_amx {
extern const kernel::Table table;
}
#endif

namespace cpu {

// GRPO_CPU_ISA=avx2 (or avx512, portable) asks for less than the machine has: to test the other paths, or to repeat on
// one machine what another one computed.
const kernel::Table& table() {
  static const kernel::Table* const chosen = []() -> const kernel::Table* {
    const char* asked = std::getenv("GRPO_CPU_ISA");
    const std::string_view limit = asked ? asked : "";
    if (limit == "portable") return &isa_portable::table;
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && limit != "avx2";
    const bool amx =
        avx512 && __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("amx-tile") && limit != "avx512";
    if (amx) return &isa_amx::table;
    if (avx512) return &isa_avx512::table;
    if (avx2) return &isa_avx2::table;
#endif
    return &isa_portable::table;
  }();
  return *chosen;
}

}  // namespace cpu
}  // namespace grpo

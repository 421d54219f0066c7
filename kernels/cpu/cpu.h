// The CPU's kernels: one table for each instruction set, of which the best that this machine runs is chosen at start-up.
#pragma once

#include "kernels/kernels.h"

namespace grpo::cpu {

constexpr int kKeyBlock = 16;  // keys in a block of transposed keys; a page holds whole blocks

const kernel::Table& table();

}  // namespace grpo::cpu

#define GRPO_EMULATED
#include "kernels/test_cuda_kernels.cpp"

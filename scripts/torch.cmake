# The imported target grpo::torch, out of the LibTorch that the wheel of PyTorch carries. Not find_package(Torch): that
# one wants a CUDA toolkit wherever the wheel was built with CUDA, and nothing here needs one to run on a CPU.
# Used by the build and, installed beside the package file, by find_package(grpo).
#   GRPO_TORCH_DIR  the folder `torch` of a Python environment's site-packages
if(NOT GRPO_TORCH_DIR)
  cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH checkout)
  file(GLOB candidates "${checkout}/.venv/lib/python3*/site-packages/torch")
  if(candidates)
    list(GET candidates 0 found)
  endif()
  set(GRPO_TORCH_DIR "${found}" CACHE PATH "The folder `torch` of a Python environment's site-packages")
endif()
if(NOT EXISTS "${GRPO_TORCH_DIR}/include/ATen/ATen.h")
  message(FATAL_ERROR "LibTorch not found at '${GRPO_TORCH_DIR}': run scripts/setup.sh, or pass -DGRPO_TORCH_DIR=…/site-packages/torch")
endif()
file(STRINGS "${GRPO_TORCH_DIR}/version.py" version REGEX "^__version__")
string(REGEX REPLACE ".*'([^']*)'.*" "\\1" GRPO_TORCH_VERSION "${version}")
if(TARGET grpo::torch)
  return()
endif()
add_library(grpo::torch INTERFACE IMPORTED)
set_target_properties(grpo::torch PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${GRPO_TORCH_DIR}/include;${GRPO_TORCH_DIR}/include/torch/csrc/api/include"
  INTERFACE_LINK_LIBRARIES "${GRPO_TORCH_DIR}/lib/libtorch_cpu.so;${GRPO_TORCH_DIR}/lib/libc10.so;${CMAKE_DL_LIBS}"
  INTERFACE_LINK_OPTIONS "LINKER:-rpath,${GRPO_TORCH_DIR}/lib")

# The imported target grpo::sentencepiece, processor and trainer. Distributions ship neither a CMake package file nor one
# name for both libraries. Used by the build and, installed beside the package file, by find_package(grpo).
if(TARGET grpo::sentencepiece)
  return()
endif()
find_path(SENTENCEPIECE_INCLUDE_DIR sentencepiece_trainer.h)
find_library(SENTENCEPIECE_LIBRARY sentencepiece)
find_library(SENTENCEPIECE_TRAIN_LIBRARY sentencepiece_train)
mark_as_advanced(SENTENCEPIECE_INCLUDE_DIR SENTENCEPIECE_LIBRARY SENTENCEPIECE_TRAIN_LIBRARY)
if(NOT (SENTENCEPIECE_INCLUDE_DIR AND SENTENCEPIECE_LIBRARY AND SENTENCEPIECE_TRAIN_LIBRARY))
  message(FATAL_ERROR "sentencepiece, or its trainer, not found: install libsentencepiece-dev (scripts/setup.sh does)")
endif()
add_library(grpo::sentencepiece INTERFACE IMPORTED)
set_target_properties(grpo::sentencepiece PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${SENTENCEPIECE_INCLUDE_DIR}"
  INTERFACE_LINK_LIBRARIES "${SENTENCEPIECE_TRAIN_LIBRARY};${SENTENCEPIECE_LIBRARY}")

# The imported target grpo::seccomp, the system call filter of sandboxed programs. libseccomp ships no CMake package file.
# Used by the build and, installed beside the package file, by find_package(grpo).
if(TARGET grpo::seccomp)
  return()
endif()
find_path(SECCOMP_INCLUDE_DIR seccomp.h)
find_library(SECCOMP_LIBRARY seccomp)
mark_as_advanced(SECCOMP_INCLUDE_DIR SECCOMP_LIBRARY)
if(NOT (SECCOMP_INCLUDE_DIR AND SECCOMP_LIBRARY))
  message(FATAL_ERROR "libseccomp not found: install libseccomp-dev (scripts/setup.sh does)")
endif()
add_library(grpo::seccomp INTERFACE IMPORTED)
set_target_properties(grpo::seccomp PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${SECCOMP_INCLUDE_DIR}"
  INTERFACE_LINK_LIBRARIES "${SECCOMP_LIBRARY}")

# The imported target grpo::gmp: exact integers and fractions (GMP with its C++ face) and bounds that round outward
# (MPFR), for the checking of answers. Debian ships no CMake package files for them. Used by the build and, installed
# beside the package file, by find_package(grpo).
if(TARGET grpo::gmp)
  return()
endif()
find_path(GMP_INCLUDE_DIR gmpxx.h)
find_path(MPFR_INCLUDE_DIR mpfr.h)
find_library(GMPXX_LIBRARY gmpxx)
find_library(GMP_LIBRARY gmp)
find_library(MPFR_LIBRARY mpfr)
mark_as_advanced(GMP_INCLUDE_DIR MPFR_INCLUDE_DIR GMPXX_LIBRARY GMP_LIBRARY MPFR_LIBRARY)
if(NOT (GMP_INCLUDE_DIR AND MPFR_INCLUDE_DIR AND GMPXX_LIBRARY AND GMP_LIBRARY AND MPFR_LIBRARY))
  message(FATAL_ERROR "GMP or MPFR not found: install libgmp-dev and libmpfr-dev (scripts/setup.sh does)")
endif()
add_library(grpo::gmp INTERFACE IMPORTED)
set_target_properties(grpo::gmp PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${GMP_INCLUDE_DIR};${MPFR_INCLUDE_DIR}"
  INTERFACE_LINK_LIBRARIES "${GMPXX_LIBRARY};${MPFR_LIBRARY};${GMP_LIBRARY}")

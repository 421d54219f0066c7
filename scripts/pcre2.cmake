# The imported target grpo::pcre2, the regular expressions of a tokenizer.json: the 8-bit library. Debian ships no CMake
# package file for it. Used by the build and, installed beside the package file, by find_package(grpo).
if(TARGET grpo::pcre2)
  return()
endif()
find_path(PCRE2_INCLUDE_DIR pcre2.h)
find_library(PCRE2_LIBRARY pcre2-8)
mark_as_advanced(PCRE2_INCLUDE_DIR PCRE2_LIBRARY)
if(NOT (PCRE2_INCLUDE_DIR AND PCRE2_LIBRARY))
  message(FATAL_ERROR "PCRE2 not found: install libpcre2-dev (scripts/setup.sh does)")
endif()
add_library(grpo::pcre2 INTERFACE IMPORTED)
set_target_properties(grpo::pcre2 PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${PCRE2_INCLUDE_DIR}"
  INTERFACE_LINK_LIBRARIES "${PCRE2_LIBRARY}")

# Imported targets for libraries that ship no CMake package file (or, in Debian, not always the same one). Used by the
# build and, installed beside the package file, by find_package(grpo).

# grpo_library(name package HEADERS … LIBRARIES …): the target grpo::<name>, libraries in the order of the linker's line.
# Each file that is looked for has a cache variable of its own, such as GRPO_gmp_h or GRPO_gmp; `package` is Debian's.
function(grpo_library name package)
  if(TARGET grpo::${name})
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 2 wanted "" "" "HEADERS;LIBRARIES")
  set(folders)
  set(files)
  foreach(header IN LISTS wanted_HEADERS)
    string(MAKE_C_IDENTIFIER "GRPO_${header}" variable)
    find_path(${variable} ${header})
    list(APPEND folders "${${variable}}")
    mark_as_advanced(${variable})
  endforeach()
  foreach(library IN LISTS wanted_LIBRARIES)
    string(MAKE_C_IDENTIFIER "GRPO_${library}" variable)
    find_library(${variable} ${library})
    list(APPEND files "${${variable}}")
    mark_as_advanced(${variable})
  endforeach()
  if("${folders};${files}" MATCHES "-NOTFOUND")
    message(FATAL_ERROR "${wanted_HEADERS} or ${wanted_LIBRARIES} not found: install ${package} (scripts/setup.sh does)")
  endif()
  list(REMOVE_DUPLICATES folders)
  add_library(grpo::${name} INTERFACE IMPORTED)
  set_target_properties(grpo::${name} PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${folders}" INTERFACE_LINK_LIBRARIES "${files}")
endfunction()

# Tokenizers: the processor and the trainer.
grpo_library(sentencepiece libsentencepiece-dev HEADERS sentencepiece_trainer.h LIBRARIES sentencepiece_train sentencepiece)
# Regular expressions, of a tokenizer.json and of tasks: the 8-bit library.
grpo_library(pcre2 libpcre2-dev HEADERS pcre2.h LIBRARIES pcre2-8)
# The system call filter of sandboxed programs.
grpo_library(seccomp libseccomp-dev HEADERS seccomp.h LIBRARIES seccomp)
# The checking of answers: exact integers and fractions (GMP with its C++ face), and bounds that round outward (MPFR).
grpo_library(gmp "libgmp-dev and libmpfr-dev" HEADERS gmpxx.h mpfr.h LIBRARIES gmpxx mpfr gmp)

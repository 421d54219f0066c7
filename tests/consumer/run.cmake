# The library as others meet it: installed into an empty prefix, found from there, built against, run. No network.
#   cmake -DBUILD=… -DWORK=… -DCXX=… -DLAUNCHER=… -DGENERATOR=… -DMAKE=… -DTYPE=… -P run.cmake
set(prefix ${WORK}/prefix)
set(build ${WORK}/build)
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH tests)
cmake_path(GET tests PARENT_PATH source)

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "${command}\n${output}\nexited with ${status}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})

# What is installed may not lead back to where it was built.
file(GLOB_RECURSE package ${prefix}/*.cmake)
foreach(file IN LISTS package)
  file(READ ${file} text)
  foreach(folder IN ITEMS ${BUILD} ${source}/include ${source}/src ${source}/kernels)
    string(FIND "${text}" "${folder}" place)
    if(NOT place EQUAL -1)
      message(FATAL_ERROR "${file}: expected a package that can be moved, found ${folder} in it")
    endif()
  endforeach()
endforeach()
if(EXISTS ${prefix}/bin/r1_zero)
  run(${prefix}/bin/r1_zero --help)
endif()

set(configure ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -G ${GENERATOR} -DCMAKE_MAKE_PROGRAM=${MAKE}
  -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} -DCMAKE_BUILD_TYPE=${TYPE}
  -DCMAKE_PREFIX_PATH=${prefix})

# A LibTorch that is gone is an answer, not a riddle.
execute_process(COMMAND ${configure} -B ${WORK}/without -DGRPO_TORCH_DIR=${WORK}/nowhere
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
string(FIND "${output}" "LibTorch not found at '${WORK}/nowhere'" place)
if(status EQUAL 0 OR place EQUAL -1)
  message(FATAL_ERROR "expected find_package(grpo) to miss LibTorch, got ${status}\n${output}")
endif()

run(${configure} -B ${build})
run(${CMAKE_COMMAND} --build ${build})
run(${build}/consumer ${build})
message(STATUS "${output}")

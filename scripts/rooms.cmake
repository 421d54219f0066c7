# The rooms of the library: each is a target of its own that sees the rooms below it and no other, so that an include of
# a higher one does not build. README.md has what each holds.

# grpo_room(name
#   SEES room…            the rooms it includes; what these see it sees, too
#   LIBRARIES …           further libraries, as target_link_libraries takes them
#   HEADERS concept…      its public headers, include/grpo/<concept>.h
#   SOURCES file…)        relative to the room's folder
# Makes grpo_<name>, for users grpo::<name>. All rooms lie under one src/ and their public headers in one include/grpo/;
# what a room sees of them are links in the build folder: rooms/<name>/public/grpo/<concept>.h, which whoever links the
# room gets, and rooms/<name>/inside/<name>, the folder itself, which higher rooms and tests alone get.
function(grpo_room name)
  cmake_parse_arguments(PARSE_ARGV 1 room "" "" "SEES;LIBRARIES;HEADERS;SOURCES")
  set(target grpo_${name})
  set(links ${PROJECT_BINARY_DIR}/rooms/${name})
  file(REMOVE_RECURSE ${links})
  file(MAKE_DIRECTORY ${links}/public/grpo ${links}/inside)
  foreach(header IN LISTS room_HEADERS)
    set(file ${PROJECT_SOURCE_DIR}/include/grpo/${header}.h)
    if(NOT EXISTS ${file})
      message(FATAL_ERROR "room ${name}: there is no ${file}")
    endif()
    file(CREATE_LINK ${file} ${links}/public/grpo/${header}.h SYMBOLIC)
  endforeach()
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${links}/inside/${name} SYMBOLIC)

  set(seen ${name})
  foreach(lower IN LISTS room_SEES)
    get_target_property(beneath grpo_${lower} GRPO_SEES)
    list(APPEND seen ${beneath})
  endforeach()
  list(REMOVE_DUPLICATES seen)

  add_library(${target} STATIC ${room_SOURCES})
  add_library(grpo::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} GRPO_SEES "${seen}"
    UNITY_BUILD ${GRPO_UNITY} UNITY_BUILD_BATCH_SIZE 0)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${links}/public> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  grpo_inside(${target} ${name})
  list(TRANSFORM room_SEES PREPEND grpo_)
  target_link_libraries(${target} PUBLIC ${room_SEES} PRIVATE $<BUILD_INTERFACE:grpo_flags>)
  if(room_LIBRARIES)
    target_link_libraries(${target} ${room_LIBRARIES})
  endif()
  set_property(GLOBAL APPEND PROPERTY GRPO_ROOMS ${name})
endfunction()

# grpo_inside(target room…): lets a target include what is inside the rooms and those beneath them.
function(grpo_inside target)
  set(seen)
  foreach(name IN LISTS ARGN)
    get_target_property(beneath grpo_${name} GRPO_SEES)
    list(APPEND seen ${beneath})
  endforeach()
  list(REMOVE_DUPLICATES seen)
  list(TRANSFORM seen REPLACE "(.+)" "${PROJECT_BINARY_DIR}/rooms/\\1/inside")
  target_include_directories(${target} PRIVATE ${seen})
endfunction()

# SPDX-License-Identifier: Apache-2.0
#
# How Airlock's folders become targets. Each folder of src/ is one static library, airlock_<folder>,
# that may depend only on folders of a lower floor; tests, fuzz targets and micro-benchmarks stand
# beside the code and are declared with it.

set(AIRLOCK_FLOORS base sandbox core dt spec shm crypt window ring iommu pool pci mmio wire vfio_user vhost_user driver
                   backend device guard attach compare cli testing)

option(AIRLOCK_FUZZ "Build the libFuzzer targets (needs clang)" OFF)
option(AIRLOCK_BENCH "Build the micro-benchmarks" OFF)
option(AIRLOCK_TESTS "Build the tests" ON)
set(AIRLOCK_SANITIZE "" CACHE STRING "Sanitizers for every target, as in -fsanitize=")
option(AIRLOCK_COVERAGE "Instrument for gcov" OFF)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

# What every target is compiled with.
add_library(airlock_flags INTERFACE)
target_include_directories(airlock_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(airlock_flags INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wsign-conversion -Wvla
  -ftrivial-auto-var-init=zero -fstack-protector-strong
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual>
  # TRY and MUST are statement expressions, marked __extension__ for GCC; clang wants the flag.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-gnu-statement-expression>)
target_compile_definitions(airlock_flags INTERFACE
  # Debug: the library's own checks, so that a test that looks at no error finds out.
  $<IF:$<CONFIG:Debug>,_GLIBCXX_ASSERTIONS,_FORTIFY_SOURCE=2>)
# Tests get control before each access of shared memory (src/shm/access_hook.h); what ships, and what
# is measured, is built without tests and has nothing of it.
if(AIRLOCK_TESTS OR AIRLOCK_FUZZ)
  target_compile_definitions(airlock_flags INTERFACE AIRLOCK_ACCESS_HOOK)
endif()
target_link_libraries(airlock_flags INTERFACE Threads::Threads fmt::fmt)
if(AIRLOCK_SANITIZE)
  target_compile_options(airlock_flags INTERFACE
    -fsanitize=${AIRLOCK_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1
    $<$<NOT:$<CONFIG:Debug>>:-O1>)
  target_link_options(airlock_flags INTERFACE -fsanitize=${AIRLOCK_SANITIZE})
endif()
if(AIRLOCK_COVERAGE)
  # Counters of threads are lost, or run backwards, if they are not atomic.
  target_compile_options(airlock_flags INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(airlock_flags INTERFACE --coverage)
endif()
if(AIRLOCK_FUZZ)
  target_compile_options(airlock_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -g1 -O1)
  target_link_options(airlock_flags INTERFACE -fsanitize=address,undefined)
endif()

# airlock_link(<target> DEPS folder... LIBS target...)
function(airlock_link target)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
  set(libs ${ARG_DEPS})
  list(TRANSFORM libs PREPEND airlock_)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL INTERFACE_LIBRARY)
    target_link_libraries(${target} INTERFACE airlock_flags ${libs} ${ARG_LIBS})
  else()
    target_link_libraries(${target} PUBLIC airlock_flags ${libs} ${ARG_LIBS})
  endif()
endfunction()

# airlock_library(<folder> [SOURCES file...] [DEPS folder...] [LIBS target...])
# Refuses, at configure time, a dependency that does not stand on a lower floor.
function(airlock_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  list(FIND AIRLOCK_FLOORS ${folder} own)
  if(own EQUAL -1)
    message(FATAL_ERROR "src/${folder}: no such floor; add it to AIRLOCK_FLOORS")
  endif()
  foreach(dep IN LISTS ARG_DEPS)
    list(FIND AIRLOCK_FLOORS ${dep} floor)
    if(floor EQUAL -1 OR NOT floor LESS own)
      message(FATAL_ERROR "src/${folder} may not depend on ${dep}: it is not on a lower floor")
    endif()
  endforeach()
  if(ARG_SOURCES)
    add_library(airlock_${folder} STATIC ${ARG_SOURCES})
    # Instrumented builds are for running, not for editing: one unit a folder compiles in half the
    # time. Names in anonymous namespaces therefore differ within a folder.
    if(AIRLOCK_SANITIZE OR AIRLOCK_FUZZ)
      set_target_properties(airlock_${folder} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
    endif()
  else()
    add_library(airlock_${folder} INTERFACE)
  endif()
  airlock_link(airlock_${folder} DEPS ${ARG_DEPS} LIBS ${ARG_LIBS})
  set_property(GLOBAL APPEND PROPERTY AIRLOCK_FOLDERS ${folder})
endfunction()

# airlock_test(<name> SOURCES file... [DEPS folder...] [LIBS target...] [RAPIDCHECK] [THREADS]
#              [LABEL label] [TIMEOUT s])
# THREADS: more than one runs in it. ThreadSanitizer has nothing to say of the others, and skips them.
function(airlock_test name)
  cmake_parse_arguments(ARG "RAPIDCHECK;THREADS" "LABEL;TIMEOUT" "SOURCES;DEPS;LIBS" ${ARGN})
  if(NOT AIRLOCK_TESTS OR (AIRLOCK_SANITIZE STREQUAL thread AND NOT ARG_THREADS))
    return()
  endif()
  find_package(GTest REQUIRED)
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/tests)
  airlock_link(${name} DEPS ${ARG_DEPS} LIBS ${ARG_LIBS} GTest::gtest GTest::gtest_main)
  if(ARG_RAPIDCHECK)
    find_library(RAPIDCHECK rapidcheck REQUIRED)
    target_link_libraries(${name} PUBLIC ${RAPIDCHECK})
  endif()
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()

# airlock_compile_fail(<name> SOURCES x.cc MESSAGE regex)
# A test that compiles x.cc with AIRLOCK_WRONG defined: an error that the regex matches has to come of
# it. Test compile_fail_twins compiles them all, in one unit, without it: that has to work.
function(airlock_compile_fail name)
  cmake_parse_arguments(ARG "" "MESSAGE" "SOURCES" ${ARGN})
  if(NOT AIRLOCK_TESTS OR AIRLOCK_SANITIZE OR AIRLOCK_COVERAGE)
    return()
  endif()
  list(TRANSFORM ARG_SOURCES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  set_property(GLOBAL APPEND PROPERTY AIRLOCK_COMPILE_FAIL ${ARG_SOURCES})
  airlock_compile_test(compile_fail.${name} -DAIRLOCK_WRONG ${ARG_SOURCES})
  set_tests_properties(compile_fail.${name} PROPERTIES
                       PASS_REGULAR_EXPRESSION "error: [^\n]*${ARG_MESSAGE}")
endfunction()

# After the last airlock_compile_fail() of a folder.
function(airlock_compile_fail_twins)
  get_property(sources GLOBAL PROPERTY AIRLOCK_COMPILE_FAIL)
  if(sources)
    list(TRANSFORM sources PREPEND -include)
    airlock_compile_test(compile_fail_twins ${sources} -x c++ /dev/null)
  endif()
endfunction()

# airlock_compile_test(<name> argument...): a test that runs the compiler, and makes nothing.
function(airlock_compile_test name)
  get_target_property(options airlock_flags INTERFACE_COMPILE_OPTIONS)
  list(FILTER options INCLUDE REGEX "^-[Wf][a-z0-9=,-]+$")
  add_test(NAME ${name} COMMAND ${CMAKE_CXX_COMPILER} -std=c++${CMAKE_CXX_STANDARD}
                                -I${PROJECT_SOURCE_DIR}/src ${options} -fsyntax-only ${ARGN})
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 120 ENVIRONMENT LC_ALL=C)
endfunction()

# airlock_fuzz(<name> SOURCES file... [DEPS folder...] [LIBS target...])
function(airlock_fuzz name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  if(NOT AIRLOCK_FUZZ)
    return()
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/fuzz)
  airlock_link(${name} DEPS ${ARG_DEPS} LIBS ${ARG_LIBS})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endfunction()

# airlock_bench(<name> SOURCES file... [DEPS folder...] [LIBS target...])
function(airlock_bench name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  if(NOT AIRLOCK_BENCH)
    return()
  endif()
  find_package(benchmark REQUIRED)
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/bench)
  airlock_link(${name} DEPS ${ARG_DEPS} LIBS ${ARG_LIBS} benchmark::benchmark benchmark::benchmark_main)
endfunction()

# Every header compiles alone: one generated translation unit a header, in target all_headers_compile.
function(airlock_check_headers)
  get_property(folders GLOBAL PROPERTY AIRLOCK_FOLDERS)
  set(units)
  foreach(folder IN LISTS folders)
    file(GLOB headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/src
         ${PROJECT_SOURCE_DIR}/src/${folder}/*.h ${PROJECT_SOURCE_DIR}/src/${folder}/*/*.h)
    foreach(header IN LISTS headers)
      string(MAKE_C_IDENTIFIER ${header} id)
      set(unit ${CMAKE_BINARY_DIR}/headers/${id}.cc)
      file(GENERATE OUTPUT ${unit} CONTENT "#include \"${header}\"\n")
      list(APPEND units ${unit})
    endforeach()
  endforeach()
  if(units)
    add_library(all_headers_compile OBJECT EXCLUDE_FROM_ALL ${units})
    set(libs ${folders})
    list(TRANSFORM libs PREPEND airlock_)
    target_link_libraries(all_headers_compile PRIVATE airlock_flags ${libs})
  endif()
endfunction()

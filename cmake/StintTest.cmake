# SPDX-License-Identifier: Apache-2.0
# stint_test(NAME <name> LABEL <lint|unit|net|slurm> [ONE_PROCESS | TORCH] SOURCES … [LIBS …] [TIMEOUT seconds])
# One GoogleTest program. Each TEST becomes a CTest test of its own, unless ONE_PROCESS is given (programs that take long
# to start). TORCH: the same for those on libtorch; they have the label torch too, and the target torch_tests builds them.
#
# The headers that nearly every test includes cost more time than the tests in them: they are compiled once. Tests are
# compiled with less optimisation than what they test.
include(GoogleTest)
set(STINT_TEST_OPTIONS -O1 -g1)
file(WRITE ${CMAKE_BINARY_DIR}/tests/headers.cc "")
add_library(stint_test_headers OBJECT EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/tests/headers.cc)
# Programs are PIE: a precompiled header is good only for the same code model.
set_target_properties(stint_test_headers PROPERTIES POSITION_INDEPENDENT_CODE OFF)
target_compile_options(stint_test_headers PRIVATE -fPIE ${STINT_TEST_OPTIONS})
target_link_libraries(stint_test_headers PRIVATE GTest::gtest GTest::gmock nlohmann_json::nlohmann_json)
target_precompile_headers(stint_test_headers PRIVATE <gmock/gmock.h> <gtest/gtest.h> <nlohmann/json.hpp>
  <chrono> <filesystem> <functional> <map> <optional> <set> <string> <thread> <vector>)

add_custom_target(torch_tests)

function(stint_test)
  cmake_parse_arguments(T "ONE_PROCESS;TORCH" "NAME;LABEL;TIMEOUT" "SOURCES;LIBS" ${ARGN})
  if(T_TORCH)
    add_dependencies(torch_tests ${T_NAME})
    list(APPEND T_LABEL torch)
  endif()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 60)
  endif()
  add_executable(${T_NAME} ${T_SOURCES})
  target_link_libraries(${T_NAME} PRIVATE ${T_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_options(${T_NAME} PRIVATE ${STINT_TEST_OPTIONS})
  target_precompile_headers(${T_NAME} REUSE_FROM stint_test_headers)
  set_target_properties(${T_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  if(T_ONE_PROCESS OR T_TORCH)
    add_test(NAME ${T_NAME} COMMAND ${T_NAME})
    set_tests_properties(${T_NAME} PROPERTIES LABELS "${T_LABEL}" TIMEOUT ${T_TIMEOUT}
      ENVIRONMENT LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/lsan.supp)
  else()
    gtest_discover_tests(${T_NAME} DISCOVERY_MODE PRE_TEST
      PROPERTIES LABELS ${T_LABEL} TIMEOUT ${T_TIMEOUT}
        ENVIRONMENT LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/lsan.supp)
  endif()
endfunction()

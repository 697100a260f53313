# SPDX-License-Identifier: Apache-2.0
# Finds Slurm's public headers and libslurm. Sets Slurm_VERSION; defines
#   Slurm::headers  include path only: all that a plugin may use (it takes its symbols from its host)
#   Slurm::slurm    headers and libslurm: for programs
find_path(Slurm_INCLUDE_DIR slurm/slurm.h)
find_library(Slurm_LIBRARY slurm)
if(Slurm_INCLUDE_DIR AND EXISTS ${Slurm_INCLUDE_DIR}/slurm/slurm_version.h)
  file(STRINGS ${Slurm_INCLUDE_DIR}/slurm/slurm_version.h _slurm_number
    REGEX "define SLURM_VERSION_NUMBER")
  string(REGEX MATCH "0x[0-9a-fA-F]+" _slurm_number "${_slurm_number}")
  math(EXPR _major "(${_slurm_number} >> 16) & 255")
  math(EXPR _minor "(${_slurm_number} >> 8) & 255")
  math(EXPR _micro "${_slurm_number} & 255")
  if(_minor LESS 10)
    set(_minor "0${_minor}")
  endif()
  set(Slurm_VERSION "${_major}.${_minor}.${_micro}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Slurm
  REQUIRED_VARS Slurm_LIBRARY Slurm_INCLUDE_DIR VERSION_VAR Slurm_VERSION
  REASON_FAILURE_MESSAGE "install the package libslurm-dev (Debian) or slurm-devel")
if(Slurm_FOUND AND NOT TARGET Slurm::slurm)
  add_library(Slurm::headers INTERFACE IMPORTED)
  set_target_properties(Slurm::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${Slurm_INCLUDE_DIR})
  add_library(Slurm::slurm UNKNOWN IMPORTED)
  set_target_properties(Slurm::slurm PROPERTIES IMPORTED_LOCATION ${Slurm_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${Slurm_INCLUDE_DIR})
endif()

// SPDX-License-Identifier: Apache-2.0
// Slurm's side of the plugins, played by the test program: it exports the functions that slurmctld, sbatch
// and slurmstepd would, and records what the plugins do with them.
#pragma once

#include <dlfcn.h>
#include <slurm/slurm.h>
#include <slurm/spank.h>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace stint::spank {

struct FakeSlurm {
  std::set<void*> strings;  // alive in slurm_xstrdup's heap
  std::vector<std::string> errors, infos;
  std::set<uid_t> operators;  // of slurmdbd

  spank_context_t context = S_CTX_ALLOCATOR;
  std::vector<spank_option> options;
  bool refuse_options = false;
  std::map<std::string, std::string> control;
};

FakeSlurm& fake_slurm();

// For dlopen. Once a plugin is unloaded, a leak checker takes for lost what its static variables held to the
// end, its own C++ runtime's reserve for exceptions among it.
#ifdef __SANITIZE_ADDRESS__
inline constexpr int kKeepLoaded = RTLD_NODELETE;
#else
inline constexpr int kKeepLoaded = 0;
#endif

}  // namespace stint::spank
